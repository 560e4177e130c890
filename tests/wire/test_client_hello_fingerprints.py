"""JA3 and JA4 are what their authors publish, and what a second, simple implementation says."""

import hashlib
from collections.abc import Sequence
from itertools import product

import pytest

from tests.wire.hellos import Extension, algorithms, alpn, behind, groups, hello, pairs, python_hello, usual, versions
from twisted_lb.wire.client_hello import ClientHello, read_client_hello
from twisted_lb.wire.client_hello_fingerprints import ja3, ja3_text, ja4

GREASE = [0x0A0A + 0x1010 * number for number in range(16)]


def read(data: bytes) -> ClientHello:
    found = read_client_hello(data)
    assert isinstance(found, ClientHello)
    return found


def numbers(text: str, base: int, separator: str) -> list[int]:
    return [int(one, base) for one in text.split(separator) if one]


# Source: github.com/salesforce/ja3, README.md, "How it works".
@pytest.mark.parametrize(
    ("text", "fingerprint"),
    [
        (
            "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0",
            "ada70206e40642a3e4461f35503241d5",
        ),
        ("769,4-5-10-9-100-98-3-6-19-18-99,,,", "de350869b8c85de67a350c8d186f11e6"),
    ],
)
def test_ja3_is_as_published(text: str, fingerprint: str) -> None:
    version, suites, kinds, curves, formats = (numbers(part, 10, "-") for part in text.split(","))
    bodies = {0: usual()[0][1], 10: groups(*curves)[1], 11: behind(1, bytes(formats))}
    extensions: Sequence[Extension] | bytes = [(kind, bodies[kind]) for kind in kinds] or b""
    found = read(hello(extensions, version=version[0], suites=suites))
    assert ja3_text(found) == text
    assert ja3(found) == fingerprint


CHROME_SUITES = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
CHROME_EXTENSIONS = "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"
CHROME_ALGORITHMS = "0403,0804,0401,0503,0805,0501,0806,0601"


def chrome(*grease: int) -> bytes:
    """The hello of the example in FoxIO's description of JA4, with GREASE in every list."""
    bodies = dict(usual())
    bodies[10] = groups(*grease, 0x1D, 0x17, 0x18)[1]
    bodies[13] = algorithms(*grease, *numbers(CHROME_ALGORITHMS, 16, ","))[1]
    bodies[16] = alpn(b"h2", b"http/1.1")[1]
    bodies[43] = versions(*grease, 0x0304, 0x0303)[1]
    bodies |= {0x1B: b"\x02\x00\x02", 0x2D: b"\x01\x01", 0x0B: b"\x01\x00", 0xFF01: b"\x00"}
    bodies |= dict.fromkeys((0x17, 0x12, 0x15, 0x23), b"") | {0x05: b"\x01" + bytes(4), 0x4469: b"\x00\x03\x02h2"}
    kinds = [*grease, *numbers(CHROME_EXTENSIONS, 16, ",")]
    return hello([(kind, bodies.get(kind, b"")) for kind in kinds], suites=[*grease, *numbers(CHROME_SUITES, 16, ",")])


# Source: github.com/FoxIO-LLC/ja4, technical_details/JA4.md, "Example".
@pytest.mark.parametrize("grease", [(), (0x2A2A,), (0xFAFA, 0x0A0A)])
def test_ja4_is_as_published(grease: tuple[int, ...]) -> None:
    assert ja4(read(chrome(*grease))) == "t13d1516h2_8daaf6152771_e5627efa2ab1"


# Source: the same, "Extension hash": without signature algorithms. TLS 1.3 cannot do without them, so 1.2 here.
def test_ja4_without_signature_algorithms_is_as_published() -> None:
    kinds = numbers(CHROME_EXTENSIONS, 16, ",")
    text = ",".join(f"{kind:04x}" for kind in sorted(set(kinds) - {0, 16}))
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "6d807ffa2a79"
    found = read(hello([(0x23, b""), usual()[0]]))
    assert ja4(found).split("_")[2] == hashlib.sha256(b"0023").hexdigest()[:12]


