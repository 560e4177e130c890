"""A socket that was passed to the proxy, as systemd makes them: one for both families, behind address translation."""

import sys
from typing import Any

import pytest

from tests.loopback.conftest import Proxy
from tests.namespaces.records import record_of
from tests.namespaces.topology import FAMILIES, FAR, FRONT, Network
from tests.namespaces.witness import Visit, seen_by

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("nft")]

PORT = 9200
PASS = f"""
import os, socket, sys
made = socket.create_server(("::", {PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
os.dup2(made.fileno(), 3)
os.set_inheritable(3, True)  # it may have been 3 already
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def running(network: Network, servers: Any, module_proxy: Any) -> Proxy:
    """A proxy that was started with such a socket, to which the network sends what goes to port 80 of anybody's."""
    network.translate({80: PORT}, "redirect")
    config = {
        "frontends": {"f": {"bind": {"address": "fd:3", "original_dst": True}, "backend": "b"}},
        "backends": {"b": {"servers": {"s": "*"}}},
    }
    started: Proxy = module_proxy(config, before=[*network.proxy.prefix, sys.executable, "-c", PASS])
    return started


@pytest.mark.parametrize("family", FAMILIES)
def test_clients_of_both_families_come_where_they_wanted_to_go(network: Network, running: Proxy, family: str) -> None:
    seen, _ = seen_by(network.client, (FAR[family], 80))
    assert seen.local == (FAR[family], 80)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_client_that_comes_directly_is_refused(network: Network, running: Proxy, family: str) -> None:
    with Visit(network.client, (FRONT[family], PORT)) as visit:
        assert visit.refused()
        host, port = visit.ends
    record = record_of(running, (f"::ffff:{host}" if family == "4" else host, port))
    assert (record["ending"], record["backend"]) == ("RC", "b")
    assert "loop" in record["reason"]
