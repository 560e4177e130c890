"""Connections that a rule of address translation has sent to the proxy: ``original_dst``."""

import contextlib
from typing import Any

import pytest

from tests.interop import headers
from tests.loopback.conftest import Proxy
from tests.namespaces.records import WITH_PLUGINS, destination, judging, record_of, record_to
from tests.namespaces.topology import BACK, FAMILIES, FAR, FRONT, NOWHERE, ONE, Network
from tests.namespaces.witness import Visit, seen_by

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("nft")]

SAME, FIXED_PORT, FIXED, JUDGED = 9100, 9101, 9103, 9107
SERVERS: dict[int, Any] = {
    SAME: "*",
    FIXED_PORT: "*:8080",
    FIXED: {"address": f"{ONE['4']}:80", "send_proxy": "v1"},
    JUDGED: f"{ONE['4']}:80",
}


@pytest.fixture(scope="module")
def serving(network: Network, servers: Any, module_proxy: Any) -> Proxy:
    """A proxy with a frontend for each of ``SERVERS``."""
    frontends = {
        f"f{port}": {
            "bind": [{"address": f"{host}:{port}", "original_dst": True} for host in ("*", "[::]")],
            "backend": f"b{port}",
            "policies": [judging(NOWHERE)] if port == JUDGED else [],
        }
        for port in SERVERS
    }
    backends = {f"b{port}": {"servers": {"s": server}} for port, server in SERVERS.items()}
    config = {"plugins": ["lb_destination"], "frontends": frontends, "backends": backends}
    started: Proxy = module_proxy(config, before=[*network.proxy.prefix, *WITH_PLUGINS])
    return started


@pytest.fixture(scope="module", params=["redirect", "dnat"])
def running(serving: Proxy, network: Network, request: pytest.FixtureRequest) -> Proxy:
    """The proxy, in a network that sends it what goes to four ports of anybody's."""
    network.translate({80: SAME, 81: FIXED_PORT, 83: FIXED, 87: JUDGED}, request.param)
    return serving


@pytest.mark.parametrize("family", FAMILIES)
def test_the_destination_is_where_the_client_wanted_to_go(network: Network, running: Proxy, family: str) -> None:
    with Visit(network.client, (NOWHERE[family], 83)) as visit:
        assert visit.seen().server == "one"
        ends = visit.ends
        header = headers.line(ends, (NOWHERE[family], 83))
        assert visit.ask(b"hello", len(header) + 5) == header + b"hello"
    assert destination(record_of(running, ends)) == (NOWHERE[family], 83)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("asked", "reached"), [(80, 80), (81, 8080)])
def test_a_server_that_is_an_asterisk_is_that_destination(
    network: Network, running: Proxy, family: str, asked: int, reached: int
) -> None:
    seen, ends = seen_by(network.client, (FAR[family], asked))
    assert seen.local == (FAR[family], reached)
    assert destination(record_of(running, ends)) == (FAR[family], asked)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_policy_judges_where_the_client_wanted_to_go(network: Network, running: Proxy, family: str) -> None:
    assert seen_by(network.client, (FAR[family], 87))[0].server == "one"
    with contextlib.suppress(ConnectionResetError), Visit(network.client, (NOWHERE[family], 87)) as visit:
        assert visit.refused()
    assert record_to(running, (NOWHERE[family], 87))["reason"] == "policy 1: nobody goes there"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hosts", [FRONT, BACK], ids=["front", "back"])
def test_a_client_that_was_sent_by_no_rule_is_refused(
    network: Network, running: Proxy, servers: Any, family: str, hosts: dict[str, str]
) -> None:
    before = len(servers.one.seen)
    with Visit(network.client, (hosts[family], SAME)) as visit:
        assert visit.refused()
        ends = visit.ends
    record = record_of(running, ends)
    assert record["ending"] == "RC"
    assert record["reason"]
    assert len(servers.one.seen) == before
