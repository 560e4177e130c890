"""CRC-32C gives what its definition says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.wire.crc32c import crc32c


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (
            bytes.fromhex(
                "01c00000"
                + "00" * 12
                + "14000000"
                + "00000400"
                + "00000014"
                + "00000018"
                + "28"
                + "00" * 7
                + "02"
                + "00" * 7
            ),
            0xD9963A56,
        ),
    ],
)
def test_the_examples_of_rfc_3720_come_out(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


@given(st.binary(max_size=40))
def test_it_is_the_remainder_of_a_division_by_the_polynomial(data: bytes) -> None:
    bits = [byte >> place & 1 for byte in data for place in range(8)] + [0] * 32
    bits[:32] = [bit ^ 1 for bit in bits[:32]]
    for place in range(len(data) * 8):
        if bits[place]:
            for power in range(33):
                bits[place + power] ^= 0x11EDC6F41 >> (32 - power) & 1
    remainder = bits[len(data) * 8 :]
    assert crc32c(data) == sum((bit ^ 1) << power for power, bit in enumerate(remainder))
