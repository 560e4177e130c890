"""Clients that send a ClientHello, the server for them, and the rules that all of them pass."""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.backend import GREETING_SERVER, READING_SERVER
from benchmarks.errors import LoadFailedError
from benchmarks.greeting import SERVER_HELLO
from benchmarks.hello import CLIENT_HELLO, NAME
from benchmarks.process import HOST, free_ports, running, wait_until_serving
from benchmarks.tls_rules import HAPROXY, OURS, haproxy_lines, hello_connections, ours_lines
from twisted_lb.config.load import load_dict
from twisted_lb.wire.client_hello import ClientHello, read_client_hello
from twisted_lb.wire.server_hello import read_server_start


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of a server that answers a ClientHello."""
    [port] = free_ports(1)
    log = tmp_path / "log"
    with running([sys.executable, str(GREETING_SERVER), HOST, str(port)], tmp_path, log) as child:
        wait_until_serving((HOST, port), child, log, b"", CLIENT_HELLO, SERVER_HELLO)
        yield port


def test_client_and_server_speak_tls() -> None:
    hello = read_client_hello(CLIENT_HELLO)
    assert isinstance(hello, ClientHello)
    assert hello.server_name == NAME
    assert read_server_start(SERVER_HELLO) is None


@pytest.mark.linux
def test_every_connection_is_answered_and_counted(port: int) -> None:
    assert hello_connections(port, concurrency=4, connections=25, deadline_s=10).units == 25


@pytest.mark.linux
def test_another_answer_gives_no_figure(tmp_path: Path) -> None:
    [port] = free_ports(1)
    log = tmp_path / "log"
    with running([sys.executable, str(READING_SERVER), HOST, str(port)], tmp_path, log) as child:
        wait_until_serving((HOST, port), child, log)
        with pytest.raises(LoadFailedError, match=r"were left after|unexpected answer"):
            hello_connections(port, concurrency=1, connections=1, deadline_s=1)


def test_both_proxies_have_ten_rules_and_a_last_word() -> None:
    assert len(OURS) == len(HAPROXY) == 10
    assert [action == "allow" for action, _ in OURS] == [rule.startswith("accept") for rule in HAPROXY]
    assert haproxy_lines().count("tcp-request content") == 11
    frontend = tomllib.loads(ours_lines())
    assert len(frontend["policies"]) == 11
    whole = {"bind": ["127.0.0.1:8080"], "backend": "app", **frontend}
    load_dict({"frontends": {"web": whole}, "backends": {"app": {"servers": {"a": "127.0.0.1:9001"}}}}, "lb.toml")
