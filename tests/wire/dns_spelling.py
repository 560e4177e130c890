"""Messages of DNS, spelt for tests; runs no test itself."""

import struct

A, IXFR, OPT, TSIG = 1, 251, 41, 250


def name(text: str) -> bytes:
    """Spell a name; labels are separated by dots."""
    labels = [label.encode("latin-1") for label in text.split(".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def question(text: str = "www.example.org", type_: int = A, class_: int = 1) -> bytes:
    return name(text) + struct.pack(">HH", type_, class_)


def record(owner: bytes, type_: int, data: bytes = b"", class_: int = 1) -> bytes:
    return owner + struct.pack(">HHIH", type_, class_, 0, len(data)) + data


EDNS = record(b"\0", OPT, b"\0\x0a\0\x08cookie!!", class_=1232)


def message(
    questions: bytes | None = None,
    *,
    id_: int = 0x1234,
    flags: int = 0x0120,
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
    rest: bytes = b"",
) -> bytes:
    """Spell a message with its length prefix. ``rest``: the records behind the question."""
    body = struct.pack(">HHHHHH", id_, flags, *counts) + (question() if questions is None else questions) + rest
    return struct.pack(">H", len(body)) + body


def answer(id_: int = 0x1234) -> bytes:
    """Spell an answer."""
    rest = record(b"\xc0\x0c", A, b"\x7f\0\0\1")
    return message(id_=id_, flags=0x8180, counts=(1, 1, 0, 0), rest=rest)
