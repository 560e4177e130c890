"""Heads in which there is nothing to decide: one regular expression reads them whole, and they pass as they are.

Most requests and responses are such: one plain Host or Content-Length, and no field that belongs to the connection, is
about framing or speaks for the client, but for ``Connection: keep-alive``. Whatever is not, ``http1_request`` and
``http1_response`` read; these must come to the same result, to which ``tests/wire/test_http1_plain.py`` holds them.

Source: RFC 9112, sections 3.2, 6.3 and 9.3.
"""

import re
from collections.abc import Iterable

from twisted_lb.wire.http1_grammar import TARGET, TOKEN, VALUE

_LETTERS = rb"cCtTkKpPuUhHsSeEfFvVxXaA"
"""What the names below begin with; a line that does not is not compared with them."""


def _passing(names: Iterable[bytes], schemes: bytes = b"") -> bytes:
    """One line that is none of these fields; a ``-`` also stands for ``_``, which many servers cannot tell from it."""
    listed = b"|".join(name.replace(b"-", b"[-_]") for name in names)
    refused = rb"(?!(?i:(?:%b):%b))" % (listed, schemes)
    return rb"(?:(?:(?=[^%b])|%b)%b:%b\r\n)" % (_LETTERS, refused, TOKEN, VALUE)


_CONNECTION_ONLY = (
    *(b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"proxy-connection"),
    *(b"upgrade", b"http2-settings", b"te"),
)
_CREDENTIALS = rb"|(?:proxy-)?authorization:[ \t]*+(?:ntlm|negotiate)"
_OF_REQUEST = _passing(
    (
        *_CONNECTION_ONLY,
        *(b"host", b"expect", b"sec-websocket-key", b"forwarded", b"via"),
        *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"),
    ),
    _CREDENTIALS,
)
_OF_RESPONSE = _passing((*_CONNECTION_ONLY, b"sec-websocket-accept"))

PLAIN_REQUEST = re.compile(
    rb"(?!CONNECT |PRI )([A-Z]++) (/(?:%b)?+) HTTP/1\.1\r\n"
    rb"(%b*+)[Hh]ost: ?([0-9A-Za-z.\-]++(?::[0-9]{1,5}+)?+)\r\n"
    rb"%b*+([Cc]onnection: ?[Kk]eep-[Aa]live\r\n)?+%b*+\r\n" % (TARGET, _OF_REQUEST, _OF_REQUEST, _OF_REQUEST)
)
"""A whole request head. Groups: method, target, fields before Host, Host, the line ``Connection: keep-alive``."""

PLAIN_RESPONSE = re.compile(
    rb"HTTP/1\.1 (?!204|304)([2-5][0-9][0-9]) (%b)\r\n"
    rb"(%b*+)[Cc]ontent-[Ll]ength: ?(0|[1-9][0-9]{0,14}+)\r\n"
    rb"%b*+([Cc]onnection: ?[Kk]eep-[Aa]live\r\n)?+%b*+\r\n" % (VALUE, _OF_RESPONSE, _OF_RESPONSE, _OF_RESPONSE)
)
"""A whole response head. Groups: status, reason phrase, fields before Content-Length, Content-Length, the line
``Connection: keep-alive``.
"""
