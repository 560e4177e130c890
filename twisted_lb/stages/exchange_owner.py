"""What exchanges ask of the session that they belong to, and tell it.

Stage: body, response and relay, in HTTP mode.
In: what an exchange finds out.
Out: what follows from it for the client, the connection to the server, and the records.
Never: is told of the end of an exchange twice.
Source: ``http_exchange`` and ``body_exchange``.
"""

from collections.abc import Callable
from typing import Any, Protocol

from twisted_lb.errors import PluginError
from twisted_lb.verdicts import Deny
from twisted_lb.wire.http1 import Http1Error


class Moment(Protocol):
    """What time it is, for the price of an attribute."""

    @property
    def now(self) -> float:
        """When the current batch of events began, in the clock's seconds."""


class ExchangeOwner(Protocol):
    """The session of the client who asked."""

    client: Any

    def pause_client(self) -> None:
        """Read no more from the client: the server takes no more of the request."""

    def resume_client(self) -> None:
        """Read from the client again."""

    def response_begun(self) -> None:
        """The head of the response is about to be sent to the client."""

    def tunnel_begun(self, head: bytes, rest: bytes) -> None:
        """``head`` is the response that accepts a change of protocol, ``rest`` what the server said behind it."""

    def exchange_done(self) -> None:
        """Both messages are whole, or the response is: what is left of the request is for nobody."""

    def request_refused(self, error: Http1Error, data: bytes, at: int) -> None:
        """The body of the request broke a rule in ``data``, which follow its first ``at`` bytes."""

    def response_refused(self, error: Http1Error, data: bytes, at: int = 0) -> None:
        """The response broke a rule in ``data``: in its head, or in its body behind the first ``at`` bytes of that."""

    def exchange_crashed(self) -> None:
        """A defect of ours, within an ``except`` clause."""

    def server_gone(self, reason: str) -> None:
        """The server's connection ended too early. What it carried so far is in the exchange."""


class Later(Protocol):
    """A call that was put off."""

    def cancel(self) -> None:
        """Do not call."""


class BodyOwner(ExchangeOwner, Protocol):
    """The session of the client who asked."""

    def later(self, call: Callable[[], None]) -> Later:
        """Call ``call`` when others have had their turn."""

    def body_denied(self, deny: Deny) -> None:
        """A filter, or the bound of the buffer, refuses what came."""

    def body_filter_failed(self, error: PluginError) -> None:
        """A filter broke its contract."""

    def buffer_failed(self, error: OSError) -> None:
        """The temporary file cannot be made, written or read."""
