"""ClientHellos that break a rule, each by name with the rule and the bytes; imported by tests, runs none."""

from collections.abc import Iterator

from tests.wire.hellos import (
    Extension,
    algorithms,
    alpn,
    behind,
    groups,
    hello,
    in_records,
    key_share,
    message,
    name_extension,
    pairs,
    record,
    replaced,
    usual,
    versions,
)

Case = tuple[str, str, bytes]
MESSAGE = message(usual())
X25519 = (0x001D, bytes(32))
LONG = b"a" * 63


def with_body(kind: int, body: bytes) -> bytes:
    """A hello with an extension more."""
    return hello([(kind, body), *usual()])


def patched(offset: int, content: bytes) -> bytes:
    """The usual message with other bytes at ``offset``."""
    return MESSAGE[:offset] + content + MESSAGE[offset + len(content) :]


def named(name: bytes) -> bytes:
    """A hello that asks for ``name``."""
    return hello(usual(name))


def no_tls() -> Iterator[Case]:
    """What is no record of a handshake."""
    for name, data in {
        "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "ssh": b"SSH-2.0-OpenSSH_9.2p1\r\n",
        "proxy-header": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "zeros": bytes(64),
        "alert": record(b"\x02\x28", kind=21),
        "application-data": record(bytes(40), kind=23),
        "change-cipher-spec": record(b"\x01", kind=20),
        "heartbeat": record(b"\x01\x00\x00", kind=24),
        "dtls": b"\x16\xfe\xfd" + bytes(11),
        "record-major-2": record(MESSAGE, version=0x0201),
        "record-major-4": record(MESSAGE, version=0x0401),
        "sslv2-other-type": b"\x80\x2e\x04\x00\x02" + bytes(43),
        "sslv2-other-version": b"\x80\x2e\x01\x00\x05" + bytes(43),
        "high-bytes": b"\xff" * 64,
    }.items():
        yield name, "tls-no-tls", data
    sslv2 = b"\x00\x03\x00\x00\x00\x10\x01\x00\x80" + bytes(16)
    yield "sslv2", "tls-sslv2", b"\x80\x1f\x01\x00\x02" + sslv2
    yield "sslv2-for-sslv3", "tls-sslv2", b"\x80\x1f\x01\x03\x00" + sslv2
    yield "sslv2-for-tls", "tls-sslv2", b"\x80\x1f\x01\x03\x01" + sslv2


def records() -> Iterator[Case]:
    """What is wrong with how the message lies in records."""
    first, rest = record(MESSAGE[:50]), record(MESSAGE[50:])
    yield "alert-between", "tls-record-type", first + record(b"\x01\x00", kind=21) + rest
    yield "change-cipher-spec-between", "tls-record-type", first + record(b"\x01", kind=20) + rest
    yield "data-between", "tls-record-type", first + record(b"GET /", kind=23) + rest
    yield "plain-text-between", "tls-record-type", first + b"GET / HTTP/1.1\r\n\r\n"
    yield "other-major-between", "tls-record-type", first + record(MESSAGE[50:], version=0x0201)
    yield "empty", "tls-record-empty", record(b"") + record(MESSAGE)
    yield "empty-between", "tls-record-empty", first + record(b"") + rest
    yield "empty-at-type", "tls-record-empty", record(MESSAGE[:1]) + record(b"") + record(MESSAGE[1:])
    yield "record-16385", "tls-record-long", record(MESSAGE + bytes(16385 - len(MESSAGE)))
    yield "record-65535", "tls-record-long", b"\x16\x03\x01\xff\xff" + MESSAGE
    yield "second-record-long", "tls-record-long", first + b"\x16\x03\x01\x40\x01" + MESSAGE[50:]
    yield "byte-behind", "tls-record-rest", record(MESSAGE + b"\x00")
    yield "second-message", "tls-record-rest", record(MESSAGE + MESSAGE)
    yield "finished-behind", "tls-record-rest", record(MESSAGE + b"\x14\x00\x00\x0c" + bytes(12))
    yield "byte-behind-in-second", "tls-record-rest", first + record(MESSAGE[50:] + b"\x00")
    yield "rest-declared-only", "tls-record-rest", b"\x16\x03\x01\x01\x00" + MESSAGE
    big = message([(21, bytes(65000)), *usual()])
    yield "hello-16-mib", "tls-hello-long", record(b"\x01\xff\xff\xff" + bytes(200))
    yield "hello-64-kib-and-one", "tls-hello-long", record(b"\x01\x00\xff\xf8" + bytes(200))
    yield "hello-long-by-records", "tls-hello-long", in_records(big, *range(60, len(big), 60))


