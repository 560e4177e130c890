"""Validators that stay on the stream: each byte is judged once, before it passes, as long as somebody looks."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import PluginError
from twisted_lb.plugin_host import Built
from twisted_lb.stages.relay_timers import RefusedError
from twisted_lb.stages.watch import Gate, Judge, watch
from twisted_lb.testing import make_facts
from twisted_lb.verdicts import ALLOW, ALLOW_FINALLY, NEED_MORE, Allow, Deny


def tell(refused: RefusedError, whole: bool) -> None:
    """Nobody is told here."""
    raise AssertionError


class Seen:
    """Notes what it is shown; answers what it is told to, the last of which counts for all that follows."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers) or [ALLOW]
        self.pieces: list[bytes] = []

    def __call__(self, data: bytes) -> Any:
        self.pieces.append(data)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


def built(number: int = 1) -> Any:
    return Built(f"plugin_{number}", f"v{number}", None)


# One look


def test_a_judge_says_whether_it_wants_to_see_more() -> None:
    judge = Judge(built(), Seen(ALLOW, Allow(), ALLOW_FINALLY), tell)
    assert [judge.judge(b"x"), judge.judge(b"y"), judge.judge(b"z")] == [True, True, False]


@pytest.mark.parametrize(
    "answer",
    [None, True, NEED_MORE, "allow", ValueError("boom"), SystemExit("boom"), Deny("x", status=0, farewell=bytes(5000))],
)
def test_whatever_is_no_answer_denies_and_the_plugin_is_to_blame(answer: Any) -> None:
    with pytest.raises(RefusedError) as caught:
        Judge(built(), Seen(answer), tell).judge(b"x")
    assert isinstance(caught.value.verdict, PluginError)
    assert caught.value.verdict.plugin == "plugin_1"
    assert "validator 'v1'" in caught.value.verdict.what


def test_an_interrupt_is_nobody_s_fault() -> None:
    with pytest.raises(KeyboardInterrupt):
        Judge(built(), Seen(KeyboardInterrupt()), tell).judge(b"x")


# The gate before a side of a relay


class Side:
    """A side of a relay whose socket takes as much as it is told to; ``None``: it would block."""

    def __init__(self, *takes: int | None) -> None:
        self.takes = list(takes)
        self.taken = b""
        self.send: Any = self._send

    def _send(self, data: Any, flags: int = 0) -> int:
        takes = self.takes.pop(0) if self.takes else len(data)
        if takes is None:
            raise BlockingIOError
        self.taken += bytes(data[:takes])
        return min(takes, len(data))

    def pass_on(self, data: bytes) -> None:
        """Send all of it, as a relay does."""
        while data:
            try:
                data = data[self.send(memoryview(data)) :]
            except BlockingIOError:
                continue


@given(
    st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=8),
    st.lists(st.none() | st.integers(0, 8), max_size=20),
    st.binary(max_size=5),
)
def test_each_byte_is_judged_once_whatever_the_socket_takes(
    pieces: list[bytes], takes: list[int | None], preface: bytes
) -> None:
    seen, side = Seen(), Side(*takes)
    Gate(side, built(), seen, tell, len(preface))  # type: ignore[arg-type]
    side.pass_on(preface + pieces[0])
    for piece in pieces[1:]:
        side.pass_on(piece)
    assert seen.data == b"".join(pieces)
    assert side.taken == preface + seen.data


def test_what_is_denied_does_not_pass_nor_does_what_comes_with_it() -> None:
    side = Side(2)
    Gate(side, built(), Seen(ALLOW, Deny("no")), tell)  # type: ignore[arg-type]
    side.pass_on(b"good")
    with pytest.raises(RefusedError):
        side.send(memoryview(b"evil"))
    assert side.taken == b"good"


def test_a_direction_that_nobody_watches_any_more_sends_by_itself() -> None:
    side = Side(1)
    before = side.send
    Gate(side, built(), Seen(ALLOW, ALLOW_FINALLY), tell)  # type: ignore[arg-type]
    side.pass_on(b"one")
    assert side.send != before
    side.pass_on(b"two")
    assert side.send == before
    assert side.taken == b"onetwo"


