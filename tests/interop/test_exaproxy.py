"""exaproxy in front of the proxy. It has no sender, and runs on Python 2.7 alone: its part is played by the test."""

import pytest

from tests.interop.headers import spell
from tests.interop.ways import FAMILIES, SENDER, VERSIONS, Behind, dial, exchange, far_ends, fresh_payload


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_exaproxy_would_send_tells_us_its_client(version: str, family: str, behind: Behind) -> None:
    payload = fresh_payload()
    ends = far_ends(family)
    exaproxy = dial(behind.port, SENDER)
    exaproxy.sendall(spell(version, *ends))
    exchange(exaproxy, payload)
    behind.expect(payload, ends[0], SENDER)
