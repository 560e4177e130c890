"""Whether a text is the name of a host, and not an address.

Source: RFC 1123, section 2.1 (letters, digits, hyphens inside); RFC 6066, section 3 (no address, no final dot); the
URL Standard, "ends in a number" (what programs take for an IPv4 address). Underscores are no part of host names by the
RFCs, but are in use.
"""

import re
from typing import Final

_LABEL = rb"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(rb"(?:%b\.)*(?!(?:[0-9]+|0x[0-9a-f]*)\Z)%b" % (_LABEL, _LABEL), re.IGNORECASE)
LONGEST: Final = 253
"""Bytes of a name as text, without a final dot: RFC 1035, section 2.3.4, has 255 with the lengths of the labels."""


def is_host_name(name: bytes) -> bool:
    """Tell whether ``name`` is one; cost: O(LONGEST)."""
    return len(name) <= LONGEST and _HOST.fullmatch(name) is not None
