"""``twisted-lb proxy-header``: takes a PROXY header apart, or puts one together, for whoever debugs one.

It uses the codecs of every plugin that is installed. Exit codes: 0; 1 for what is no whole header or cannot be one.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted_lb.config.uses import Use
from twisted_lb.contracts import IProxyCodec
from twisted_lb.errors import WireError
from twisted_lb.facts import SocketAddress
from twisted_lb.plugin_host import Built, PluginHost, load_plugins
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.proxy_causes import explain
from twisted_lb.wire.proxy_header import ProxyHeader, Tlv, TlvType, recognise
from twisted_lb.wire.proxy_tlvs import Ssl, Value, check_tlv, decode_ssl, fields_of, type_name

SHOWN_BYTES = 64
"""How many of the bytes that are left over are shown."""


def add_to(tools: Any) -> None:
    """Add this tool to ``tools``, the subparsers of the command line."""
    header = tools.add_parser("proxy-header", help="take a PROXY header apart, or put one together")
    actions = header.add_subparsers(required=True, metavar="ACTION")
    _add_decode(actions.add_parser("decode", help="print each field of a header"))
    _add_encode(actions.add_parser("encode", help="put a header together"))


def _add_decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "hex",
        nargs="*",
        help="hexadecimal digits, with blanks or colons between them as you like; - for standard input, as it is",
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="a file that begins with a header, as it is")
    parser.set_defaults(run=_decode, fail=parser.error)


def _add_encode(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--version", default="v2", metavar="NAME", help="1, 2 (the default), or the name of a plugin's codec")
    add("--source", type=_address, metavar="ADDRESS", help="192.0.2.1:80, [2001:db8::1]:80 or unix:PATH")
    add("--destination", type=_address, metavar="ADDRESS", help="likewise; both or none")
    add("--local", action="store_true", help="the command LOCAL")
    add("--datagram", action="store_true", help="addresses of datagrams (UDP)")
    add("--authority", dest="tlvs", type=_text_of(TlvType.AUTHORITY), action="append", metavar="NAME", help="a TLV")
    add("--alpn", dest="tlvs", type=_text_of(TlvType.ALPN), action="append", metavar="PROTOCOL", help="a TLV")
    add("--unique-id", dest="tlvs", type=_text_of(TlvType.UNIQUE_ID), action="append", metavar="TEXT", help="a TLV")
    add("--tlv", dest="tlvs", type=_tlv, action="append", metavar="TYPE=TEXT", help="a TLV: 0xE4=text or NETNS=blue")
    add("--tlv-hex", dest="tlvs", type=_tlv_hex, action="append", metavar="TYPE=HEX", help="the same in digits")
    crc32c = Tlv(TlvType.CRC32C, b"")
    add("--crc32c", dest="tlvs", action="append_const", const=crc32c, help="a TLV with the checksum")
    add("--output", choices=("hex", "raw", "escaped"), default="hex", help="escaped: as printf '%%b' takes it")
    parser.set_defaults(run=_encode, fail=parser.error)


# Decoding


def _decode(options: argparse.Namespace) -> int:
    data = _input(options)
    host = load_plugins()
    codecs = {name: _codec(host, name).object for name in host.supplies("proxy_codecs")}
    try:
        codec = recognise(list(codecs.values()), data)
        answer = codec if isinstance(codec, NeedMore) else codec.decode(data)
    except WireError as error:
        cause = explain(data, error.reason)
        print(f"refused: {error}" + (f": {cause}" if cause else ""), file=sys.stderr)
        return 1
    if isinstance(answer, NeedMore):
        needed = f", at least {answer.at_least} are needed" if answer.at_least else ""
        print(f"incomplete: there are {len(data)} bytes{needed}", file=sys.stderr)
        return 1
    header, used = answer
    version = next(name for name, one in codecs.items() if one is codec)
    for name, value in _lines(version, header, data, used):
        print(f"{name}: {value}")
    return 0


def _input(options: argparse.Namespace) -> bytes:
    if (options.file is None) == (not options.hex):
        options.fail("give either hexadecimal digits, or -, or --file")
    if options.file is not None:
        content: bytes = options.file.read_bytes()
        return content
    if options.hex == ["-"]:
        return sys.stdin.buffer.read()
    try:
        return _from_hex("".join(options.hex))
    except ValueError:
        options.fail(f"not in hexadecimal digits: {' '.join(options.hex)!r} (for a header as it is: - or --file)")
        raise AssertionError from None  # fail() has left


def _lines(version: str, header: ProxyHeader, data: bytes, used: int) -> Iterator[tuple[str, str]]:
    """Yield each field of a header with its value, as text."""
    yield "version", version
    yield "length", f"{used} bytes"
    yield "command", "LOCAL" if header.local else "PROXY"
    if header.source is None:
        yield "addresses", "none: those of the connection count"
    else:
        yield "transport", "datagrams" if header.datagram else "stream"
        yield "source", _escaped(str(header.source))
        yield "destination", _escaped(str(header.destination))
    for tlv in header.tlvs:
        yield _tlv_name(tlv), _tlv_value(tlv)
        details = decode_ssl(tlv.value).tlvs if tlv.type == TlvType.SSL else ()
        yield from ((f"  {_tlv_name(detail)}", _detail_value(detail)) for detail in details)
    rest = data[used:]
    if rest:
        more = "..." if len(rest) > SHOWN_BYTES else ""
        yield "left over", f'{len(rest)} bytes, "{_printable(rest[:SHOWN_BYTES])}"{more}'


def _tlv_name(tlv: Tlv) -> str:
    name = type_name(tlv.type)
    number = f"0x{tlv.type:02X}"
    return f"TLV {number}" if name == number else f"TLV {number} {name}"


def _tlv_value(tlv: Tlv) -> str:
    if tlv.type == TlvType.SSL:
        return _ssl(decode_ssl(tlv.value))
    ((_, value),) = fields_of([tlv])
    text = _shown(value)
    return f"{text}, which is right" if tlv.type == TlvType.CRC32C else text


def _detail_value(detail: Tlv) -> str:
    *_, (_, value) = fields_of([Ssl(0, 0, (detail,)).encode()])
    return _shown(value)


def _ssl(ssl: Ssl) -> str:
    said = [
        what
        for holds, what in (
            (ssl.used, "TLS"),
            (ssl.cert_connection, "certificate on this connection"),
            (ssl.cert_session, "certificate in this session"),
            (ssl.verified, "verified"),
        )
        if holds
    ]
    return f"client 0x{ssl.client:02X}, verify {ssl.verify}" + (f" ({', '.join(said)})" if said else "")


def _shown(value: Value) -> str:
    if isinstance(value, int):
        return f"{value} (0x{value:X})"
    if isinstance(value, str):
        return f'"{_escaped(value)}"'
    return f'{value.hex()} ("{_printable(value)}")' if value else "empty"


def _escaped(text: str) -> str:
    """Return text without what would move the cursor."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _printable(data: bytes) -> str:
    """Return bytes as text that ``printf '%b'`` makes bytes again."""
    return data.decode("latin-1").encode("unicode_escape").decode()