def messages() -> Iterator[Case]:
    """Other messages."""
    for name, kind in {
        "hello-request": 0,
        "server-hello": 2,
        "new-session-ticket": 4,
        "certificate": 11,
        "client-key-exchange": 16,
        "finished": 20,
        "message-hash": 254,
    }.items():
        yield name, "tls-no-client-hello", record(message(usual(), kind=kind))


def lengths() -> Iterator[Case]:
    """Lengths that reach too far, or not far enough."""
    yield "empty-message", "tls-length", record(b"\x01\x00\x00\x00")
    yield "version-only", "tls-length", record(b"\x01\x00\x00\x02\x03\x03")
    yield "half-a-random", "tls-length", record(b"\x01" + behind(3, b"\x03\x03" + bytes(16)))
    yield "no-session-id", "tls-length", record(b"\x01" + behind(3, b"\x03\x03" + bytes(32)))
    yield "session-id-beyond", "tls-length", record(b"\x01" + behind(3, b"\x03\x03" + bytes(32) + b"\x20" + bytes(8)))
    start = b"\x03\x03" + bytes(32) + b"\x00"
    yield "no-suites", "tls-length", record(b"\x01" + behind(3, start))
    yield "half-a-length-of-suites", "tls-length", record(b"\x01" + behind(3, start + b"\x00"))
    yield "suites-beyond", "tls-length", record(b"\x01" + behind(3, start + b"\xff\xfe\x13\x01"))
    yield "no-compression", "tls-length", record(b"\x01" + behind(3, start + b"\x00\x02\x13\x01"))
    yield "compression-beyond", "tls-length", record(b"\x01" + behind(3, start + b"\x00\x02\x13\x01\x05\x00"))
    yield "half-a-length-of-extensions", "tls-length", hello(b"\x00")
    whole = MESSAGE[-len(behind(2, b"".join(pairs([kind]) + behind(2, body) for kind, body in usual()))) :]
    yield "extensions-too-short", "tls-length", hello((len(whole) - 3).to_bytes(2, "big") + whole[2:])
    yield "extensions-too-long", "tls-length", hello((len(whole) - 1).to_bytes(2, "big") + whole[2:])
    yield "bytes-behind-extensions", "tls-length", hello(whole + b"\x00\x00")
    yield "extensions-65535", "tls-length", hello(b"\xff\xff" + whole[2:])
    yield "extension-header-cut", "tls-length", hello(behind(2, whole[2:] + b"\x00\x23\x00"))
    yield "extension-beyond", "tls-length", hello(behind(2, whole[2:] + b"\x00\x23\x00\x01"))
    yield "first-extension-beyond", "tls-length", hello(behind(2, whole[2:4] + b"\xff\xff" + whole[6:]))


def fields() -> Iterator[Case]:
    """The fields before the extensions."""
    yield "sslv3", "tls-sslv3", hello(usual(), version=0x0300)
    yield "sslv3-without-extensions", "tls-sslv3", record(message(None, version=0x0300))
    yield "version-2", "tls-version", hello(usual(), version=0x0200)
    yield "version-4", "tls-version", hello(usual(), version=0x0400)
    yield "version-dtls", "tls-version", hello(usual(), version=0xFEFD)
    yield "version-0", "tls-version", hello(usual(), version=0)
    yield "versions-unknown", "tls-version", hello(replaced(43, versions(0x7F1C, 0x7F17)))
    yield "versions-grease-only", "tls-version", hello(replaced(43, versions(0x0A0A, 0x1A1A)))
    yield "versions-sslv3-only", "tls-version", hello(replaced(43, versions(0x0300)))
    yield "versions-future", "tls-version", hello(replaced(43, versions(0x0305)))
    yield "session-id-33", "tls-session-id", hello(usual(), session_id=bytes(33))
    yield "session-id-255", "tls-session-id", hello(usual(), session_id=bytes(255))
    yield "suites-empty", "tls-ciphers", hello(usual(), suites=b"")
    yield "suites-odd", "tls-ciphers", hello(usual(), suites=b"\x13\x01\x13")
    yield "suites-one-byte", "tls-ciphers", hello(usual(), suites=b"\x13")
    yield "compression-empty", "tls-compression", hello(usual(), compression=b"")
    yield "compression-deflate-only", "tls-compression", hello(usual(), compression=b"\x01")
    yield "compression-two-with-1.3", "tls-compression", hello(usual(), compression=b"\x01\x00")
    yield "compression-null-twice-with-1.3", "tls-compression", hello(usual(), compression=b"\x00\x00")


