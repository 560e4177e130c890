"""A bind entry's listeners: opened together, served by whoever the configuration says, closed without a trace."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from twisted_lb import binding as module
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.backends.target import EndpointTarget
from twisted_lb.binding import Binding, key_of
from twisted_lb.config.inherit import BackendTimers, FrontendTimers
from twisted_lb.config.model import Bind
from twisted_lb.errors import ConfigError
from twisted_lb.frontend import Frontend
from twisted_lb.net.poll import Poller
from twisted_lb.plugin_host import Built
from twisted_lb.process import Process
from twisted_lb.stages.admission import Limit


@pytest.fixture
def process() -> Iterator[Process]:
    clock = Clock()
    poller = Poller(clock)
    yield Process(MemoryReactorClock(), clock, poller)
    assert len(poller) == 0
    poller.epoll.close()


class Nowhere:
    """A server that never answers."""

    def connect(self, factory: Any) -> "Deferred[Any]":
        return Deferred()


def frontend(records: list[Any] | None = None) -> Frontend:
    balancer: Any = Built("b", "b", SimpleNamespace(choose=lambda candidates, facts: candidates[0]))
    timers = BackendTimers(None, None, None, None, None)
    backend = Backend("app", [Server("a", EndpointTarget("x", Nowhere()))], balancer, timers)
    log: Any = SimpleNamespace(write=(records if records is not None else []).append)
    return Frontend("web", backend, FrontendTimers(None, None, None, None), Limit(), access_log=log)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# An address that nobody else uses has all of its ports free.
ALONE = "127.66.0.1"


def test_a_range_is_one_listener_for_each_port(process: Process) -> None:
    before = open_descriptors()
    entry = Binding(process, Bind(address=f"{ALONE}:10001-10005"))
    entry.open()
    assert entry.sockets() == [(ALONE, port) for port in range(10001, 10006)]
    assert len(entry) == 5
    entry.stop()
    assert open_descriptors() == before


def test_a_range_with_a_busy_port_opens_nothing(process: Process) -> None:
    with socket.create_server((ALONE, 10003)):
        before = open_descriptors()
        entry = Binding(process, Bind(address=f"{ALONE}:10001-10003"))
        with pytest.raises(ConfigError, match=rf"cannot listen on {ALONE}:10003 .*in use"):
            entry.open()
        assert open_descriptors() == before


def test_a_host_with_several_addresses_listens_on_all_of_them(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(host: str, port: int) -> Any:
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET, ("127.0.0.2", port))]

    monkeypatch.setattr(module, "resolve", resolve)
    entry = Binding(process, Bind(address="somewhere:0"))
    entry.open()
    assert [host for host, _ in entry.sockets()] == ["127.0.0.1", "127.0.0.2"]
    entry.stop()


def test_a_unix_path_gets_its_mode_and_goes_when_it_is_closed(process: Process, tmp_path: Path) -> None:
    path = tmp_path / "lb.sock"
    entry = Binding(process, Bind(address=f"unix:{path}", mode="600"))
    entry.open()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    entry.stop()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("192.0.2.1:80", "no interface of this machine has that address"),
        ("fd:999999", "no such descriptor"),
        ("fd:0", "fd:0"),
        ("unix:/no/such/folder/x", "unix:/no/such/folder/x: No such file or directory"),
        ("unix:/dev/null", "a file of another kind"),
        ("no-such-host.invalid:80", "no-such-host.invalid"),
        ("tcp:x", '"tcp:x" is no endpoint description'),
    ],
)
def test_what_cannot_be_listened_on_is_named_and_why(process: Process, address: str, said: str) -> None:
    before = open_descriptors()
    with pytest.raises(ConfigError) as caught:
        Binding(process, Bind(address=address)).open()
    assert said in str(caught.value)
    assert open_descriptors() == before


def test_an_abstract_name_that_is_taken_is_an_error(process: Process) -> None:
    address = f"unix:@twisted-lb-test-{os.getpid()}"
    entry = Binding(process, Bind(address=address))
    entry.open()
    with pytest.raises(ConfigError, match="in use"):
        Binding(process, Bind(address=address)).open()
    entry.stop()


def test_settings_that_need_another_socket_make_another_key() -> None:
    bind = Bind(address="unix:/x")
    assert key_of(bind) == key_of(Bind(address="unix:/x", maxconn=5))
    others = [Bind(address="unix:/y"), Bind(address="unix:/x", backlog=5), Bind(address="unix:/x", mode="600")]
    assert key_of(bind) not in map(key_of, others)


# Twisted's endpoints


class Endpoint:
    """A server endpoint that says later whether it can listen; ``port`` notes what is asked of it."""

    def __init__(self) -> None:
        self.opening: Deferred[Any] = Deferred()
        self.factory: Any = None
        self.asked: list[str] = []
        names = ("pauseProducing", "resumeProducing", "stopListening")
        self.port = SimpleNamespace(**{name: lambda name=name: self.asked.append(name) for name in names})

    def listen(self, factory: Any) -> "Deferred[Any]":
        self.factory = factory
        return self.opening

    def arrive(self) -> tuple[Any, StringTransport]:
        protocol, transport = self.factory.buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    made = Endpoint()
    monkeypatch.setattr(module, "serverFromString", lambda reactor, text: made)
    return made


def test_an_endpoint_that_fails_at_once_is_an_error(process: Process, endpoint: Endpoint) -> None:
    endpoint.opening.errback(Failure(CannotListenError("x", 1, OSError("taken"))))
    with pytest.raises(ConfigError, match="cannot listen on tcp:1: "):
        Binding(process, Bind(address="tcp:1")).open()


def test_an_endpoint_that_fails_later_tells_who_waits(process: Process, endpoint: Endpoint) -> None:
    entry = Binding(process, Bind(address="tcp:1"))
    entry.open()
    (opening,) = entry.opening
    failures: list[Failure] = []
    opening.addErrback(failures.append)
    endpoint.opening.errback(Failure(CannotListenError("x", 1, OSError("taken"))))
    assert failures[0].check(ConfigError)
    assert "cannot listen on tcp:1" in failures[0].getErrorMessage()


def test_an_endpoint_that_fails_after_it_was_given_up_is_of_no_interest(process: Process, endpoint: Endpoint) -> None:
    """Seen: it was logged as an unhandled error."""
    entry = Binding(process, Bind(address="tcp:1"))
    entry.open()
    (opening,) = entry.opening
    entry.stop()
    endpoint.opening.errback(Failure(CannotListenError("x", 1, OSError("taken"))))
    assert opening.result is None
    assert entry.opening == []


@pytest.mark.parametrize("leave", ["readConnectionLost", "connectionLost"])
def test_beyond_a_limit_an_endpoints_clients_wait_and_may_leave(
    process: Process, endpoint: Endpoint, leave: str
) -> None:
    records: list[Any] = []
    entry, served = Binding(process, Bind(address="tcp:1")), frontend(records)
    entry.open()
    endpoint.opening.callback(endpoint.port)
    limit = Limit(1)
    entry.serve(served, limit)
    first, _ = endpoint.arrive()
    waiting, waiting_transport = endpoint.arrive()
    last, _ = endpoint.arrive()
    assert process.sessions == {first}
    assert waiting_transport.producerState == "paused"
    assert endpoint.asked == ["pauseProducing"]
    getattr(waiting, leave)(*([Failure(ConnectionError())] if leave == "connectionLost" else []))
    first.connectionLost(Failure(ConnectionError()))
    assert process.sessions == {last}, "the one that left was let in, or the last one was not"
    last.connectionLost(Failure(ConnectionError()))
    assert endpoint.asked[-1] == "resumeProducing"
    assert limit.count == process.limit.count == 0
    assert [record.ending for record in records] == ["CC", "CC"]
    entry.stop()
    assert endpoint.asked[-1] == "stopListening"


def test_who_waits_for_room_when_the_listener_closes_is_closed(process: Process, endpoint: Endpoint) -> None:
    entry = Binding(process, Bind(address="tcp:1"))
    entry.open()
    endpoint.opening.callback(endpoint.port)
    entry.serve(frontend(), Limit(1))
    first, _ = endpoint.arrive()
    _, waiting = endpoint.arrive()
    entry.stop()
    assert waiting.disconnecting
    first.connectionLost(Failure(ConnectionError()))
