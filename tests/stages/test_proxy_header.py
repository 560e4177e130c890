"""What a bind expects of whom, what a broken header's log line says, and what a server is told first."""

from typing import Any
from uuid import UUID

import pytest

from twisted_lb.config.proxy_header import SendProxy
from twisted_lb.config.tlvs import forwarded_types, own_tlvs
from twisted_lb.errors import PluginError, WireError
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.networks import Networks
from twisted_lb.plugin_host import Built
from twisted_lb.stages.proxy_header import Reception, Sender, Trust, describe
from twisted_lb.testing import make_facts
from twisted_lb.verdicts import ALLOW, Deny, NeedMore
from twisted_lb.wire.proxy_header import ProxyHeader, Tlv, TlvType
from twisted_lb.wire.proxy_tlvs import Ssl
from twisted_lb_plugins.proxy_header_v1 import ProxyV1
from twisted_lb_plugins.proxy_header_v2 import ProxyV2

V1: Built[Any] = Built("proxy_header_v1", "v1", ProxyV1())
V2: Built[Any] = Built("proxy_header_v2", "v2", ProxyV2())
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = b"PROXY TCP4 203.0.113.7 198.51.100.9 51000 443\r\n"
CLAIMED, ASKED = SocketAddress("203.0.113.7", 51000), SocketAddress("198.51.100.9", 443)


def reception(*from_: str, others: Trust = Trust.REFUSED, codecs: Any = (V1, V2), max_header: int = 4096) -> Reception:
    return Reception(codecs, Networks.parse(from_) if from_ else None, others, 3.0, max_header)


# Receiving


@pytest.mark.parametrize("others", [Trust.REFUSED, Trust.DIRECT])
@pytest.mark.parametrize(
    ("source", "trusted"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:10.1.2.3", True),
        ("fd00::1", True),
        ("fe80::1%eth0", False),
        ("unix:", True),
        ("unix:/run/a", True),
        ("", False),
        ("some.name", False),
    ],
)
def test_a_source_inside_from_must_send_a_header_and_others_are_others(
    source: str, trusted: bool, others: Trust
) -> None:
    expected = Trust.MUST_SEND if trusted else others
    assert reception("10.0.0.0/8", "fd00::/8", "unix", others=others).expects(source) is expected


@pytest.mark.parametrize("source", ["10.1.2.3", "::1", "unix:", "", "some.name"])
def test_without_from_everybody_must_send_a_header(source: str) -> None:
    assert reception().expects(source) is Trust.MUST_SEND


def test_a_header_replaces_the_addresses_and_leaves_the_peers() -> None:
    facts = make_facts()
    peer = facts.peer
    assert reception().take(LINE + b"rest", facts) == (ALLOW, len(LINE))
    assert (facts.source, facts.destination, facts.peer) == (CLAIMED, ASKED, peer)
    assert facts.proxy_header == ProxyHeader(source=CLAIMED, destination=ASKED)


