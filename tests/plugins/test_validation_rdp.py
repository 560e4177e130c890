"""``rdp``: the client asks for a connection, and the server confirms it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome, talk
from twisted_lb.api import ALLOW, Deny, IStreamValidator
from twisted_lb.testing import StreamValidatorContract, make_facts
from twisted_lb_plugins.validation_rdp import RdpOptions, RdpValidator

# MS-RDPBCGR, sections 4.1.1 and 4.1.2.
PLAIN = bytes.fromhex(
    "03 00 00 2c 27 e0 00 00 00 00 00 43 6f 6f 6b 69 65 3a 20 6d 73 74 73 68 61 73 68 3d 65 6c 74 6f 6e 73 0d 0a"
    "01 00 08 00 00 00 00 00"
)
PLAIN_CONFIRMED = bytes.fromhex("03 00 00 13 0e d0 00 00 12 34 00 02 00 08 00 00 00 00 00")
TLS = bytes.fromhex("03 00 00 13 0e e0 00 00 00 00 00 01 00 08 00 03 00 00 00")
TLS_CONFIRMED = bytes.fromhex("03 00 00 13 0e d0 00 00 12 34 00 02 1f 08 00 02 00 00 00")
REFUSED = bytes.fromhex("03 00 00 13 0e d0 00 00 12 34 00 03 00 08 00 05 00 00 00")
HELLO = b"\x16\x03\x01\x00\x05hello"
MCS = b"\x03\x00\x00\x08\x02\xf0\x80\x7f"
LEARNT = {"protocol": "rdp", "rdp.valid": True, "rdp.protocols": ("rdp",), "rdp.cookie": "eltons"}
LEARNT_TLS = {"protocol": "rdp", "rdp.valid": True, "rdp.protocols": ("tls", "hybrid")}


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(RdpValidator(RdpOptions(**options)), turns)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``rdp`` keeps what every validator promises."""

    accepted = (PLAIN, TLS)
    refused = (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", TLS[:15] + b"\x20\x00\x00\x00")

    passed = (
        [(CLIENT, PLAIN), (SERVER, PLAIN_CONFIRMED), (CLIENT, MCS), (SERVER, MCS)],
        [(CLIENT, TLS), (SERVER, TLS_CONFIRMED), (CLIENT, HELLO), (SERVER, HELLO)],
        [(CLIENT, TLS), (SERVER, REFUSED)],
    )
    ended = (
        [(CLIENT, PLAIN + MCS)],
        [(CLIENT, TLS), (SERVER, TLS_CONFIRMED), (CLIENT, MCS)],
        [(CLIENT, TLS), (SERVER, TLS_CONFIRMED + b"x")],
        [(CLIENT, TLS[:9]), (SERVER, TLS_CONFIRMED)],
    )

    def make_validator(self) -> IStreamValidator:
        return RdpValidator(RdpOptions())


def test_who_was_let_on_undecided_is_judged_likewise() -> None:
    for said, reason in ((b"GET / HTTP/1.1\r\n", "rdp-tpkt"), (PLAIN, "rdp-unencrypted")):
        watch = RdpValidator(RdpOptions(require_tls=True)).watch(make_facts())
        assert watch is not None
        denied = watch.client_said(said)
        assert isinstance(denied, Deny)
        assert denied.reason == reason


def test_who_was_let_on_undecided_is_learnt_from_too() -> None:
    watch = RdpValidator(RdpOptions()).watch(facts := make_facts())
    assert watch is not None
    assert watch.client_said(PLAIN) is ALLOW
    assert facts.learnt == LEARNT


def test_the_request_is_learnt_from_and_what_follows_its_confirmation_ends_the_watch() -> None:
    turns = [(CLIENT, PLAIN), (SERVER, PLAIN_CONFIRMED), (CLIENT, MCS), (SERVER, MCS)]
    assert told(turns) == Outcome(None, LEARNT, True)
    turns = [(CLIENT, TLS), (SERVER, TLS_CONFIRMED), (CLIENT, HELLO), (SERVER, HELLO)]
    assert told(turns) == Outcome(None, LEARNT_TLS, True)


def test_a_routing_token_is_learnt() -> None:
    said = b"\x03\x00\x00\x15\x10\xe0\x00\x00\x00\x00\x00farm=one\r\n"
    assert told([(CLIENT, said)]).learnt["rdp.token"] == "farm=one"


def test_a_server_may_refuse_and_then_there_is_nothing_more_to_say() -> None:
    assert told([(CLIENT, TLS), (SERVER, REFUSED)]).refused is None
    assert told([(CLIENT, TLS), (SERVER, REFUSED), (CLIENT, HELLO)]).refused == "rdp-early"


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([(CLIENT, PLAIN + MCS)], "rdp-early"),
        ([(CLIENT, TLS), (CLIENT, HELLO)], "rdp-early"),
        ([(CLIENT, TLS), (SERVER, TLS_CONFIRMED), (CLIENT, MCS)], "rdp-no-tls"),
        ([(CLIENT, PLAIN), (SERVER, TLS_CONFIRMED)], "rdp-server-selected"),
        ([(CLIENT, PLAIN), (SERVER, b"SSH-2.0-x\r\n")], "rdp-server-tpkt"),
        ([(CLIENT, TLS), (SERVER, TLS_CONFIRMED + b"x")], "rdp-server-early"),
        ([(CLIENT, PLAIN), (SERVER, PLAIN_CONFIRMED + b"x")], "rdp-server-early"),
    ],
)
def test_what_breaks_a_rule_is_refused(turns: Turns, reason: str) -> None:
    refused = told(turns)
    assert (refused.refused, refused.learnt["rdp.valid"]) == (reason, False)


