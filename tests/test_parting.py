"""Parting from a client; on whole connections it is shown in ``tests/sessions/test_refusing.py``."""

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from zope.interface import directlyProvides

from twisted_lb.parting import PATIENCE_S, Farewell, part
from twisted_lb.process import Process
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.lingering import LOOK_S, MOST_S
from twisted_lb.verdicts import Deny

if TYPE_CHECKING:
    from collections.abc import Callable


class Transport:
    """Notes how it is closed. It is none of ours, so nobody knows what its client has taken."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __getattr__(self, name: str) -> "Callable[..., None]":
        if name.startswith("_") or name in ("getHandle", "transport"):
            raise AttributeError(name)
        return lambda *_: self.done.append(name)


@pytest.mark.parametrize(
    ("verdict", "done", "stays"),
    [
        (Deny("x", how="reset"), ["abortConnection"], False),
        (Deny("x", how="reset", farewell=b"bye"), ["abortConnection"], False),
        (Deny("x", how="drop"), ["abortConnection"], False),
        (Deny("x", how="close"), ["loseConnection"], False),
        (Deny("x", how="close", farewell=b"bye"), [], True),
        (Deny("x", farewell=b"bye"), [], True),
    ],
)
def test_each_verdict_has_its_way(verdict: Deny, done: list[str], stays: bool) -> None:
    assert part(transport := Transport(), verdict, heard=True) is stays
    assert transport.done == done


def test_over_tls_the_end_itself_is_waited_for_within_bounds() -> None:
    transport = Transport()
    directlyProvides(transport, ISSLTransport)
    assert part(transport, Deny("x", how="close"), heard=True)
    process, limit = Process(None, Clock(), None), Limit(1)
    Farewell(process, (limit,), transport).say(b"")
    assert transport.done == ["loseConnection", "pauseProducing"]


def test_before_a_handshake_nothing_can_be_said_over_tls() -> None:
    transport = Transport()
    directlyProvides(transport, ISSLTransport)
    assert not part(transport, Deny("x", how="close", farewell=b"bye"), heard=False)
    assert transport.done == ["abortConnection"]


def farewell() -> tuple[Farewell, Transport, Process, Limit]:
    clock: Any = Clock()
    process, limit, transport = Process(None, clock, None), Limit(1), Transport()
    limit.count = 1
    made = Farewell(process, (limit,), transport)
    made.say(b"bye")
    return made, transport, process, limit


def test_a_transport_that_cannot_half_close_is_closed_behind_the_words() -> None:
    _, transport, process, limit = farewell()
    assert transport.done == ["write", "loseConnection", "pauseProducing"]
    assert (len(process.sessions), limit.count) == (1, 1)


def test_it_gives_back_its_place_once() -> None:
    made, _, process, limit = farewell()
    made.connectionLost()
    made.connectionLost()
    made.kill("the process stops")
    assert (len(process.sessions), limit.count, len(process.wheel)) == (0, 0, 0)


def test_a_client_that_takes_its_words_bit_by_bit_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter(range(10_000, 0, -1))
    monkeypatch.setattr("twisted_lb.stages.lingering.undelivered", lambda client: next(left))
    _, transport, process, _ = farewell()
    clock: Any = process.clock
    clock.pump([0.5] * int((MOST_S - 1) * 2))
    assert "abortConnection" not in transport.done
    clock.pump([0.5] * int((LOOK_S + 1) * 2))
    assert transport.done[-1] == "abortConnection"


def test_a_client_that_takes_nothing_is_cut_off_when_patience_ends() -> None:
    _, transport, process, limit = farewell()
    clock: Any = process.clock
    clock.pump([0.1] * int((PATIENCE_S - 0.5) * 10))
    assert "abortConnection" not in transport.done
    clock.pump([0.1] * int((LOOK_S + 0.5) * 10))
    assert transport.done[-1] == "abortConnection"
    assert (len(process.sessions), limit.count, len(process.wheel)) == (0, 0, 0)
