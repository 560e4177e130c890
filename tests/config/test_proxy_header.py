"""Settings of PROXY headers."""

from twisted_lb.config.proxy_header import AcceptProxy, SendProxy


def test_both_versions_are_read_unless_one_is_asked_for() -> None:
    assert AcceptProxy().versions == ["v1", "v2"]


def test_others_are_served_only_if_the_file_says_so() -> None:
    assert not AcceptProxy().direct
    assert not AcceptProxy(others="reject").direct
    assert AcceptProxy(others="direct").direct


def test_nothing_is_told_beyond_the_addresses_unless_it_is_asked_for() -> None:
    sent = SendProxy(version="v2")
    assert (sent.tlvs, sent.forward_tlvs, sent.proxy_v2_options) == ({}, [], [])
