"""Which load goes to which peers, and what one run of it yields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.cpu import cpu_s
from benchmarks.errors import LoadFailedError
from benchmarks.loads import Outcome, ab, download, idle_bytes, wrk
from benchmarks.programs import find_program
from benchmarks.proxied import proxied_connections
from benchmarks.proxies import Target

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


Sample = Mapping[Metric, float]


@dataclass(frozen=True)
class Scale:
    """How large a run is, and the number of its round, counted from 0."""

    seconds: int
    body_bytes: int
    idle_connections: int
    round: int = 0


@dataclass(frozen=True)
class Workload:
    """A named load; ``unit`` is one piece of its work, ``program`` the load tool it needs, if any.

    ``fresh``: every run needs a proxy that has served nobody yet. ``proxied``: with PROXY v2 headers on both sides.
    """

    name: str
    title: str
    unit: str
    program: str | None
    peers: tuple[str, ...]
    metrics: tuple[Metric, ...]
    run: Callable[[Target, Scale], Sample]
    fresh: bool = False
    proxied: bool = False


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


def _requests(connections: int) -> Callable[[Target, Scale], Sample]:
    def run(target: Target, scale: Scale) -> Sample:
        return _with_cost(target, lambda: wrk(find_program("wrk"), target.port, connections, scale.seconds))

    return run


def _connections(target: Target, scale: Scale) -> Sample:
    source = f"127.0.0.{2 + scale.round % 200}"
    count = CONNECTIONS_PER_S * scale.seconds
    # Three times as long as asked for: a slow peer shall do the same number, and a stuck one shall end.
    limit_s = 3 * scale.seconds
    return _with_cost(target, lambda: ab(find_program("ab"), target.port, CONCURRENCY, count, source, limit_s))


def _proxied_connections(target: Target, scale: Scale) -> Sample:
    count = CONNECTIONS_PER_S * scale.seconds
    return _with_cost(target, lambda: proxied_connections(target.port, CONCURRENCY, count, 3 * scale.seconds + 10))


def _bulk(connections: int) -> Callable[[Target, Scale], Sample]:
    def run(target: Target, scale: Scale) -> Sample:
        bodies_each = max(1, round(BODIES_PER_S * scale.seconds / connections))
        return _with_cost(
            target, lambda: download(target.port, connections, bodies_each, scale.body_bytes, 30 + 10 * scale.seconds)
        )

    return run


def _idle(target: Target, scale: Scale) -> Sample:
    if target.pid is None:
        raise LoadFailedError("there is no proxy whose memory could be read")
    return {Metric.IDLE_BYTES: idle_bytes(target, scale.idle_connections)}


WORK = (Metric.RATE, Metric.COST_US)
WORK_AND_LATENCY = (*WORK, Metric.P50_US, Metric.P99_US)
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
            ("ours", "ours-json-log", "haproxy", "nginx", "portforward"),
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
            proxied=True,
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
    )
}
