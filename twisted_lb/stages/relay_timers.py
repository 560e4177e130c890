"""What every relay is beside its copy loop: two sides, one end, and the timers of sides that are idle.

Stage: relay.
In: two sides that count their bytes and say since when they take none.
Out: ``relay_ended(cause, reason)`` once, with both connections closed.
Never: lets a side's timer run while it is we who do not read from it.
Source: HAProxy configuration.txt, "timeout client", "timeout server", "timeout client-fin", "timeout tunnel".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from twisted_lb.config.inherit import BackendTimers, FrontendTimers
from twisted_lb.endings import Cause
from twisted_lb.errors import PluginError
from twisted_lb.verdicts import Deny


class RelayOwner(Protocol):
    """Who wants to know when a relay is over."""

    def relay_ended(self, cause: Cause, reason: str) -> None:
        """Both connections are closed."""

    def relay_half_closed(self) -> None:
        """The first of the two sides has sent all; other timers count from now on."""


class Side(Protocol):
    """One side of a relay, as far as the timers look at it."""

    eof: bool
    """It has sent all it will send."""
    bytes_in: int
    """Bytes that it has sent."""
    blocked_since: float
    """When it stopped taking what it was sent; 0 while it takes everything."""


class Delay(Protocol):
    """What holds the bytes of one direction up."""

    def excuse(self, now: float) -> None:
        """Let no timer run for what is held up."""

    def stop(self) -> None:
        """The relay is over."""


class RefusedError(OSError):
    """What is under way may not pass; raised in place of sending it, and so an error of sending.

    ``verdict``: ``Deny``, or what a plugin did wrong. ``tell``: whom to tell of it, when the relay is over, with
    whether the client has taken all that it was sent; its transport is still open then.
    """

    def __init__(self, verdict: Deny | PluginError, tell: "Callable[[RefusedError, bool], None]") -> None:
        super().__init__("refused")
        self.verdict = verdict
        self.tell = tell


@dataclass(frozen=True, slots=True)
class IdleTimers:
    """How long each side may be idle during the relay, in seconds; ``inf`` for ever.

    ``client_fin`` and ``server_fin`` count once a side has sent all. ``shortest``: of the four. ``hurries``: whether
    there is less time then. ``outlast_connect``: none is over before the time that there was to connect.
    """

    client: float
    server: float
    client_fin: float
    server_fin: float
    shortest: float
    hurries: bool = False
    outlast_connect: bool = False

    @classmethod
    def of(cls, frontend: FrontendTimers, backend: BackendTimers) -> "IdleTimers":
        """Work out which of the settings counts when: ``tunnel`` replaces both, and the fin timers replace that."""
        client, server = (inf if span is None else span for span in (frontend.client, backend.server))
        if backend.tunnel is not None:
            client = server = backend.tunnel
        client_fin = client if frontend.client_fin is None else frontend.client_fin
        server_fin = server if backend.server_fin is None else backend.server_fin
        shortest = min(client, server, client_fin, server_fin)
        hurries = client_fin < client or server_fin < server
        outlast_connect = backend.connect is not None and backend.connect <= shortest
        return cls(client, server, client_fin, server_fin, shortest, hurries, outlast_connect)


class Relay:
    """What both kinds have in common: the two sides, and when which timer is due.

    ``last``: when a byte last moved, in the clock's seconds. ``half_closed``: a side has sent all. ``throttles``: what
    holds bytes up where bandwidth is limited, see ``stages.throttle``.
    """

    __slots__ = ("half_closed", "last", "owner", "throttles")
    client: Side
    server: Side

    def __init__(self, owner: RelayOwner, now: float) -> None:
        self.owner: RelayOwner | None = owner
        self.last = now
        self.half_closed = False
        self.throttles: Sequence[Delay] = ()

    def next_deadline(self, timers: IdleTimers) -> tuple[float, Cause] | None:
        """When which side times out if nothing moves until then; ``None`` for never.

        A side's read timer does not run while the other side does not take what there is: then it is we who refuse to
        read. A side that does not take has a write timer of the same length.
        """
        if self.half_closed:
            client_s, server_s = timers.client_fin, timers.server_fin
        else:
            client_s, server_s = timers.client, timers.server
        due: tuple[float, Cause] | None = None
        for side, other, timeout_s, cause in (
            (self.client, self.server, client_s, Cause.CLIENT_TIMEOUT),
            (self.server, self.client, server_s, Cause.SERVER_TIMEOUT),
        ):
            if timeout_s == inf or ((side.eof or other.blocked_since) and not side.blocked_since):
                continue
            deadline = (side.blocked_since or self.last) + timeout_s
            if due is None or deadline < due[0]:
                due = deadline, cause
        return due

    def look(self, now: float, timers: IdleTimers) -> float | None:
        """End if a side has been idle for too long.

        Returns: in how many seconds to look again, ``None`` when there is nothing more to look at. Never later than the
            shortest timer: what keeps one from running can end at any moment without anybody being told.
        """
        for throttle in self.throttles:
            throttle.excuse(now)
        due = self.next_deadline(timers)
        if due is not None and due[0] <= now:
            self.end(due[1], "idle for too long")
            return None
        delay_s = timers.shortest if due is None else min(due[0] - now, timers.shortest)
        return None if delay_s == inf else delay_s

    def half_close(self) -> None:
        """From now on the timers for half-closed connections count."""
        if not self.half_closed and self.owner is not None:
            self.half_closed = True
            self.owner.relay_half_closed()

    def end(self, cause: Cause, reason: str = "", reset: bool = True) -> None:
        """Close both sides, with a RST unless ``reset`` is false, and tell the owner; once."""
        owner, self.owner = self.owner, None
        if owner is not None:
            for throttle in self.throttles:
                throttle.stop()
            self._close(reset)
            owner.relay_ended(cause, reason)

    def refuse(self, refused: "RefusedError") -> None:
        """Close the server's side with a RST, and leave it to whoever watches how the client is parted from; once."""
        if self.owner is not None:
            self.owner = None
            for throttle in self.throttles:
                throttle.stop()
            refused.tell(refused, self._give_back_client())

    def _give_back_client(self) -> bool:
        """Let the client's transport alone, the server's being closed.

        Returns: whether the client has taken all that it was sent.
        """
        raise NotImplementedError

    def _close(self, reset: bool) -> None:
        raise NotImplementedError

    def forget(self) -> None:
        """Let go of the two sides, which refer to this relay; their counters have been read."""
        del self.client, self.server
