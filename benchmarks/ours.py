"""This proxy as a peer: two servers in turn."""

from collections.abc import Callable

from benchmarks.arrangement import Arrangement
from benchmarks.placement import Placement
from benchmarks.programs import find_twistd
from benchmarks.tls_rules import ours_lines

HARMLESS = """{ nodelay = true, keepalive = { idle = "60s", interval = "10s", count = 3 }, user_timeout = "60s", \
congestion = "cubic", notsent_lowat = "128KiB", tos = 16, priority = 4, fin_wait = "10s", reuse_port = true }"""
"""Listener options that cost no packet, no byte and no time of their own.

Left out: those that ask for something that is itself paid for (``quickack``: a packet per connection, ``busy_poll``:
processor time, ``save_syn``: memory, ``md5_key`` and ``multipath``: another handshake), those that keep bytes back or
lose them (``defer_accept``, ``fast_open``, ``reset_on_close``), those that bound throughput (``max_segment``, both
buffers, ``window_clamp``), and ``mark``, which is for the routing.
"""


HELD = 'buffer_request = { memory = "16KiB", max = "16MiB" }'
"""A body is held until it is whole, in memory as far as nginx does by default, and then in a file."""


def ours(access_log: str = '"none"', tcp: str = "{}", of_frontend: str = "") -> Callable[[Placement], list[str]]:
    """How to prepare ours with these values of ``access_log``, where ``{directory}`` is filled in, and ``tcp``.

    ``of_frontend``: more lines of the frontend.
    """

    def prepare(place: Placement) -> list[str]:
        configuration = place.directory / "lb.toml"
        accept, send = ("true", '"v2"') if place.arrangement is Arrangement.PROXIED else ("false", "false")
        source = '"client"' if place.arrangement is Arrangement.TRANSPARENT else "false"
        rules = ours_lines() if place.arrangement is Arrangement.TLS_RULES else ""
        configuration.write_text(
            f"""
[process]
graceful_stop = "1s"
[defaults]
access_log = {access_log.format(directory=place.directory)}
[defaults.timeouts]
connect = "5s"
client = "600s"
server = "600s"
[frontends.benchmark]
bind = ["{place.listen}"]
mode = "{"http" if place.arrangement.http else "tcp"}"
accept_proxy = {accept}
backend = "benchmark"
tcp = {tcp}
{of_frontend}
{rules}
[backends.benchmark]
balance = "round_robin"
send_proxy = {send}
source = {source}
[backends.benchmark.servers]
a = "{place.servers[0]}"
b = "{place.servers[1]}"
"""
        )
        return [find_twistd(), "-n", "--pidfile=", "twisted-lb", "--config", str(configuration)]

    return prepare
