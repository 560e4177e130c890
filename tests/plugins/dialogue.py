"""Conversations between a client and a server, given to a validator as the proxy would; runs no test itself."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from twisted_lb.api import Allow, Deny, NeedMore
from twisted_lb.testing import make_facts

LONG_BYTES = 600
CLIENT: Final = "client"
SERVER: Final = "server"
Turns = Sequence[tuple[str, bytes]]
"""Who says what, one after the other."""


class Outcome(NamedTuple):
    """``refused``: why, or ``None``. ``learnt``: the facts in the end. ``passed``: whether nobody looks any more."""

    refused: str | None
    learnt: dict[str, Any]
    passed: bool
    farewell: bytes = b""


def talk(validator: Any, pieces: Iterable[tuple[str, bytes]]) -> Outcome:
    """Give a conversation to ``validator`` piece by piece: first to ``validate``, then to its watch."""
    facts = make_facts()
    seen = b""
    watching: dict[str, Any] | None = None
    for who, data in pieces:
        told = data
        if watching is None:
            if who == CLIENT:
                seen += data
                verdict = validator.validate(seen, facts)
                if isinstance(verdict, Deny):
                    return Outcome(verdict.reason, dict(facts.learnt), False, verdict.farewell)
                if isinstance(verdict, NeedMore):
                    continue
                assert isinstance(verdict, Allow)
                told = seen
            else:
                assert getattr(validator, "server_first", False), "no server is connected that could say this"
            watch = validator.watch(facts) if hasattr(validator, "watch") else None
            watching = {} if watch is None else {CLIENT: watch.client_said, SERVER: watch.server_said}
        if who in watching:
            verdict = watching[who](told)
            if isinstance(verdict, Deny):
                return Outcome(verdict.reason, dict(facts.learnt), False, verdict.farewell)
            assert isinstance(verdict, Allow)
            if verdict.final:
                del watching[who]
    return Outcome(None, dict(facts.learnt), watching == {})


def cuts(turns: Turns) -> Iterator[list[tuple[str, bytes]]]:
    """Yield the conversation byte by byte, and then cut once, at each place in turn; in what is long at some places."""
    yield [(who, text[at : at + 1]) for who, text in turns for at in range(len(text))]
    for index, (who, text) in enumerate(turns):
        for at in range(1, len(text), 1 + len(text) // LONG_BYTES):
            yield [*turns[:index], (who, text[:at]), (who, text[at:]), *turns[index + 1 :]]


def outcome(validator: Any, turns: Turns) -> Outcome:
    """Return what comes of a conversation, which must be the same however it is cut."""
    whole = talk(validator, turns)
    for pieces in cuts(turns):
        cut = talk(validator, pieces)
        assert cut == whole, f"{pieces}: {cut}, and not {whole}"
    return whole
