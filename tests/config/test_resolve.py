"""Host names become socket addresses, or an error that names them."""

import socket
from typing import Any

import pytest

from twisted_lb.config.resolve import resolve
from twisted_lb.errors import ConfigError


def test_an_ipv4_address_is_itself() -> None:
    assert resolve("127.0.0.1", 80) == [(socket.AF_INET, ("127.0.0.1", 80))]


def test_an_ipv6_address_keeps_flow_and_scope() -> None:
    assert resolve("::1", 80) == [(socket.AF_INET6, ("::1", 80, 0, 0))]


def test_a_name_gives_each_of_its_addresses_once_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 80, 0, 0))
    four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))

    def answer(*args: Any, **kwargs: Any) -> Any:
        return [six, four, six]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert resolve("www.example.org", 80) == [
        (socket.AF_INET6, ("2001:db8::1", 80, 0, 0)),
        (socket.AF_INET, ("192.0.2.1", 80)),
    ]


def test_an_unknown_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(
        ConfigError, match=r'^the host "nowhere\.example" cannot be resolved: Name or service not known$'
    ):
        resolve("nowhere.example", 80)


def test_a_name_that_cannot_be_encoded_is_named() -> None:
    with pytest.raises(ConfigError, match="cannot be resolved"):
        resolve("a" * 64 + ".example", 80)
