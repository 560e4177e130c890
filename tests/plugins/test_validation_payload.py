"""``payload`` lets pass what begins as its protocol does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import ALLOW, ConfigError, Deny, IValidator, NeedMore, Verdict
from twisted_lb.testing import ValidatorContract, make_facts
from twisted_lb_plugins.validation_payload import PayloadOptions, build


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, '"starts_with" or "starts_with_hex"'),
        ({"starts_with": "a", "starts_with_hex": "61"}, '"starts_with" or "starts_with_hex"'),
        ({"starts_with_hex": "xyz"}, 'starts_with_hex: "xyz" is not in hexadecimal digits'),
        ({"starts_with_hex": "caf"}, "not in hexadecimal digits"),
        ({"starts_with": ""}, "1 to 4096 bytes, not for 0"),
        ({"starts_with": "a" * 4097}, "1 to 4096 bytes, not for 4097"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(PayloadOptions(**options))
