"""What the proxy says of one connection; imported by tests, runs no test itself."""

from typing import Any

from tests.loopback.conftest import Proxy, wait_until
from tests.namespaces.witness import Ends


def record_of(proxy: Proxy, client: Ends) -> dict[str, Any]:
    """Wait for the record of the connection of that client, who has ended it."""
    found: list[dict[str, Any]] = []

    def written() -> bool:
        records = proxy.records(1)
        found[:] = [one for one in records if (one["peer"], one["peer_port"]) == client]
        return bool(found)

    wait_until(written, f"a record of {client}")
    return found[0]


def destination(record: dict[str, Any]) -> Ends:
    """Where its client wanted to go, as a record has it."""
    return record["destination"], record["destination_port"]
