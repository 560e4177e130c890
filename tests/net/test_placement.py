"""What is set is what the kernel has."""

import errno
import os
import socket

import pytest

from twisted_lb.net import placement

pytestmark = pytest.mark.linux

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
FOREIGN: dict[int, str] = {socket.AF_INET: "192.0.2.77", socket.AF_INET6: "2001:db8::77"}


@pytest.mark.root
@FAMILIES
def test_a_foreign_address_can_be_had(family: int) -> None:
    with socket.socket(family) as sock:
        placement.allow_foreign_addresses(sock, family)
        sock.bind((FOREIGN[family], 0))
        assert sock.getsockname()[0] == FOREIGN[family]


@FAMILIES
def test_a_socket_is_tied_to_an_interface_that_is_there(family: int) -> None:
    with socket.socket(family) as sock:
        placement.tie_to_interface(sock, "lo")
        assert sock.getsockopt(socket.SOL_SOCKET, placement.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
        with pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
            placement.tie_to_interface(sock, "lbt-none")


@FAMILIES
def test_no_port_is_taken_before_the_destination_is_known(family: int) -> None:
    with socket.socket(family) as sock:
        placement.choose_port_late(sock)
        sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        assert sock.getsockname()[1] == 0


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.255.255.255", True), ("255.255.255.255", True), ("127.0.0.1", False), ("192.0.2.77", False)],
)
def test_a_broadcast_address_is_told_from_others(host: str, expected: bool) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert placement.is_broadcast(socket.SocketType, host) is expected
    assert len(os.listdir("/proc/self/fd")) == before