def extensions() -> Iterator[Case]:
    """Extensions as a list."""
    for kind, name in ((0, "sni"), (10, "groups"), (13, "algorithms"), (43, "versions"), (51, "key-share")):
        same = next(one for one in usual() if one[0] == kind)
        yield f"{name}-twice", "tls-extension-twice", hello([*usual(), same])
    yield "alpn-twice", "tls-extension-twice", hello([*usual(), alpn(b"h2"), alpn(b"h2")])
    yield "unknown-twice", "tls-extension-twice", hello([(0xABCD, b""), *usual(), (0xABCD, b"1")])
    yield "grease-twice", "tls-extension-twice", hello([(0x2A2A, b""), *usual(), (0x2A2A, b"")])
    yield "names-twice-differ", "tls-extension-twice", hello([*usual(), name_extension(b"other.example")])
    yield "1.3-without-groups", "tls-extension-missing", hello(replaced(10))
    yield "1.3-without-algorithms", "tls-extension-missing", hello(replaced(13))
    yield "1.3-without-key-share", "tls-extension-missing", hello(replaced(51))
    bare = [versions(0x0304)]
    yield "1.3-with-nothing", "tls-extension-missing", hello(bare)
    psk = (41, behind(2, behind(2, b"identity") + bytes(4)) + behind(2, behind(1, bytes(32))))
    yield "psk-first", "tls-psk-not-last", hello([psk, *usual()])
    yield "psk-before-padding", "tls-psk-not-last", hello([*usual(), psk, (21, bytes(4))])
    yield "renegotiated", "tls-renegotiation", with_body(0xFF01, behind(1, bytes(12)))
    yield "group-twice", "tls-key-share-twice", hello(replaced(51, key_share(X25519, X25519)))
    twice = key_share((0x0017, bytes(65)), X25519, (0x0017, bytes(65)))
    yield "group-twice-apart", "tls-key-share-twice", hello(replaced(51, twice))


def contents() -> Iterator[Case]:
    """Extensions whose content is broken."""
    bodies: dict[str, Extension] = {
        "groups-empty": groups(),
        "groups-nothing": (10, b""),
        "groups-odd": (10, b"\x00\x03\x00\x1d\x00"),
        "groups-short": (10, b"\x00\x04\x00\x1d"),
        "groups-long": (10, b"\x00\x02\x00\x1d\x00\x17"),
        "algorithms-empty": algorithms(),
        "algorithms-odd": (13, b"\x00\x03\x04\x03\x08"),
        "algorithms-short": (13, b"\x00\x08\x04\x03"),
        "versions-empty": versions(),
        "versions-nothing": (43, b""),
        "versions-odd": (43, b"\x03\x03\x04\x03"),
        "versions-short": (43, b"\x04\x03\x04"),
        "versions-long": (43, b"\x02\x03\x04\x03\x03"),
        "key-share-nothing": (51, b""),
        "key-share-short": (51, b"\x00\x10" + bytes(4)),
        "key-share-cut": (51, behind(2, b"\x00\x1d\x00")),
        "key-share-key-empty": key_share((0x001D, b"")),
        "key-share-key-beyond": (51, behind(2, b"\x00\x1d\x00\xff" + bytes(32))),
        "key-share-two-bytes-left": (51, behind(2, pairs([0x001D]) + behind(2, bytes(32)) + b"\x00\x17")),
    }
    for name, one in bodies.items():
        yield name, "tls-extension", hello(replaced(one[0], one))
    more: dict[str, Extension] = {
        "alpn-nothing": (16, b""),
        "alpn-empty": (16, b"\x00\x00"),
        "alpn-empty-name": alpn(b"h2", b""),
        "alpn-short": (16, b"\x00\x05\x02h2"),
        "alpn-long": (16, b"\x00\x03\x02h2\x00"),
        "alpn-name-beyond": (16, b"\x00\x03\x09h2"),
        "point-formats-nothing": (11, b""),
        "point-formats-empty": (11, b"\x00"),
        "point-formats-short": (11, b"\x03\x00"),
        "psk-modes-empty": (45, b"\x00"),
        "psk-modes-short": (45, b"\x02\x01"),
        "certificate-algorithms-odd": (50, b"\x00\x03\x04\x03\x08"),
        "padding-not-zero": (21, bytes(8) + b"\x01"),
        "extended-master-secret-full": (23, b"\x00"),
        "encrypt-then-mac-full": (22, b"\x00"),
        "sct-full": (18, b"\x00"),
        "early-data-full": (42, b"\x00\x00\x00\x00"),
        "post-handshake-auth-full": (49, b"\x01"),
        "max-fragment-length-0": (1, b"\x00"),
        "max-fragment-length-5": (1, b"\x05"),
        "max-fragment-length-two-bytes": (1, b"\x01\x01"),
        "record-size-limit-63": (28, b"\x00\x3f"),
        "record-size-limit-one-byte": (28, b"\x40"),
        "compress-certificate-odd": (27, b"\x03\x00\x01\x00"),
        "renegotiation-nothing": (0xFF01, b""),
        "renegotiation-short": (0xFF01, b"\x05\x00"),
        "ech-nothing": (0xFE0D, b""),
        "ech-other-type": (0xFE0D, b"\x02" + bytes(20)),
        "ech-inner-full": (0xFE0D, b"\x01\x00"),
        "ech-cut": (0xFE0D, b"\x00" + bytes(5) + behind(2, bytes(32))),
        "ech-payload-empty": (0xFE0D, b"\x00" + bytes(5) + behind(2, bytes(32)) + b"\x00\x00"),
        "ech-payload-beyond": (0xFE0D, b"\x00" + bytes(5) + behind(2, bytes(32)) + b"\x00\xff\x00"),
    }
    for name, (kind, body) in more.items():
        yield name, "tls-extension", with_body(kind, body)
    for name, body in {
        "psk-nothing": b"",
        "psk-no-binders": behind(2, behind(2, b"identity") + bytes(4)),
        "psk-short-binders": behind(2, behind(2, b"identity") + bytes(4)) + behind(2, behind(1, bytes(8))),
        "psk-byte-left": behind(2, behind(2, b"identity") + bytes(4)) + behind(2, behind(1, bytes(32))) + b"\x00",
        "psk-no-identity": behind(2, b"") + behind(2, behind(1, bytes(32))),
    }.items():
        yield name, "tls-extension", hello([*usual(), (41, body)])


