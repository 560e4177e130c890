"""Why a PROXY header was refused, in words that help whoever has to set the sender right."""

import re

EXPLANATIONS = {
    "proxy-v1-spaces": "there must be exactly one space between two fields",
    "proxy-v1-family": "only TCP4, TCP6 and UNKNOWN exist in PROXY v1",
    "proxy-v1-address": "not an address of the family that the line announces",
    "proxy-v1-port": "a port is 0 to 65535, without leading zeros",
    "proxy-v1-fields": "there must be two addresses and two ports, and nothing else",
    "proxy-v1-line-end": "the line must end with CR LF, and have neither alone",
    "proxy-v1-length": "no CR LF within the 107 bytes that a line of PROXY v1 can have",
    "proxy-v2-version": "the signature is that of PROXY v2, but the version is not 2",
    "proxy-v2-command": "only LOCAL and PROXY exist in PROXY v2",
    "proxy-v2-family": "no such family and transport in PROXY v2",
    "proxy-v2-address": "the name of a Unix socket has no room in PROXY v2",
    "proxy-v2-port": "a port is 0 to 65535",
    "proxy-v2-length": "the header's length has no room for what it must hold",
    "proxy-v2-tlv": "the TLVs do not end where the header does",
    "proxy-v2-crc32c": "the checksum is wrong: the header was changed on its way, or the sender computes it wrongly",
    "proxy-v2-authority": "an AUTHORITY TLV has at most 255 bytes",
    "proxy-v2-unique-id": "a UNIQUE_ID TLV has at most 128 bytes",
    "proxy-v2-ssl": "the SSL TLV is too short, or its own TLVs do not end where it does",
}
"""What each reason of the bundled codecs means, but those for bytes that are no header at all."""

_HEADERS = (
    (re.compile(rb"PROXY "), "a PROXY v1 header: the sender sends v1, which is not accepted here"),
    (re.compile(rb"\r\n\r\n\0\r\nQUIT\n"), "a PROXY v2 header: the sender sends v2, which is not accepted here"),
    (
        re.compile(rb"(?i)\s*PROXY\b|\r\n\r\n\0|\xef\xbb\xbfPROXY"),
        "a damaged PROXY header: the sender, or something between, writes its beginning wrongly",
    ),
)
_PROTOCOLS = (
    (re.compile(rb"\x16(?:\Z|\x03)"), "a TLS ClientHello"),
    (re.compile(rb"[\x80-\xff].\x01[\0-\x03]", re.DOTALL), "an SSLv2 ClientHello"),
    (re.compile(rb"PRI \* HTTP/2"), "HTTP/2 in clear text"),
    (re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|TRACE|PATCH|CONNECT|[A-Z]+) \S+ HTTP/"), "an HTTP request"),
    (re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH) /"), "an HTTP request"),
    (re.compile(rb"SSH-"), "an SSH client"),
    (re.compile(rb"(?i)(?:EHLO|HELO|LHLO) "), "an SMTP client"),
    (re.compile(rb"\0\0\0\x08\x04\xd2\x16[\x2e-\x30]"), "a PostgreSQL client"),
    (re.compile(rb"\*\d+\r\n\$\d+\r\n"), "a Redis client"),
    (re.compile(rb"\x10.{1,4}\0[\x04\x06]MQ", re.DOTALL), "an MQTT client"),
    (re.compile(rb"\x03\0\0.[^\0]\xe0", re.DOTALL), "an RDP client"),
    (re.compile(rb"\x05[\x01-\x05][\0-\x0f]"), "a SOCKS5 client"),
    (re.compile(rb"\x04[\x01\x02]..[^\0]", re.DOTALL), "a SOCKS4 client"),
    (re.compile(rb"[\t\r\n\x20-\x7e]{4,}\Z"), "plain text"),
)


def explain(data: bytes, reason: str = "proxy-not-a-header") -> str:
    """Return the likely cause for which a header was refused, for the log; empty if there is no telling.

    ``data``: what had come by then, from the first byte on. ``reason``: that of the ``WireError``.
    """
    if reason in EXPLANATIONS:
        return EXPLANATIONS[reason]
    for pattern, what in _HEADERS:
        if pattern.match(data):
            return f"looks like {what}"
    for pattern, what in _PROTOCOLS:
        if pattern.match(data[:512]):
            return f"looks like {what}: the sender does not send PROXY headers"
    return ""
