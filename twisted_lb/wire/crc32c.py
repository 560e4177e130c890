"""CRC-32C (Castagnoli), the checksum of PROXY v2 headers.

Source: RFC 3720, appendix B.4.
"""


def crc32c(data: bytes) -> int:
    """Return the checksum of ``data``, 0..2**32-1.

    Cost: about 60 ns per byte, hence for headers, not for payload.
    """
    crc = 0xFFFFFFFF
    table = _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _entry(byte: int) -> int:
    """Divide one byte by the polynomial, 0x1EDC6F41 with its bits in reverse."""
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = tuple(_entry(byte) for byte in range(256))