def test_the_refusal_is_a_negotiation_failure() -> None:
    assert told([(CLIENT, PLAIN + MCS)]).farewell[11:] == b"\x03\x00\x08\x00\x04\x00\x00\x00"
    assert told([(CLIENT, b"GET / HTTP/1.1\r\n")]).farewell == b""


def test_tls_can_be_required_of_both_sides() -> None:
    refused = told([(CLIENT, PLAIN)], require_tls=True)
    assert (refused.refused, refused.farewell[11:]) == ("rdp-unencrypted", b"\x03\x00\x08\x00\x01\x00\x00\x00")
    assert told([(CLIENT, TLS), (SERVER, PLAIN_CONFIRMED)], require_tls=True).refused == "rdp-unencrypted"
    turns = [(CLIENT, TLS), (SERVER, TLS_CONFIRMED), (CLIENT, HELLO), (SERVER, HELLO)]
    assert told(turns, require_tls=True).passed


def test_what_breaks_a_rule_passes_if_it_may_and_can_be_told() -> None:
    assert told([(CLIENT, b"GET / HTTP/1.1\r\n")], accept_invalid=True).learnt == {"rdp.valid": False}
    passed = told([(CLIENT, TLS), (SERVER, b"HTTP"), (CLIENT, b"x")], accept_invalid=True)
    assert passed == Outcome(None, {**LEARNT_TLS, "rdp.valid": False}, True)


SAID = st.sampled_from([TLS, HELLO, TLS_CONFIRMED, PLAIN_CONFIRMED, REFUSED, MCS])


@given(st.lists(st.tuples(st.sampled_from((CLIENT, SERVER)), SAID), max_size=5))
def test_any_conversation_is_refused_or_not_however_it_is_cut(turns: Turns) -> None:
    validator = RdpValidator(RdpOptions())
    whole = talk(validator, [(CLIENT, TLS), *turns])
    bytewise = [(who, said[at : at + 1]) for who, said in [(CLIENT, TLS), *turns] for at in range(len(said))]
    assert talk(validator, bytewise)[:2] == whole[:2]
