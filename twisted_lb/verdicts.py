"""The only answers that a stage or a plugin gives about a connection, or in HTTP mode about a request.

Texts of fields and targets may be ``str``, which is sent as UTF-8, or bytes; what cannot stand in a head is refused
when it is answered with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Text: TypeAlias = str | bytes
HttpFields: TypeAlias = Sequence[tuple[Text, Text]]
"""Names and values of HTTP fields, in their order."""


@dataclass(frozen=True, slots=True)
class Allow:
    """Go on to the next question. ``final``: the last word, so that nobody behind is asked.

    Of a policy, that lets it past all entries that follow; of a ``IStreamWatch``, that ends the watch.
    """

    final: bool = False


@dataclass(frozen=True, slots=True)
class Deny:
    """End this connection; in HTTP mode, answer this request with an error page. ``reason``: a few words for the log.

    ``status``, ``fields``: of the answer, such as 429 and ``[("Retry-After", "10")]``; in TCP mode they mean nothing.
    ``how``: ``"close"`` says goodbye with a FIN, ``"reset"`` with a RST, ``"drop"`` with nothing at all: the client is
    left waiting. ``None``: whatever costs least at that stage. A request is answered with ``None`` and ``"close"``.
    ``farewell``: in TCP mode, the last bytes that the client gets, such as a TLS alert; 4 KiB at most.
    """

    reason: str
    status: int = 403
    fields: HttpFields = ()
    how: Literal["close", "reset", "drop"] | None = None
    farewell: bytes = b""


@dataclass(frozen=True, slots=True)
class NeedMore:
    """Undecided until more bytes have come.

    ``at_least``: how many bytes there must be in all, from the first one on, before asking again is of any use; 0 if
    unknown.
    """

    at_least: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP: answer this request with that, and ask no server. ``reason``: a few words for the log.

    Length, ``Connection`` and ``Date`` are not among ``fields``: they are added.
    """

    status: int = 200
    body: bytes = b""
    fields: HttpFields = (("Content-Type", "text/plain; charset=utf-8"),)
    reason: str = "answered by a policy"


@dataclass(frozen=True, slots=True)
class Redirect:
    """HTTP: send the client to ``location``. ``reason``: a few words for the log."""

    location: Text
    status: Literal[301, 302, 303, 307, 308] = 302
    fields: HttpFields = ()
    reason: str = "redirected by a policy"


@dataclass(frozen=True, slots=True)
class Tarpit:
    """As ``Deny``, but only after the frontend's ``timeouts.tarpit``, so that asking often is of no use."""

    reason: str
    status: int = 500
    fields: HttpFields = ()


ALLOW = Allow()
ALLOW_FINALLY = Allow(final=True)
NEED_MORE = NeedMore()

Verdict: TypeAlias = Allow | Deny | NeedMore
"""About bytes, or about a connection."""
HttpVerdict: TypeAlias = Answer | Redirect | Tarpit
"""About a request; where there is none, such an answer is a defect of the plugin."""
Decision: TypeAlias = Allow | Deny | HttpVerdict
"""What a policy decides."""
