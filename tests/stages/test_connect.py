"""Connecting: over both kinds of transport, again and elsewhere, and never after having been cancelled."""

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.api import IBalancer
from twisted_lb.backends.outgoing import Outgoing
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.backends.source import Source
from twisted_lb.backends.target import DestinationTarget, EndpointTarget, SocketTarget
from twisted_lb.config.addresses import FixedSource
from twisted_lb.config.inherit import BackendTimers
from twisted_lb.config.tcp import ConnectTcp
from twisted_lb.endings import Cause
from twisted_lb.errors import PluginError
from twisted_lb.facts import SocketAddress
from twisted_lb.net.stream import Stream
from twisted_lb.plugin_host import Built
from twisted_lb.stages.connect import PORT_FREE_S, TURN_AROUND_S, Connecting, ServerProtocol, retry_elsewhere
from twisted_lb.testing import MemoryNetwork, make_facts

if TYPE_CHECKING:
    from tests.conftest import Loop


@implementer(IBalancer)
class First:
    """Chooses the first candidate, or raises."""

    broken = False

    def choose(self, candidates: Sequence[Any], facts: object) -> Any:
        if self.broken:
            raise ValueError("boom")
        return candidates[0]


class Owner:
    """Notes what it hears, and the deadline that is asked for."""

    def __init__(self) -> None:
        self.asked_for: list[str] = []
        self.open: set[str] = set()
        self.connected: list[Any] = []
        self.unreachable: list[tuple[Cause, str]] = []
        self.broken: list[PluginError] = []
        self.deadline: float | None = None

    def server_connected(self, transport: Any) -> None:
        self.connected.append(transport)

    def server_unreachable(self, cause: Cause, reason: str) -> None:
        self.unreachable.append((cause, reason))

    def balancer_failed(self, error: PluginError) -> None:
        self.broken.append(error)

    def connect_within(self, delay_s: float | None) -> None:
        self.deadline = delay_s

    def open_already(self, server: Any) -> bool:
        self.asked_for.append(server.name)
        return server.name in self.open

    @property
    def heard(self) -> int:
        """How often it was told of an outcome."""
        return len(self.connected) + len(self.unreachable) + len(self.broken)


