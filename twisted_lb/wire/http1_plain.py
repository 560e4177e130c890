"""Heads in which there is nothing to decide: one regular expression reads them whole, and they pass as they are.

Most requests and responses are such: one plain Host or Content-Length, and no field that belongs to the connection, is
about framing or speaks for the client, but for ``Connection: keep-alive``. Whatever is not, ``http1_request`` and
``http1_response`` read; these must come to the same result, to which ``tests/wire/test_http1_plain.py`` holds them.

Source: RFC 9112, sections 3.2, 6.3 and 9.3.
"""

import re
from collections.abc import Iterable

from twisted_lb.wire.http1_grammar import TARGET, TOKEN, VALUE


def _passing(names: Iterable[bytes], credentials: bytes = b"") -> bytes:
    """One line that is none of these fields; a ``-`` also stands for ``_``, which many servers cannot tell from it.

    Names are grouped by their first letter, which a set of two characters tells at once.
    """
    groups: dict[bytes, list[bytes]] = {}
    for name in names:
        groups.setdefault(name[:1], []).append(name[1:].replace(b"-", b"[-_]"))
    listed = b"|".join(b"[%b%b](?i:%b)" % (key, key.upper(), b"|".join(rest)) for key, rest in groups.items())
    return rb"(?:(?!(?:%b):%b)%b:%b\r\n)" % (listed, credentials, TOKEN, VALUE)


_CONNECTION_ONLY = (
    *(b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"proxy-connection"),
    *(b"upgrade", b"http2-settings", b"te"),
)
_CREDENTIALS = rb"|[aApP](?i:(?:roxy-a)?+uthorization:[ \t]*+(?:ntlm|negotiate))"
_OF_REQUEST = _passing(
    (
        *_CONNECTION_ONLY,
        *(b"host", b"expect", b"sec-websocket-key", b"forwarded", b"via"),
        *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"),
    ),
    _CREDENTIALS,
)
_OF_RESPONSE = _passing((*_CONNECTION_ONLY, b"sec-websocket-accept"))

_HOST = rb"[Hh]ost: ?([0-9A-Za-z.\-]++(?::[0-9]{1,5}+)?+)\r\n"
_BEHIND_HOST = rb"%b*+([Cc]onnection: ?[Kk]eep-[Aa]live\r\n)?+%b*+\r\n" % (_OF_REQUEST, _OF_REQUEST)

PLAIN_REQUEST = re.compile(
    rb"(?!CONNECT |PRI )([A-Z]++) (/(?:%b)?+) HTTP/1\.1\r\n(%b*+)%b%b" % (TARGET, _OF_REQUEST, _HOST, _BEHIND_HOST)
)
"""A whole request head. Groups: method, target, fields before Host, Host, the line ``Connection: keep-alive``."""

PLAIN_GET = re.compile(rb"GET /(?:%b)?+ HTTP/1\.1\r\n%b*+%b%b" % (TARGET, _OF_REQUEST, _HOST, _BEHIND_HOST))
"""As ``PLAIN_REQUEST``, of a GET. Groups: Host, the line ``Connection: keep-alive``."""

_LENGTH = rb"[Cc]ontent-[Ll]ength: ?(0|[1-9][0-9]{0,14}+)\r\n"
_BEHIND_LENGTH = rb"%b*+([Cc]onnection: ?[Kk]eep-[Aa]live\r\n)?+%b*+\r\n" % (_OF_RESPONSE, _OF_RESPONSE)

PLAIN_ANSWER = re.compile(
    rb"HTTP/1\.1 (?!204|304|401|407)[2-5][0-9][0-9] %b\r\n%b*+%b%b" % (VALUE, _OF_RESPONSE, _LENGTH, _BEHIND_LENGTH)
)
"""As ``PLAIN_RESPONSE``, and not one that may bind a connection to a client. Groups: Content-Length, the line
``Connection: keep-alive``."""

PLAIN_RESPONSE = re.compile(
    rb"HTTP/1\.1 (?!204|304)([2-5][0-9][0-9]) (%b)\r\n(%b*+)%b%b" % (VALUE, _OF_RESPONSE, _LENGTH, _BEHIND_LENGTH)
)
"""A whole response head. Groups: status, reason phrase, fields before Content-Length, Content-Length, the line
``Connection: keep-alive``.
"""
