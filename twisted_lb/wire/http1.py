"""HTTP/1: the way into its parsing and framing; pure, so bytes in, and values, ``NeedMore`` or ``Http1Error`` out.

- ``http1_settings`` and ``http1_errors``: limits and relaxations; every rule with its status
- ``http1_request`` and ``http1_response``: the heads, and how their bodies are framed
- ``http1_sifted``: the few lines of a head that decide something
- ``http1_headers``: fields, found and edited in the bytes
- ``http1_body`` and ``http1_chunked``: where bodies end
- ``http1_forward`` and ``http1_speak``: what goes to the server and back to the client, and who speaks for whom
- ``http1_plain``: heads in which there is nothing to decide
- ``http1_grammar``, ``http1_target`` and ``http1_framing``: what the parts of a head look like and mean
- ``http1_lines``, ``http1_explain`` and ``http1_explain_response``: the careful reading, for heads that are refused

The rules, each with its verdict, status and opt-out, are in ``docs/reference/http-validation.md``.
"""

from twisted_lb.wire.http1_body import Body, Buffer, LengthBody, NoBody, UntilCloseBody
from twisted_lb.wire.http1_chunked import LAST_CHUNK, ChunkedBody, encode_chunk
from twisted_lb.wire.http1_errors import RULES, Http1Error
from twisted_lb.wire.http1_forward import Edit, Forwarder, ForwardPlan, ForwardSettings, downstream_framing
from twisted_lb.wire.http1_headers import Headers
from twisted_lb.wire.http1_request import BLANK, Form, Framing, RequestHead, parse_request
from twisted_lb.wire.http1_response import ResponseHead, parse_response
from twisted_lb.wire.http1_settings import STRICT, Http1Settings
from twisted_lb.wire.http1_speak import Speaking

__all__ = [
    "BLANK",
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
    "LengthBody",
    "NoBody",
    "RequestHead",
    "ResponseHead",
    "Speaking",
    "UntilCloseBody",
    "downstream_framing",
    "encode_chunk",
    "parse_request",
    "parse_response",
]
