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
from math import inf
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


class WatchOwner(RelayOwner, Protocol):
    """Whose connection it is."""

    def relay_refused(self, refused: RefusedError, whole: bool) -> None:
        """See ``RefusedError.tell``."""


Said: TypeAlias = Callable[[bytes], Any]
"""The method of an ``IStreamWatch`` for what one side says."""
Tell: TypeAlias = Callable[[RefusedError, bool], None]
"""See ``RefusedError``."""
_NOBODY = None, None


class Judge:
    """One validator's look at what is said one way."""

    __slots__ = ("_said", "_tell", "_validator")

    def __init__(self, validator: Built[IStreamValidator], said: Said, tell: Tell) -> None:
        self._validator = validator
        self._said = said
        self._tell = tell

    def judge(self, data: bytes) -> bool:
        """Ask it about ``data``.

        Returns: whether it wants to see what follows.
        Raises: RefusedError.
        """
        try:
            verdict = self._said(data)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            what = f"validator {self._validator.name!r} raised {shown(error)} in its watch"
            raise RefusedError(PluginError(self._validator.plugin, what), self._tell) from error
        if verdict is ALLOW:
            return True
        if type(verdict) is not Allow:
            raise RefusedError(_refusal(self._validator, verdict), self._tell)
        return not verdict.final


def _refusal(validator: Built[IStreamValidator], verdict: object) -> Deny | PluginError:
    if not isinstance(verdict, Deny):
        what = f"validator {validator.name!r} answered {shown(verdict)} in its watch, which is neither Allow nor Deny"
        return PluginError(validator.plugin, what)
    fault = fault_in_parting(verdict)
    if fault:
        return PluginError(validator.plugin, f"validator {validator.name!r} answered {shown(verdict)}: {fault}")
    return named(validator, verdict)  # type: ignore[arg-type]


class Gate(Judge):
    """Stands before one side of a relay between two streams, in place of its ``send``, as long as its validator looks.

    Several stand one before the other. ``_ahead``: how many bytes at the front of what is sent next have been judged,
    or are ours.
    """

    __slots__ = ("_ahead", "_send", "_side")

    def __init__(
        self, side: StreamSide, validator: Built[IStreamValidator], said: Said, tell: Tell, ahead: int = 0
    ) -> None:
        self._validator = validator
        self._said = said
        self._tell = tell
        self._ahead: float = ahead
        self._side = side
        self._send = side.send
        side.send = self.send

    def send(self, data: memoryview | bytes, flags: int = 0) -> int:
        """Send as ``socket.send`` does. What is left over comes again, and first of all.

        Raises: RefusedError, with not a byte of ``data`` sent that was not judged before.
        """
        size, ahead = len(data), self._ahead
        if size > ahead:
            if not self.judge(bytes(memoryview(data)[int(ahead) :]) if ahead else bytes(data)):
                self._open()
                return self._send(data, flags)
            ahead = self._ahead = size
        sent = self._send(data, flags)
        self._ahead = ahead - sent
        return sent

    def _open(self) -> None:
        """Let all pass; who stands in front of this stays there."""
        self._ahead = inf
        if self._side.send == self.send:
            self._side.send = self._send


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
    tell = owner.relay_refused
    if isinstance(relay, StreamRelay):
        # What the client says is what is sent to the server, and the other way round. The last made is in front.
        for validator in reversed(validators):
            client_said, server_said = _said_of(validator, facts)
            if client_said is not None:
                Gate(relay.server, validator, client_said, tell, len(preface))
            if server_said is not None:
                Gate(relay.client, validator, server_said, tell)
        return
    looks: tuple[list[Said], list[Said]] = [], []
    for validator in validators:
        for said, side in zip(_said_of(validator, facts), looks, strict=True):
            if said is not None:
                side.append(Judge(validator, said, tell).judge)
    if any(looks):
        relay.watch(*looks)


def _said_of(validator: Built[IStreamValidator], facts: Facts) -> tuple[Said | None, Said | None]:
    """Ask a validator whether it wants to watch what the client says, and what the server says. Raises: PluginError."""
    try:
        made: Any = validator.object.watch(facts)
        return _NOBODY if made is None else (made.client_said, made.server_said)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(validator.plugin, f"validator {validator.name!r} raised {shown(error)} in watch") from error
