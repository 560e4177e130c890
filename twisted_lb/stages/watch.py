"""Validators that stay on the stream: each byte is judged once, before it passes.

Stage: relay, of connections that a validator watches.
In: a relay that has not started yet, and the watches of its connection, in their order.
Out: nothing while they allow; ``RefusedError`` in place of sending what one denies.
Never: passes a byte on that has not been judged, judges one twice, or costs a connection anything that nobody watches.
Source: ``api.IStreamWatch``; docs/decisions/0009-watches-replace-send.md.

A relay between two streams sends with the socket's own ``send``, kept in an attribute of each side. Where somebody
watches, that is replaced by ``Gate.send``, which judges and then sends; when nobody does any more, it is put back.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from twisted_lb.contracts import IStreamValidator
from twisted_lb.errors import PluginError, shown
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.stages.answers import fault_in_parting
from twisted_lb.stages.relay import StreamRelay, StreamSide
from twisted_lb.stages.relay_timers import RefusedError, RelayOwner
from twisted_lb.stages.relay_transports import TransportRelay
from twisted_lb.stages.validator import named
from twisted_lb.verdicts import ALLOW, Allow, Deny

Watch: TypeAlias = tuple[Built[IStreamValidator], Callable[[bytes], Any]]
"""Whose it is, and the method of its ``IStreamWatch`` for one direction."""


class WatchOwner(RelayOwner, Protocol):
    """Whose connection it is."""

    def relay_refused(self, refused: RefusedError, whole: bool) -> None:
        """See ``RefusedError.tell``."""


class Direction:
    """What is said one way, and who looks at it."""

    __slots__ = ("_tell", "_watches")

    def __init__(self, watches: Sequence[Watch], tell: Callable[[RefusedError, bool], None]) -> None:
        """``tell``: see ``RefusedError``."""
        self._watches = watches
        self._tell = tell

    def judge(self, data: bytes) -> bool:
        """Ask all who look about ``data``.

        Returns: whether anybody wants to see what follows.
        Raises: RefusedError.
        """
        content: list[Watch] = []
        for watch in self._watches:
            try:
                verdict = watch[1](data)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                validator = watch[0]
                what = f"validator {validator.name!r} raised {shown(error)} in its watch"
                raise RefusedError(PluginError(validator.plugin, what), self._tell) from error
            if verdict is ALLOW:
                continue
            if type(verdict) is not Allow:
                raise RefusedError(_refusal(watch[0], verdict), self._tell)
            if verdict.final:
                content.append(watch)
        if content:
            self._watches = [watch for watch in self._watches if watch not in content]
        return bool(self._watches)


def _refusal(validator: Built[IStreamValidator], verdict: object) -> Deny | PluginError:
    if not isinstance(verdict, Deny):
        what = f"validator {validator.name!r} answered {shown(verdict)} in its watch, which is neither Allow nor Deny"
        return PluginError(validator.plugin, what)
    fault = fault_in_parting(verdict)
    if fault:
        return PluginError(validator.plugin, f"validator {validator.name!r} answered {shown(verdict)}: {fault}")
    return named(validator, verdict)  # type: ignore[arg-type]


class Gate(Direction):
    """Stands before one side of a relay between two streams, in place of its ``send``, until nobody watches any more.

    ``_ahead``: how many bytes at the front of what is sent next have been judged, or are ours.
    """

    __slots__ = ("_ahead", "_send", "_side")

    def __init__(
        self, side: StreamSide, watches: Sequence[Watch], tell: Callable[[RefusedError, bool], None], ahead: int = 0
    ) -> None:
        self._watches = watches
        self._tell = tell
        self._ahead = ahead
        self._side = side
        self._send = side.send
        side.send = self.send

    def send(self, data: memoryview | bytes) -> int:
        """Send as ``socket.send`` does. What is left over comes again, and first of all.

        Raises: RefusedError, with not a byte of ``data`` sent that was not judged before.
        """
        size, ahead = len(data), self._ahead
        if size > ahead:
            if not self.judge(bytes(memoryview(data)[ahead:]) if ahead else bytes(data)):
                if self._side.send == self.send:
                    self._side.send = self._send
                return self._send(data)
            ahead = self._ahead = size
        sent = self._send(data)
        self._ahead = ahead - sent
        return sent


def watch(
    relay: StreamRelay | TransportRelay,
    owner: WatchOwner,
    validators: Iterable[Built[IStreamValidator]],
    facts: Facts,
    preface: bytes,
) -> None:
    """Let the validators watch ``relay``, which has not started, if they want to. ``preface``: what is ours before all.

    Raises: PluginError.
    """
    of_client: list[Watch] = []
    of_server: list[Watch] = []
    for validator in validators:
        try:
            made: Any = validator.object.watch(facts)
            if made is not None:
                if made.client_said is not None:
                    of_client.append((validator, made.client_said))
                if made.server_said is not None:
                    of_server.append((validator, made.server_said))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            what = f"validator {validator.name!r} raised {shown(error)} in watch"
            raise PluginError(validator.plugin, what) from error
    tell = owner.relay_refused
    if isinstance(relay, StreamRelay):
        # What the client says is what is sent to the server, and the other way round.
        if of_client:
            Gate(relay.server, of_client, tell, len(preface))
        if of_server:
            Gate(relay.client, of_server, tell)
    elif of_client or of_server:
        client, server = (Direction(one, tell).judge if one else None for one in (of_client, of_server))
        relay.watch(client, server)
