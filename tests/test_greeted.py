"""Clients of protocols in which the server speaks first are silent until they are greeted, or refused."""

from zope.interface.verify import verifyObject

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, outcome
from twisted_lb.api import Deny, IStreamValidator, IStreamWatch, Stage
from twisted_lb.errors import WireError
from twisted_lb.greeted import GreetedValidator, facts_of_greeted
from twisted_lb.testing import make_facts
from twisted_lb.wire.first_lines import LineProtocol


def ends_greeting(line: bytes, before: bytes) -> None:
    if line != b"hello":
        raise WireError("test-greeting")


def validator(*, accept_invalid: bool = False) -> GreetedValidator:
    protocol = LineProtocol("test", ends_greeting, frozenset((b"LOGIN", b"BYE")), 100, b"go away\r\n")
    return GreetedValidator(protocol, accept_invalid=accept_invalid)


def test_it_is_a_stream_validator() -> None:
    verifyObject(IStreamValidator, validator())
    verifyObject(IStreamWatch, validator().watch(make_facts()))
    assert validator().server_first


def test_after_greeting_and_command_nobody_looks_any_more() -> None:
    turns = [(SERVER, b"hello\r\n"), (CLIENT, b"login me\r\n\0\n\r"), (SERVER, b"\0\n\r")]
    learnt = {"protocol": "test", "test.valid": True, "test.command": "LOGIN"}
    assert outcome(validator(), turns) == Outcome(None, learnt, True)


def test_who_speaks_before_the_server_is_connected_is_refused() -> None:
    facts = make_facts()
    assert validator().validate(b"LOGIN me\r\n", facts) == Deny("test-before-greeting", farewell=b"go away\r\n")
    assert facts.learnt == {"test.valid": False}


def test_who_speaks_before_the_greeting_is_over_is_refused() -> None:
    turns = [(SERVER, b"hel"), (CLIENT, b"LOGIN me\r\n"), (SERVER, b"lo\r\n")]
    refused = Outcome("test-before-greeting", {"test.valid": False}, False, b"go away\r\n")
    assert outcome(validator(), turns) == refused


def test_a_greeting_or_a_command_that_is_none_is_refused() -> None:
    assert outcome(validator(), [(SERVER, b"good day\r\n")]).refused == "test-greeting"
    assert outcome(validator(), [(SERVER, b"hello\r\n"), (CLIENT, b"GET / HTTP/1.1\r\n")]).refused == "test-command"


def test_what_is_wrong_passes_if_it_may_and_can_be_told() -> None:
    early = [(CLIENT, b"LOGIN me\r\n"), (SERVER, b"hello\r\n")]
    unknown = [(SERVER, b"hello\r\n"), (CLIENT, b"GET / HTTP/1.1\r\n"), (SERVER, b"HTTP/1.1 400\r\n")]
    no_greeting = [(SERVER, b"good day\r\n"), (CLIENT, b"LOGIN me\r\n")]
    for turns in (early, unknown, no_greeting):
        come_of_it = outcome(validator(accept_invalid=True), turns)
        assert (come_of_it.refused, come_of_it.learnt["test.valid"]) == (None, False)


def test_its_facts_are_known_only_when_it_is_too_late_for_a_policy() -> None:
    declared = facts_of_greeted("test")
    assert {name for name, fact in declared.items() if fact.stage is Stage.RELAY} == {"test.valid", "test.command"}
