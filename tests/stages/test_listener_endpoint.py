"""Accepting through Twisted's endpoints: what comes beyond the limits waits, and ports that can pause do."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from twisted_lb.stages import listener_endpoint
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.listener_endpoint import EndpointListener


class Port:
    """An open port; ``reading``: whether it accepts."""

    def __init__(self) -> None:
        self.reading = True
        self.open = True

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def stopListening(self) -> None:
        self.open = False


class PlainPort:
    """An open port that cannot pause."""

    def stopListening(self) -> None:
        """Nobody looks."""


class Endpoint:
    """Opens when the test says so."""

    def __init__(self) -> None:
        self.factory: Any = None
        self.opening: Deferred[Any] = Deferred()

    def listen(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        return self.opening


class Client:
    """A client's transport."""

    def __init__(self) -> None:
        self.closed = ""

    def loseConnection(self) -> None:
        self.closed = "closed"

    def abortConnection(self) -> None:
        self.closed = "reset"


class Arrival:
    """A session that has come and waits to be started."""

    def __init__(self, limit: Limit) -> None:
        self.client: Client | None = Client()
        self.started = False
        self._limit = limit

    def start(self) -> None:
        self.started = True
        self._limit.count += 1


class World:
    """A listener on an endpoint, with one limit."""

    def __init__(self, maximum: int | None = None, port: Any = None) -> None:
        self.limit = Limit(maximum)
        self.endpoint = Endpoint()
        self.listener = EndpointListener(self.endpoint, "tcp:80", (Limit(), self.limit))
        self.listener.arrive = lambda address, arrived: arrived
        self.port = Port() if port is None else port
        self.opened = self.listener.listen()
        self.endpoint.opening.callback(self.port)

    def arrive(self) -> Arrival:
        """A client connects."""
        arrival = Arrival(self.limit)
        self.endpoint.factory.buildProtocol(None)(arrival)
        return arrival

    def end(self) -> None:
        """A connection ends."""
        self.limit.give_back()


def test_with_room_a_connection_starts_at_once() -> None:
    world = World()
    assert [world.arrive().started for _ in range(3)] == [True] * 3
    assert world.port.reading


def test_the_address_is_handed_on() -> None:
    world = World()
    seen: list[Any] = []
    world.listener.arrive = lambda address, arrived: seen.append(address)
    world.endpoint.factory.buildProtocol("the address")
    assert seen == ["the address"]


def test_without_a_frontend_nobody_is_served() -> None:
    world = World()
    world.listener.arrive = None
    assert world.endpoint.factory.buildProtocol(None) is None


def test_a_port_is_paused_when_the_last_place_is_taken() -> None:
    world = World(2)
    world.arrive()
    assert world.port.reading
    world.arrive()
    assert not world.port.reading


@pytest.mark.parametrize("port", [Port, PlainPort])
def test_what_comes_nonetheless_waits_and_is_started_in_order(port: Any) -> None:
    """Twisted accepts in batches, so some come after the pause."""
    world = World(1, port())
    first, second, third = (world.arrive() for _ in range(3))
    assert [one.started for one in (first, second, third)] == [True, False, False]
    world.end()
    assert [one.started for one in (first, second, third)] == [True, True, False]
    world.end()
    assert third.started


def test_a_port_goes_on_when_all_who_waited_have_a_place() -> None:
    world = World(1)
    world.arrive()
    world.arrive()
    world.end()
    assert not world.port.reading
    world.end()
    assert world.port.reading


def test_a_client_that_left_while_it_waited_is_not_started() -> None:
    world = World(1)
    world.arrive()
    gone, waiting = world.arrive(), world.arrive()
    gone.client = None
    world.end()
    assert (gone.started, waiting.started) == (False, True)


def test_beyond_what_may_wait_a_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_endpoint, "HELD", 2)
    world = World(1)
    world.arrive()
    waiting = [world.arrive(), world.arrive()]
    refused = world.arrive()
    assert [one.client and one.client.closed for one in (*waiting, refused)] == ["", "", "reset"]


def test_a_raised_limit_lets_all_in_who_fit() -> None:
    world = World(1)
    arrivals = [world.arrive() for _ in range(4)]
    world.limit.maximum = 3
    world.limit.wake()
    assert [one.started for one in arrivals] == [True, True, True, False]
    assert not world.port.reading


def test_a_resumption_that_was_not_needed_changes_nothing() -> None:
    world = World(2)
    world.listener.resume()
    world.arrive()
    assert world.port.reading


def test_stopping_closes_the_port_and_whoever_waits() -> None:
    world = World(1)
    serving, waiting, gone = world.arrive(), world.arrive(), world.arrive()
    gone.client = None
    world.listener.stop()
    world.listener.stop()
    assert not world.port.open
    assert serving.client is not None
    assert waiting.client is not None
    assert (serving.client.closed, waiting.client.closed) == ("", "closed")


def test_a_port_that_is_not_open_yet_when_it_is_stopped_does_not_stay_open() -> None:
    """Seen: the port that opened after the stop accepted clients for ever."""
    endpoint, port = Endpoint(), Port()
    listener = EndpointListener(endpoint, "tcp:80", ())
    listener.listen()
    listener.stop()
    endpoint.opening.callback(port)
    assert not port.open
    listener.stop()


def test_an_endpoint_that_cannot_listen_says_why() -> None:
    endpoint = Endpoint()
    opened = EndpointListener(endpoint, "tcp:80", ()).listen()
    failures: list[Failure] = []
    opened.addErrback(failures.append)
    endpoint.opening.errback(CannotListenError("127.0.0.1", 80, OSError()))
    assert failures[0].check(CannotListenError)
