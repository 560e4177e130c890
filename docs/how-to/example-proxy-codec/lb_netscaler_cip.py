"""``netscaler_cip``: the client's address as a NetScaler (Citrix ADC) inserts it in front of a TCP connection.

A magic number, lengths, and then the IP and TCP headers of the client's last packet of the handshake, as they were.

Source: HAProxy netscaler-client-ip-insertion-protocol.txt.
"""

from collections.abc import Mapping
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct

from zope.interface import implementer

from twisted_lb.api import IProxyCodec, NeedMore, Options, ProxyHeader, SocketAddress, Supply, WireError, hookimpl

MAGIC = bytes.fromhex("22232425")
"""The number that the NetScaler is configured to begin with; it and this must agree."""

LEGACY = Struct("!4sI")  # magic, length of what follows; before version 10.5
STANDARD = Struct("!4sIHH")  # magic, length of all, type 1, length of what follows
IPV4 = Struct("!B8xB2x4s4s")  # version and header length, protocol, source, destination
IPV6 = Struct("!B5xBx16s16s")  # version, next header, source, destination
PORTS = Struct("!HH")
TCP_BYTES = 20
TCP = 6
LONGEST = 60 + 60  # an IPv4 and a TCP header, with all the options that fit in


@implementer(IProxyCodec)
class NetScalerCip:
    """Reads both forms, and writes the standard one."""

    signature = MAGIC
    max_length = STANDARD.size + LONGEST

    def decode(self, data: bytes) -> tuple[ProxyHeader, int] | NeedMore:
        """Decode the header at the front of ``data``; raise WireError with reason ``netscaler-cip-*``."""
        good = min(len(data), len(MAGIC))
        if data[:good] != MAGIC[:good]:
            raise WireError("netscaler-cip-magic")
        if len(data) < STANDARD.size:  # the legacy form is never shorter than the standard one's front
            return NeedMore(STANDARD.size)
        start, length = read_front(data)
        if not IPV4.size + TCP_BYTES <= length <= LONGEST:
            raise WireError("netscaler-cip-length", 4)
        if len(data) < start + length:
            return NeedMore(start + length)
        return read_packet(data, start, length), start + length

    def encode(self, header: ProxyHeader) -> bytes:
        """Return the header in the standard form; it has no room but for two IP addresses and TCP."""
        pair = header.ip_pair()
        if pair is None or header.source is None or header.destination is None or header.local or header.datagram:
            raise WireError("netscaler-cip-addresses")
        if len(pair[0]) == 4:
            ip = bytearray(IPV4.pack(0x45, TCP, *pair))
            ip[2:4] = (IPV4.size + TCP_BYTES).to_bytes(2, "big")
        else:
            ip = bytearray(IPV6.pack(0x60, TCP, *pair))
            ip[4:6] = TCP_BYTES.to_bytes(2, "big")
        tcp = PORTS.pack(header.source.port, header.destination.port) + bytes(8) + b"\x50\x10" + bytes(6)
        packet = bytes(ip) + tcp
        return STANDARD.pack(MAGIC, STANDARD.size + len(packet), 1, len(packet)) + packet


def read_front(data: bytes) -> tuple[int, int]:
    """Return where the packet begins and how long it is. The byte after the first length tells the forms apart."""
    if data[8] >> 4 in (4, 6):  # already the packet: the version of IP
        return LEGACY.size, LEGACY.unpack_from(data)[1]
    _, _, kind, length = STANDARD.unpack_from(data)
    if kind != 1:
        raise WireError("netscaler-cip-type", 8)
    return STANDARD.size, length


def read_packet(data: bytes, start: int, length: int) -> ProxyHeader:
    """Read the addresses and ports of the packet."""
    version = data[start] >> 4
    if version == 4:
        first, protocol, source, destination = IPV4.unpack_from(data, start)
        family, tcp = AF_INET, (first & 0x0F) * 4
    elif version == 6 and length >= IPV6.size + TCP_BYTES:
        _, protocol, source, destination = IPV6.unpack_from(data, start)
        family, tcp = AF_INET6, IPV6.size
    else:
        raise WireError("netscaler-cip-ip", start)
    if protocol != TCP or tcp < IPV4.size or tcp + TCP_BYTES > length:
        raise WireError("netscaler-cip-tcp", start)
    source_port, port = PORTS.unpack_from(data, start + tcp)
    return ProxyHeader(
        source=SocketAddress(inet_ntop(family, source), source_port),
        destination=SocketAddress(inet_ntop(family, destination), port),
    )


def build(options: Options) -> NetScalerCip:
    """Build the codec of one ``accept_proxy`` or ``send_proxy``."""
    return NetScalerCip()


@hookimpl
def lb_proxy_codecs() -> Mapping[str, Supply[IProxyCodec]]:
    """Supply ``netscaler_cip``."""
    return {"netscaler_cip": Supply(build)}
