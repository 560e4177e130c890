"""Closing a connection at once, over any transport."""

from typing import Any


def hang_up(transport: Any) -> None:
    """Close at once, with a RST where the transport knows how; one that cannot be aborted is closed the usual way.

    Over TLS the usual way would wait for the other side's answer, for ever if need be.
    """
    getattr(transport, "abortConnection", transport.loseConnection)()