def server_names() -> Iterator[Case]:
    """Server names."""
    host = b"\x00" + behind(2, b"a.example")
    for name, body in {
        "nothing": b"",
        "list-empty": b"\x00\x00",
        "list-short": (len(host) + 1).to_bytes(2, "big") + host,
        "list-long": (len(host) - 1).to_bytes(2, "big") + host,
        "type-only": b"\x00\x01\x00",
        "other-type": behind(2, b"\x01" + behind(2, b"a.example")),
        "name-empty": behind(2, b"\x00\x00\x00"),
        "name-beyond": behind(2, b"\x00\x00\xff" + b"a.example"),
        "name-short": behind(2, b"\x00\x00\x03" + b"a.example"),
        "two-names": behind(2, host + host),
        "a-name-and-another-type": behind(2, host + b"\x01\x00\x01a"),
    }.items():
        yield f"sni-{name}", "tls-sni", hello(replaced(0, (0, body)))
    for name, text in {
        "ipv4": b"192.0.2.1",
        "ipv4-short": b"127.1",
        "ipv4-number": b"2130706433",
        "ipv4-hexadecimal": b"0x7f.0x1",
        "ipv6": b"2001:db8::1",
        "ipv6-brackets": b"[2001:db8::1]",
        "numeric-last-label": b"www.example.1",
        "final-dot": b"www.example.org.",
        "first-dot": b".example.org",
        "dot": b".",
        "two-dots": b"www..example.org",
        "port": b"www.example.org:443",
        "blank": b"www example.org",
        "nul": b"www.example.org\x00.evil.example",
        "line-feed": b"www.example.org\n",
        "slash": b"www.example.org/x",
        "wildcard": b"*.example.org",
        "percent": b"www%2eexample.org",
        "at": b"user@example.org",
        "utf-8": "münchen.example".encode(),
        "latin-1": "münchen.example".encode("latin-1"),
        "hyphen-first": b"-www.example.org",
        "hyphen-last": b"www-.example.org",
        "hyphen": b"-",
        "label-64": b"a" + LONG + b".example",
        "name-254": b".".join([LONG, LONG, LONG, b"a" * 62]),
        "name-16-kib": b"a." * 8000 + b"a",
    }.items():
        yield f"sni-{name}", "tls-sni-name", named(text)


MALFORMED: list[Case] = [
    *no_tls(),
    *records(),
    *messages(),
    *lengths(),
    *fields(),
    *extensions(),
    *contents(),
    *server_names(),
]
