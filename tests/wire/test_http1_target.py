"""Hosts, targets, and the lists in Connection and Upgrade. The corpus has most of what is refused."""

from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.wire.http1_target import (
    CACHED_BYTES,
    Authority,
    Form,
    Target,
    agree,
    offers_websocket,
    read_authority,
    read_options,
    read_protocols,
    read_target,
)


def test_a_host_is_normalised_and_kept_as_it_was_sent() -> None:
    assert read_authority(b"A.Example.:80") == Authority(b"a.example", 80, b"A.Example.:80")
    assert read_authority(b"[2001:DB8::1]") == Authority(b"[2001:db8::1]", 0, b"[2001:DB8::1]")


def test_a_long_host_is_read_but_not_remembered() -> None:
    name = b"a" * (CACHED_BYTES + 1)
    assert read_authority(name) == Authority(name, 0, name)
    assert read_authority(name) is not read_authority(name)
    assert read_authority(b"short") is read_authority(b"short")


@given(st.binary(max_size=12) | st.text("a.:[]0%,@/-", max_size=12).map(str.encode))
def test_what_is_a_host_reads_the_same_again(text: bytes) -> None:
    authority = read_authority(text)
    if authority is not None:
        again = read_authority(authority.host)
        assert again is not None
        assert again.host in (authority.host, authority.host.removesuffix(b"."))
        assert 0 <= authority.port <= 65535


@given(st.sampled_from([b"GET", b"OPTIONS", b"CONNECT"]), st.binary(min_size=1, max_size=20))
def test_every_target_has_a_form_or_breaks_a_rule(method: bytes, target: bytes) -> None:
    read = read_target(method, target)
    assert isinstance(read, Target)
    assert read.rule or read.origin or read.form is Form.AUTHORITY


def test_host_and_target_agree_but_for_the_schemes_own_port() -> None:
    host = read_authority(b"a:443")
    assert host is not None
    assert agree(read_target(b"GET", b"https://A/"), host)
    assert not agree(read_target(b"GET", b"http://a/"), host)
    assert agree(read_target(b"GET", b"/"), host)


def test_options_are_in_small_letters_and_what_is_none_closes() -> None:
    assert read_options(b"Keep-Alive, ,\tX") == {b"keep-alive", b"x"}
    assert read_options(b"a b") == {b"close"}
    assert read_options(b"") == frozenset()


def test_http2_is_not_among_the_protocols_that_are_passed_on() -> None:
    assert read_protocols(b"h2c, H2,WebSocket , foo/2, fo o, /") == b"WebSocket, foo/2"
    assert offers_websocket(b"foo, WebSocket")
    assert not offers_websocket(b"websocket/13")