# Source: the same, "ALPN Extension Value".
@pytest.mark.parametrize(
    ("name", "characters"),
    [
        (b"h2", "h2"),
        (b"http/1.1", "h1"),
        (b"x", "xx"),
        (b"\xab", "ab"),
        (b"\xab\xcd", "ad"),
        (b"\x30\xab", "3b"),
        (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
    ],
)
def test_ja4_shows_the_ends_of_the_first_protocol(name: bytes, characters: str) -> None:
    assert ja4(read(hello([*usual(), alpn(name, b"other")]))).split("_")[0][-2:] == characters


def test_ja4_without_anything() -> None:
    found = read(hello(b"", version=0x0301, suites=(0x2A2A,)))
    assert ja4(found) == "t10i000000_000000000000_000000000000"


def test_ja4_counts_to_99() -> None:
    found = read(hello(suites=range(1, 151)))
    assert ja4(found).startswith("t13d9905")


def simple(data: bytes) -> tuple[str, str]:
    """JA3 and JA4 of a hello in one record, by slicing; written apart from the other implementation."""
    body = data[9:]
    legacy, rest = body[:2], body[34:]
    rest = rest[1 + rest[0] :]
    size = int.from_bytes(rest[:2], "big")
    suites = [rest[2 + at : 4 + at].hex() for at in range(0, size, 2)]
    rest = rest[2 + size :]
    rest = rest[1 + rest[0] :][2:]
    extensions: list[tuple[str, bytes]] = []
    while rest:
        size = int.from_bytes(rest[2:4], "big")
        extensions.append((rest[:2].hex(), rest[4 : 4 + size]))
        rest = rest[4 + size :]
    meaningless = {pairs([number]).hex() for number in GREASE}
    bodies = dict(extensions)

    def listed(kind: str, skip: int) -> list[str]:
        content = bodies.get(kind, b"")[skip:]
        return [one for at in range(0, len(content), 2) if (one := content[at : at + 2].hex()) not in meaningless]

    suites = [one for one in suites if one not in meaningless]
    kinds = [kind for kind, _ in extensions if kind not in meaningless]

    def decimal(values: list[str]) -> str:
        return "-".join(str(int(value, 16)) for value in values)

    formats = "-".join(map(str, bodies.get("000b", b"")[1:]))
    old = ",".join([str(int(legacy.hex(), 16)), decimal(suites), decimal(kinds), decimal(listed("000a", 2)), formats])
    version = {"0304": "13", "0303": "12", "0302": "11", "0301": "10"}[max(listed("002b", 1), default=legacy.hex())]
    first = bodies["0010"][3 : 3 + bodies["0010"][2]].decode() if "0010" in bodies else "00"
    new = f"t{version}{'d' if '0000' in kinds else 'i'}{len(suites):02d}{len(kinds):02d}{first[0]}{first[-1]}"
    sorted_kinds = ",".join(sorted(set(kinds) - {"0000", "0010"}))
    third = "_".join(part for part in (sorted_kinds, ",".join(listed("000d", 2))) if part)
    parts = (",".join(sorted(suites)), third)
    digests = [hashlib.sha256(part.encode()).hexdigest()[:12] if part else "0" * 12 for part in parts]
    return hashlib.md5(old.encode()).hexdigest(), f"{new}_{digests[0]}_{digests[1]}"


@pytest.mark.parametrize(
    "data",
    [
        *(python_hello(name, protocols) for name, protocols in product(("a.example", None), ((), ("http/1.1",)))),
        chrome(),
        chrome(0x1A1A),
        hello(),
    ],
)
def test_a_second_implementation_agrees(data: bytes) -> None:
    found = read(data)
    assert (ja3(found), ja4(found)) == simple(data)
