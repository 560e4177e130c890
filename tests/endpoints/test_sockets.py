"""Sockets with options, read back; and what is said when they cannot be had."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from twisted_lb.endpoints.sockets import SocketOptions, Sockets
from twisted_lb.errors import ConfigError
from twisted_lb.net.placement import IP_BIND_ADDRESS_NO_PORT, IP_TRANSPARENT, IPV6_TRANSPARENT


@pytest.fixture
def blue() -> Iterator[str]:
    """The name of a namespace that is there."""
    name = f"lbt{os.getpid()}s"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=20)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)


def test_without_options_they_are_plain() -> None:
    with Sockets(SocketOptions()).client(socket.AF_INET) as sock:
        assert sock.gettimeout() == 0
        assert not sock.get_inheritable()
        assert sock.getsockname() == ("0.0.0.0", 0)


@pytest.mark.parametrize(("family", "source"), [(socket.AF_INET, "127.0.0.7"), (socket.AF_INET6, "::1")])
def test_a_source_is_bound_and_its_port_is_chosen_when_it_connects(family: int, source: str) -> None:
    with Sockets(SocketOptions(source=source)).client(family) as sock:
        assert sock.getsockname()[:2] == (source, 0)
        if sys.platform == "linux":
            assert sock.getsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT) == 1


def test_a_source_of_the_other_family_is_an_error_and_never_ignored() -> None:
    sockets = Sockets(SocketOptions(source="127.0.0.7"))
    with pytest.raises(OSError, match=r"from 127.0.0.7 there is no way") as caught:
        sockets.client(socket.AF_INET6)
    assert caught.value.errno == errno.EAFNOSUPPORT


def test_a_foreign_source_is_refused_without_transparent() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=r"cannot connect from 192.0.2.7, port 5: Cannot assign"):
        Sockets(SocketOptions(source="192.0.2.7", source_port=5)).client(socket.AF_INET)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.linux
@pytest.mark.root
def test_transparent_and_interface_are_read_back() -> None:
    sockets = Sockets(SocketOptions(transparent=True, interface="lo"))
    with sockets.server(socket.AF_INET) as sock:
        assert sock.getsockopt(socket.IPPROTO_IP, IP_TRANSPARENT) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
    with sockets.server(socket.AF_INET6) as sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT) == 1
    with Sockets(SocketOptions(transparent=True, source="192.0.2.7", source_port=5)).client(socket.AF_INET) as sock:
        assert sock.getsockname() == ("192.0.2.7", 5)


@pytest.mark.linux
@pytest.mark.root
@pytest.mark.daemon("setpriv")
def test_without_the_privilege_transparent_is_refused() -> None:
    program = "from twisted_lb.endpoints.sockets import *\nSockets(SocketOptions(transparent=True))"
    lacking = "--bounding-set=-net_admin,-net_raw"
    command = ["setpriv", lacking, "--", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "ConfigError: transparent sockets need root, CAP_NET_ADMIN or CAP_NET_RAW: Operation not" in done.stderr


@pytest.mark.linux
@pytest.mark.root
@pytest.mark.daemon("ip")
def test_a_namespace_is_looked_up_for_each_socket(blue: str) -> None:
    sockets = Sockets(SocketOptions(namespace=blue))
    sockets.client(socket.AF_INET).close()
    subprocess.run(["ip", "netns", "del", blue], check=True, timeout=20)
    with pytest.raises(OSError, match=f"there is no /run/netns/{blue}"):
        sockets.client(socket.AF_INET)
    subprocess.run(["ip", "netns", "add", blue], check=True, timeout=20)
    subprocess.run(["ip", "-n", blue, "addr", "add", "192.0.2.7/32", "dev", "lo"], check=True, timeout=20)
    subprocess.run(["ip", "-n", blue, "link", "set", "lo", "up"], check=True, timeout=20)
    with sockets.server(socket.AF_INET) as sock:
        sock.bind(("192.0.2.7", 0))  # it is nowhere else


def test_options_add_up_but_for_those_that_contradict() -> None:
    both = SocketOptions(namespace="blue").with_(source="::1", namespace=None)
    assert both == SocketOptions(namespace="blue", source="::1")
    assert both.with_(namespace="blue") == both
    with pytest.raises(ConfigError, match='namespace: "blue" and "red" cannot be had together'):
        both.with_(namespace="red")


@pytest.mark.parametrize("options", [SocketOptions(transparent=True), SocketOptions(interface="lo")])
def test_other_systems_are_told_that_it_needs_linux(monkeypatch: pytest.MonkeyPatch, options: SocketOptions) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigError, match=r"need.* Linux, and this is darwin"):
        Sockets(options)


@pytest.mark.parametrize("name", ["", "longer-than-fifteen"])
def test_what_can_be_no_interface_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of an interface"):
        Sockets(SocketOptions(interface=name))
