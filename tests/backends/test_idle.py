"""Connections that wait for their next request: who may have them, for how long, and how many."""

import socket
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_lb.backends.http_connection import ServerConnection
from twisted_lb.backends.idle import MOST_OWN, Idle, Own, belongs_to_one_client, key_for
from twisted_lb.backends.outgoing import Outgoing
from twisted_lb.backends.pool import Server
from twisted_lb.backends.source import Source
from twisted_lb.backends.target import DestinationTarget, EndpointTarget, SocketTarget
from twisted_lb.config.addresses import ClientSource, FixedSource, HeaderSource
from twisted_lb.config.tcp import ConnectTcp
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.networks import Networks
from twisted_lb.testing import MemoryNetwork, make_facts

FIXED = SocketTarget(socket.AF_INET, ("192.0.2.9", 80))


class Far:
    """The server's end."""

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Any) -> None: ...


class Room:
    """Makes connections to one server, with its pool."""

    def __init__(self, maximum: int = 10, idle_s: float | None = 5.0, **options: Any) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork()
        self.server = Server("a", FIXED)
        self.idle = Idle(self.clock, maximum, idle_s, **options)

    def connection(self, key: Any = None, used: int = 1, home: Idle | None = None) -> ServerConnection:
        made = ServerConnection(self.server, home=self.idle if home is None else home, key=key)
        made.used = used
        self.network.connect(made, Far())
        return made

    def put(self, key: Any = None, used: int = 1) -> ServerConnection:
        """Make a connection that has become idle."""
        made = self.connection(key, used)
        self.idle.put(made, self.clock.seconds())
        return made

    def closed(self, *connections: ServerConnection) -> list[bool]:
        return [one.transport is None for one in connections]


def test_the_one_used_last_is_taken_first() -> None:
    room = Room()
    first, second = room.put(), room.put()
    assert len(room.idle) == 2
    assert room.idle.take() is second
    assert room.idle.take() is first
    assert room.idle.take() is None
    assert len(room.idle) == 0


def test_one_that_has_carried_enough_requests_can_be_asked_for() -> None:
    room = Room()
    proven, fresh = room.put(used=2), room.put(used=1)
    assert room.idle.take(used=2) is proven
    assert room.idle.take(used=2) is None
    assert room.idle.take(used=1) is fresh


def test_connections_of_different_keys_are_not_mixed() -> None:
    room = Room(key_of=lambda one: one.source)
    ours = room.put(key="us")
    assert room.idle.take("them") is None
    assert room.idle.take() is None
    assert room.idle.take("us") is ours


def test_a_key_that_nothing_waits_for_is_forgotten() -> None:
    room = Room(idle_s=None, key_of=lambda one: one.source)
    for number in range(5):
        room.put(key=f"taken {number}")
        room.idle.take(f"taken {number}")
        room.put(key=f"closed {number}").close()
    assert not room.idle._by_key


def test_connections_of_clients_that_are_gone_make_room_for_others() -> None:
    """They once filled the pool for ever where nothing else closes them."""
    room = Room(maximum=2, idle_s=None, key_of=lambda one: one.source)
    gone, kept, late = room.put(key="a"), room.put(key="b"), room.put(key="c")
    assert room.closed(gone, kept, late) == [True, False, False]
    assert room.idle.take("c") is late
    assert len(room.idle) == 1


def test_the_maximum_counts_for_all_keys_together_and_the_latest_is_closed() -> None:
    room = Room(maximum=2)
    kept = room.put(key="a"), room.put(key="b")
    late = room.put(key="c")
    assert room.closed(*kept, late) == [False, False, True]
    assert len(room.idle) == 2
    room.idle.take("a")
    assert room.closed(room.put(key="c")) == [False]


def test_what_is_closed_is_not_taken() -> None:
    room = Room()
    kept, gone = room.put(), room.put()
    gone.connectionLost(Failure(ConnectionDone()))
    assert len(room.idle) == 1
    assert room.idle.take() is kept


