"""What the proxy says of one connection, and what it is to think of one; imported by tests, runs no test itself."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.loopback.conftest import Proxy, wait_until
from tests.namespaces.witness import Ends

WITH_PLUGINS = ("env", f"PYTHONPATH={Path(__file__).parent}")
"""Before a command: it finds the plugins of these tests."""


def judging(hosts: Mapping[str, str]) -> dict[str, Any]:
    """The policy that lets nobody go to ``hosts``, an address for each family; a plugin of these tests has it."""
    return {"use": "destination", "deny": list(hosts.values())}


def record_of(proxy: Proxy, client: Ends, to: Ends | None = None) -> dict[str, Any]:
    """Wait for the record of the connection of that client, who has ended it.

    ``to``: where to, for a test with so many connections that another one elsewhere may have had the same port.
    """

    def wanted(one: dict[str, Any]) -> bool:
        return (one["peer"], one["peer_port"]) == client and to in (None, destination(one))

    return _first(proxy, wanted, f"a record of {client}")


def record_to(proxy: Proxy, to: Ends) -> dict[str, Any]:
    """Wait for the record of a connection to ``to``: who was refused at once may not know its own port."""
    return _first(proxy, lambda one: destination(one) == to, f"a record of a connection to {to}")


def _first(proxy: Proxy, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def written() -> bool:
        found[:] = filter(wanted, proxy.records(1))
        return bool(found)

    wait_until(written, what)
    return found[0]


def destination(record: dict[str, Any]) -> Ends:
    """Where its client wanted to go, as a record has it."""
    return record["destination"], record["destination_port"]
