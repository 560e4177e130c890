"""Several protocols on one port: the first that does not deny decides, however the bytes were cut."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface import implementer

from twisted_lb.api import IStreamValidator, IValidator
from twisted_lb.errors import ConfigError, PluginError
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.stages.recognition import AnyOf
from twisted_lb.stages.validator import PEEK_LIMIT
from twisted_lb.testing import make_facts
from twisted_lb.verdicts import ALLOW, NEED_MORE, Allow, Deny, NeedMore


@implementer(IValidator)
class Begins:
    """Allows what begins with ``word``, and learns what it has seen of it, whatever it answers."""

    def __init__(self, word: bytes, **said: Any) -> None:
        self.word = word
        self.said = said
        self.seen: list[bytes] = []

    def validate(self, data: bytes, facts: Facts) -> Any:
        self.seen.append(data)
        facts.learnt[f"{self.word.decode()}.seen"] = data[: len(self.word)]
        if data.startswith(self.word):
            return ALLOW
        return NEED_MORE if self.word.startswith(data) else Deny(f"no {self.word.decode()}", **self.said)


@implementer(IStreamValidator)
class Greeted(Begins):
    """As ``Begins``, of a protocol in which the server speaks first."""

    server_first = True

    def watch(self, facts: Facts) -> None:
        """Nothing to see."""


def any_of(*validators: Any) -> AnyOf:
    return AnyOf([Built("plugin_x", one.word.decode(), one) for one in validators])


def test_the_first_that_allows_decides_and_nobody_behind_it_is_asked() -> None:
    last = Begins(b"ab")
    verdict, member = any_of(Begins(b"x"), Begins(b"a"), last).ask(b"abc", facts := make_facts())
    assert verdict is ALLOW
    assert member is not None
    assert member.name == facts.learnt["protocol"] == "a"
    assert last.seen == []


def test_one_that_is_undecided_is_waited_for_although_another_would_allow() -> None:
    several = any_of(Begins(b"abc"), Begins(b"a"))
    assert several.ask(b"ab", make_facts()) == (NEED_MORE, None)
    assert several.ask(b"abd", make_facts())[0] is ALLOW


def test_last_words_of_a_loser_are_not_those_of_the_protocol_that_is_spoken() -> None:
    class Speaks(Begins):
        def validate(self, data: bytes, facts: Facts) -> Any:
            facts.farewell = b"bye from " + self.word
            return super().validate(data, facts)

    facts = make_facts()
    several = any_of(Speaks(b"abc"), Begins(b"abd"), Speaks(b"x"))
    for data, farewell in ((b"ab", b""), (b"abd", b""), (b"xy", b"bye from x")):
        several.ask(data, facts)
        assert facts.farewell == farewell


def test_what_a_loser_learnt_is_forgotten_also_what_it_learnt_while_undecided() -> None:
    facts, several = make_facts(), any_of(Begins(b"abc"), Begins(b"abd"))
    facts.learnt.update({"before": 1, "protocol": "earlier"})
    assert several.ask(b"ab", facts)[0] == NEED_MORE
    assert facts.learnt == {"before": 1, "protocol": "earlier"}
    assert several.ask(b"abd", facts)[0] is ALLOW
    assert facts.learnt == {"before": 1, "abd.seen": b"abd", "protocol": "abd"}
    assert isinstance(several.ask(b"x", facts)[0], Deny)
    assert "abc.seen" not in facts.learnt


def test_a_validator_may_name_the_protocol_itself() -> None:
    class Named(Begins):
        def validate(self, data: bytes, facts: Facts) -> Any:
            facts.learnt["protocol"] = "its own"
            return ALLOW

    any_of(Named(b"a"), Begins(b"b")).ask(b"x", facts := make_facts())
    assert facts.learnt["protocol"] == "its own"


def test_a_refusal_names_all_and_has_the_first_farewell() -> None:
    several = any_of(Begins(b"a"), Begins(b"b", farewell=b"bye"), Begins(b"c", farewell=b"adieu", how="reset"))
    assert several.ask(b"x", make_facts()) == (
        Deny("validator a: no a; validator b: no b; validator c: no c", farewell=b"bye"),
        None,
    )
    assert any_of(Begins(b"a"), Begins(b"c", how="drop")).ask(b"x", make_facts())[0] == Deny(
        "validator a: no a; validator c: no c", how="drop"
    )


def test_one_that_never_decides_loses_at_the_limit() -> None:
    class Never(Begins):
        def validate(self, data: bytes, facts: Facts) -> Any:
            return NEED_MORE

    several = any_of(Never(b"never"), Begins(b"\0"))
    assert several.ask(bytes(PEEK_LIMIT - 1), make_facts())[0] == NEED_MORE
    assert several.ask(bytes(PEEK_LIMIT), make_facts())[0] is ALLOW


def test_one_that_fails_is_none_that_denies() -> None:
    class Broken(Begins):
        def validate(self, data: bytes, facts: Facts) -> Any:
            raise ValueError("boom")

    with pytest.raises(PluginError, match="validator 'broken' raised"):
        any_of(Broken(b"broken"), Begins(b"a")).ask(b"a", make_facts())


def test_a_silent_client_can_be_one_of_one_protocol_only() -> None:
    several = any_of(Begins(b"a"), Greeted(b"g"))
    assert several.server_first is not None
    assert several.server_first.name == "g"
    assert any_of(Begins(b"a"), Begins(b"b")).server_first is None
    with pytest.raises(ConfigError, match='in "g" and "h" the server speaks first'):
        any_of(Greeted(b"g"), Greeted(b"h"))


def test_that_one_is_not_chosen_merely_because_bytes_came() -> None:
    assert isinstance(any_of(Begins(b"a"), Greeted(b"g")).ask(b"x", make_facts())[0], Deny)


WORDS = st.lists(st.binary(min_size=1, max_size=4).map(lambda word: word.hex().encode()), min_size=1, max_size=4)


@given(WORDS, st.binary(min_size=1, max_size=8).map(lambda data: data.hex().encode()), st.data())
def test_cuts_do_not_matter(words: list[bytes], data: bytes, draw: st.DataObject) -> None:
    several = any_of(*map(Begins, words))
    whole, winner = several.ask(data, facts := make_facts())
    cuts = draw.draw(st.lists(st.integers(1, len(data)), max_size=4).map(sorted))
    again = make_facts()
    for cut in [*cuts, len(data)]:
        verdict, member = several.ask(data[:cut], again)
        if not isinstance(verdict, NeedMore):
            break
    assert (type(verdict), member) == (type(whole), winner)
    if isinstance(whole, Allow):
        assert again.learnt == facts.learnt