@pytest.mark.parametrize("data", [b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0", SIGNATURE + b"\x21\0\0\0"])
def test_a_header_without_addresses_is_kept_and_replaces_nothing(data: bytes) -> None:
    facts = make_facts()
    before = facts.source, facts.destination
    assert reception().take(data, facts) == (ALLOW, len(data))
    assert (facts.source, facts.destination) == before
    assert facts.proxy_header is not None


def test_what_tlvs_say_is_learnt_and_the_first_of_a_type_counts() -> None:
    vpce = Tlv(0xEA, b"\x01vpce-0123")
    said = (
        Tlv(0x02, b"a.example"),
        vpce,
        Tlv(0x02, b"b.example"),
        Tlv(0xE4, b"\0\1"),
        Ssl(1, 0, (Tlv(0x21, b"TLSv1.3"),)).encode(),
    )
    header = V2.object.encode(ProxyHeader(source=CLAIMED, destination=ASKED, tlvs=said))
    facts = make_facts()
    assert reception().take(header, facts) == (ALLOW, len(header))
    assert facts.learnt == {
        "proxy.authority": "a.example",
        "proxy.aws.vpce_id": "vpce-0123",
        "proxy.0xE4": b"\0\1",
        "proxy.ssl.client": 1,
        "proxy.ssl.verify": 0,
        "proxy.ssl.version": "TLSv1.3",
    }


def test_a_template_passes_on_what_a_header_said() -> None:
    facts = make_facts(learnt={"proxy.unique_id": b"id-7", "proxy.authority": "a.example"})
    text = "{learnt.proxy.unique_id} {learnt.proxy.authority} {learnt.proxy.nothing}"
    assert tlvs_sent(facts, tlvs={"0xE4": text}) == {0xE4: b"id-7 a.example "}


def test_facts_stay_as_they_were_until_a_header_is_whole_and_good() -> None:
    facts = make_facts()
    before = facts.source, facts.destination
    for end in range(1, len(LINE)):
        verdict, used = reception().take(LINE[:end], facts)
        assert isinstance(verdict, NeedMore)
        assert used == 0
    broken = LINE.replace(b"443", b"99999")
    assert isinstance(reception().take(broken, facts)[0], Deny)
    assert (facts.source, facts.destination, facts.proxy_header) == (*before, None)


@pytest.mark.parametrize(
    ("codecs", "data", "cause"),
    [
        ([V2], LINE, "which is not accepted here"),
        ([V1], SIGNATURE + b"\x20\0\0\0", "which is not accepted here"),
        ([V1, V2], b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "looks like a TLS ClientHello: the sender does not"),
    ],
)
def test_what_no_accepted_version_begins_with_is_refused(codecs: Any, data: bytes, cause: str) -> None:
    verdict, _ = reception(codecs=codecs).take(data, make_facts())
    assert isinstance(verdict, Deny)
    assert verdict.reason.startswith("proxy-not-a-header")
    assert cause in verdict.reason


def test_the_longest_header_is_what_max_header_says() -> None:
    assert reception(max_header=len(LINE)).read(LINE + b"rest") == (
        ProxyHeader(source=CLAIMED, destination=ASKED),
        len(LINE),
    )
    with pytest.raises(WireError, match="proxy-header-too-long"):
        reception(max_header=len(LINE) - 1).read(LINE)
    announces_100 = SIGNATURE + b"\x21\x11\0\x64"
    assert reception(max_header=116).read(announces_100) == NeedMore(116)
    with pytest.raises(WireError, match="proxy-header-too-long"):
        reception(max_header=115).read(announces_100)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b'plain "text"', '"plain "text""'),
        (b"\x16\x03\x01\0\xff\n", '"\\x16\\x03\\x01\\x00\\xff\\n"'),
        (b"back\\slash", '"back\\\\slash"'),
        (bytes(range(256)), "\\x1f"),
    ],
)
def test_the_first_bytes_are_shown_so_that_a_terminal_survives_them(data: bytes, shown: str) -> None:
    line = describe(WireError("odd", 7), data)
    assert line.startswith("odd")
    assert "7" in line
    assert shown in line
    assert line.isprintable()
    assert line.isascii()
    assert len(line) < 300


# Sending


def sender(send: SendProxy, codec: Built[Any] = V2) -> Sender:
    return Sender(codec, own_tlvs(send), forwarded_types(send))


def v2(**settings: Any) -> Sender:
    return sender(SendProxy(version="v2", **settings))


def sent(by: Sender, facts: Facts) -> ProxyHeader:
    """What the header says; the codec verifies its checksum, if it has one."""
    preface = by.preface(facts)
    answer = ProxyV2().decode(preface)
    assert isinstance(answer, tuple)
    header: ProxyHeader = answer[0]
    assert answer[1] == len(preface)
    return header


def tlvs_sent(facts: Facts, **settings: Any) -> dict[int, bytes]:
    tlvs = sent(v2(**settings), facts).tlvs
    assert len({tlv.type for tlv in tlvs}) == len(tlvs), "a type was sent twice"
    return dict(tlvs)


def received(*tlvs: Tlv) -> Facts:
    facts = make_facts()
    facts.proxy_header = ProxyHeader(source=CLAIMED, destination=ASKED, tlvs=tlvs)
    return facts


IPV4 = SocketAddress("203.0.113.7", 1), SocketAddress("198.51.100.9", 2)
IPV6 = SocketAddress("2001:db8::7", 1), SocketAddress("2001:db8::9", 2)
UNIX = SocketAddress("unix:"), SocketAddress("unix:/run/lb.sock")
MAPPED = SocketAddress("::ffff:203.0.113.7", 1), SocketAddress("::ffff:198.51.100.9", 2)


