"""What may be set about how strictly HTTP/1 is read."""

from typing import Literal

import msgspec


class Http1Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and relaxations. The defaults are the strict ones; nothing here relaxes a message's framing."""

    max_head_bytes: int = 16384
    """Of one head, from its first line on. HAProxy 15360 (tune.bufsize less tune.maxrewrite), nginx 32 KiB."""
    max_fields: int = 100
    """Of one head, and of one trailer section. HAProxy 100, Apache 100."""
    max_empty_lines: int = 1
    """How many empty lines (CRLF) may precede a request line. RFC 9112, section 2.2, asks for at least one."""
    max_chunk_line_bytes: int = 1024
    """Of a chunk's size and extensions, CRLF included."""
    max_trailer_bytes: int = 8192
    """Of a whole trailer section."""
    accept_invalid: bool = False
    """Let through what the reference marks as relaxable. Fields whose names are no tokens are dropped."""
    body_with_any_method: bool = False
    """Let HTTP/1.0 requests with GET, HEAD and DELETE have a body."""
    odd_names: Literal["preserve", "delete", "reject"] = "preserve"
    """Request fields whose names have more than letters, digits and ``-``; HAProxy: http-restrict-req-hdr-names."""

    def allows(self, data: bytes, start: int, end: int) -> bool:
        """Whether the head from ``start`` to ``end`` is neither too long nor has too many fields.

        Bytes are only looked at where there are so many that it could have.
        """
        size, lines = end - start, self.max_fields + 2
        return size <= self.max_head_bytes and (size < 4 * lines or data.count(b"\n", start, end) <= lines)


STRICT = Http1Settings()
