"""A destination that is one of our own listeners is recognised, and no other is."""

import socket
from typing import Any

import pytest

from twisted_lb.backends.loops import is_local, leads_back

V4, V6 = socket.AF_INET, socket.AF_INET6
pytestmark = pytest.mark.linux


class There:
    """A namespace of a test's."""

    is_home = False
    identity = (1, 2)
    socket = socket.SocketType


HERE: Any = None
THERE: Any = There()


@pytest.mark.parametrize(
    ("listening", "namespace", "family", "host", "found"),
    [
        ((None, "127.0.0.1", 80), HERE, V4, "127.0.0.1", True),
        ((None, "127.0.0.1", 81), HERE, V4, "127.0.0.1", False),
        ((None, "127.0.0.1", 80), HERE, V4, "127.0.0.2", False),
        ((None, "0.0.0.0", 80), HERE, V4, "127.0.0.2", True),
        ((None, "0.0.0.0", 80), HERE, V4, "192.0.2.77", False),
        ((None, "::", 80), HERE, V6, "::1", True),
        ((None, "::", 80), HERE, V6, "2001:db8::77", False),
        ((None, "::", 80), HERE, V4, "127.0.0.1", False),
        ((None, "127.0.0.1", 80), THERE, V4, "127.0.0.1", False),
        (((1, 2), "127.0.0.1", 80), THERE, V4, "127.0.0.1", True),
        (((1, 2), "0.0.0.0", 80), THERE, V4, "127.0.0.1", True),
        (((1, 2), "127.0.0.1", 80), HERE, V4, "127.0.0.1", False),
    ],
)
def test_what_leads_back(listening: Any, namespace: Any, family: int, host: str, found: bool) -> None:
    assert leads_back({listening}, namespace, family, host, 80) is found


def test_a_multicast_address_is_not_local() -> None:
    assert not is_local(None, V4, "224.0.0.1")