@pytest.mark.parametrize(
    ("source", "destination", "line", "pair"),
    [
        (*IPV4, "TCP4 203.0.113.7 198.51.100.9 1 2", IPV4),
        (*IPV6, "TCP6 2001:db8::7 2001:db8::9 1 2", IPV6),
        (IPV4[0], IPV6[1], "TCP6 ::ffff:203.0.113.7 2001:db8::9 1 2", (MAPPED[0], IPV6[1])),
        (IPV6[0], IPV4[1], "TCP6 2001:db8::7 ::ffff:198.51.100.9 1 2", (IPV6[0], MAPPED[1])),
        (SocketAddress("fe80::1%eth0", 1), IPV6[1], "TCP6 fe80::1 2001:db8::9 1 2", (("fe80::1", 1), IPV6[1])),
        (*UNIX, "UNKNOWN", UNIX),
        (UNIX[0], IPV4[1], "UNKNOWN", (None, None)),
        (IPV4[0], UNIX[1], "UNKNOWN", (None, None)),
        (SocketAddress("some.name", 1), IPV4[1], "UNKNOWN", (None, None)),
    ],
)
def test_every_pair_of_families_has_its_header(
    source: SocketAddress, destination: SocketAddress, line: str, pair: Any
) -> None:
    facts = Facts(source, destination, "web", "*:80")
    assert sender(SendProxy(version="v1"), V1).preface(facts) == f"PROXY {line}\r\n".encode()
    header = sent(v2(), facts)
    assert (header.source, header.destination) == pair
    assert header.local is (pair == (None, None))
    assert header.tlvs == ()


def test_what_a_received_header_claims_is_what_is_sent() -> None:
    facts = make_facts()
    reception().take(LINE, facts)
    assert sender(SendProxy(version="v1"), V1).preface(facts) == LINE


def test_a_template_is_filled_in_with_the_claimed_and_the_real_addresses() -> None:
    facts = make_facts(learnt={"tls.sni": "a.example"})
    reception().take(LINE, facts)
    text = (
        "{source}:{source_port}>{destination}:{destination_port}<{peer}:{peer_port} {frontend} {bind} {learnt.tls.sni}"
    )
    tlvs = tlvs_sent(facts, tlvs={"0xE4": text, "alpn": "h2", "netns": "blue {{1}}"})
    assert tlvs == {
        0xE4: b"203.0.113.7:51000>198.51.100.9:443<192.0.2.1:40000 web *:80 a.example",
        TlvType.ALPN: b"h2",
        TlvType.NETNS: b"blue {1}",
    }


def test_a_field_that_nobody_learnt_is_empty_and_a_tlv_without_a_word_is_left_out() -> None:
    tlvs = tlvs_sent(make_facts(), tlvs={"0xE4": "{learnt.tls.sni}", "0xE5": "[{learnt.tls.sni}]"})
    assert tlvs == {0xE5: b"[]"}


def test_a_unique_id_is_a_new_uuid_each_time() -> None:
    by = v2(tlvs={"unique_id": "uuid"})
    ids = [sent(by, make_facts()).tlv(TlvType.UNIQUE_ID) for _ in range(20)]
    assert len(set(ids)) == 20
    for one in ids:
        assert one is not None
        assert UUID(one.decode()).version == 4


def test_the_name_that_the_client_asked_for_is_the_learnt_one_or_else_the_received() -> None:
    settings = {"tlvs": {"authority": "sni"}}
    assert tlvs_sent(make_facts(), **settings) == {}
    assert tlvs_sent(make_facts(learnt={"tls.sni": "learnt.example"}), **settings) == {2: b"learnt.example"}
    facts = received(Tlv(TlvType.AUTHORITY, b"received.example"))
    assert tlvs_sent(facts, **settings) == {2: b"received.example"}
    facts.learnt["tls.sni"] = "learnt.example"
    assert tlvs_sent(facts, **settings) == {2: b"learnt.example"}