# Encoding


def _encode(options: argparse.Namespace) -> int:
    if (options.source is None) != (options.destination is None):
        options.fail("--source and --destination go together")
    name = f"v{options.version}" if options.version in ("1", "2") else options.version
    header = ProxyHeader(
        source=options.source,
        destination=options.destination,
        local=options.local,
        datagram=options.datagram,
        tlvs=tuple(options.tlvs or ()),
    )
    codec = _codec(load_plugins(), name).object
    try:
        data: bytes = codec.encode(header)
    except WireError as error:
        print(f"impossible: {error}: {explain(b'', error.reason)}", file=sys.stderr)
        return 1
    for what in _left_out(codec, header, data):
        print(f"note: {name} leaves out {what}", file=sys.stderr)
    if options.output == "raw":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        print(data.hex() if options.output == "hex" else _printable(data))
    return 0


def _left_out(codec: IProxyCodec, header: ProxyHeader, data: bytes) -> Iterator[str]:
    """Yield what a version has no room for."""
    back, _ = codec.decode(data)
    if header.source is not None and not header.local and back.source is None:
        yield "the addresses"
    if len(back.tlvs) < len(header.tlvs):
        yield "the TLVs"


def _address(text: str) -> SocketAddress:
    """Read an address from the command line."""
    if text.startswith("unix:"):
        return SocketAddress(text)
    host, _, port = text.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
        if (address.version == 6) != host.startswith("[") or not (port.isascii() and port.isdigit()):
            raise ValueError
    except ValueError:
        message = f"{text!r} is not like 192.0.2.1:80, [2001:db8::1]:80 or unix:PATH"
        raise argparse.ArgumentTypeError(message) from None
    return SocketAddress(str(address), int(port))


def _text_of(type: TlvType) -> Callable[[str], Tlv]:
    """Return what makes the value of an option a TLV."""
    return lambda text: _checked(type, text.encode("utf-8", "surrogateescape"))


def _tlv(text: str) -> Tlv:
    """Read ``TYPE=TEXT``."""
    type, value = _split_tlv(text)
    return _checked(type, value.encode("utf-8", "surrogateescape"))


def _tlv_hex(text: str) -> Tlv:
    """Read ``TYPE=HEX``."""
    type, value = _split_tlv(text)
    try:
        return _checked(type, _from_hex(value))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not in hexadecimal digits") from None


def _split_tlv(text: str) -> tuple[int, str]:
    """Split at the first ``=``, and look the type up."""
    name, equals, value = text.partition("=")
    try:
        type = TlvType[name.upper()] if name.upper() in TlvType.__members__ else int(name, 0)
    except ValueError:
        type = -1
    if not equals or not 0 <= type <= 0xFF:
        raise argparse.ArgumentTypeError(f"{text!r} does not begin with 0 to 0xFF, or a name such as ALPN, and =")
    return type, value


def _checked(type: int, value: bytes) -> Tlv:
    tlv = Tlv(type, value)
    try:
        if type != TlvType.CRC32C:
            check_tlv(tlv)
    except WireError as error:
        raise argparse.ArgumentTypeError(explain(b"", error.reason)) from None
    return tlv


def _from_hex(text: str) -> bytes:
    return bytes.fromhex("".join(text.replace(":", " ").split()).removeprefix("0x"))


def _codec(host: PluginHost, name: str) -> Built[IProxyCodec]:
    return host.build("proxy_codecs", Use(use=name), "--version")
