"""Validators that stay on the stream: each byte is judged once, before it passes.

Stage: relay, of connections that a validator watches.
In: a relay that has not started yet, and the watches of its connection, in their order.
Out: nothing while they allow; ``RefusedError`` in place of sending what one denies.
Never: passes a byte on that has not been judged, judges one twice, or costs a connection anything that nobody watches.
Source: ``api.IStreamWatch``; docs/decisions/0009-watches-replace-send.md.

A relay between two streams sends with the socket's own ``send``, kept in an attribute of each side. Where somebody
watches, that is replaced by ``Gate.send``, which judges and then sends; when nobody does any more, it is put back.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from twisted_lb.contracts import IStreamValidator
from twisted_lb.endings import Cause
from twisted_lb.errors import PluginError, shown
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.stages.answers import fault_in_parting
from twisted_lb.stages.relay import StreamRelay, StreamSide
from twisted_lb.stages.relay_timers import RefusedError, RelayOwner
from twisted_lb.stages.relay_transports import TransportRelay
from twisted_lb.stages.validator import named
from twisted_lb.verdicts import Allow, Deny

Watch: TypeAlias = tuple[Built[IStreamValidator], Callable[[bytes], Any]]
"""Whose it is, and the method of its ``IStreamWatch`` for one direction."""


class WatchOwner(RelayOwner, Protocol):
    """Whose connection it is."""

    def relay_refused(self, refused: RefusedError, whole: bool) -> None:
        """See ``RefusedError.tell``."""


class Direction:
    """What is said one way, and who looks at it."""

    __slots__ = ("_tell", "_watches")

    def __init__(self, tell: Callable[[RefusedError, bool], None], watches: Sequence[Watch]) -> None:
        """``tell``: see ``RefusedError``."""
        self._tell = tell
        self._watches = list(watches)

    def judge(self, data: bytes) -> bool:
        """Ask all who look about ``data``.

        Returns: whether anybody wants to see what follows.
        Raises: RefusedError.
        """
        content = None
        for watch in self._watches:
            validator, ask = watch
            try:
                verdict = ask(data)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                what = f"validator {validator.name!r} raised {shown(error)} in its watch"
                raise self._refused(PluginError(validator.plugin, what)) from error
            if type(verdict) is not Allow:
                raise self._refused(_refusal(validator, verdict))
            if verdict.final:
                content = [watch] if content is None else [*content, watch]
        if content is not None:
            self._watches = [watch for watch in self._watches if watch not in content]
        return bool(self._watches)

    def _refused(self, verdict: Deny | PluginError) -> RefusedError:
        return RefusedError(verdict, self._tell)


def _refusal(validator: Built[IStreamValidator], verdict: object) -> Deny | PluginError:
    if not isinstance(verdict, Deny):
        what = f"validator {validator.name!r} answered {shown(verdict)} in its watch, which is neither Allow nor Deny"
        return PluginError(validator.plugin, what)
    fault = fault_in_parting(verdict)
    if fault:
        return PluginError(validator.plugin, f"validator {validator.name!r} answered {shown(verdict)}: {fault}")
    return named(validator, verdict)  # type: ignore[arg-type]


class Gate:
    """Stands before one side of a relay between two streams, in place of its ``send``.

    ``_ahead``: how many bytes at the front of what is sent next have been judged, or are ours.
    """

    __slots__ = ("_ahead", "_judge", "_send", "_side")

    def __init__(self, side: StreamSide, judge: Callable[[bytes], bool], ahead: int = 0) -> None:
        self._side: StreamSide | None = side
        self._judge = judge
        self._ahead = ahead
        self._send = side.send
        side.send = self.send

    def send(self, data: memoryview | bytes) -> int:
        """Send as ``socket.send`` does. What is left over comes again, and first of all.

        Raises: RefusedError, with not a byte of ``data`` sent that was not judged before.
        """
        size = len(data)
        if size > self._ahead:
            watched = self._judge(bytes(memoryview(data)[self._ahead :]) if self._ahead else bytes(data))
            self._ahead = size
            if not watched:
                send = self._send
                self.open()
                return send(data)
        sent = self._send(data)
        self._ahead = size - sent
        return sent

    def open(self) -> None:
        """Nobody watches any more, or the relay is over: the side sends by itself again."""
        side, self._side = self._side, None
        if side is not None and side.send == self.send:
            side.send = self._send


class Watching:
    """All who watch one connection; it stands between the relay and its owner, so as to end with the relay."""

    __slots__ = ("_gates", "_owner")

    def __init__(self, owner: WatchOwner) -> None:
        self._owner = owner
        self._gates: tuple[Gate, ...] = ()

    def begin(
        self, relay: StreamRelay | TransportRelay, watches: Sequence[tuple[Any, Any, Any]], preface: bytes
    ) -> None:
        """Watch ``relay``, which has not started."""
        client = self._judge_of([(one, said) for one, said, _ in watches if said is not None])
        server = self._judge_of([(one, said) for one, _, said in watches if said is not None])
        relay.owner = self
        if not isinstance(relay, StreamRelay):
            relay.watch(client, server)
            return
        # What the client says is what is sent to the server, and the other way round.
        if client is not None:
            self._gates = (Gate(relay.server, client, len(preface)),)
        if server is not None:
            self._gates = (*self._gates, Gate(relay.client, server))

    def _judge_of(self, watches: Sequence[Watch]) -> Callable[[bytes], bool] | None:
        return Direction(self.relay_refused, watches).judge if watches else None

    def relay_half_closed(self) -> None:
        """See ``RelayOwner``."""
        self._owner.relay_half_closed()

    def relay_ended(self, cause: Cause, reason: str) -> None:
        """See ``RelayOwner``."""
        self._open()
        self._owner.relay_ended(cause, reason)

    def relay_refused(self, refused: RefusedError, whole: bool) -> None:
        """See ``RefusedError.tell``."""
        self._open()
        self._owner.relay_refused(refused, whole)

    def _open(self) -> None:
        """A gate and its side refer to each other: without this the garbage collector would have to come by."""
        gates, self._gates = self._gates, ()
        for gate in gates:
            gate.open()


def watch(
    relay: StreamRelay | TransportRelay,
    owner: WatchOwner,
    validators: Sequence[Built[IStreamValidator]],
    facts: Facts,
    preface: bytes,
) -> None:
    """Let the validators watch ``relay``, which has not started, if they want to. ``preface``: what is ours before all.

    Raises: PluginError.
    """
    asked = [_watch_of(validator, facts) for validator in validators]
    watches = [one for one in asked if one is not None]
    if watches:
        Watching(owner).begin(relay, watches, preface)


def _watch_of(validator: Built[IStreamValidator], facts: Facts) -> tuple[Any, Any, Any] | None:
    try:
        made: Any = validator.object.watch(facts)
        return None if made is None else (validator, made.client_said, made.server_said)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(validator.plugin, f"validator {validator.name!r} raised {shown(error)} in watch") from error
