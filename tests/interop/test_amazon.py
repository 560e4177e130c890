"""The load balancers of Amazon in front of the proxy: their bytes, as they document them and as they were captured.

A classic load balancer sends version 1. A network load balancer sends version 2 with a check sum, the identifier of the
VPC endpoint that the client came through, and padding; its own health checks are LOCAL.
"""

import pytest

from tests.interop.headers import AWS, CRC32C, SIGNATURE, Ends, crc32c, line, read
from tests.interop.ways import SENDER, Behind, dial, exchange, fresh_payload

NLB = bytes.fromhex(
    "0d0a0d0a000d0a515549540a 21 11 0054"
    "ac1f0771 ac1f0a1f c8f2 0050"  # 172.31.7.113:51442 to 172.31.10.31:80
    "03 0004 e8d6892d"  # the check sum
    "ea 0017 01 767063652d3038643262663135666163353030316339"  # vpce-08d2bf15fac5001c9
    "04 0024"
) + bytes(36)
"""A network load balancer's header, captured: 16 bytes and 84 more."""
LOCAL = SIGNATURE + b"\x20\0\0\0"


def balance(header: bytes, payload: bytes, port: int) -> Ends:
    """Connect as a load balancer does, send, and hear the answer. Returns: its own address and port."""
    balancer = dial(port, SENDER)
    balancer.sendall(header)
    return exchange(balancer, payload)


def test_the_captured_header_is_what_amazon_documents() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # of the tests' own arithmetic
    assert len(NLB) == 16 + 84
    header = read(NLB)  # checks the sum
    assert header.source == ("172.31.7.113", 51442)
    assert header.tlvs[AWS] == b"\x01vpce-08d2bf15fac5001c9"
    assert CRC32C in header.tlvs


@pytest.mark.parametrize(
    "ends",
    [(("198.51.100.22", 35646), ("203.0.113.7", 80)), (("2001:db8::77", 35646), ("2001:db8::7", 80))],
    ids=["IPv4", "IPv6"],
)
def test_a_classic_load_balancer_tells_us_its_client(ends: tuple[Ends, Ends], behind: Behind) -> None:
    payload = fresh_payload()
    balance(line(*ends), payload, behind.port)
    behind.expect(payload, ends[0], SENDER)


def test_a_network_load_balancer_tells_us_its_client_and_the_endpoint_that_it_came_through(behind: Behind) -> None:
    payload = fresh_payload()
    balance(NLB, payload, behind.port)
    seen = behind.expect(payload, ("172.31.7.113", 51442), SENDER)
    assert seen.header.tlvs[AWS] == b"\x01vpce-08d2bf15fac5001c9"


def test_a_network_load_balancer_s_health_check_is_served_as_what_it_is(behind: Behind) -> None:
    payload = fresh_payload()
    behind.expect(payload, balance(LOCAL, payload, behind.port), SENDER)
