"""Which load goes to which peers, and what one run of it yields."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.arrangement import Arrangement
from benchmarks.cpu import cpu_s
from benchmarks.errors import LoadFailedError
from benchmarks.loads import BROWSER_FIELDS, Outcome, ab, download, idle_bytes, wrk
from benchmarks.placement import Target
from benchmarks.proxied import proxied_connections
from benchmarks.tls_rules import hello_connections
from benchmarks.uploads import growth_bytes

PLAIN_PEERS = ("ours", "haproxy", "nginx", "portforward")
# Connections for each second asked for; 8000 in the default three seconds stay far below the kernel's 28000 ports.
CONNECTIONS_PER_S = 2700
BODIES_PER_S = 3
CONCURRENCY = 64


class Metric(StrEnum):
    """What a run may yield."""

    RATE = "rate"
    COST_US = "cost"
    P50_US = "p50"
    P99_US = "p99"
    IDLE_BYTES = "idle"
    GROWTH_MB = "growth"


Sample = Mapping[Metric, float]


@dataclass(frozen=True)
class Scale:
    """How large a run is: its length, a download, how many connections are idle, how many uploads of what size."""

    seconds: int
    body_bytes: int
    idle_connections: int
    uploads: int
    upload_bytes: int


@dataclass(frozen=True)
class Workload:
    """A named load; ``unit`` is one piece of its work, ``program`` the load tool it needs, if any.

    ``fresh``: every run needs a proxy that has served nobody yet.
    """

    name: str
    title: str
    unit: str
    program: str | None
    peers: tuple[str, ...]
    metrics: tuple[Metric, ...]
    run: Callable[[Target, Scale], Sample]
    fresh: bool = False
    arrangement: Arrangement = Arrangement.PLAIN


def _with_cost(target: Target, load: Callable[[], Outcome]) -> Sample:
    before = cpu_s(target.pid) if target.pid else 0.0
    outcome = load()
    sample = {Metric.RATE: outcome.units / outcome.seconds}
    if target.pid:
        sample[Metric.COST_US] = (cpu_s(target.pid) - before) / outcome.units * 1e6
    if outcome.p50_us is not None:
        sample[Metric.P50_US] = outcome.p50_us
    if outcome.p99_us is not None:
        sample[Metric.P99_US] = outcome.p99_us
    return sample


def _requests(connections: int, fields: Sequence[str] = ()) -> Callable[[Target, Scale], Sample]:
    def run(target: Target, scale: Scale) -> Sample:
        return _with_cost(target, lambda: wrk(target, connections, scale.seconds, fields))

    return run


def _connections(target: Target, scale: Scale) -> Sample:
    count = CONNECTIONS_PER_S * scale.seconds
    # Three times as long as asked for: a slow peer shall do the same number, and a stuck one shall end.
    return _with_cost(target, lambda: ab(target, CONCURRENCY, count, 3 * scale.seconds))


def _proxied_connections(target: Target, scale: Scale) -> Sample:
    count = CONNECTIONS_PER_S * scale.seconds
    return _with_cost(target, lambda: proxied_connections(target.port, CONCURRENCY, count, 3 * scale.seconds + 10))


def _hellos(target: Target, scale: Scale) -> Sample:
    count = CONNECTIONS_PER_S * scale.seconds
    return _with_cost(target, lambda: hello_connections(target.port, CONCURRENCY, count, 3 * scale.seconds + 10))


def _bulk(connections: int) -> Callable[[Target, Scale], Sample]:
    def run(target: Target, scale: Scale) -> Sample:
        bodies_each = max(1, round(BODIES_PER_S * scale.seconds / connections))
        return _with_cost(
            target, lambda: download(target, connections, bodies_each, scale.body_bytes, 30 + 10 * scale.seconds)
        )

    return run


def _idle(target: Target, scale: Scale) -> Sample:
    if target.pid is None:
        raise LoadFailedError("there is no proxy whose memory could be read")
    return {Metric.IDLE_BYTES: idle_bytes(target, scale.idle_connections)}


def _uploads(target: Target, scale: Scale) -> Sample:
    if target.pid is None:
        raise LoadFailedError("there is no proxy whose memory could be read")
    return {Metric.GROWTH_MB: growth_bytes(target, scale.uploads, scale.upload_bytes) / 1e6}


WORK = (Metric.RATE, Metric.COST_US)
WORK_AND_LATENCY = (*WORK, Metric.P50_US, Metric.P99_US)
HTTP_PEERS = ("ours", "haproxy", "haproxy-reuse-always", "nginx", "envoy")
BULK_PEERS = ("ours", "haproxy", "haproxy-splice-auto", "haproxy-splice-response", "nginx", "portforward")
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "ka", "64 kept-alive connections", "request", "wrk", PLAIN_PEERS, WORK_AND_LATENCY, _requests(CONCURRENCY)
        ),
        Workload("ka1", "1 kept-alive connection", "request", "wrk", PLAIN_PEERS, WORK_AND_LATENCY, _requests(1)),
        Workload(
            "conn",
            f"one request on each connection, {CONCURRENCY} at a time",
            "connection",
            "ab",
            ("ours", "ours-json-log", "ours-tcp-options", "haproxy", "nginx", "portforward"),
            WORK,
            _connections,
        ),
        Workload(
            "proxy",
            f"as conn, with PROXY v2 headers from the client and to the server, {CONCURRENCY} at a time",
            "connection",
            None,
            ("ours", "haproxy"),
            WORK,
            _proxied_connections,
            arrangement=Arrangement.PROXIED,
        ),
        Workload(
            "tls-rules",
            f"one ClientHello on each connection, and ten rules about it, {CONCURRENCY} at a time",
            "connection",
            None,
            ("ours", "haproxy"),
            WORK,
            _hellos,
            arrangement=Arrangement.TLS_RULES,
        ),
        Workload("bulk1", "downloads on 1 connection", "MB", None, BULK_PEERS, WORK, _bulk(1)),
        Workload("bulk4", "downloads on 4 connections", "MB", None, BULK_PEERS, WORK, _bulk(4)),
        Workload(
            "idle",
            "memory of an idle connection",
            "connection",
            None,
            PLAIN_PEERS,
            (Metric.IDLE_BYTES,),
            _idle,
            fresh=True,
        ),
        Workload(
            "source",
            f"as conn, between network namespaces; the servers see the clients' own addresses, {CONCURRENCY} at a time",
            "connection",
            "ab",
            ("ours", "haproxy"),
            WORK,
            _connections,
            arrangement=Arrangement.TRANSPARENT,
        ),
        Workload(
            "http-ka",
            "HTTP mode, 64 kept-alive connections",
            "request",
            "wrk",
            HTTP_PEERS,
            WORK_AND_LATENCY,
            _requests(CONCURRENCY),
            arrangement=Arrangement.HTTP,
        ),
        Workload(
            "http-browser",
            "HTTP mode, a browser's requests on 64 kept-alive connections",
            "request",
            "wrk",
            HTTP_PEERS,
            WORK_AND_LATENCY,
            _requests(CONCURRENCY, BROWSER_FIELDS),
            arrangement=Arrangement.HTTP,
        ),
        Workload(
            "http-conn",
            f"HTTP mode, one request on each connection, {CONCURRENCY} at a time",
            "connection",
            "ab",
            HTTP_PEERS,
            WORK,
            _connections,
            arrangement=Arrangement.HTTP,
        ),
        Workload(
            "http-bulk",
            "HTTP mode, downloads on 1 connection",
            "MB",
            None,
            ("ours", "haproxy", "nginx", "envoy"),
            WORK,
            _bulk(1),
            arrangement=Arrangement.HTTP,
        ),
        Workload(
            "http-uploads",
            "HTTP mode, memory that grows while many slow uploads are under way",
            "upload",
            None,
            ("ours", "ours-buffer-request", "haproxy", "nginx", "nginx-request-buffering", "envoy"),
            (Metric.GROWTH_MB,),
            _uploads,
            fresh=True,
            arrangement=Arrangement.UPLOADS,
        ),
    )
}
