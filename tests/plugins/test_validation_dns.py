"""``dns`` lets pass queries and the first answer to one of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome, talk
from tests.wire.dns_spelling import EDNS, IXFR, answer, message, question
from twisted_lb.api import ALLOW, IStreamValidator
from twisted_lb.testing import StreamValidatorContract, make_facts
from twisted_lb_plugins.validation_dns import MOST_UNANSWERED, DnsOptions, DnsValidator

QUERY = message(question("www.Example.org", 28), counts=(1, 0, 0, 1), rest=EDNS)
NOTIFY = message(question("example.org", 6), flags=0x2400)
LEARNT = {
    "protocol": "dns",
    "dns.valid": True,
    "dns.name": "www.example.org",
    "dns.type": "AAAA",
    "dns.class": "IN",
    "dns.opcode": 0,
}


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(DnsValidator(DnsOptions(**options)), turns)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``dns`` keeps what every validator promises."""

    accepted = (QUERY, QUERY + QUERY, message())
    refused = (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", answer(), message(rest=b"x"), NOTIFY, b"\0\0")

    passed = ([(CLIENT, QUERY + message(id_=7)), (SERVER, answer(7) + answer()), (CLIENT, b"\0"), (SERVER, b"\0")],)
    ended = (
        [(CLIENT, QUERY), (SERVER, answer(7))],
        [(CLIENT, QUERY), (SERVER, QUERY)],
        [(CLIENT, b"GET / HTTP/1.1\r\n\r\n")],
        [(CLIENT, NOTIFY)],
    )

    def make_validator(self) -> IStreamValidator:
        return DnsValidator(DnsOptions())


class TestContractOfEveryQuery(StreamValidatorContract, SynchronousTestCase):
    """``dns`` keeps what every validator promises where every query is judged."""

    accepted = (QUERY,)
    refused = (b"GET / HTTP/1.1\r\n\r\n",)
    passed = ([(CLIENT, QUERY), (SERVER, answer()), (CLIENT, message()), (SERVER, b"\0")],)
    ended = ([(CLIENT, QUERY), (SERVER, answer()), (CLIENT, message(rest=b"x"))], [(CLIENT, QUERY + NOTIFY)])

    def make_validator(self) -> IStreamValidator:
        return DnsValidator(DnsOptions(every_query=True))


def test_a_query_and_its_answer_pass_and_then_nobody_looks() -> None:
    turns = [(CLIENT, QUERY), (SERVER, answer()), (CLIENT, b"\0\1x"), (SERVER, b"\0\1x")]
    assert told(turns) == Outcome(None, LEARNT, True)


def test_answers_to_pipelined_queries_may_come_in_any_order() -> None:
    turns = [(CLIENT, QUERY + message(id_=7)), (SERVER, answer(7) + answer()), (CLIENT, b"\0")]
    assert told(turns) == Outcome(None, LEARNT, True)


@pytest.mark.parametrize("said", [answer(7), message(), b"\0\1x", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_server_that_answers_something_else_is_refused(said: bytes) -> None:
    refused = told([(CLIENT, QUERY), (SERVER, said)])
    assert (refused.refused, refused.learnt["dns.valid"]) == ("dns-answer", False)


def test_other_operations_must_be_allowed() -> None:
    assert told([(CLIENT, NOTIFY)]).refused == "dns-opcode"
    learnt = {**LEARNT, "dns.name": "example.org", "dns.type": "SOA", "dns.opcode": 4}
    assert told([(CLIENT, NOTIFY)], opcodes=("query", "notify")).learnt == learnt


def test_a_query_that_breaks_a_rule_is_answered() -> None:
    formerr = b"\0\x0c\x12\x34\xa0\1" + bytes(8)
    assert told([(CLIENT, NOTIFY)]).farewell == formerr
    assert told([(CLIENT, b"GET / HTTP/1.1\r\n\r\n")]).farewell == b""
    assert told([(CLIENT, answer())]).farewell == b""


def test_a_long_query_passes_if_it_may() -> None:
    long = message(question("x", IXFR), counts=(1, 0, 1, 0), rest=b"\0\0\6\0\1\0\0\0\0\x13\x88" + bytes(5000))
    assert told([(CLIENT, long[:3])]).refused == "dns-long"
    assert talk(DnsValidator(DnsOptions(max_query_bytes=6000)), [(CLIENT, long)]).refused is None


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        (answer(), "dns-response"),
        (NOTIFY, "dns-opcode"),
        (message(rest=b"x"), "dns-trailing"),
        (b"\0\0", "dns-length"),
        (b"GET / HTTP/1.1\r\n\r\n", "dns-long"),
    ],
)
def test_every_query_is_judged_if_that_is_asked_for(later: bytes, reason: str) -> None:
    turns = [(CLIENT, QUERY), (SERVER, answer()), (CLIENT, message(id_=2)), (CLIENT, later)]
    assert told(turns, every_query=True).refused == reason
    assert told(turns).refused is None
    assert told([(CLIENT, QUERY + later)], every_query=True).refused == reason


def test_queries_without_any_answer_are_counted() -> None:
    turns = [(CLIENT, message(id_=id_)) for id_ in range(MOST_UNANSWERED + 1)]
    validator = DnsValidator(DnsOptions())
    assert talk(validator, turns[:-1]).refused is None
    assert talk(validator, turns).refused == "dns-unanswered"
    assert talk(validator, [*turns[:-1], (SERVER, answer(999)), turns[-1]]).refused is None


def test_what_is_wrong_passes_if_it_may_and_can_be_told() -> None:
    turns: Turns = [(CLIENT, b"GET / HTTP/1.1\r\n\r\n")]
    assert told(turns, accept_invalid=True) == Outcome(None, {"dns.valid": False}, True)
    turns = [(CLIENT, QUERY), (SERVER, answer(7))]
    assert told(turns, accept_invalid=True).learnt == {**LEARNT, "dns.valid": False}


def test_a_client_that_was_let_on_undecided_is_judged_as_soon_as_its_query_is_whole() -> None:
    validator, facts = DnsValidator(DnsOptions()), make_facts()
    watch = validator.watch(facts)
    assert watch is not None
    assert watch.client_said(QUERY[:9]) is ALLOW
    assert facts.learnt == {}
    assert watch.client_said(QUERY[9:]) is ALLOW
    assert facts.learnt == LEARNT


@given(st.lists(st.tuples(st.sampled_from((CLIENT, SERVER)), st.binary(min_size=1, max_size=20)), max_size=3))
def test_any_conversation_comes_out_the_same_however_it_is_cut(turns: Turns) -> None:
    told([(CLIENT, message()), *turns], every_query=True)
    told([(CLIENT, message()), *turns])
