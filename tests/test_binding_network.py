"""A bind entry's network: transparent listeners, namespaces, places, and new options at a reload."""

import os
import socket
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from twisted_lb.bind_check import check_bind
from twisted_lb.binding import Binding, key_of
from twisted_lb.config.model import Bind
from twisted_lb.config.tcp import ListenTcp
from twisted_lb.net.poll import Poller
from twisted_lb.process import Process

pytestmark = pytest.mark.linux


@pytest.fixture
def process() -> Iterator[Process]:
    clock = Clock()
    poller = Poller(clock)
    made = Process(MemoryReactorClock(), clock, poller)
    yield made
    assert len(poller) == 0
    assert made.listening == {}, "a listener that is closed still counts"
    poller.epoll.close()


@pytest.fixture
def netns() -> Iterator[str]:
    name = f"lbt{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=30)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=30)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True, timeout=30)


def test_each_of_these_settings_makes_another_key() -> None:
    """Else a reload would go on with sockets of the old settings."""
    bind = Bind(address="*:1")
    others = [
        Bind(address="*:1", transparent=True),
        Bind(address="*:1", original_dst=True),
        Bind(address="*:1", interface="lo"),
        Bind(address="*:1", namespace="x"),
        Bind(address="*:1", tcp=ListenTcp(mark=1)),
    ]
    there: Any = SimpleNamespace(identity=(1, 2), is_home=False)
    anew: Any = SimpleNamespace(identity=(1, 3), is_home=False)
    keys = {key_of(bind), *map(key_of, others), key_of(others[3], there), key_of(others[3], anew)}
    assert len(keys) == 1 + len(others) + 2


def test_where_it_listens_is_noted_as_long_as_it_does(process: Process) -> None:
    entry = Binding(process, Bind(address="127.0.0.1:0"))
    entry.open()
    ((host, port),) = entry.sockets()
    assert process.listening == {(None, host, port): 1}
    entry.stop()


def test_a_socket_for_both_families_is_noted_for_both(process: Process) -> None:
    """Such as systemd passes; a server "*" led a client over IPv4 back to it, again and again."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as passed:
        port = passed.getsockname()[1]
        entry = Binding(process, Bind(address=f"fd:{passed.fileno()}"))
        entry.open()
        assert process.listening == {(None, "::", port): 1, (None, "0.0.0.0", port): 1}
        entry.stop()


def test_other_options_take_the_place_of_a_socket_that_listens(process: Process) -> None:
    """Who waits at the old one when the new one comes is served; who comes later waits at the new one."""
    old = Binding(process, Bind(address="127.0.0.1:0"))
    old.open()
    (sockaddr,) = old.sockets()
    taken: list[Any] = []
    (listener,) = old.listeners
    listener.accept = lambda stream, peer: (taken.append(peer), stream.drop())  # type: ignore[union-attr,func-returns-value]
    old.start()
    with socket.create_connection(sockaddr) as early:
        address = f"127.0.0.1:{sockaddr[1]}"
        new = Binding(process, Bind(address=address, tcp=ListenTcp(user_timeout=5, reuse_port=True)))  # type: ignore[arg-type]
        new.open(old.held())
        with pytest.raises(OSError, match="in use"), socket.create_server(sockaddr):
            pass
        new.take_over()
        assert taken == [early.getsockname()]
        old.stop(besides=new.listeners)
        (served,) = new.listeners
        assert served.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000  # type: ignore[union-attr]
        assert served.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 1  # type: ignore[union-attr]
        with socket.create_connection(sockaddr, timeout=5):
            assert new.sockets() == [sockaddr]
            assert process.listening == {(None, *sockaddr): 1}
    new.stop()


def test_the_same_options_share_the_socket(process: Process) -> None:
    old = Binding(process, Bind(address="127.0.0.1:0", tcp=ListenTcp(keepalive=True)))
    old.open()
    (sockaddr,) = old.sockets()
    bind = Bind(address=f"127.0.0.1:{sockaddr[1]}", backlog=7, tcp=ListenTcp(keepalive=True))
    new = Binding(process, bind)
    new.open(old.held())
    assert new.listeners == old.listeners
    old.stop(besides=new.listeners)
    assert process.listening == {(None, *sockaddr): 1}
    new.stop()


@pytest.mark.root
@pytest.mark.parametrize("address", ["203.0.113.9:80", "[2001:db8::9]:80"])
def test_a_transparent_listener_may_have_an_address_that_is_not_ours(process: Process, address: str) -> None:
    check_bind(Bind(address=address, transparent=True), process)
    entry = Binding(process, Bind(address=address, transparent=True))
    entry.open()
    (listener,) = entry.listeners
    level, option = (41, 75) if address.startswith("[") else (0, 19)
    assert listener.sock.getsockopt(level, option) == 1  # type: ignore[union-attr]
    assert entry._local_address(listener) is None, "each connection has a destination of its own"  # type: ignore[arg-type]
    entry.stop()


@pytest.mark.root
def test_a_namespace_has_listeners_of_its_own(process: Process, netns: str) -> None:
    for address in ("127.0.0.1:7777", f"unix:@lbt{os.getpid()}"):
        binds = [Bind(address=address), Bind(address=address, namespace=netns)]
        namespaces = [check_bind(bind, process) for bind in binds]
        entries = [Binding(process, *both) for both in zip(binds, namespaces, strict=True)]
        for entry in entries:
            entry.open()
        assert namespaces[1] is not None
        if ":7777" in address:
            places = {(None, "127.0.0.1", 7777): 1, (namespaces[1].identity, "127.0.0.1", 7777): 1}
            assert process.listening == places
            assert len({**entries[0].held(), **entries[1].held()}) == 2
        for entry in entries:
            entry.stop()