def test_a_server_that_speaks_without_being_asked_is_not_asked_any_more() -> None:
    room = Room()
    loud = room.put()
    loud.dataReceived(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert room.closed(loud) == [True]
    assert room.idle.take() is None


def test_each_is_closed_when_its_time_is_over_and_the_timer_ends_with_the_last() -> None:
    room = Room(idle_s=5.0)
    old = room.put(key="a")
    room.clock.advance(3)
    young = room.put(key="b")
    room.clock.advance(1.9)
    assert room.closed(old, young) == [False, False]
    room.clock.advance(0.1)
    assert room.closed(old, young) == [True, False]
    room.clock.advance(3)
    assert room.closed(young) == [True]
    assert len(room.idle) == 0
    assert not room.clock.getDelayedCalls()
    room.put()
    assert len(room.clock.getDelayedCalls()) == 1


def test_use_begins_the_time_anew() -> None:
    room = Room(idle_s=5.0)
    one = room.put()
    room.clock.advance(4)
    assert room.idle.take() is one
    room.idle.put(one, room.clock.seconds())
    room.clock.advance(4)
    assert room.closed(one) == [False]
    room.clock.advance(1)
    assert room.closed(one) == [True]


def test_without_a_time_there_is_no_timer() -> None:
    room = Room(idle_s=None)
    room.put()
    assert not room.clock.getDelayedCalls()


def test_a_server_out_of_use_has_none_until_it_is_back() -> None:
    room = Room()
    one, private = room.put(), room.connection()
    own = Own()
    own.put(private)
    room.idle.use(False)
    assert room.closed(one, private) == [True, True]
    assert len(own) == 0
    assert not room.clock.getDelayedCalls()
    assert room.closed(room.put()) == [True]
    own.put(late := room.connection())
    assert room.closed(late) == [True]
    room.idle.use(True)
    assert room.closed(room.put()) == [False]


# Those of one client


def test_a_client_gets_its_own_to_the_right_server_and_settings() -> None:
    room = Room()
    other = Idle(room.clock, 10, None)
    own = Own()
    one, elsewhere = room.connection(), room.connection(home=other)
    own.put(one)
    own.put(elsewhere)
    assert own.take(other) is elsewhere
    assert own.take(other) is None
    assert own.take(room.idle) is one
    assert len(own) == 0
    assert room.closed(one, elsewhere) == [False, False]


def test_a_client_has_no_more_than_a_few() -> None:
    room = Room()
    own = Own()
    made = [room.connection() for _ in range(MOST_OWN + 1)]
    for one in made:
        own.put(one)
    assert room.closed(*made) == [False] * MOST_OWN + [True]


def test_one_that_the_server_has_closed_is_forgotten() -> None:
    room = Room()
    own = Own()
    own.put(one := room.connection())
    one.readConnectionLost()
    assert own.take(room.idle) is None
    room.idle.close()


def test_they_are_closed_with_the_client_and_with_the_pool() -> None:
    room = Room()
    own = Own()
    own.put(one := room.connection())
    own.close()
    own.put(another := room.connection())
    room.idle.close()
    assert room.closed(one, another) == [True, True]
    assert len(own) == 0


def test_one_on_which_the_client_has_logged_in_comes_before_all_others() -> None:
    room = Room()
    own = Own()
    bound, plain = room.connection(), room.connection()
    bound.bound = True
    own.put(plain)
    assert not own.bound
    own.put(bound)
    assert own.bound
    assert own.insisted() is bound
    assert own.take(room.idle) is bound
    assert own.insisted() is None
    assert not own.bound


def test_who_is_behind_a_client_may_change_and_does_not_get_another_s_connection() -> None:
    room = Room()
    own = Own()
    one, two = room.connection("one"), room.connection("two")
    one.bound = True
    own.put(one)
    own.put(two)
    assert own.take(room.idle, "three") is None
    assert own.take(room.idle, "two") is two
    assert own.take(room.idle, "two") is None
    assert own.take(room.idle, "one") is one


# What makes connections differ


def outgoing(source: Any = None, namespaces: Any = None) -> Outgoing:
    return Outgoing(ConnectTcp(), None if source is None else Source(source, False, None), None, namespaces)


def facts(source: str = "192.0.2.1", port: int = 1000, to: str = "198.51.100.1", at: int = 80, **more: Any) -> Facts:
    return Facts(SocketAddress(source, port), SocketAddress(to, at), "web", "*:80", **more)


OTHERS = {
    "source": facts("192.0.2.2"),
    "source port": facts(port=2000),
    "destination": facts(to="198.51.100.2"),
    "destination port": facts(at=81),
    "namespace": facts(namespace="blue"),
}


@pytest.mark.parametrize(
    ("target", "how", "differing"),
    [
        (FIXED, outgoing(ClientSource(port=False)), {"source"}),
        (FIXED, outgoing(namespaces={}), {"namespace"}),
        (FIXED, outgoing(ClientSource(port=False), {}), {"source", "namespace"}),
        (SocketTarget(socket.AF_INET, ("192.0.2.9", 0), 1000), None, {"destination port"}),
        (SocketTarget(socket.AF_INET, ("192.0.2.9", 0), 0), None, {"destination port"}),
        (DestinationTarget(), outgoing(), {"destination", "destination port"}),
        (DestinationTarget(port=80), outgoing(namespaces={}), {"destination", "destination port", "namespace"}),
    ],
)
def test_the_key_differs_where_connections_do(target: Any, how: Any, differing: set[str]) -> None:
    key_of = key_for(target, how)
    assert key_of is not None
    assert {name for name, one in OTHERS.items() if key_of(one) != key_of(facts())} == differing
    hash(key_of(facts()))


@pytest.mark.parametrize(
    ("target", "how"),
    [
        (FIXED, None),
        (FIXED, outgoing()),
        (FIXED, outgoing(FixedSource("192.0.2.7", 0, 0))),
        (FIXED, outgoing(FixedSource("192.0.2.7", 4000, 4999))),
        (SocketTarget(socket.AF_UNIX, "/run/a.sock"), None),
        (EndpointTarget("tls:example.org:443", None), None),
    ],
)
def test_connections_that_do_not_depend_on_the_client_have_no_key(target: Any, how: Any) -> None:
    assert key_for(target, how) is None
    assert not belongs_to_one_client(how)


def test_an_ipv4_client_is_the_same_however_it_came() -> None:
    key_of = key_for(FIXED, outgoing(ClientSource(port=False)))
    assert key_of is not None
    assert key_of(facts("::ffff:192.0.2.1")) == key_of(facts())


def test_requests_share_with_those_whose_address_is_the_same_and_only_where_it_counts() -> None:
    source = Source(HeaderSource("X-Real-IP"), False, None, {"web": Networks.parse(["10.0.0.1", "10.0.0.2"])})
    how = Outgoing(ConnectTcp(), source)
    key_of = key_for(FIXED, how)
    assert key_of is not None

    def key(address: str, source: str = "10.0.0.1") -> Any:
        assert key_of is not None
        request = f"GET / HTTP/1.1\r\nHost: x\r\nX-Real-IP: {address}\r\n\r\n".encode()
        return key_of(make_facts(source, request=request))

    assert key("192.0.2.1") == key("192.0.2.1", "10.0.0.2") == key("::ffff:192.0.2.1")
    assert key("192.0.2.1") != key("192.0.2.2")
    assert key("192.0.2.1") is not None
    assert key("192.0.2.1", "192.0.2.1") is None, "anybody could write that"
    assert key("nonsense") is None
    assert not belongs_to_one_client(how)


def test_nobody_else_can_use_the_client_s_own_port() -> None:
    assert belongs_to_one_client(outgoing(ClientSource(port=True)))
    assert not belongs_to_one_client(outgoing(ClientSource(port=False)))
