"""The two ways through the proxy: behind a system that sends PROXY headers, and before one that receives them."""

import contextlib
import itertools
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.interop import headers
from tests.interop.recorder import Recorder, Seen
from tests.loopback.conftest import Proxy
from tests.loopback.servers import ANSWER_S

CLIENT = "127.0.0.77"
"""Where clients connect from, so that no hop in between is mistaken for them."""
SENDER = "127.0.0.78"
"""Where systems in front of the proxy connect from, if they can be told."""
FAR_CLIENTS = {"IPv4": "192.0.2.77", "IPv6": "2001:db8::77"}
"""Where clients are that only a header can bring."""
FAR_DESTINATIONS = {"IPv4": "192.0.2.1", "IPv6": "2001:db8::1"}
VERSIONS = ("v1", "v2")
FAMILIES = ("IPv4", "IPv6")


_far_ports = itertools.count(40077)


def far_ends(family: str) -> tuple[headers.Ends, headers.Ends]:
    """Make up a connection that only a header can bring: its client, with another port at each call, and where to."""
    return (FAR_CLIENTS[family], next(_far_ports)), (FAR_DESTINATIONS[family], 443)


def dial(port: int, source: str = CLIENT, host: str = "127.0.0.1") -> socket.socket:
    """Connect to ``port`` of this machine; from ``source``, which IPv6 does not heed: loopback has one address."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.settimeout(ANSWER_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if ":" not in host:
        made.bind((source, 0))
    made.connect((host, port))
    return made


def over_tls(connected: socket.socket, server_pem: Path, client_pem: Path | None = None) -> ssl.SSLSocket:
    """Speak TLS over a connection, trusting the certificate in ``server_pem``, which is for ``server.test``."""
    context = ssl.create_default_context(cafile=server_pem)
    context.set_alpn_protocols(["http/1.1"])
    if client_pem is not None:
        context.load_cert_chain(client_pem)
    return context.wrap_socket(connected, server_hostname="server.test")


def hear_all(client: socket.socket) -> bytes:
    """Everything that comes until the other side ends."""
    heard = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while data := client.recv(65536):
            heard += data
    return heard


def fresh_payload() -> bytes:
    """A request that no other test makes."""
    return b"GET /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % os.urandom(8).hex().encode()


def exchange(client: socket.socket, payload: bytes) -> headers.Ends:
    """Send ``payload``, hear what a ``Recorder`` answers to it, and leave.

    Returns: the address and port that ``client`` had.
    """
    with client:
        where: headers.Ends = client.getsockname()[:2]
        client.sendall(payload)
        assert hear_all(client).endswith(b"heard")
    return where


class Behind:
    """The proxy, which wants a header of whoever connects to ``port``, and a recording server behind it.

    What the proxy was told is passed on in a header of version 2, with every TLV.
    """

    def __init__(self, start_proxy: Any, free_port: "FreePort") -> None:
        self._recorder = Recorder()
        self.port: int = free_port()
        self._proxy: Proxy = start_proxy(
            {
                "frontends": {
                    "web": {
                        "bind": f"127.0.0.1:{self.port}",
                        "accept_proxy": {"from": ["127.0.0.0/8"]},
                        "backend": "app",
                    }
                },
                "backends": {
                    "app": {
                        "servers": {"recorder": f"127.0.0.1:{self._recorder.port}"},
                        "send_proxy": {"version": "v2", "forward_tlvs": ["all"]},
                    }
                },
            }
        )

    def expect(self, payload: bytes, client: headers.Ends, sender: str) -> Seen:
        """Wait until ``payload`` has come through, and check whom server and access log took for its ``client``.

        ``sender``: the address of who really connected to the proxy. Returns: what the server behind saw.
        """
        seen = self._recorder.wait_for_payload(payload)
        assert seen.payload == payload
        assert seen.header.source == client
        record = self._record(client)
        assert record["peer"] == sender
        assert record["ending"] == "--"
        return seen

    def _record(self, client: headers.Ends) -> dict[str, Any]:
        """Wait for the one record of a connection of ``client``."""
        count = 1
        while True:
            records = self._proxy.records(count)
            found = [one for one in records if (one["source"], one["source_port"]) == client]
            if found:
                (record,) = found
                return record
            count = len(records) + 1

    def close(self) -> None:
        """Stop the server behind."""
        self._recorder.close()


class Before:
    """Clients that reach a receiver of PROXY headers, the one that listens on ``port``, through the proxy.

    For each version that the receiver gets there are two ways in: one for clients as they are, and one for clients that
    send a header themselves, of the other version, so that it cannot have gone through as it was.
    """

    def __init__(self, start_proxy: Any, free_port: "FreePort", port: int) -> None:
        self._ports = {(version, family): free_port() for version in VERSIONS for family in FAMILIES}
        frontends, backends = {}, {}
        for (version, family), own in self._ports.items():
            frontends[f"{version}-{family}"] = {
                "bind": f"127.0.0.1:{own}",
                "accept_proxy": family == "IPv6",
                "backend": version,
            }
            backends[version] = {"servers": {"receiver": f"127.0.0.1:{port}"}, "send_proxy": version}
        start_proxy({"frontends": frontends, "backends": backends})

    @contextlib.contextmanager
    def client(self, version: str, family: str) -> Iterator[tuple[socket.socket, headers.Ends]]:
        """Connect a client whose address the receiver gets in a header of ``version``.

        Gives: the connection, and the address and port that the receiver should know the client by. With IPv4 they are
        where the client really is; with IPv6 they are what the header that came before said.
        """
        with dial(self._ports[version, family]) as made:
            if family == "IPv4":
                yield made, made.getsockname()
            else:
                ends = far_ends(family)
                made.sendall(headers.spell("v1" if version == "v2" else "v2", *ends))
                yield made, ends[0]


FreePort = Callable[[], int]
PutBefore = Callable[[int], Before]
"""Puts the proxy before the receiver on a port."""
