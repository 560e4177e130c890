"""A message that was refused, as far as it is kept, and how it is shown to people.

Source: HAProxy management.txt, "show errors".
"""

import re
from dataclasses import dataclass

KEPT_AROUND = 512
"""Bytes that are kept on either side of the offending one."""
_LINE = re.compile(rb"[^\n]*+\n|[^\n]++")


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """A request or a response that broke a rule. ``str()`` of it shows the bytes, with the offending one marked.

    ``time``: seconds since the epoch. ``source``: the client's address. ``server``: whose response it is; empty for a
    request. ``reason``: the rule. ``offset``: of the offending byte, from the first byte of the head, or of the body if
    it is the body that broke the rule. ``excerpt``: the bytes around it; ``excerpt_at``: the offset of the first.
    """

    time: float
    frontend: str
    source: str
    server: str
    reason: str
    offset: int
    excerpt: bytes
    excerpt_at: int

    def __str__(self) -> str:
        who = f"response of {self.server} to" if self.server else "request of"
        lines = [f"{self.frontend}: {who} {self.source}: {self.reason} at byte {self.offset}"]
        at = self.excerpt_at
        for line in _LINE.findall(self.excerpt):
            lines.append(f"{at:7} | {_escaped(line)}")
            if at <= self.offset < at + len(line):
                lines.append(" " * (10 + len(_escaped(line[: self.offset - at]))) + "^")
            at += len(line)
        return "\n".join(lines)


def excerpt(data: bytes, offset: int, at: int = 0) -> tuple[bytes, int]:
    """Return what of ``data`` is worth keeping, and the offset of its first byte; ``data`` itself begins at ``at``."""
    start = max(0, offset - at - KEPT_AROUND)
    return bytes(data[start : max(0, offset - at) + KEPT_AROUND]), at + start


def _escaped(data: bytes) -> str:
    """As in a Python bytes literal: what cannot be printed is escaped."""
    return repr(data)[2:-1]