class Endpoint:
    """A client endpoint that does what it is told to."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.answer = answer
        self.factories: list[Any] = []

    def connect(self, factory: Any) -> Any:
        self.factories.append(factory)
        return self.answer(factory)


class World:
    """One client that is to be connected to one of several servers."""

    def __init__(
        self,
        *targets: Any,
        poller: Any = None,
        retries: int = 0,
        redispatch: int = -1,
        connect_s: float | None = 5.0,
        port: int = 8080,
    ) -> None:
        self.owner = Owner()
        self.balancer = First()
        self.servers = [Server(f"s{number}", target) for number, target in enumerate(targets)]
        timers = BackendTimers(connect=connect_s, queue=5.0, server=30.0, server_fin=None, tunnel=None)
        built: Any = Built("plugin_x", "first", self.balancer)
        self.backend = Backend("app", self.servers, built, timers, retries, redispatch)
        facts = make_facts(destination_port=port)
        chosen = self.backend.choose(facts)
        assert chosen is not None
        self.connecting = Connecting(self.owner, self.backend, chosen, facts, poller, Clock())

    def slots(self) -> list[int]:
        """How many connections each server counts."""
        return [server.connections for server in self.servers]


def refusing() -> EndpointTarget:
    return EndpointTarget("refusing", Endpoint(lambda factory: fail(Refused("refused"))))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that accepts in the kernel only."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


# Streams of ours


def test_a_stream_is_connected_and_paused(loop: "Loop", listener: socket.socket) -> None:
    world = World(SocketTarget(socket.AF_INET, listener.getsockname()), poller=loop.poller)
    world.connecting.start()
    assert world.owner.heard == 0, "never from within the call"
    assert world.owner.deadline == 5.0
    loop.until(lambda: world.owner.heard)
    (stream,) = world.owner.connected
    assert isinstance(stream, Stream)
    assert stream.getTcpNoDelay()
    stream.drop()


def test_the_port_may_depend_on_the_one_that_the_client_asked_for(loop: "Loop", listener: socket.socket) -> None:
    host, port = listener.getsockname()
    world = World(SocketTarget(socket.AF_INET, (host, 0), port_offset=5), poller=loop.poller, port=port - 5)
    world.connecting.start()
    loop.until(lambda: world.owner.connected)
    world.owner.connected[0].drop()


@pytest.mark.parametrize(("port", "offset", "spelt"), [(65_000, 1000, r"65000\+1000"), (80, -80, "80-80")])
def test_a_port_that_does_not_exist_is_an_error_at_once(loop: "Loop", port: int, offset: int, spelt: str) -> None:
    world = World(SocketTarget(socket.AF_INET, ("127.0.0.1", 0), offset), poller=loop.poller, port=port, retries=3)
    world.connecting.start()
    ((cause, reason),) = world.owner.unreachable
    assert cause is Cause.RESOURCE
    assert f"{port}{offset:+d}" in reason
    assert "1..65535" in reason


def test_a_stream_that_is_refused_names_the_server(loop: "Loop", listener: socket.socket) -> None:
    target = SocketTarget(socket.AF_INET, listener.getsockname())
    listener.close()
    world = World(target, poller=loop.poller)
    world.connecting.start()
    loop.until(lambda: world.owner.heard)
    assert world.owner.unreachable == [(Cause.SERVER, "server s0: Connection refused")]
    assert world.servers[0].failures == 1


def test_a_stream_that_is_cancelled_is_heard_of_no_more(loop: "Loop", listener: socket.socket) -> None:
    world = World(SocketTarget(socket.AF_INET, listener.getsockname()), poller=loop.poller)
    world.connecting.start()
    world.connecting.cancel()
    world.connecting.cancel()
    loop.settle()
    assert world.owner.heard == 0
    assert len(loop.poller) == 0


def test_no_descriptor_for_a_socket_is_an_error_of_ours(loop: "Loop", monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(24, "Too many open files")

    world = World(SocketTarget(socket.AF_INET, ("127.0.0.1", 1)), poller=loop.poller)
    monkeypatch.setattr("socket.SocketType", full)
    world.connecting.start()
    ((cause, reason),) = world.owner.unreachable
    assert cause is Cause.RESOURCE
    assert "Too many open files" in reason


# Streams that are made in another way than the plain one


# As seen: a client that closed and at once connected from the same port was reset, as the events of its last
# connection's end were still waiting behind that of its new one.


def test_a_source_port_that_is_about_to_be_free_is_tried_again(loop: "Loop", listener: socket.socket) -> None:
    complaints: list[str] = []
    source = Source(FixedSource("127.0.0.6", 41_320, 41_320), False, None)
    worlds = [World(SocketTarget(socket.AF_INET, listener.getsockname()), poller=loop.poller, retries=2) for _ in "ab"]
    for world in worlds:
        world.servers[0].outgoing = Outgoing(ConnectTcp(), source, complain=complaints.append)
    first, second = worlds
    first.connecting.start()
    loop.until(lambda: first.owner.connected)
    second.connecting.start()
    assert (second.owner.deadline, second.owner.heard) == (PORT_FREE_S, 0)
    first.owner.connected[0].drop(reset=True)
    loop.turn()
    second.connecting.due()
    loop.until(lambda: second.owner.connected)
    second.owner.connected[0].drop(reset=True)
    assert complaints == []
    assert second.servers[0].failures == 0


def test_a_source_port_that_stays_taken_is_an_error_after_all_retries(loop: "Loop", listener: socket.socket) -> None:
    complaints: list[str] = []
    source = Source(FixedSource("127.0.0.6", 41_321, 41_321), False, None)
    worlds = [World(SocketTarget(socket.AF_INET, listener.getsockname()), poller=loop.poller, retries=2) for _ in "ab"]
    for world in worlds:
        world.servers[0].outgoing = Outgoing(ConnectTcp(), source, complain=complaints.append)
    first, second = worlds
    first.connecting.start()
    loop.until(lambda: first.owner.connected)
    second.connecting.start()
    second.connecting.due()
    assert (second.owner.deadline, complaints) == (TURN_AROUND_S, [])
    second.connecting.due()
    reason = "source: port 41321 of 127.0.0.6 is in use towards this server"
    assert second.owner.unreachable == [(Cause.RESOURCE, f"server s0: {reason}")]
    assert complaints == [reason]
    first.owner.connected[0].drop(reset=True)


def ranged(port: int) -> Outgoing:
    return Outgoing(ConnectTcp(), Source(FixedSource("127.0.0.6", port, port + 1), False, None))


def test_a_lease_lasts_until_the_socket_is_closed_however_that_comes_about(
    loop: "Loop", listener: socket.socket
) -> None:
    outgoing = ranged(41_300)
    assert outgoing.ports is not None
    target = SocketTarget(socket.AF_INET, listener.getsockname())
    cancelled, connected = World(target, poller=loop.poller), World(target, poller=loop.poller)
    for world in (cancelled, connected):
        world.servers[0].outgoing = outgoing
        world.connecting.start()
    assert outgoing.ports.free == 0
    third = World(target, poller=loop.poller, retries=3)
    third.servers[0].outgoing = outgoing
    third.connecting.start()
    assert third.owner.unreachable == [(Cause.RESOURCE, "server s0: source port range exhausted")]
    cancelled.connecting.cancel()
    assert outgoing.ports.free == 1
    loop.until(lambda: connected.owner.connected)
    (stream,) = connected.owner.connected
    assert stream.getHost().host == "127.0.0.6"
    assert outgoing.ports.free == 1
    loop.poller.after_batch(stream.drop)
    assert outgoing.ports.free == 2


def test_a_lease_of_a_refused_attempt_is_given_back_after_the_batch(loop: "Loop", listener: socket.socket) -> None:
    outgoing = ranged(41_310)
    assert outgoing.ports is not None
    target = SocketTarget(socket.AF_INET, listener.getsockname())
    listener.close()
    world = World(target, poller=loop.poller, retries=1, redispatch=0)
    world.servers[0].outgoing = outgoing
    for retries in (1, 1):
        if world.connecting.retries:
            world.connecting.due()
        else:
            world.connecting.start()
        assert outgoing.ports.free == 1
        loop.until(lambda: outgoing.ports.free == 2)  # type: ignore[union-attr]
        assert world.connecting.retries == retries
    assert world.owner.unreachable == [(Cause.SERVER, "server s0: Connection refused")]
    assert world.servers[0].failures == 2


def test_a_server_at_the_clients_destination_is_connected_to(loop: "Loop", listener: socket.socket) -> None:
    world = World(DestinationTarget(listener.getsockname()[1]), poller=loop.poller)
    world.servers[0].outgoing = Outgoing(ConnectTcp())
    world.connecting._facts.destination = SocketAddress("127.0.0.1", 9)
    world.connecting.start()
    loop.until(lambda: world.owner.connected)
    world.owner.connected[0].drop()


# Endpoints


def test_an_endpoint_is_connected_and_paused() -> None:
    network = MemoryNetwork()

    def connect(factory: Any) -> Any:
        protocol = factory.buildProtocol(None)
        network.connect(protocol, ServerProtocol())
        return succeed(protocol)

    world = World(EndpointTarget("memory", Endpoint(connect)))
    world.connecting.start()
    (protocol,) = world.owner.connected
    assert isinstance(protocol, ServerProtocol)
    assert protocol.transport.reading is False  # type: ignore[union-attr]


@pytest.mark.parametrize("answer", [lambda factory: fail(Refused("refused")), lambda factory: 1 // 0])
def test_an_endpoint_that_fails_or_raises_is_a_server_that_fails(answer: Any) -> None:
    world = World(EndpointTarget("x", Endpoint(answer)))
    world.connecting.start()
    ((cause, reason),) = world.owner.unreachable
    assert cause is Cause.SERVER
    assert reason.startswith("server s0: ")


def test_an_endpoint_that_is_cancelled_is_heard_of_no_more() -> None:
    cancelled: list[Any] = []
    opening: Deferred[Any] = Deferred(cancelled.append)
    world = World(EndpointTarget("x", Endpoint(lambda factory: opening)))
    world.connecting.start()
    world.connecting.cancel()
    assert cancelled == [opening]
    assert world.owner.heard == 0


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_an_endpoint_that_cannot_be_cancelled_is_logged_and_heard_of_no_more(
    logged: list[LogEvent], error: type[BaseException]
) -> None:
    def fail_to_cancel(opening: object) -> None:
        raise error

    opening: Deferred[Any] = Deferred(fail_to_cancel)
    world = World(EndpointTarget("x", Endpoint(lambda factory: opening)))
    world.connecting.start()
    world.connecting.cancel()
    assert [(event["server"], event["log_failure"].type) for event in logged] == [("s0", error)]
    opening.errback(Refused("refused"))
    assert world.owner.heard == 0


def test_an_endpoint_that_connects_although_it_was_cancelled_is_closed() -> None:
    """It was too late: the connection came about in the very moment in which it was given up."""
    network = MemoryNetwork()
    transports: list[Any] = []

    def too_late(opening: Deferred[Any]) -> None:
        protocol = endpoint.factories[0].buildProtocol(None)
        transports.extend(network.connect(protocol, ServerProtocol()))
        opening.callback(protocol)

    endpoint = Endpoint(lambda factory: Deferred(too_late))
    world = World(EndpointTarget("x", endpoint))
    world.connecting.start()
    world.connecting.cancel()
    network.settle()
    assert not transports[0].connected
    assert world.owner.heard == 0


# Again, and elsewhere


@pytest.mark.parametrize(
    ("retries", "redispatch", "elsewhere"),
    [
        (3, -1, [3]),
        (1, -1, [1]),
        (3, 0, []),
        (3, 1, [1, 2, 3]),
        (6, 2, [2, 4, 6]),
        (3, 5, []),
        (0, -1, []),
    ],
)
def test_which_retries_go_elsewhere(retries: int, redispatch: int, elsewhere: list[int]) -> None:
    chosen = [retry for retry in range(1, retries + 1) if retry_elsewhere(retry, retries, redispatch)]
    assert chosen == elsewhere


def test_the_same_server_is_tried_again_after_a_second() -> None:
    world = World(refusing(), retries=2, redispatch=0)
    world.connecting.start()
    assert (world.connecting.retries, world.owner.deadline) == (1, TURN_AROUND_S)
    world.connecting.due()
    assert world.connecting.retries == 2
    world.connecting.due()
    assert [cause for cause, _ in world.owner.unreachable] == [Cause.SERVER]
    assert world.servers[0].failures == 3
    assert world.slots() == [1], "the one slot is the owner's to give back"


@pytest.mark.parametrize(("connect_s", "pause_s"), [(0.25, 0.25), (None, TURN_AROUND_S), (60.0, TURN_AROUND_S)])
def test_the_pause_is_no_longer_than_the_time_for_connecting(connect_s: float | None, pause_s: float) -> None:
    world = World(refusing(), retries=1, redispatch=0, connect_s=connect_s)
    world.connecting.start()
    assert world.owner.deadline == pause_s


def test_another_server_is_tried_at_once_and_takes_over_the_slot() -> None:
    network = MemoryNetwork()

    def connect(factory: Any) -> Any:
        protocol = factory.buildProtocol(None)
        network.connect(protocol, ServerProtocol())
        return succeed(protocol)

    world = World(refusing(), EndpointTarget("good", Endpoint(connect)), retries=1)
    world.connecting.start()
    assert len(world.owner.connected) == 1
    assert world.connecting.server is world.servers[1]
    assert (world.connecting.retries, world.connecting.redispatched) == (1, True)
    assert world.slots() == [0, 1]


def test_another_server_that_a_connection_is_open_to_is_not_connected_to() -> None:
    world = World(refusing(), endpoint := EndpointTarget("good", Endpoint(lambda factory: Deferred())), retries=1)
    world.owner.open = {"s1"}
    world.connecting.start()
    assert world.owner.asked_for == ["s1"]
    assert endpoint.endpoint.factories == []
    assert world.connecting.server is world.servers[1]
    assert (world.connecting.retries, world.connecting.redispatched) == (1, True)
    assert world.slots() == [0, 1]


def test_without_another_server_the_same_one_is_tried_after_the_pause() -> None:
    world = World(refusing(), retries=1)
    world.connecting.start()
    assert (world.owner.heard, world.owner.deadline) == (0, TURN_AROUND_S)
    assert world.slots() == [1]
    world.connecting.due()
    assert not world.connecting.redispatched
    assert world.owner.heard == 1


def test_a_balancer_that_fails_at_a_retry_is_blamed() -> None:
    world = World(refusing(), refusing(), retries=1)
    world.balancer.broken = True
    world.connecting.start()
    assert [error.plugin for error in world.owner.broken] == ["plugin_x"]
    assert world.owner.heard == 1


def test_an_attempt_that_takes_too_long_counts_as_a_failure() -> None:
    world = World(EndpointTarget("slow", Endpoint(lambda factory: Deferred())), retries=1, redispatch=0)
    world.connecting.start()
    world.connecting.due()
    assert (world.owner.heard, world.connecting.retries) == (0, 1)
    world.connecting.due()
    world.connecting.due()
    ((cause, reason),) = world.owner.unreachable
    assert cause is Cause.SERVER_TIMEOUT
    assert "timeouts.connect" in reason


# The protocol of a server's connection


class Side:
    """Notes what is passed on to a relay's side."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def data(self, data: bytes) -> None:
        self.heard.append(data)

    def end_of_stream(self) -> None:
        self.heard.append("end")

    def lost(self, reason: Failure) -> None:
        self.heard.append(reason.type)


def test_a_servers_protocol_passes_everything_on() -> None:
    network = MemoryNetwork()
    protocol, far = ServerProtocol(), ServerProtocol()
    near_transport, far_transport = network.connect(protocol, far)
    assert IHalfCloseableProtocol.providedBy(protocol)
    far_transport.write(b"early")
    network.settle()
    side: Any = Side()
    protocol.relay_through(side)
    near_transport.resumeProducing()
    far_transport.loseWriteConnection()
    network.settle()
    near_transport.loseConnection()
    network.settle()
    assert side.heard == [b"early", "end", ConnectionDone]


def test_a_loss_before_the_relay_is_told_to_it() -> None:
    protocol = ServerProtocol()
    protocol.connectionLost(Failure(ConnectionDone()))
    side: Any = Side()
    protocol.relay_through(side)
    assert side.heard == [ConnectionDone]
