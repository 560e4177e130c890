"""``payload`` lets pass what begins as its protocol does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, outcome
from twisted_lb.api import ALLOW, ConfigError, Deny, IStreamValidator, IValidator, NeedMore, Verdict
from twisted_lb.testing import StreamValidatorContract, ValidatorContract, make_facts
from twisted_lb_plugins.validation_payload import BoundedPayloadValidator, PayloadOptions, build


def validate(data: bytes, **options: Any) -> Verdict:
    return build(PayloadOptions(**options)).validate(data, make_facts())


class TestContract(ValidatorContract, SynchronousTestCase):
    """``payload`` keeps what every validator promises."""

    accepted = (b"\xca\xfe", b"\xca\xfe\x00more")
    refused = (b"\xca\xff", b"\xfe\xca", b"\x00", b"\xca\xca\xfe")

    def make_validator(self) -> IValidator:
        return build(PayloadOptions(starts_with_hex="cafe"))


class TestContractWithSkip(ValidatorContract, SynchronousTestCase):
    """``payload`` keeps what every validator promises when other bytes may come first."""

    accepted = (b"SSH-", b"\r\nSSH-2.0", b"....SSH-", b"SSSSSSH-")
    refused = (b".....SSH-", b"........", b"GET / HTTP/1.1")

    def make_validator(self) -> IValidator:
        return build(PayloadOptions(starts_with="SSH-", max_skip_bytes=4))


def test_it_asks_for_as_many_bytes_as_it_compares() -> None:
    assert validate(b"S", starts_with="SSH-") == NeedMore(4)


def test_it_refuses_at_the_first_byte_that_is_wrong() -> None:
    assert validate(b"G", starts_with="SSH-") == Deny("payload-mismatch")
    assert validate(b"SSG", starts_with="SSH-") == Deny("payload-mismatch")


def test_text_is_compared_as_utf8() -> None:
    assert validate("grün".encode(), starts_with="grün") is ALLOW


def test_hexadecimal_digits_may_be_of_either_case_and_grouped() -> None:
    assert validate(b"\xca\xfe\x01", starts_with_hex="CA fe 01") is ALLOW


@given(st.binary(min_size=1, max_size=3), st.integers(0, 4), st.binary(min_size=1, max_size=12))
def test_every_cut_leads_to_the_same_verdict(expected: bytes, skip: int, data: bytes) -> None:
    validator = build(PayloadOptions(starts_with_hex=expected.hex(), max_skip_bytes=skip))
    whole = validator.validate(data, make_facts())
    early = [validator.validate(data[:end], make_facts()) for end in range(1, len(data) + 1)]
    assert next((verdict for verdict in early if not isinstance(verdict, NeedMore)), whole) == whole
    assert (whole is ALLOW) == (0 <= data.find(expected) <= skip)


class TestContractWithExpression(ValidatorContract, SynchronousTestCase):
    """``payload`` keeps what every validator promises when an expression and a length are asked for as well."""

    accepted = (b"GAME 17 join", b"GAME 1 ......")
    refused = (b"GAME x", b"game 1 join", b"GAME 1234567890123", b"\x16\x03\x01")

    def make_validator(self) -> IValidator:
        return build(PayloadOptions(starts_with="GAME", matches="^GAME [0-9]+ ", within_bytes=16, min_length=12))


class TestContractWithLength(StreamValidatorContract, SynchronousTestCase):
    """``payload`` keeps what every validator promises that stays on the stream."""

    accepted = (b"A", b"A2345")
    refused = (b"B",)
    passed = (
        [(CLIENT, b"A2345"), (SERVER, b"1"), (CLIENT, b"23456789"), (SERVER, b"1")],
        [(CLIENT, b"A"), (CLIENT, b"2345")],
    )
    ended = (
        [(CLIENT, b"A23456")],
        [(CLIENT, b"A23"), (CLIENT, b"456"), (SERVER, b"1")],
        [(CLIENT, b"B"), (SERVER, b"1")],
    )

    def make_validator(self) -> IStreamValidator:
        made = build(PayloadOptions(starts_with="A", max_length=5))
        assert isinstance(made, BoundedPayloadValidator)
        return made


def test_an_expression_is_found_within_so_many_bytes() -> None:
    options = {"matches": "(?i)join|leave", "within_bytes": 10}
    assert validate(b"....JOIN", **options) is ALLOW
    assert validate(b"......Join", **options) is ALLOW
    assert validate(b"....jo", **options) == NeedMore(7)
    assert validate(b".......jo", **options) == NeedMore(10)
    assert validate(b".......joi", **options) == Deny("payload-mismatch")
    assert validate(b".......join", **options) == Deny("payload-mismatch")


def test_fewer_bytes_than_the_least_are_waited_for() -> None:
    assert validate(b"123", min_length=4) == NeedMore(4)
    assert validate(b"1234", min_length=4) is ALLOW


def test_all_that_is_asked_for_must_hold() -> None:
    options: dict[str, Any] = {"starts_with": "A", "matches": "z", "within_bytes": 4, "min_length": 3}
    assert validate(b"Az", **options) == NeedMore(3)
    assert validate(b"Azx", **options) is ALLOW
    assert validate(b"Axx", **options) == NeedMore(4)
    assert validate(b"Axxx", **options) == Deny("payload-mismatch")
    assert validate(b"z", **options) == Deny("payload-mismatch")


def test_what_it_is_called_is_learnt() -> None:
    assert outcome(build(PayloadOptions(starts_with="A", protocol="games")), [(CLIENT, b"A")]).learnt == {
        "protocol": "games"
    }


def test_a_client_may_say_so_much_until_it_is_answered() -> None:
    validator = build(PayloadOptions(starts_with="A", max_length=5))
    assert IStreamValidator.providedBy(validator)
    assert outcome(validator, [(CLIENT, b"A2345")]).refused is None
    assert outcome(validator, [(CLIENT, b"A23456")]).refused == "payload-long"
    assert outcome(validator, [(CLIENT, b"B23456")]).refused == "payload-mismatch"
    answered = [(CLIENT, b"A2345"), (SERVER, b"1"), (CLIENT, b"23456789"), (SERVER, b"1")]
    assert outcome(validator, answered) == Outcome(None, {}, True)


def test_without_a_greatest_length_nobody_watches() -> None:
    assert not IStreamValidator.providedBy(build(PayloadOptions(starts_with="A", min_length=5)))


@given(st.lists(st.sampled_from([b"a", b"b", b"cd", b"efg"]), max_size=8).map(b"".join))
def test_every_cut_leads_to_the_same_outcome(data: bytes) -> None:
    for options in (
        PayloadOptions(starts_with="a", max_skip_bytes=2, matches="^[a-d]+e", within_bytes=6, max_length=9),
        PayloadOptions(matches="dc?e", within_bytes=7, min_length=3),
        PayloadOptions(min_length=3, max_length=4),
    ):
        outcome(build(options), [(CLIENT, data)] if data else [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, '"starts_with" or "starts_with_hex"'),
        ({"protocol": "x"}, '"matches", "min_length" or "max_length"'),
        ({"within_bytes": 5}, 'within_bytes: only beside "matches"'),
        ({"starts_with": "a", "starts_with_hex": "61"}, '"starts_with" or "starts_with_hex"'),
        ({"matches": "a("}, "no regular expression"),
        ({"matches": "a$"}, "where a stream ends"),
        ({"min_length": 6, "max_length": 5}, "max_length: must be 6 at least"),
        ({"matches": "a", "max_length": 5}, "max_length: must be 1024 at least"),
        ({"starts_with": "abc", "max_skip_bytes": 3, "max_length": 5}, "max_length: must be 6 at least"),
        ({"starts_with_hex": "xyz"}, 'starts_with_hex: "xyz" is not in hexadecimal digits'),
        ({"starts_with_hex": "caf"}, "not in hexadecimal digits"),
        ({"starts_with": ""}, "1 to 4096 bytes, not for 0"),
        ({"starts_with": "a" * 4097}, "1 to 4096 bytes, not for 4097"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(PayloadOptions(**options))
