"""Extensions with known content are checked; ``malformed_hellos`` has what is refused of them in whole hellos."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.hellos import alpn, behind, key_share, name_extension, pairs, usual, versions
from twisted_lb.wire.client_hello_extensions import (
    CHECKS,
    ExtensionError,
    check_tls_1_3,
    protocols_of,
    server_name_of,
    versions_of,
)
from twisted_lb.wire.tls_rules import RULES


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (1, b"\x04"),
        (5, b"\x01\x00\x00\x00\x00"),
        (11, b"\x03\x00\x01\x02"),
        (21, bytes(200)),
        (21, b""),
        (22, b""),
        (27, b"\x04\x00\x01\x00\x02"),
        (28, b"\x40\x01"),
        (35, b""),
        (35, b"any ticket"),
        (41, behind(2, behind(2, b"identity") + bytes(4)) + behind(2, behind(1, bytes(32)))),
        (43, b"\x04\x03\x04\x03\x03"),
        (45, b"\x01\x01"),
        key_share(),
        key_share((0x11EC, bytes(1216)), (0x001D, bytes(32))),
        (0xFE0D, b"\x00" + bytes(5) + behind(2, bytes(32)) + behind(2, bytes(239))),
        (0xFE0D, b"\x00" + bytes(5) + behind(2, b"") + behind(2, bytes(239))),
        (0xFE0D, b"\x01"),
        (0xFF01, b"\x00"),
        (0x4469, b"\x00\x03\x02h2"),
        (0x0A0A, b""),
        (0xABCD, b"what nobody knows"),
    ],
)
def test_what_clients_send_passes(kind: int, body: bytes) -> None:
    assert kind not in CHECKS or CHECKS[kind](body) == ""


@given(st.sampled_from(sorted(CHECKS)), st.binary(max_size=80))
def test_any_content_passes_or_breaks_a_rule(kind: int, body: bytes) -> None:
    assert CHECKS[kind](body) in ("", *RULES)


@given(st.binary(max_size=80))
def test_any_list_of_names_is_one_name_or_breaks_a_rule(body: bytes) -> None:
    try:
        name = server_name_of(body)
    except ExtensionError as error:
        name = error.rule
    assert name in RULES or body.lower().endswith(name.encode())


def test_what_is_remembered_is_right_the_second_time_too() -> None:
    for _ in range(2):
        assert versions_of(b"\x04\x03\x04\x03\x03") == ((0x0304, 0x0303), 0x0304)
        assert protocols_of(b"\x00\x03\x09h2") == ()
        with pytest.raises(ExtensionError, match="tls-version"):
            versions_of(b"\x02\x7f\x1c")
        with pytest.raises(ExtensionError, match="tls-sni-name"):
            server_name_of(name_extension(b"192.0.2.1")[1])


def test_tls_1_3_can_do_without_groups_only_with_a_key_that_both_sides_have() -> None:
    both = dict(usual())
    check_tls_1_3(both)
    check_tls_1_3(dict([versions(0x0304), (41, b"")]))
    check_tls_1_3({**both, 41: b""})
    for missing in (10, 13, 51):
        with pytest.raises(ExtensionError):
            check_tls_1_3({kind: body for kind, body in both.items() if kind != missing})


@given(st.lists(st.binary(min_size=1, max_size=255), min_size=1, max_size=20))
def test_the_names_that_alpn_lists_come_out_as_they_went_in(names: list[bytes]) -> None:
    assert protocols_of(alpn(*names)[1]) == tuple(names)


def test_names_of_servers_come_out_in_small_letters() -> None:
    assert server_name_of(name_extension(b"WWW.Example.ORG")[1]) == "www.example.org"


def test_a_list_of_key_shares_has_each_group_once() -> None:
    twice = behind(2, (pairs([29]) + behind(2, bytes(32))) * 2)
    assert CHECKS[51](twice) == "tls-key-share-twice"