def test_the_checksum_is_over_the_whole_header() -> None:
    settings = {"tlvs": {"crc32c": True, "0xE4": "{source}"}}
    preface = v2(**settings).preface(make_facts())
    assert set(tlvs_sent(make_facts(), **settings)) == {TlvType.CRC32C, 0xE4}
    for place in range(29, len(preface)):  # at 28 is its type, without which there is no checksum
        damaged = preface[:place] + bytes([preface[place] ^ 1]) + preface[place + 1 :]
        with pytest.raises(WireError):
            ProxyV2().decode(damaged)


def test_haproxys_options_are_understood_by_name() -> None:
    facts = received(Tlv(TlvType.AUTHORITY, b"received.example"))
    tlvs = tlvs_sent(facts, proxy_v2_options=["authority", "crc32c", "unique-id"])
    assert set(tlvs) == {TlvType.AUTHORITY, TlvType.CRC32C, TlvType.UNIQUE_ID}
    assert tlvs[TlvType.AUTHORITY] == b"received.example"


RECEIVED = (
    Tlv(TlvType.ALPN, b"h2"),
    Tlv(0xEA, b"\x01vpce-1"),
    Tlv(TlvType.NOOP, b"\0\0"),
    Tlv(0x55, b"nobody knows"),
    Tlv(TlvType.SSL, b"\x01\0\0\0\0"),
    Tlv(0xEA, b"again"),
    Tlv(TlvType.CRC32C, b"\1\2\3\4"),
)


@pytest.mark.parametrize(
    ("listed", "passed"),
    [
        ([], []),
        (["0xEA"], [1, 5]),
        (["ssl", "alpn"], [0, 4]),
        (["authority"], []),
        (["all"], [0, 1, 3, 4, 5]),
    ],
)
def test_what_is_listed_is_passed_on_as_it_was_received(listed: list[str], passed: list[int]) -> None:
    assert sent(v2(forward_tlvs=listed), received(*RECEIVED)).tlvs == tuple(RECEIVED[place] for place in passed)


def test_nothing_is_passed_on_where_nothing_was_received() -> None:
    assert sent(v2(forward_tlvs=["all"]), make_facts()).tlvs == ()


def test_what_is_set_takes_the_place_of_what_was_received() -> None:
    tlvs = sent(v2(forward_tlvs=["all"], tlvs={"0xEA": "ours", "crc32c": True}), received(*RECEIVED)).tlvs
    assert [tlv for tlv in tlvs if tlv.type == 0xEA] == [Tlv(0xEA, b"ours")]
    assert {tlv.type for tlv in tlvs} == {TlvType.ALPN, 0xEA, 0x55, TlvType.SSL, TlvType.CRC32C}


class Odd:
    """A codec that encodes, and decodes, as it is told to."""

    signature = b"ODD"
    max_length = 100

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def encode(self, header: Any) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    decode = encode


@pytest.mark.parametrize(
    "answer",
    [None, "text", bytearray(b"x"), 5, LookupError("oops"), WireError("odd"), SystemExit(), GeneratorExit()],
)
def test_a_codec_that_cannot_encode_is_to_blame(answer: Any) -> None:
    with pytest.raises(PluginError, match=r"PROXY codec 'odd' (raised|answered) .* in encode") as caught:
        sender(SendProxy(version="odd"), Built("proxy_header_test", "odd", Odd(answer))).preface(make_facts())
    assert caught.value.plugin == "proxy_header_test"


@pytest.mark.parametrize(
    ("longest", "came", "answer"),
    [(3, 3, NeedMore(1)), (3, 3, NeedMore(4)), (9, 3, NeedMore(10)), (3, 4, (ProxyHeader(), 4))],
)
def test_a_header_longer_than_its_codec_allows_is_refused(
    monkeypatch: pytest.MonkeyPatch, longest: int, came: int, answer: Any
) -> None:
    monkeypatch.setattr(Odd, "max_length", longest)
    one = reception(codecs=[Built("x", "odd", Odd(answer))])
    with pytest.raises(WireError, match=f"proxy-header-too-long at byte {longest}"):
        one.read(b"ODD!"[:came])
    monkeypatch.setattr(Odd, "max_length", 10)
    assert one.read(b"ODD!"[:came]) == answer


