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

from twisted_lb.api import IStreamValidator
from twisted_lb.errors import PluginError, shown
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.stages.answers import fault_in_parting
from twisted_lb.stages.relay import StreamRelay, StreamSide
from twisted_lb.stages.relay_timers import RefusedError
from twisted_lb.stages.relay_transports import TransportRelay
from twisted_lb.stages.validator import named
from twisted_lb.verdicts import Allow, Deny

Watch: TypeAlias = tuple[Built[IStreamValidator], Callable[[bytes], Any]]
"""Whose it is, and the method of its ``IStreamWatch`` for one direction."""


class WatchOwner(Protocol):
    """Whose connection it is."""

    def relay_refused(self, refused: RefusedError, whole: bool) -> None:
        """See ``RefusedError.tell``."""


class Direction:
    """What is said one way, and who looks at it."""

    __slots__ = ("_owner", "_watches")

    def __init__(self, owner: WatchOwner, watches: Sequence[Watch]) -> None:
        self._owner = owner
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
        return RefusedError(verdict, self._owner.relay_refused)


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
            watched = self._judge(bytes(memoryview(data)[self._ahead :]))
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
    """All who watch one connection."""

    __slots__ = ("_client", "_gates", "_server")

    def __init__(self, owner: WatchOwner, validators: Sequence[Built[IStreamValidator]], facts: Facts) -> None:
        """Ask each validator for its watch. Raises: PluginError."""
        watches = [(validator, watch) for validator in validators if (watch := _watch_of(validator, facts)) is not None]
        self._client = Direction(owner, [(one, watch[0]) for one, watch in watches])
        self._server = Direction(owner, [(one, watch[1]) for one, watch in watches])
        self._gates: list[Gate] = []

    @property
    def busy(self) -> bool:
        """Whether anybody watches at all."""
        return bool(self._client._watches)

    def over_streams(self, relay: StreamRelay, preface: bytes) -> None:
        """Watch a relay that has not started; ``preface``: what it sends the server first, which is ours."""
        # What the client says is what is sent to the server, and the other way round.
        self._gates += [
            Gate(relay.server, self._client.judge, len(preface)),
            Gate(relay.client, self._server.judge),
        ]

    def over_transports(self, relay: TransportRelay) -> None:
        """Watch a relay that has not started."""
        relay.watch(self._client.judge, self._server.judge)

    def close(self) -> None:
        """The relay is over: without this it would live until the garbage collector comes by."""
        for gate in self._gates:
            gate.open()
        self._gates.clear()


def _watch_of(validator: Built[IStreamValidator], facts: Facts) -> tuple[Any, Any] | None:
    try:
        watch: Any = validator.object.watch(facts)
        return None if watch is None else (watch.client_said, watch.server_said)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(validator.plugin, f"validator {validator.name!r} raised {shown(error)} in watch") from error
