"""Queries of DNS are read whole, and nothing else passes for one."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.dns_spelling import EDNS, IXFR, OPT, TSIG, A, answer, message, question, record
from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.dns_query import OPCODES, DnsQuery, read_dns_query

EVERY_OPCODE = frozenset(OPCODES.values())
SOA = record(b"\xc0\x0c", 6, b"\xc0\x0c\xc0\x0c" + bytes(20))
SIGNATURE = record(b"\3key\0", TSIG, bytes(40), class_=255)
QUERIES: dict[str, tuple[bytes, DnsQuery]] = {
    "plain": (message(), DnsQuery(0x1234, 0, "www.example.org", "A", "IN")),
    "edns": (
        message(question("Example.ORG", 28), counts=(1, 0, 0, 1), rest=EDNS),
        DnsQuery(0x1234, 0, "example.org", "AAAA", "IN"),
    ),
    "root": (message(question("", 2)), DnsQuery(0x1234, 0, ".", "NS", "IN")),
    "chaos": (message(question("version.bind", 16, 3)), DnsQuery(0x1234, 0, "version.bind", "TXT", "CH")),
    "unknown": (message(question("x", 65280, 5)), DnsQuery(0x1234, 0, "x", "TYPE65280", "CLASS5")),
    "transfer": (
        message(question("example.org", IXFR), counts=(1, 0, 1, 0), rest=SOA),
        DnsQuery(0x1234, 0, "example.org", "IXFR", "IN"),
    ),
    "signed": (
        message(counts=(1, 0, 0, 2), rest=EDNS + SIGNATURE),
        DnsQuery(0x1234, 0, "www.example.org", "A", "IN"),
    ),
    "notify": (
        message(question("example.org", 6), flags=0x2400, counts=(1, 1, 0, 0), rest=SOA),
        DnsQuery(0x1234, 4, "example.org", "SOA", "IN"),
    ),
    "update": (
        message(
            question("example.org", 6),
            flags=0x2800,
            counts=(1, 1, 2, 1),
            rest=record(b"\xc0\x0c", 255, class_=255) + record(b"\1a\xc0\x0c", A, bytes(4)) * 2 + SIGNATURE,
        ),
        DnsQuery(0x1234, 5, "example.org", "SOA", "IN"),
    ),
    "odd": (
        message(question("a\xffb")[:-5] + b"\4c.\\d\0\0\1\0\1"),
        DnsQuery(0x1234, 0, "a\\255b.c\\.\\\\d", "A", "IN"),
    ),
}
REFUSED: dict[str, tuple[str, bytes]] = {
    "http": ("dns-long", b"GET / HTTP/1.1\r\n\r\n"),
    "tls": ("dns-long", b"\x16\x03\x01\x02\0"),
    "empty": ("dns-length", b"\0\0"),
    "short": ("dns-length", b"\0\x0b" + bytes(11)),
    "answer": ("dns-response", answer()),
    "status": ("dns-opcode", message(flags=0x1000)),
    "dso": ("dns-opcode", message(b"", flags=0x3000, counts=(0, 0, 0, 0))),
    "truncation": ("dns-flags", message(flags=0x0300)),
    "zero": ("dns-flags", message(flags=0x0140)),
    "code": ("dns-flags", message(flags=0x0103)),
    "nothing": ("dns-questions", message(b"", counts=(0, 0, 0, 0))),
    "two": ("dns-questions", message(question() * 2, counts=(2, 0, 0, 0))),
    "pointer": ("dns-pointer", message(b"\xc0\x0c\0\1\0\1")),
    "label": ("dns-label", message(b"\x40" + b"a" * 64 + b"\0\0\1\0\1")),
    "name": ("dns-name-long", message(question(".".join(["a" * 63] * 4)))),
    "cut-name": ("dns-truncated", message(b"\3ww")),
    "cut-question": ("dns-truncated", message(b"\1a\0\0\1")),
    "type-zero": ("dns-question", message(question(type_=0))),
    "type-opt": ("dns-question", message(question(type_=OPT))),
    "class-zero": ("dns-question", message(question(class_=0))),
    "answers": ("dns-records", message(counts=(1, 1, 0, 0), rest=record(b"\xc0\x0c", A, bytes(4)))),
    "authority": ("dns-records", message(counts=(1, 0, 1, 0), rest=SOA)),
    "misplaced": ("dns-records", message(question(type_=IXFR), counts=(1, 0, 1, 0), rest=EDNS)),
    "serial": (
        "dns-records",
        message(question(type_=IXFR), counts=(1, 0, 1, 0), rest=record(b"\xc0\x0c", A, bytes(4))),
    ),
    "loop": ("dns-pointer", message(counts=(1, 0, 0, 1), rest=record(b"\xc0\x21", A))),
    "forward": ("dns-pointer", message(counts=(1, 0, 0, 1), rest=record(b"\xc0\xff", A))),
    "header": ("dns-pointer", message(counts=(1, 0, 0, 1), rest=record(b"\xc0\x04", A))),
    "cut-record": ("dns-truncated", message(counts=(1, 0, 0, 2), rest=EDNS)),
    "cut-data": ("dns-truncated", message(counts=(1, 0, 0, 1), rest=EDNS[:-1])),
    "edns-twice": ("dns-edns", message(counts=(1, 0, 0, 2), rest=EDNS * 2)),
    "edns-name": ("dns-edns", message(counts=(1, 0, 0, 1), rest=record(b"\1a\0", OPT))),
    "edns-option": ("dns-edns", message(counts=(1, 0, 0, 1), rest=record(b"\0", OPT, b"\0\x0a\0\x09cookie!!"))),
    "signature": ("dns-signature", message(counts=(1, 0, 0, 2), rest=SIGNATURE + EDNS)),
    "more": ("dns-trailing", message(rest=b"x")),
}


@pytest.mark.parametrize("key", QUERIES)
def test_a_query_is_read(key: str) -> None:
    data, query = QUERIES[key]
    assert read_dns_query(data, EVERY_OPCODE) == query
    assert read_dns_query(data + b"next", EVERY_OPCODE) == query


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_no_query_is_refused(key: str) -> None:
    reason, data = REFUSED[key]
    with pytest.raises(WireError, match=f"^{reason} "):
        read_dns_query(data, EVERY_OPCODE)


@pytest.mark.parametrize("key", ["notify", "update"])
def test_other_operations_take_a_permission(key: str) -> None:
    with pytest.raises(WireError, match="dns-opcode"):
        read_dns_query(QUERIES[key][0])


def test_the_length_is_judged_before_the_rest_has_come() -> None:
    with pytest.raises(WireError, match="dns-long"):
        read_dns_query(b"\x10\x01")
    assert (read_dns_query(b"\x10"), read_dns_query(b"\x10\x00")) == (NeedMore(2), NeedMore(14))
    assert read_dns_query(message()[:14]) == NeedMore(len(message()))


def told(data: bytes, *ends: int) -> object:
    """The answer that comes first, when only so many bytes are there at a time."""
    for end in ends:
        try:
            found = read_dns_query(data[:end], EVERY_OPCODE, 600)
        except WireError as error:
            return error.reason
        if isinstance(found, DnsQuery):
            return found
        assert end < found.at_least
    return None


GOLDEN = [data for data, _ in QUERIES.values()] + [data for _, data in REFUSED.values()]


@pytest.mark.parametrize("data", GOLDEN)
def test_every_cut_leads_to_the_same_answer(data: bytes) -> None:
    whole = told(data, len(data))
    assert told(data, *range(1, len(data) + 1)) == whole
    for cut in range(1, len(data)):
        assert told(data, cut, len(data)) == whole


@given(
    st.sampled_from(GOLDEN),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=4),
    st.integers(1, 99),
)
def test_any_bytes_get_the_same_answer_however_they_are_cut(
    data: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    changed = bytearray(data)
    for at, byte in changes:
        changed[at % len(changed)] = byte
    data = bytes(changed)
    assert told(data, min(cut, len(data)), len(data)) == told(data, len(data))


@given(st.binary(max_size=80))
def test_any_bytes_behind_a_header_are_read_or_refused(rest: bytes) -> None:
    for counts in ((1, 0, 0, 0), (1, 0, 0, 3), (1, 40, 2, 1)):
        data = message(rest, flags=0x2800 if counts[1] else 0, counts=counts)
        assert told(data, len(data)) is not None


def test_many_pointers_take_no_more_time_than_as_many_bytes() -> None:
    # Each name is a chain of all the pointers before it; without a bound the time would grow with the square.
    body = bytearray(message(question(), flags=0x2800)[2:])
    count, target = 0, 12
    while len(body) < 50_000:
        target, before = len(body), target
        body += record((0xC000 | (before & 0x3FFF)).to_bytes(2, "big"), A)
        count += 1
    body[4:12] = b"\0\1" + count.to_bytes(2, "big") + bytes(4)
    started = time.process_time()
    with pytest.raises(WireError, match="dns-pointer"):
        read_dns_query(len(body).to_bytes(2, "big") + bytes(body), EVERY_OPCODE, 60_000)
    assert time.process_time() - started < 1
