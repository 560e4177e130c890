"""Frontends of TCP mode with validators, each before one server; runs no test itself."""

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.interop.ways import FreePort, dial, hear_all
from tests.loopback.conftest import Proxy


class Door(NamedTuple):
    """One frontend. ``validators``: as in the configuration. ``server``: the port of the server behind it. ``inspect``:
    how long the validators may take.
    """

    validators: list[Any]
    server: int
    inspect: str = "5s"


class FrontDoors:
    """A proxy with one frontend per door, by name."""

    def __init__(self, start_proxy: Any, free_port: FreePort, doors: Mapping[str, Door]) -> None:
        self.ports = {name: free_port() for name in doors}
        self.proxy: Proxy = start_proxy(
            {
                "frontends": {
                    name: {
                        "bind": f"127.0.0.1:{self.ports[name]}",
                        "validators": door.validators,
                        "backend": name,
                        "timeouts": {"inspect": door.inspect},
                    }
                    for name, door in doors.items()
                },
                "backends": {name: {"servers": {"a": f"127.0.0.1:{door.server}"}} for name, door in doors.items()},
            }
        )

    def refused(self, name: str, said: bytes, *, first: bytes = b"") -> tuple[bytes, str]:
        """Say that to the frontend of that name; ``first``: what is heard before.

        Returns: what is heard then, until the end, and the reason in the record of the connection.
        """
        with dial(self.ports[name]) as client:
            port = client.getsockname()[1]
            heard = b""
            while not heard.endswith(first):
                heard += client.recv(4096)
                assert heard, "it has ended"
            with contextlib.suppress(ConnectionError):
                client.sendall(said)
            heard = hear_all(client)
        count = 1
        while True:
            records = self.proxy.records(count)
            for record in records:
                if record["source_port"] == port:
                    return heard, str(record["reason"])
            count = len(records) + 1
