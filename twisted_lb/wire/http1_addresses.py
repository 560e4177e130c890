"""The addresses that proxies add to a list, such as X-Forwarded-For.

Source: RFC 7239, section 5.2 and 6 (what such lists hold and in which order); HAProxy configuration.txt, "req.hdr_ip",
for a port behind an address. An IPv6 address without brackets, as most proxies write it, is taken as well.
"""

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address

_ELEMENT = re.compile(
    rb"(?:(?P<v4>[0-9.]{7,15})|\[(?P<v6>[0-9A-Fa-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?|(?P<bare>[0-9A-Fa-f:.]{2,45})"
)


def last_element(values: Sequence[bytes]) -> bytes:
    """Return what stands behind the last comma of the last field; ``values``: of all fields of one name."""
    return values[-1].rpartition(b",")[2].strip(b" \t") if values else b""


def address_in(element: bytes) -> str | None:
    """Read ``ADDRESS``, ``[V6]``, ``V4:PORT`` or ``[V6]:PORT``; ``None`` if it is anything else.

    Returns: the address in its canonical spelling, without port.
    """
    match = _ELEMENT.fullmatch(element)
    if match is None or int(match["port"] or 0) > 65535:
        return None
    try:
        if match["v4"] is not None:
            return str(IPv4Address(match["v4"].decode()))
        return str(IPv6Address((match["v6"] or match["bare"]).decode()))
    except AddressValueError:
        return None
