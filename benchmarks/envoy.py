"""Envoy as a peer, in HTTP mode: its HTTP connection manager, one worker thread, no log, two servers in turn.

As it comes, but for HTTP/1.0, which ``ab`` speaks, and for limits that would be in the way of the load.
"""

import json
from typing import Any

from benchmarks.placement import Placement, connections_within
from benchmarks.programs import find_program

TYPES = "type.googleapis.com/envoy.extensions.filters"
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"}}


def envoy(place: Placement) -> list[str]:
    """Write Envoy's configuration; the command that starts it."""
    configuration = place.directory / "envoy.json"
    configuration.write_text(
        json.dumps({"static_resources": {"listeners": [_listener(place)], "clusters": [_cluster(place)]}})
    )
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return [find_program("envoy"), *options, "-c", str(configuration)]


def _listener(place: Placement) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "benchmark", "timeout": "0s"}}
    connection_manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "benchmark",
        "codec_type": "HTTP1",
        "http_protocol_options": {"accept_http_10": True},
        "route_config": {"virtual_hosts": [{"name": "benchmark", "domains": ["*"], "routes": [route]}]},
        "http_filters": [ROUTER],
    }
    filter_ = {"name": "envoy.filters.network.http_connection_manager", "typed_config": connection_manager}
    return {"name": "benchmark", "address": _address(place.listen), "filter_chains": [{"filters": [filter_]}]}


def _cluster(place: Placement) -> dict[str, Any]:
    limit = connections_within(place.descriptors)
    servers = [{"endpoint": {"address": _address(server)}} for server in place.servers]
    return {
        "name": "benchmark",
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {
            "thresholds": [{"max_connections": limit, "max_pending_requests": limit, "max_requests": limit}]
        },
        "load_assignment": {"cluster_name": "benchmark", "endpoints": [{"lb_endpoints": servers}]},
    }


def _address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
