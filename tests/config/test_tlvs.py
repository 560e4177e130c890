"""The TLVs that ``send_proxy`` adds and passes on: names, numbers, texts, and every way to get one wrong."""

from typing import Any

import pytest

from twisted_lb.config.proxy_header import SendProxy
from twisted_lb.config.templates import Field
from twisted_lb.config.tlvs import Computed, TlvValue, forwarded_types, own_tlvs
from twisted_lb.errors import ConfigError


def send(**changes: Any) -> SendProxy:
    return SendProxy(version="v2", **changes)


@pytest.mark.parametrize(
    ("name", "text", "type", "value"),
    [
        ("alpn", "h2", 0x01, ("h2",)),
        ("authority", "sni", 0x02, Computed.SNI),
        ("authority", "{learnt.tls.sni}", 0x02, (Field("learnt.tls.sni"),)),
        ("authority", "uuid", 0x02, ("uuid",)),
        ("crc32c", True, 0x03, Computed.CHECKSUM),
        ("unique_id", "uuid", 0x05, Computed.UUID),
        ("unique_id", "u" * 128, 0x05, ("u" * 128,)),
        ("unique_id", "sni", 0x05, ("sni",)),
        ("netns", "blue", 0x30, ("blue",)),
        ("0xE0", "{source}:{source_port}", 0xE0, (Field("source"), ":", Field("source_port"))),
        ("0xe4", "sni", 0xE4, ("sni",)),
        ("0XF7", "x", 0xF7, ("x",)),
    ],
)
def test_a_tlv_has_its_type_and_what_goes_into_it(name: str, text: str | bool, type: int, value: TlvValue) -> None:
    assert own_tlvs(send(tlvs={name: text})) == {type: value}


def test_a_checksum_that_is_switched_off_is_none() -> None:
    assert own_tlvs(send(tlvs={"crc32c": False}, proxy_v2_options=["crc32c"])) == {}


def test_haproxys_options_stand_for_tlvs_where_tlvs_does_not_set_them() -> None:
    options = ["ssl", "cert-cn", "authority", "crc32c", "unique-id"]
    assert own_tlvs(send(proxy_v2_options=options)) == {
        0x02: Computed.SNI,
        0x03: Computed.CHECKSUM,
        0x05: Computed.UUID,
    }
    assert own_tlvs(send(proxy_v2_options=options, tlvs={"unique_id": "u"}))[0x05] == ("u",)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (
            "authorty",
            "sni",
            'authorty: "authorty" is no TLV that can be here, nor a number such as "0xE4"; did you mea',
        ),
        ("ssl", "x", 'ssl: "ssl" is no TLV that can be here'),
        ("all", "x", 'all: "all" is no TLV that can be here'),
        ("228", "x", '228: "228" is no TLV that can be here'),
        ("0xE4\n", "x", '"0xE4\\n": '),
        ("0x02", "x", '0x02: "0x02" has a name: write "authority"'),
        ("0x2", "x", '0x2: "0x2" has a name: write "authority"'),
        ("0xDF", "x", '0xDF: "0xDF" is not possible: a type given by its number is from "0xE0" to "0xF7"'),
        ("0xF8", "x", '0xF8: "0xF8" is not possible'),
        ("0x21", "x", '0x21: "0x21" is not possible'),
        ("crc32c", "yes", 'crc32c: expected true or false, got "yes"'),
        ("alpn", True, "alpn: expected a string, got true"),
        ("alpn", "", "alpn: is empty"),
        ("alpn", "{sorce}", 'alpn: "{sorce}": there is no field "sorce"; did you mean "source"?'),
        ("unique_id", "u" * 127 + "ü{source}", "unique_id: is too long: its text alone has 129 bytes"),
        ("0xE4", "x" * 65536, "0xE4: is too long: its text alone has 65536 bytes"),
    ],
)
def test_a_wrong_tlv_is_named_with_what_would_be_right(name: str, text: str | bool, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        own_tlvs(send(tlvs={name: text}))
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"tlvs.{problem}")


def test_one_type_cannot_be_set_twice() -> None:
    with pytest.raises(ConfigError, match=r"^tlvs\.0xe4: the same type is there already$"):
        own_tlvs(send(tlvs={"0xE4": "a", "0xe4": "b"}))


@pytest.mark.parametrize(
    ("names", "types"),
    [
        ([], set()),
        (["alpn", "authority", "unique_id", "netns", "ssl"], {0x01, 0x02, 0x05, 0x30, 0x20}),
        (["0xEA", "0xf0"], {0xEA, 0xF0}),
        (["all"], set(range(256)) - {0x03, 0x04}),
    ],
)
def test_what_is_passed_on_is_a_set_of_types(names: list[str], types: set[int]) -> None:
    assert forwarded_types(send(forward_tlvs=names)) == types


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["crc32c"], "forward_tlvs[0]: a received checksum fits no other header"),
        (
            ["ssl", "sll"],
            'forward_tlvs[1]: "sll" is no TLV that can be here, nor a number such as "0xE4"; did you mean',
        ),
        (["0x20"], 'forward_tlvs[0]: "0x20" has a name: write "ssl"'),
        (["0x03"], 'forward_tlvs[0]: "0x03" is not possible'),
        (["ssl", "ssl"], 'forward_tlvs[1]: "ssl" is listed already'),
        (["0xEA", "0xea"], 'forward_tlvs[1]: "0xea" is listed already'),
        (["all", "ssl"], 'forward_tlvs[1]: "ssl" is listed already'),
        (["ssl", "all"], 'forward_tlvs[1]: "all" is listed already'),
    ],
)
def test_what_cannot_be_passed_on_is_named(names: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        forwarded_types(send(forward_tlvs=names))
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)
