"""Network namespaces that the benchmark builds, and removes."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from benchmarks import network
from benchmarks.errors import LoadFailedError, MissingProgramError
from benchmarks.network import Network, check_namespaces, loopback, namespaces


def names() -> list[str]:
    """The namespaces of this process's benchmarks that are there."""
    return [path.name for path in Path("/run/netns").glob(f"benchmark-{os.getpid()}-*")]


def own() -> str:
    """The namespace of this thread."""
    return os.readlink("/proc/thread-self/ns/net")


def converse(place: Network, source: str) -> str:
    """Say a word from ``source`` to the proxy's place; whom the listener there saw."""

    def listen() -> socket.socket:
        return socket.create_server((place.proxy.address, 0))

    with place.proxy.call(listen) as listener:

        def connect() -> socket.socket:
            return socket.create_connection(listener.getsockname(), timeout=5, source_address=(source, 0))

        with place.clients.call(connect):
            listener.settimeout(5)
            accepted, address = listener.accept()
            accepted.close()
            return str(address[0])


def test_without_root_it_is_said_that_root_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingProgramError, match="run it as root"):
        check_namespaces()


def test_on_loopback_each_run_comes_from_another_address() -> None:
    place = loopback()
    assert [next(place.sources) for _ in range(3)] == ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    assert place.proxy.command(["a", "b"]) == ["a", "b"]
    assert converse(place, "127.0.0.3") == "127.0.0.3"


@pytest.mark.daemon("ip")
@pytest.mark.linux
@pytest.mark.root
def test_clients_reach_the_proxy_and_nothing_is_left_behind() -> None:
    before = own()
    with namespaces() as place:
        assert len(names()) == 3
        next(place.sources)
        source = next(place.sources)
        assert converse(place, source) == source
        ended = subprocess.run(
            place.servers.command(["ip", "-brief", "-4", "address"]), capture_output=True, text=True, check=True
        )
        assert place.servers.address in ended.stdout
        assert len({place.clients.call(own), place.proxy.call(own), place.servers.call(own), before}) == 4
    assert names() == []
    assert own() == before


@pytest.mark.daemon("ip")
@pytest.mark.linux
@pytest.mark.root
def test_namespaces_that_were_half_built_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_server_commands", lambda: ["address nonsense"])
    with pytest.raises(LoadFailedError, match="ip -n benchmark-"), namespaces():
        pass
    assert names() == []