def test_who_stands_in_front_of_the_gate_meanwhile_stays_there() -> None:
    side, seen = Side(), Seen(ALLOW_FINALLY)
    gate = Gate(side, built(), seen, tell)  # type: ignore[arg-type]
    in_front = side.send = lambda data: gate.send(data)
    side.pass_on(b"one")
    assert side.send is in_front
    side.pass_on(b"two")
    assert side.taken == b"onetwo"
    assert seen.pieces == [b"one"]


# Several gates


def gated(side: Side, *seen: Seen) -> None:
    for number, one in reversed(list(enumerate(seen))):
        Gate(side, built(number), one, tell)  # type: ignore[arg-type]


def test_all_are_asked_in_order_up_to_the_first_that_denies() -> None:
    first, second, third = Seen(), Seen(ALLOW, Deny("not that", farewell=b"bye")), Seen()
    gated(side := Side(), first, second, third)
    side.pass_on(b"one")
    with pytest.raises(RefusedError) as caught:
        side.pass_on(b"two")
    assert caught.value.verdict == Deny("validator v1: not that", farewell=b"bye")
    assert [one.pieces for one in (first, second, third)] == [[b"one", b"two"], [b"one", b"two"], [b"one"]]
    assert side.taken == b"one"


@pytest.mark.parametrize("final", [(0, 1), (1, 0), (0, 0), (2, 5)])
def test_who_is_content_is_not_asked_again(final: tuple[int, int]) -> None:
    seen = [Seen(*[ALLOW] * asked, ALLOW_FINALLY) for asked in final]
    side = Side()
    before = side.send
    gated(side, *seen)
    for piece in b"abcdefgh":
        side.pass_on(bytes((piece,)))
    assert [len(one.pieces) for one in seen] == [asked + 1 for asked in final]
    assert side.taken == b"abcdefgh"
    if final[0] <= final[1]:  # else it stands behind one that still looks, and lets all pass
        assert side.send == before


@given(
    st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=8),
    st.lists(st.none() | st.integers(0, 8), max_size=20),
    st.integers(0, 4),
)
def test_each_byte_is_judged_once_by_each_of_several(pieces: list[bytes], takes: list[int | None], looks: int) -> None:
    first, second, side = Seen(), Seen(*[ALLOW] * looks, ALLOW_FINALLY), Side(*takes)
    gated(side, first, second)
    for piece in pieces:
        side.pass_on(piece)
    assert first.data == side.taken == b"".join(pieces)
    assert second.pieces == pieces[: looks + 1]


# All watches of one connection


def watched(*watches: Any) -> SimpleNamespace:
    """Return a relay, none of whose sides is real, that validators with these watches have been shown."""
    validators: list[Any] = [
        Built(f"plugin_{at}", f"v{at}", SimpleNamespace(watch=lambda facts, watch=watch: watch))
        for at, watch in enumerate(watches)
    ]
    relay = SimpleNamespace(watched=None)
    relay.watch = lambda client, server: setattr(relay, "watched", (bool(client), bool(server)))
    watch(relay, SimpleNamespace(relay_refused=tell), validators, make_facts(), b"")  # type: ignore[arg-type]
    return relay


def test_a_connection_that_nobody_wants_to_watch_is_left_alone() -> None:
    assert watched().watched is watched(None, None).watched is None
    assert watched(None, SimpleNamespace(client_said=None, server_said=None)).watched is None
    assert watched(None, SimpleNamespace(client_said=Seen(), server_said=Seen())).watched == (True, True)


def test_a_direction_that_nobody_looks_at_has_no_gate() -> None:
    relay: Any = watched(SimpleNamespace(client_said=None, server_said=Seen()))
    assert relay.watched == (False, True)


def test_a_watch_that_lacks_a_method_is_the_plugin_s_fault() -> None:
    with pytest.raises(PluginError, match="validator 'v1' raised AttributeError") as caught:
        watched(None, SimpleNamespace(client_said=Seen()))
    assert caught.value.plugin == "plugin_1"
