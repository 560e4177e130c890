"""The interfaces of a namespace, and what they say about how long a listener's packets may be."""

import os
import socket
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from twisted_lb.config.tcp import ConnectTcp, ListenTcp
from twisted_lb.errors import ConfigError
from twisted_lb.net.interfaces import Interface, interfaces, mtu_towards
from twisted_lb.net.listening import IpOptions, open_tcp
from twisted_lb.net.namespace import Namespaces
from twisted_lb.net.sockopts import ConnectOptions

KNOWN = [
    Interface("lo", 65536, True, True, {socket.inet_aton("127.0.0.1")}),
    Interface("a", 9000, True, False, {socket.inet_aton("192.0.2.1")}),
    Interface("b", 1500, True, False, {socket.inet_pton(socket.AF_INET6, "fe80::1")}),
    Interface("down", 576, False, False),
]


@pytest.mark.linux
def test_loopback_is_among_them() -> None:
    (loopback,) = [one for one in interfaces() if one.loopback]
    assert loopback.name == "lo"
    assert socket.inet_aton("127.0.0.1") in loopback.addresses
    assert {one.name for one in interfaces()} == {name for _, name in socket.if_nameindex()}


@pytest.mark.parametrize(
    ("host", "interface", "mtu"),
    [
        ("192.0.2.1", None, 9000),
        ("fe80::1%b", None, 1500),
        ("127.0.0.9", None, 65536),
        ("0.0.0.0", None, 1500),
        ("203.0.113.1", None, 1500),
        ("0.0.0.0", "a", 9000),
    ],
)
def test_the_interface_of_the_address_counts_else_the_smallest(host: str, interface: str | None, mtu: int) -> None:
    assert mtu_towards(host, interface, KNOWN) == mtu


def test_without_an_interface_there_is_no_room_to_speak_of() -> None:
    with pytest.raises(LookupError):
        mtu_towards("0.0.0.0", None, KNOWN[:1])


@pytest.fixture
def two() -> Iterator[Any]:
    """Two namespaces with a veth pair of packets of 1400 bytes between them."""
    names = [f"lbt{os.getpid()}{end}" for end in "ab"]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, timeout=30)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "v0", "netns", names[0], "mtu", "1400", "type", "veth", "peer", "v1", "netns", names[1])
        for index, name in enumerate(names):
            ip("-n", name, "link", "set", f"v{index}", "mtu", "1400", "up")
            ip("-n", name, "address", "add", f"10.77.0.{index + 1}/24", "dev", f"v{index}")
            ip("-n", name, "address", "add", f"fd77::{index + 1}/64", "dev", f"v{index}", "nodad")
        namespaces = Namespaces()
        yield SimpleNamespace(a=namespaces.open(names[0]), b=namespaces.open(names[1]))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, timeout=30, stderr=subprocess.DEVNULL)


PLACES = [
    (socket.AF_INET, "10.77.0.1", 1360),
    (socket.AF_INET6, "fd77::1", 1340),
]


def segments(two: Any, family: int, host: str, listen: ListenTcp, connect: ConnectTcp, bound: str) -> list[int]:
    """What each side sends in one packet at most; TCP's timestamps take 12 bytes of a segment."""
    listening = open_tcp(family, (bound, 0), 5, IpOptions(listen, make=two.a.socket))
    client = two.b.socket(family, socket.SOCK_STREAM)
    try:
        target = (host, listening.getsockname()[1])
        listening.settimeout(5)
        client.settimeout(5)
        ConnectOptions.of(connect, family, two.b.socket).apply(client, target, data_first=False)
        client.connect(target)
        fd, _ = listening._accept()  # type: ignore[attr-defined]
        with socket.socket(fileno=fd) as accepted:
            socks = (accepted, client)
            return [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) + 12 for sock in socks]
    finally:
        client.close()
        listening.close()


@pytest.mark.linux
@pytest.mark.root
def test_a_relative_segment_is_shorter_than_the_path_has_room_for_in_both_directions(two: Any) -> None:
    less: dict[str, Any] = {"max_segment": -100}
    for family, host, room in PLACES:
        wildcard = "::" if family == socket.AF_INET6 else "0.0.0.0"
        assert segments(two, family, host, ListenTcp(), ConnectTcp(), host) == [room] * 2
        for bound in (host, wildcard):
            assert segments(two, family, host, ListenTcp(**less), ConnectTcp(), bound) == [room - 100] * 2
        assert segments(two, family, host, ListenTcp(), ConnectTcp(**less), host) == [room - 100] * 2


@pytest.mark.linux
@pytest.mark.root
def test_an_interface_that_is_not_there_is_an_error_that_lists_those_there_are(two: Any) -> None:
    with pytest.raises(ConfigError, match=r'interface: there is no "eth77" here, only lo, v0'):
        IpOptions(interface="eth77", make=two.a.socket).check(socket.AF_INET, "0.0.0.0", 5)
    sock = open_tcp(socket.AF_INET, ("0.0.0.0", 0), 5, IpOptions(interface="v0", make=two.a.socket))
    assert sock.getsockopt(socket.SOL_SOCKET, 25, 16).rstrip(b"\0") == b"v0"
    sock.close()
