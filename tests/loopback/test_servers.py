"""Every kind of server behind every kind of client, and servers whose port depends on the client's."""

import contextlib
import itertools
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.loopback.servers import Echo, abstract, ask, free_range, has_ipv6, needs_ipv6

RANGE = 3
OFFSET = 100
IPV6 = pytest.param("IPv6", marks=needs_ipv6)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One echo server of each kind, which says its name first: their addresses."""
    folder = tmp_path_factory.mktemp("servers")
    with contextlib.ExitStack() as stack:

        def run(name: str, address: Any, family: int) -> Echo:
            made = Echo(address, family, name.encode() + b" ")
            stack.callback(made.close)
            return made

        addresses = {"IPv4": f"127.0.0.1:{run('IPv4', ('127.0.0.1', 0), socket.AF_INET).port}"}
        if has_ipv6():
            addresses["IPv6"] = f"[::1]:{run('IPv6', ('::1', 0), socket.AF_INET6).port}"
        run("Unix", f"{folder}/server.sock", socket.AF_UNIX)
        run("abstract", f"\0{abstract('server')}", socket.AF_UNIX)
        addresses["Unix"] = f"unix:{folder}/server.sock"
        addresses["abstract"] = f"unix:@{abstract('server')}"
        addresses["endpoint"] = f"tcp:{addresses['IPv4']}"
        addresses["name"] = f"localhost:{addresses['IPv4'].rpartition(':')[2]}"
        yield addresses


Way = tuple[str, Any, int]


@pytest.fixture(scope="module")
def ways(servers: dict[str, str], free_port: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Way]:
    """For each pair of kinds: the bind, and where a client connects."""
    folder = tmp_path_factory.mktemp("clients")
    made: dict[str, Way] = {}
    for number, (client, server) in enumerate(itertools.product(("IPv4", "IPv6", "Unix", "endpoint"), servers)):
        port, path = free_port(), f"{folder}/{number}.sock"
        if client == "IPv6" and not has_ipv6():
            continue
        made[f"{client}-{server}"] = {
            "IPv4": (f"127.0.0.1:{port}", ("127.0.0.1", port), socket.AF_INET),
            "IPv6": (f"[::1]:{port}", ("::1", port), socket.AF_INET6),
            "Unix": (f"unix:{path}", path, socket.AF_UNIX),
            "endpoint": (f"tcp:{port}:interface=127.0.0.1", ("127.0.0.1", port), socket.AF_INET),
        }[client]
    return made


@pytest.fixture(scope="module")
def running(module_proxy: Any, servers: dict[str, str], ways: dict[str, Way]) -> Any:
    frontends = {name: {"bind": bind, "backend": name.partition("-")[2]} for name, (bind, _, _) in ways.items()}
    backends = {name: {"servers": {"s1": address}} for name, address in servers.items()}
    return module_proxy({"frontends": frontends, "backends": backends})


@pytest.mark.parametrize(
    "server", ["IPv4", pytest.param("IPv6", marks=needs_ipv6), "Unix", "abstract", "endpoint", "name"]
)
@pytest.mark.parametrize("client", ["IPv4", pytest.param("IPv6", marks=needs_ipv6), "Unix", "endpoint"])
def test_any_family_reaches_any_family(running: Any, ways: dict[str, Way], client: str, server: str) -> None:
    _, address, family = ways[f"{client}-{server}"]
    greeting = b"IPv4 " if server in ("endpoint", "name") else server.encode() + b" "
    said = b"x" * 300_000 + client.encode()
    assert ask(address, said, family) == greeting + said


# Ports that follow the client's


@pytest.fixture(scope="module")
def following(module_proxy: Any, free_port: Any) -> Iterator[tuple[Any, int]]:
    """A proxy with a range of ports, its first port, and echo servers at an offset from each that say their port."""
    low = free_range(free_port, *[step + offset for step in range(RANGE) for offset in (0, OFFSET, 2 * OFFSET)])
    ranges = {"plus": low, "minus": low + 2 * OFFSET}
    addresses = {"plus": f"127.0.0.1:+{OFFSET}", "minus": f"127.0.0.1:-{OFFSET}"}
    same, wrong = free_port(), free_port()
    frontends: dict[str, Any] = {
        name: {"bind": f"127.0.0.1:{first}-{first + RANGE - 1}", "backend": name} for name, first in ranges.items()
    }
    frontends["same"] = {"bind": f"127.0.0.1:{same}", "backend": "same"}
    frontends["beyond"] = {"bind": f"127.0.0.1:{wrong}", "backend": "beyond"}
    frontends["below"] = {"bind": f"127.0.0.2:{wrong}", "backend": "below"}
    frontends["portless"] = {"bind": f"unix:@{abstract('portless')}", "backend": "same"}
    addresses |= {"same": "127.0.0.3", "beyond": "127.0.0.1:+50000", "below": "127.0.0.1:-60000"}
    echoes = [
        Echo(("127.0.0.1", low + OFFSET + step), greeting=b"%d " % (low + OFFSET + step)) for step in range(RANGE)
    ]
    echoes.append(Echo(("127.0.0.3", same), greeting=b"same "))
    backends = {name: {"servers": {"s1": address}} for name, address in addresses.items()}
    running = module_proxy({"frontends": frontends, "backends": backends})
    running.same, running.wrong = same, wrong
    yield running, low
    for one in echoes:
        one.close()


@pytest.mark.parametrize("step", range(RANGE))
def test_an_offset_counts_from_the_port_that_the_client_connected_to(following: tuple[Any, int], step: int) -> None:
    _, low = following
    assert ask(low + step) == b"%d ping" % (low + step + OFFSET)
    assert ask(low + step + 2 * OFFSET) == b"%d ping" % (low + step + OFFSET)


def test_a_server_without_a_port_is_on_the_clients(following: tuple[Any, int]) -> None:
    assert ask(following[0].same) == b"same ping"


@pytest.mark.parametrize(("host", "name", "offset"), [("127.0.0.1", "beyond", 50000), ("127.0.0.2", "below", -60000)])
def test_a_port_that_does_not_exist_ends_the_connection_and_never_wraps(
    following: tuple[Any, int], wait: Any, host: str, name: str, offset: int
) -> None:
    running, _ = following
    assert ask((host, running.wrong)) == b""

    def found() -> list[dict[str, Any]]:
        return [record for record in running.records(1) if record["frontend"] == name]

    record = wait(found, "its record")[0]
    assert (record["ending"], record["stage"]) == ("RC", "connect")
    assert f"{running.wrong}{offset:+d}" in record["reason"]


def test_a_client_without_a_port_has_none_to_count_from(following: tuple[Any, int], wait: Any) -> None:
    running, _ = following
    assert ask(f"\0{abstract('portless')}", family=socket.AF_UNIX) == b""

    def found() -> list[dict[str, Any]]:
        return [record for record in running.records(1) if record["frontend"] == "portless"]

    assert wait(found, "its record")[0]["ending"] == "RC"