def test_an_interrupt_is_not_a_codec_s_fault() -> None:
    with pytest.raises(KeyboardInterrupt):
        sender(SendProxy(version="odd"), Built("x", "odd", Odd(KeyboardInterrupt()))).preface(make_facts())
    with pytest.raises(KeyboardInterrupt):
        reception(codecs=[Built("x", "odd", Odd(KeyboardInterrupt()))]).read(b"ODD")


def test_a_value_that_its_type_has_no_room_for_is_no_header() -> None:
    with pytest.raises(PluginError, match="proxy-v2-unique-id"):
        v2(tlvs={"unique_id": "{learnt.id}"}).preface(make_facts(learnt={"id": "x" * 129}))


# Checks


def test_a_checks_header_names_no_client_and_has_no_tlv_but_the_checksum() -> None:
    settings: Any = {"tlvs": {"authority": "sni", "crc32c": True}, "forward_tlvs": ["all"]}
    header, _ = V2.object.decode(v2(**settings).local())
    assert header.local
    assert header.source is None
    assert [tlv.type for tlv in header.tlvs] == [TlvType.CRC32C]
    assert v2().local() == SIGNATURE + b"\x20\0\0\0"
    assert sender(SendProxy(version="v1"), V1).local() == b"PROXY UNKNOWN\r\n"


# Network namespaces


def with_netns(name: bytes | None, local: bool = False) -> bytes:
    tlvs = () if name is None else (Tlv(TlvType.NETNS, name),)
    addresses: dict[str, Any] = {} if local else {"source": CLAIMED, "destination": ASKED}
    header: bytes = ProxyV2().encode(ProxyHeader(tlvs=tlvs, local=local, **addresses))
    return header


def choosing(*names: str) -> Reception:
    return Reception((V1, V2), None, Trust.REFUSED, 3.0, 4096, dict.fromkeys(names))


@pytest.mark.parametrize(
    ("listed", "data", "namespace"),
    [
        (("blue", "red"), with_netns(b"red"), "red"),
        (("blue",), with_netns(None), "bind's"),
        (("blue",), LINE, "bind's"),
        (("blue",), with_netns(b"red", local=True), "bind's"),
        ((), with_netns(b"red"), "bind's"),
    ],
)
def test_a_header_chooses_among_the_namespaces_that_are_listed(
    listed: tuple[str, ...], data: bytes, namespace: str
) -> None:
    facts = make_facts()
    facts.namespace = "bind's"
    assert choosing(*listed).take(data, facts) == (ALLOW, len(data))
    assert facts.namespace == namespace


@pytest.mark.parametrize("name", [b"red", b"", b"blue\0", b"\xff"])
def test_a_namespace_that_is_not_listed_refuses_the_connection(name: bytes) -> None:
    facts = make_facts()
    source = facts.source
    verdict, used = choosing("blue").take(with_netns(name), facts)
    assert isinstance(verdict, Deny)
    assert verdict.reason.startswith("proxy-netns: ")
    assert "is not in accept_proxy.namespaces" in verdict.reason
    assert (used, facts.source, facts.namespace) == (0, source, None)


@pytest.mark.parametrize(
    ("send", "received", "expected"),
    [
        (SendProxy(version="v2"), None, [b"blue"]),
        (SendProxy(version="v2"), b"red", [b"blue"]),
        (SendProxy(version="v2", tlvs={"netns": "own"}), b"red", [b"own"]),
        (SendProxy(version="v2", forward_tlvs=["netns"]), b"red", [b"red"]),
        (SendProxy(version="v2", forward_tlvs=["netns"]), None, [b"blue"]),
    ],
)
def test_a_server_is_told_the_clients_namespace_once(
    send: SendProxy, received: bytes | None, expected: list[bytes]
) -> None:
    facts = make_facts()
    facts.namespace = "blue"
    if received is not None:
        facts.proxy_header = ProxyHeader(tlvs=(Tlv(TlvType.NETNS, received),))
    sent, _ = ProxyV2().decode(Sender(V2, own_tlvs(send), forwarded_types(send)).preface(facts))
    assert [tlv.value for tlv in sent.tlvs if tlv.type == TlvType.NETNS] == expected


def test_a_v1_header_says_nothing_of_namespaces() -> None:
    facts = make_facts()
    plain = Sender(V1).preface(facts)
    facts.namespace = "blue"
    assert Sender(V1).preface(facts) == plain
