"""A ClientHello is read the same however it was cut, and what is broken is refused by the rule that it breaks."""

import random
import timeit
from time import thread_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.hellos import (
    alpn,
    groups,
    hello,
    in_records,
    key_share,
    message,
    name_extension,
    python_hello,
    record,
    replaced,
    unrecorded,
    usual,
    versions,
)
from tests.wire.malformed_hellos import MALFORMED, Case
from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.client_hello import ClientHello, is_grease, numbers_of, read_client_hello
from twisted_lb.wire.tls_rules import RULES


def read(data: bytes) -> ClientHello:
    found = read_client_hello(data)
    assert isinstance(found, ClientHello)
    return found


def outcome(data: bytes) -> ClientHello | NeedMore | str:
    try:
        return read_client_hello(data)
    except WireError as error:
        return error.reason if 0 <= error.offset <= len(data) else f"{error}, which is not there"


def content(found: ClientHello | NeedMore | str) -> ClientHello | NeedMore | str:
    """The same for the same message, whatever the records that it came in."""
    return found._replace(size=0) if isinstance(found, ClientHello) else found


def outcome_when_asked_as_told(data: bytes) -> tuple[ClientHello | NeedMore | str, int]:
    """The outcome for one who asks again just when ``at_least`` bytes have come; and how often that was."""
    end, asked = 1, 1
    while isinstance(found := outcome(data[:end]), NeedMore):
        assert found.at_least > end
        if found.at_least > len(data):
            return found, asked
        end, asked = found.at_least, asked + 1
    return found, asked


def test_every_field_is_read() -> None:
    more = [alpn(b"h2", b"http/1.1"), (11, b"\x01\x00"), (0x1A1A, b"")]
    data = hello([*usual(b"WWW.Example.ORG"), *more], suites=(0x1301, 0xC02F))
    found = read(data + b"what follows")
    assert found == ClientHello(
        legacy_version=0x0303,
        versions=(0x0304, 0x0303),
        version=0x0304,
        server_name="www.example.org",
        protocols=(b"h2", b"http/1.1"),
        extensions=(0, 10, 13, 43, 51, 16, 11, 0x1A1A),
        cipher_suites=b"\x13\x01\xc0\x2f",
        groups=b"\x00\x1d\x00\x17",
        signature_algorithms=b"\x04\x03\x08\x04\x04\x01",
        point_formats=b"\x00",
        ech=False,
        size=len(data),
    )


def test_without_extensions_there_is_nothing_to_know_but_the_version_and_the_suites() -> None:
    found = read(record(message(None, version=0x0301)))
    assert (found.version, found.versions, found.server_name, found.protocols) == (0x0301, (0x0301,), None, ())
    assert found.extensions == ()


@pytest.mark.parametrize(
    ("legacy", "offered", "version"),
    [
        (0x0301, (), 0x0301),
        (0x0303, (), 0x0303),
        (0x0304, (), 0x0303),
        (0x03FF, (), 0x0303),
        (0x0303, (0x0304, 0x0303, 0x0302, 0x0301), 0x0304),
        (0x0303, (0x0301, 0x0302), 0x0302),
        (0x0303, (0x0A0A, 0x0304), 0x0304),
        (0x0303, (0x7F1C, 0x0303), 0x0303),
    ],
)
def test_supported_versions_count_where_they_are(legacy: int, offered: tuple[int, ...], version: int) -> None:
    found = read(hello(replaced(43, *[versions(*offered)] if offered else []), version=legacy))
    assert found.version == version
    assert found.versions == (offered or (version,))


@pytest.mark.parametrize("body", [b"\x01", b"\x00\x00\x01\x00\x01\x07\x00\x01k\x00\x01p"], ids=["inner", "outer"])
def test_encrypted_client_hello_is_noticed(body: bytes) -> None:
    assert read(hello([*usual(), (0xFE0D, body)])).ech
    assert read(hello([*usual(), (0xFFCE, b"anything")])).ech
    assert not read(hello()).ech


def test_grease_may_stand_wherever_numbers_stand() -> None:
    greased = [(0x0A0A, b""), *replaced(43, versions(0x5A5A, 0x0304)), (0xFAFA, b"\x00")]
    found = read(hello([*greased[:2], groups(0x8A8A, 0x1D), *greased[3:]], suites=(0x2A2A, 0x1301)))
    assert found.version == 0x0304
    assert numbers_of(found.groups) == [0x1D]
    assert numbers_of(found.cipher_suites) == [0x1301]
    assert [number for number in range(0x10000) if is_grease(number)] == [0x0A0A + 0x1010 * n for n in range(16)]


def test_a_post_quantum_key_share_is_read_over_several_segments_and_records() -> None:
    share = key_share((0x11EC, bytes(1216)), (0x001D, bytes(32)))
    whole = message([one if one[0] != 10 else groups(0x11EC, 0x1D) for one in replaced(51, share)])
    assert len(whole) > 1300
    want = read(record(whole))
    assert numbers_of(want.groups) == [0x11EC, 0x1D]
    for cut in range(1, len(whole), 97):
        assert content(read(in_records(whole, cut))) == content(want)


def test_just_below_64_kib_is_not_too_long() -> None:
    spare = 64 * 1024 - 4 * 5 - len(message([*usual(), (21, b"")]))
    whole = message([*usual(), (21, bytes(spare))])
    data = in_records(whole, 16384, 32768, 49152)
    assert len(data) == 64 * 1024
    assert read(data).server_name == "www.example.org"
    assert outcome(in_records(message([*usual(), (21, bytes(spare + 1))]), 16384, 32768, 49152)) == "tls-hello-long"


def test_what_follows_in_later_records_is_not_looked_at() -> None:
    early = record(b"\x01", kind=20, version=0x0303) + record(bytes(99), kind=23, version=0x0303)
    assert read(hello() + early) == read(hello())
    assert read(hello() + b"anything") == read(hello())


