"""``netscaler_cip`` keeps every PROXY codec's promises, and reads what a NetScaler sends."""

from unittest import TestCase

from lb_netscaler_cip import NetScalerCip

from twisted_lb.api import IProxyCodec, ProxyHeader, SocketAddress
from twisted_lb.testing import ProxyCodecContract

IP4 = "45000028000040004006" + "0000" + "c000020a" + "c6336414"
IP4_WITH_OPTION = "46" + IP4[2:] + "01010100"
IP6 = "6000000000140640" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002"
TCP = "dc0401bb" + "00000001" + "00000002" + "5010" + "ffff" + "00000000"
TCP_WITH_OPTION = TCP[:24] + "6010" + TCP[28:] + "01010100"


def legacy(packet: str) -> bytes:
    """Make a header as versions before 10.5 sent it."""
    body = bytes.fromhex(packet)
    return bytes.fromhex("22232425") + len(body).to_bytes(4, "big") + body


def standard(packet: str, kind: int = 1) -> bytes:
    """Make a header as it is sent today."""
    body = bytes.fromhex(packet)
    lengths = (12 + len(body)).to_bytes(4, "big") + kind.to_bytes(2, "big") + len(body).to_bytes(2, "big")
    return bytes.fromhex("22232425") + lengths + body


class TestContract(ProxyCodecContract, TestCase):
    """What every PROXY codec promises."""

    headers = (
        legacy(IP4 + TCP),
        standard(IP4 + TCP),
        legacy(IP6 + TCP),
        standard(IP6 + TCP),
        standard(IP4_WITH_OPTION + TCP_WITH_OPTION),
        legacy(IP6 + TCP_WITH_OPTION),
    )
    refused = (
        b"PROXY TCP4",
        standard(IP4 + TCP, kind=2),  # no such type
        standard(IP4 + TCP[:-2]),  # no room for both headers
        standard(IP4 + TCP + "00" * 81),  # more than headers can be
        standard("35" + IP4[2:] + TCP),  # IP version 3
        standard("41" + IP4[2:] + TCP),  # an IP header of 4 bytes
        standard("46" + IP4[2:] + TCP),  # an IP header that leaves no room for TCP's
        standard(IP4.replace("4006", "4011") + TCP),  # UDP
        standard(IP6 + TCP[:-2]),  # IPv6 needs more room
    )

    def make_codec(self) -> IProxyCodec:
        """Make the codec under test."""
        return NetScalerCip()


def test_both_forms_say_who_the_client_is() -> None:
    """Whatever options the packet had."""
    source, destination = SocketAddress("192.0.2.10", 56324), SocketAddress("198.51.100.20", 443)
    expected = ProxyHeader(source=source, destination=destination)
    for data in (legacy(IP4 + TCP), standard(IP4 + TCP), standard(IP4_WITH_OPTION + TCP_WITH_OPTION)):
        assert NetScalerCip().decode(data + b"payload") == (expected, len(data))


def test_what_is_written_is_a_packet_of_the_client() -> None:
    """Its addresses, its ports, and lengths that fit; the rest nobody reads."""
    header = ProxyHeader(source=SocketAddress("192.0.2.10", 56324), destination=SocketAddress("2001:db8::2", 443))
    data = NetScalerCip().encode(header)
    assert data[:12].hex() == "22232425" + "00000048" + "0001" + "003c"
    mapped = SocketAddress("::ffff:192.0.2.10", 56324)
    assert NetScalerCip().decode(data) == (ProxyHeader(source=mapped, destination=header.destination), len(data))
