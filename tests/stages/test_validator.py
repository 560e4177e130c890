"""One validator: what it may answer, and in whose name it refuses."""

from types import SimpleNamespace
from typing import Any

import pytest
from zope.interface import implementer

from twisted_lb.api import IStreamValidator, IValidator
from twisted_lb.errors import PluginError
from twisted_lb.plugin_host import Built
from twisted_lb.stages.validator import PEEK_LIMIT, ask, is_server_first, named, recognised
from twisted_lb.testing import make_facts
from twisted_lb.verdicts import ALLOW, NEED_MORE, Deny, NeedMore


def built(answer: Any) -> Built[Any]:
    return Built("plugin_x", "x", SimpleNamespace(validate=lambda data, facts: answer))


@pytest.mark.parametrize("verdict", [ALLOW, NEED_MORE, NeedMore(PEEK_LIMIT)])
def test_a_verdict_is_handed_on(verdict: Any) -> None:
    assert ask(built(verdict), b"x", make_facts()) is verdict


def test_who_refuses_is_named_once() -> None:
    denied = ask(built(Deny("too old", how="reset", farewell=b"bye")), b"x", make_facts())
    assert denied == Deny("validator x: too old", how="reset", farewell=b"bye")
    assert isinstance(denied, Deny)
    assert named(built(None), denied) is denied


@pytest.mark.parametrize(("verdict", "size"), [(NEED_MORE, PEEK_LIMIT), (NeedMore(PEEK_LIMIT + 1), 1)])
def test_who_wants_more_than_there_may_be_refuses(verdict: NeedMore, size: int) -> None:
    assert ask(built(verdict), bytes(size), make_facts()) == Deny("validator x: undecided after 65536 bytes")


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Deny("no", farewell=bytes(4097)), "its farewell has more than 4096 bytes"),
        (Deny("no", how="gone"), "'gone' is no way"),  # type: ignore[arg-type]
        ("deny", "no verdict"),
    ],
)
def test_what_cannot_be_carried_out_is_the_plugin_s_fault(verdict: Any, says: str) -> None:
    with pytest.raises(PluginError, match=says):
        ask(built(verdict), b"x", make_facts())


def test_only_a_stream_validator_can_be_of_a_protocol_in_which_the_server_speaks_first() -> None:
    for interface, expected in ((IValidator, False), (IStreamValidator, True)):
        made = implementer(interface)(type("Made", (), {"server_first": True}))()
        assert is_server_first(Built("plugin_x", "x", made)) is expected


def test_what_is_spoken_is_the_validator_s_name_unless_it_says_otherwise() -> None:
    facts = make_facts()
    recognised(built(ALLOW), facts)
    assert facts.learnt["protocol"] == "x"
    facts.learnt["protocol"] = "y"
    recognised(built(ALLOW), facts)
    assert facts.learnt["protocol"] == "y"


def test_a_validator_may_have_another_name_than_what_it_recognises() -> None:
    facts = make_facts()
    commands: Any = SimpleNamespace(speaks="x")
    recognised(Built("plugin_x", "x_commands", commands), facts)
    assert facts.learnt["protocol"] == "x"
