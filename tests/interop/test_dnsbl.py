"""dnsmasq as a DNS blocklist, asked by the policy ``dnsbl``; it dies and comes back while clients come."""

import contextlib
import socket

import pytest

from tests.interop.daemons import Daemon, Daemons
from tests.interop.ways import FreePort
from tests.loopback.conftest import StartProxy
from tests.loopback.servers import ANSWER_S, echo, hear

pytestmark = [pytest.mark.linux, pytest.mark.daemon("dnsmasq")]


def start_dnsmasq(daemons: Daemons, port: int) -> Daemon:
    """Start it; 127.0.0.2 and 127.0.0.3 are listed, the latter under a code of its own."""
    folder = daemons.folder()
    options = [
        *("--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--bind-interfaces"),
        *("--listen-address=127.0.0.1", f"--port={port}", f"--pid-file={folder}/pid", "--user=root", "--group=root"),
        *("--host-record=2.0.0.127.bl.example,127.0.0.2", "--host-record=3.0.0.127.bl.example,127.0.0.10"),
        *("--local=/bl.example/", "--local-ttl=300"),
    ]
    return daemons.start("dnsmasq", "dnsmasq", *options, folder=folder, ports=[port])


def reaches(port: int, source: str) -> bool:
    """Whether a client from there reaches the server."""
    heard = b""
    with (
        contextlib.suppress(ConnectionResetError, BrokenPipeError),
        socket.create_connection(("127.0.0.1", port), ANSWER_S, (source, 0)) as client,
    ):
        client.sendall(b"ping")
        client.shutdown(socket.SHUT_WR)
        heard = hear(client)
    return heard == b"ping"


def test_it_is_asked_and_its_death_is_noticed_and_forgotten(
    daemons: Daemons, proxy: StartProxy, free_port: FreePort
) -> None:
    names, port = free_port(), free_port()
    policy = {"use": "dnsbl", "zones": "bl.example", "resolvers": f"127.0.0.1:{names}", "return_codes": ["127.0.0.2"]}
    with echo() as server:
        web = {"bind": f"127.0.0.1:{port}", "backend": "app", "policies": [{**policy, "timeout": "1s"}]}
        servers = {"s": f"127.0.0.1:{server.port}"}
        running = proxy({"frontends": {"web": web}, "backends": {"app": {"servers": servers}}})
        assert not reaches(port, "127.0.0.1")  # nobody answers
        dnsmasq = start_dnsmasq(daemons, names)
        assert [reaches(port, f"127.0.0.{last}") for last in (1, 2, 3)] == [True, False, True]
        dnsmasq.stop()
        assert [reaches(port, f"127.0.0.{last}") for last in (1, 2, 3)] == [True, False, True]  # remembered
        assert not reaches(port, "127.0.0.4")
        start_dnsmasq(daemons, names)
        assert reaches(port, "127.0.0.4")
    reasons = [record["reason"] for record in running.records(9)]
    assert sum("nobody answers at" in reason for reason in reasons) == 2
    assert sum("listed by bl.example as 127.0.0.2" in reason for reason in reasons) == 2
