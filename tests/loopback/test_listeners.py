"""Every way to listen, and that what a connection came through is known afterwards."""

import grp
import os
import pwd
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.servers import abstract, ask, echo, free_range, has_ipv6, needs_ipv6

PORTS = 40


@pytest.fixture(scope="module")
def way_in(free_port: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Where to connect for each kind of bind, and the binds."""
    folder = tmp_path_factory.mktemp("sockets")
    stale = folder / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))

    def free() -> int:
        return free_range(free_port, 0, host="")

    # An address that nobody else uses has all of its ports free.
    low, alone = 10000, "127.77.0.3"
    ways = {
        "list": (f"127.0.0.1:{(port := free())}", (("127.0.0.1", port), socket.AF_INET)),
        "other host": (f"127.0.0.2:{port}", (("127.0.0.2", port), socket.AF_INET)),
        "any": (f"*:{(port := free())}", (("127.0.0.3", port), socket.AF_INET)),
        "name": (f"localhost:{(port := free())}", (("127.0.0.1", port), socket.AF_INET)),
        "range": (f"{alone}:{low}-{low + PORTS - 1}", ((alone, low + PORTS - 1), socket.AF_INET)),
        "path": (f"unix:{folder}/lb.sock", (f"{folder}/lb.sock", socket.AF_UNIX)),
        "stale": (f"unix:{stale}", (str(stale), socket.AF_UNIX)),
        "abstract": (f"unix:@{abstract('in')}", (f"\0{abstract('in')}", socket.AF_UNIX)),
        "endpoint": (f"tcp:{(port := free())}:interface=127.0.0.1", (("127.0.0.1", port), socket.AF_INET)),
        "unix endpoint": (f"unix:address={folder}/e.sock", (f"{folder}/e.sock", socket.AF_UNIX)),
    }
    if has_ipv6():
        ways["IPv6"] = (f"[::1]:{(port := free())}", (("::1", port), socket.AF_INET6))
        ways["any IPv6"] = (f"[::]:{(port := free())}", (("::1", port), socket.AF_INET6))
    return ways


@pytest.fixture(scope="module")
def running(module_proxy: Any, tcp_config: Any, way_in: dict[str, Any]) -> Any:
    binds: list[Any] = [bind for name, (bind, _) in way_in.items() if name != "path"]
    path = {"address": way_in["path"][0], "mode": "620"}
    with echo() as server, socket.create_server(("127.0.0.1", 0)) as inherited:
        way_in["descriptor"] = (f"fd:{inherited.fileno()}", (inherited.getsockname(), socket.AF_INET))
        binds += [path, way_in["descriptor"][0]]
        yield module_proxy(tcp_config(binds, f"127.0.0.1:{server.port}"), pass_fds=[inherited.fileno()])


KINDS = [
    "list",
    "other host",
    "any",
    "name",
    "range",
    "path",
    "stale",
    "abstract",
    "endpoint",
    "unix endpoint",
    "descriptor",
    pytest.param("IPv6", marks=needs_ipv6),
    pytest.param("any IPv6", marks=needs_ipv6),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_gets_through_and_its_record_says_where_it_came_in(
    running: Any, wait: Any, way_in: dict[str, Any], kind: str
) -> None:
    bind, (address, family) = way_in[kind]
    assert ask(address, kind.encode(), family) == kind.encode()

    def found() -> list[dict[str, Any]]:
        return [record for record in running.records(1) if record["bind"] == bind]

    record = wait(found, f"a record of {bind}")[0]
    assert record["ending"] == "--"
    if family == socket.AF_UNIX:
        assert record["source"] == "unix:"
        assert record["destination"] == f"unix:{address}".replace("\0", "@")
        assert (record["source_port"], record["destination_port"]) == (0, 0)
    else:
        assert (record["destination"], record["destination_port"]) == address[:2]
        assert record["source_port"] > 0


def test_every_port_of_a_range_listens(running: Any, way_in: dict[str, Any]) -> None:
    _, ((host, high), _) = way_in["range"]
    for port in range(high - PORTS + 1, high + 1):
        assert ask((host, port), b"x") == b"x"


def test_a_unix_path_has_its_mode(running: Any, way_in: dict[str, Any]) -> None:
    assert stat.S_IMODE(os.stat(way_in["path"][1][0]).st_mode) == 0o620


@pytest.mark.root
def test_a_unix_path_has_its_owner(proxy: Any, tcp_config: Any, tmp_path: Path) -> None:
    user, group = pwd.getpwuid(65534).pw_name, grp.getgrgid(65534).gr_name
    path = tmp_path / "lb.sock"
    proxy(tcp_config([{"address": f"unix:{path}", "user": user, "group": group, "mode": "660"}], "127.0.0.1:9"))
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 65534, 0o660)


def test_unix_paths_are_gone_after_a_stop(proxy: Any, tcp_config: Any, tmp_path: Path) -> None:
    path = tmp_path / "lb.sock"
    running = proxy(tcp_config(f"unix:{path}", "127.0.0.1:9"))
    assert path.exists()
    running.stop()
    assert os.listdir(tmp_path) == []


def test_a_range_of_2000_ports_opens_in_a_second(proxy: Any, tcp_config: Any) -> None:
    # An address that nobody else uses has all of its ports free.
    running = proxy(tcp_config("127.77.0.1:10000-11999", "127.0.0.1:9", access_log="none"))
    opened = running.cpu_s()
    plain = proxy(tcp_config("127.77.0.2:10000", "127.0.0.1:9", access_log="none"))
    assert opened - plain.cpu_s() < 1.0
    assert running.descriptors() > 2000


def test_an_inherited_descriptor_keeps_working_over_a_reload(proxy: Any, tcp_config: Any) -> None:
    with echo() as server, socket.create_server(("127.0.0.1", 0)) as inherited:
        config = tcp_config(f"fd:{inherited.fileno()}", f"127.0.0.1:{server.port}")
        running = proxy(config, pass_fds=[inherited.fileno()])
        running.reload(config)
        assert ask(inherited.getsockname()) == b"ping"
