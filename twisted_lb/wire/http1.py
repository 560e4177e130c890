"""HTTP/1: the way into its parsing and framing; pure, so bytes in, and values, ``NeedMore`` or ``Http1Error`` out.

- ``http1_settings`` and ``http1_errors``: limits and relaxations; every rule with its status
- ``http1_request`` and ``http1_response``: the heads, and how their bodies are framed
- ``http1_headers``: fields, found and edited in the bytes
- ``http1_body`` and ``http1_chunked``: where bodies end
- ``http1_forward``: what goes to the server and back to the client

The rules, each with its verdict, status and opt-out, are in ``docs/reference/http-validation.md``.
"""

from twisted_lb.wire.http1_body import Body, Buffer
from twisted_lb.wire.http1_chunked import LAST_CHUNK, ChunkedBody, encode_chunk
from twisted_lb.wire.http1_errors import RULES, Http1Error
from twisted_lb.wire.http1_forward import Edit, Forwarder, ForwardPlan, ForwardSettings, downstream_framing
from twisted_lb.wire.http1_headers import Headers
from twisted_lb.wire.http1_request import Form, Framing, RequestHead, parse_request
from twisted_lb.wire.http1_response import ResponseHead, parse_response
from twisted_lb.wire.http1_settings import STRICT, Http1Settings

__all__ = [
    "LAST_CHUNK",
    "RULES",
    "STRICT",
    "Body",
    "Buffer",
    "ChunkedBody",
    "Edit",
    "Form",
    "ForwardPlan",
    "ForwardSettings",
    "Forwarder",
    "Framing",
    "Headers",
    "Http1Error",
    "Http1Settings",
    "RequestHead",
    "ResponseHead",
    "downstream_framing",
    "encode_chunk",
    "parse_request",
    "parse_response",
]
