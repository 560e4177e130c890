"""ClientHellos for tests: put together field by field, or taken from Python's own TLS; imported by tests, runs none."""

import itertools
import ssl
from collections.abc import Iterable, Sequence

Extension = tuple[int, bytes]

SUITES = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F)
GROUPS = (0x001D, 0x0017)
ALGORITHMS = (0x0403, 0x0804, 0x0401)


def pairs(numbers: Iterable[int]) -> bytes:
    """Two bytes each."""
    return b"".join(number.to_bytes(2, "big") for number in numbers)


def behind(length_bytes: int, content: bytes) -> bytes:
    """``content`` with its length in front."""
    return len(content).to_bytes(length_bytes, "big") + content


def name_extension(name: bytes) -> Extension:
    """``server_name`` with one host name."""
    return 0, behind(2, b"\x00" + behind(2, name))


def alpn(*names: bytes) -> Extension:
    """``application_layer_protocol_negotiation``."""
    return 16, behind(2, b"".join(behind(1, name) for name in names))


def versions(*numbers: int) -> Extension:
    """``supported_versions``."""
    return 43, behind(1, pairs(numbers))


def groups(*numbers: int) -> Extension:
    """``supported_groups``."""
    return 10, behind(2, pairs(numbers))


def algorithms(*numbers: int) -> Extension:
    """``signature_algorithms``."""
    return 13, behind(2, pairs(numbers))


def key_share(*shares: tuple[int, bytes]) -> Extension:
    """``key_share``."""
    return 51, behind(2, b"".join(pairs([group]) + behind(2, key) for group, key in shares))


def usual(name: bytes | None = b"www.example.org", *more: Extension) -> list[Extension]:
    """The extensions of a client that offers TLS 1.3 and 1.2, and ``more``."""
    named = [] if name is None else [name_extension(name)]
    share = key_share((0x001D, bytes(32)))
    return [*named, groups(*GROUPS), algorithms(*ALGORITHMS), versions(0x0304, 0x0303), share, *more]


def replaced(kind: int, *instead: Extension) -> list[Extension]:
    """The usual extensions, with others in the place of one."""
    found: list[Extension] = []
    for one in usual():
        found += instead if one[0] == kind else [one]
    return found


def message(
    extensions: Sequence[Extension] | bytes | None,
    version: int = 0x0303,
    session_id: bytes = b"",
    suites: Sequence[int] | bytes = SUITES,
    compression: bytes = b"\x00",
    kind: int = 1,
) -> bytes:
    """A handshake message, a ClientHello unless ``kind`` says otherwise; ``extensions`` as bytes go in as they are."""
    numbers = suites if isinstance(suites, bytes) else pairs(suites)
    body = pairs([version]) + bytes(range(32)) + behind(1, session_id) + behind(2, numbers) + behind(1, compression)
    if isinstance(extensions, bytes):
        body += extensions
    elif extensions is not None:
        body += behind(2, b"".join(pairs([one]) + behind(2, content) for one, content in extensions))
    return bytes((kind,)) + behind(3, body)


def record(content: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    """One record."""
    return bytes((kind,)) + pairs([version]) + behind(2, content)


def in_records(content: bytes, *cuts: int) -> bytes:
    """``content`` in records that end at these places and at its end."""
    places = [0, *cuts, len(content)]
    return b"".join(record(content[start:end]) for start, end in itertools.pairwise(places))


def hello(extensions: Sequence[Extension] | bytes | None = None, **fields: object) -> bytes:
    """One record with a ClientHello; with the usual extensions if none are given."""
    return record(message(usual() if extensions is None else extensions, **fields))  # type: ignore[arg-type]


def unrecorded(data: bytes) -> bytes:
    """The handshake messages of a stream of whole handshake records."""
    content, position = b"", 0
    while position < len(data):
        length = int.from_bytes(data[position + 3 : position + 5], "big")
        content += data[position + 5 : position + 5 + length]
        position += 5 + length
    return content


def python_hello(name: str | None = "www.example.org", protocols: Sequence[str] = ("h2", "http/1.1")) -> bytes:
    """What Python's ssl module begins with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    sent = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("a handshake cannot end without an answer")