def test_the_version_of_a_record_says_nothing() -> None:
    for version in (0x0300, 0x0301, 0x0303, 0x0304, 0x03FF):
        assert read(record(message(usual()), version=version)) == read(hello())


EXAMPLES = {
    "made-up": hello([*usual(), alpn(b"h2")]),
    "bare": record(message(None)),
    "python": python_hello(),
    "python-nameless": python_hello(None, ()),
}


@pytest.mark.parametrize("data", EXAMPLES.values(), ids=EXAMPLES)
def test_a_hello_is_the_same_cut_at_every_byte(data: bytes) -> None:
    want = read(data)
    assert outcome_when_asked_as_told(data) == (want, 3)
    for end in range(len(data)):
        found = read_client_hello(data[:end])
        assert isinstance(found, NeedMore)
        assert end < found.at_least <= len(data)


@pytest.mark.parametrize("data", EXAMPLES.values(), ids=EXAMPLES)
def test_a_hello_is_the_same_cut_into_records_at_every_byte(data: bytes) -> None:
    want, whole = read(data), unrecorded(data)
    for cut in range(1, len(whole)):
        again = in_records(whole, cut)
        assert content(read(again)) == content(want)
        assert read(again).size == len(again)
        assert outcome_when_asked_as_told(again)[0] == read(again)
    single = in_records(whole, *range(1, len(whole)))
    found, asked = outcome_when_asked_as_told(single)
    assert content(found) == content(want)
    assert asked < 50  # and not once per record


def test_there_are_more_than_a_hundred_malformed_hellos_and_they_break_every_rule_about_them() -> None:
    assert len(MALFORMED) > 100
    assert len({name for name, _, _ in MALFORMED}) == len(MALFORMED)
    assert {rule for _, rule, _ in MALFORMED} == {
        name for name, rule in RULES.items() if rule.option == "accept_invalid"
    }


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case[0])
def test_a_malformed_hello_is_refused_by_its_rule_however_it_is_cut(case: Case) -> None:
    _, rule, data = case
    assert outcome(data) == rule
    assert outcome(data[: 1 << 16] + bytes(8)) == rule
    ends = range(1, len(data)) if len(data) < 2000 else [*range(1, 200), *range(200, len(data), 997)]
    for end in ends:
        found = outcome(data[:end])
        assert found == rule or isinstance(found, NeedMore)
    assert outcome_when_asked_as_told(data + bytes(1 << 16))[0] == rule


OF_RECORDS = ("tls-no-tls", "tls-sslv2", "tls-record")
MESSAGES = [case for case in MALFORMED if not case[1].startswith(OF_RECORDS) and len(case[2]) < 2000]


@pytest.mark.parametrize("case", MESSAGES, ids=lambda case: case[0])
def test_a_malformed_message_is_refused_by_its_rule_in_other_records_too(case: Case) -> None:
    _, rule, data = case
    whole = unrecorded(data)
    for cut in range(1, len(whole)):
        assert outcome(in_records(whole, cut)) == rule


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (hello(usual(), session_id=bytes(33)), 5 + 38),
        (hello([*usual(), name_extension(b"a.example")]), len(hello()) + 0),
        (in_records(message(usual(), session_id=bytes(33)), 10), 5 + 5 + 38),
        (record(message(usual())[:50]) + b"GET", 55),
    ],
)
def test_the_place_of_what_is_wrong_is_named(data: bytes, offset: int) -> None:
    with pytest.raises(WireError) as caught:
        read_client_hello(data)
    assert caught.value.offset == offset


@given(st.binary(max_size=300))
def test_whatever_the_bytes_nothing_but_a_hello_need_more_or_a_rule_comes_out(data: bytes) -> None:
    for start in (b"", b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03" + bytes(33)):
        found = outcome(start + data)
        assert isinstance(found, ClientHello | NeedMore) or found in RULES


@settings(max_examples=300)
@given(st.sampled_from(sorted(EXAMPLES.values())), st.data())
def test_a_mutated_hello_has_one_outcome_whatever_the_cuts(data: bytes, draw: st.DataObject) -> None:
    mutated = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        place = draw.draw(st.integers(0, len(mutated) - 1))
        match draw.draw(st.sampled_from(["change", "drop", "double", "insert"])):
            case "change":
                mutated[place] = draw.draw(st.integers(0, 255))
            case "drop":
                del mutated[place : place + draw.draw(st.integers(1, 5))]
            case "double":
                mutated[place:place] = mutated[place : place + draw.draw(st.integers(1, 40))]
            case _:
                mutated[place:place] = draw.draw(st.binary(min_size=1, max_size=8))
        if not mutated:
            return
    changed = bytes(mutated)
    want = outcome(changed)
    assert isinstance(want, ClientHello | NeedMore) or want in RULES
    if not isinstance(want, NeedMore):
        assert outcome_when_asked_as_told(changed + bytes(1 << 16))[0] == want


def test_a_hello_in_records_of_one_byte_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        whole = message([*usual(), (21, bytes(size))])
        data = in_records(whole, *range(1, len(whole)))
        return min(timeit.repeat(lambda: read_client_hello(data), number=1, repeat=5, timer=thread_time))

    assert seconds(8000) < 40 * seconds(1000)


def test_random_hellos_survive_being_cut_at_random() -> None:
    chance = random.Random(1)
    whole = unrecorded(EXAMPLES["python"])
    want = read(EXAMPLES["python"])
    for _ in range(300):
        cuts = sorted(chance.sample(range(1, len(whole)), chance.randint(1, 30)))
        assert content(outcome_when_asked_as_told(in_records(whole, *cuts))[0]) == content(want)
