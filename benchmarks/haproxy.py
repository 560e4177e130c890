"""HAProxy as a peer: one thread, no log, two servers in turn."""

from collections.abc import Callable

from benchmarks.arrangement import Arrangement
from benchmarks.placement import Placement, connections_within
from benchmarks.programs import find_program
from benchmarks.tls_rules import haproxy_lines


def haproxy(options: str = "") -> Callable[[Placement], list[str]]:
    """How to prepare HAProxy with ``options``, lines of its ``defaults`` section."""

    def prepare(place: Placement) -> list[str]:
        configuration = place.directory / "haproxy.cfg"
        proxied = place.arrangement is Arrangement.PROXIED
        accept, send = ("accept-proxy", "send-proxy-v2") if proxied else ("", "")
        source = "source 0.0.0.0 usesrc client" if place.arrangement is Arrangement.TRANSPARENT else ""
        rules = haproxy_lines() if place.arrangement is Arrangement.TLS_RULES else ""
        configuration.write_text(
            f"""
global
    nbthread 1
    maxconn {connections_within(place.descriptors)}
defaults
    mode {"http" if place.arrangement.http else "tcp"}
    no log
    {options}
    timeout connect 5s
    timeout client 600s
    timeout server 600s
listen benchmark
    bind {place.listen} {accept}
    balance roundrobin
    {source}
{rules}
    server a {place.servers[0]} {send}
    server b {place.servers[1]} {send}
"""
        )
        return [find_program("haproxy"), "-db", "-f", str(configuration)]

    return prepare
