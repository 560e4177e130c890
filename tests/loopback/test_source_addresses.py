"""A whole load balancer whose servers see other addresses than its own: what they see, and what the records say."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.whole import Running, config, end, run
from twisted_lb.errors import ConfigError

pytestmark = pytest.mark.linux


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    yield from run(tmp_path, monkeypatch)


def unused_ports(count: int, host: str) -> int:
    """The first of so many ports that nobody listens at."""
    for low in range(42_000, 60_000, count):
        made = []
        try:
            for port in range(low, low + count):
                made.append(socket.create_server((host, port)))
            return low
        except OSError:
            continue
        finally:
            for one in made:
                one.close()
    raise AssertionError("no unused ports")


def ranged(address: str, low: int, high: int) -> dict[str, Any]:
    return {"address": address, "source": f"127.0.0.5:{low}-{high}"}


@pytest.mark.root
def test_the_server_sees_the_client_that_a_proxy_header_names(running: Running) -> None:
    upstream, address = running.upstream()
    low = unused_ports(1, "127.9.9.9")
    settings = {"of_frontend": {"accept_proxy": True}, "of_backend": {"source": "client"}}
    running.start(config("127.0.0.1:0", address, **settings))
    client = running.client()
    client.sendall(b"PROXY TCP4 127.9.9.9 127.0.0.1 %d 80\r\nhello" % low)
    running.until(running.relaying, "a connection to the server")
    served, peer = upstream.accept()
    assert peer == ("127.9.9.9", low)
    assert served.recv(100) == b"hello"
    end(running, client, served)


def test_a_range_of_ports_is_leased_and_given_back_through_a_reload(running: Running) -> None:
    upstream, address = running.upstream()
    low = unused_ports(2, "127.0.0.5")
    running.start(config("127.0.0.1:0", ranged(address, low, low + 1)))
    first, second = (running.connect(upstream) for _ in range(2))
    assert {served.getpeername() for _, served in (first, second)} == {("127.0.0.5", low), ("127.0.0.5", low + 1)}
    running.client()
    (record,) = running.records(1)
    assert (record["ending"], record["stage"]) == ("RC", "connect")
    assert record["reason"] == "server s1: source port range exhausted"
    running.reload(config("127.0.0.1:0", {**ranged(address, low, low + 1), "weight": 7}))
    running.client()
    assert [one["ending"] for one in running.records(2)] == ["RC", "RC"], "the reload forgot who has the ports"
    for client, served in (first, second):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        end(running, client, served)
    end(running, *running.connect(upstream))
    assert running.balancer.assembly is not None
    (server,) = running.balancer.assembly.backends["app"].servers
    assert server.outgoing is not None
    assert server.outgoing.ports is not None
    assert server.outgoing.ports.free == 2


def test_killed_connections_give_their_ports_back(running: Running) -> None:
    upstream, address = running.upstream()
    low = unused_ports(2, "127.0.0.5")
    running.start(config("127.0.0.1:0", ranged(address, low, low + 1)))
    running.connect(upstream)
    assert running.balancer.assembly is not None
    ports: Any = running.balancer.assembly.backends["app"].servers[0].outgoing
    assert ports.ports.free == 1
    running.balancer.stop_now()
    running.turn()
    assert ports.ports.free == 2


def test_a_server_at_the_clients_destination_is_reached_but_never_the_proxy_itself(running: Running) -> None:
    upstream, address = running.upstream()
    port = int(address.rpartition(":")[2])
    running.start(config("127.0.0.1:0", "*", of_frontend={"accept_proxy": True}))
    client = running.client()
    client.sendall(b"PROXY TCP4 192.0.2.1 127.0.0.1 4000 %d\r\n" % port)
    running.until(running.relaying, "a connection to the server")
    served, _ = upstream.accept()
    end(running, client, served)
    looping = running.client()
    looping.sendall(b"PROXY TCP4 192.0.2.1 127.0.0.1 4000 %d\r\n" % running.port())
    record = running.records(2)[1]
    assert (record["ending"], record["stage"]) == ("RC", "connect")
    assert record["reason"] == f"server s1: loop: 127.0.0.1:{running.port()} leads to a listener of this proxy"


@pytest.mark.root
def test_a_client_of_a_unix_socket_cannot_be_anybody_to_a_server(running: Running, tmp_path: Path) -> None:
    _, address = running.upstream()
    path = str(tmp_path / "web.sock")
    running.start(config(f"unix:{path}", {"address": address, "source": "client"}))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        (record,) = running.records(1)
    assert record["ending"] == "RC"
    assert "no IP address" in record["reason"]


def test_an_address_that_this_machine_lacks_is_an_error_at_the_start(running: Running) -> None:
    with pytest.raises(ConfigError, match=r"backends\.app\.source: 192\.0\.2\.77 is no address of this machine"):
        running.start(config("127.0.0.1:0", "127.0.0.1:9", "127.0.0.1:10", of_backend={"source": "192.0.2.77"}))


def test_checks_come_from_the_fixed_address_too(running: Running) -> None:
    upstream, address = running.upstream()
    server = {"address": address, "source": "127.0.0.5:42000-42001", "check": {"interval": "1s"}}
    running.start(config("127.0.0.1:0", server))
    running.clock.advance(0.1)
    running.turn()
    _, peer = upstream.accept()
    assert peer[0] == "127.0.0.5"
    assert peer[1] not in (42_000, 42_001)
