"""Chunked bodies, read strictly: decoded, or checked and passed on without their extensions.

Every line ends with CRLF and nothing else, and a chunk's data with another CRLF: who reads a lone LF, or a size with a
sign or a space, may see another end of the body than the server does.

Source: RFC 9112, section 7.1; RFC 9110, section 6.5.1.
"""

import re
from collections.abc import Sequence

from twisted_lb.wire.http1_body import Buffer
from twisted_lb.wire.http1_errors import Http1Error
from twisted_lb.wire.http1_grammar import TOKEN
from twisted_lb.wire.http1_lines import LineReader
from twisted_lb.wire.http1_settings import STRICT, Http1Settings

LAST_CHUNK = b"0\r\n\r\n"
"""The end of a chunked body without trailers."""
MAX_SIZE_DIGITS = 13
"""Sizes stay below 2^52, as HAProxy's do."""
MAX_OVERHEAD_BYTES = 16384
"""What sizes and extensions may take beyond 16 bytes a chunk and twice the data; Go's limit (CVE-2023-39326)."""
FORBIDDEN_TRAILERS = frozenset(
    (
        *(b"content-length", b"transfer-encoding", b"host", b"trailer", b"connection", b"keep-alive", b"te"),
        *(b"upgrade", b"proxy-connection", b"expect", b"http2-settings", b"authorization", b"cookie", b"set-cookie"),
        *(b"proxy-authorization", b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-proto"),
        *(b"x-forwarded-host", b"x-forwarded-port"),
    )
)
"""What a server that merges trailers into the head must not find there."""

_LINE = re.compile(rb"[^\n]*+\n?+")
_SIZE = re.compile(rb"[0-9A-Fa-f]++")
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_EXTENSIONS = re.compile(rb"(?:[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?+)*+" % (TOKEN, TOKEN, _QUOTED))

_IN_SIZE, _IN_DATA, _AFTER_DATA, _IN_TRAILERS = range(4)


class ChunkedBody:
    """A chunked body. ``decode``: pass on the data alone; otherwise chunks, without extensions.

    ``trailers``: the trailer section, lines that each end with CRLF; empty until the end, and if there is none. They
    are passed on with the last chunk unless ``drop_trailers``.

    Chunks in plain form are passed on as they came, many of them as one slice; no data are ever copied.
    """

    __slots__ = (
        *("_half", "_held", "_overhead", "_remaining", "_state", "taken", "_trailer_count"),
        *("decode", "done", "drop_trailers", "response", "settings", "trailers"),
    )

    def __init__(
        self,
        *,
        decode: bool = False,
        settings: Http1Settings = STRICT,
        response: bool = False,
        drop_trailers: bool = False,
    ) -> None:
        self.decode = decode
        self.settings = settings
        self.response = response
        self.drop_trailers = drop_trailers
        self.done = False
        self.trailers = b""
        self._state = _IN_SIZE
        self._held = b""
        self._half = 0
        self._remaining = 0
        self._overhead = 0
        self.taken = 0
        self._trailer_count = 0

    def feed(self, data: Buffer) -> tuple[Sequence[Buffer], int]:
        """Take what belongs to the body; see ``Body.feed``."""
        size = len(data)
        if self._state == _IN_DATA and size <= self._remaining:
            self._advance(size)
            self.taken += size
            return ((data,) if size else ()), size
        out: list[Buffer] = []
        view = memoryview(data)
        at = kept = 0
        while at < size and not self.done:
            plain, instead = True, b""
            if self._state == _IN_DATA:
                end = min(size, at + self._remaining)
                self._advance(end - at)
                if self.decode:
                    out.append(view[at:end])
            elif self._state == _AFTER_DATA:
                end = self._take_data_end(view, at)
            else:
                end, plain, instead = self._take_line(view, at)
            if not plain:
                if at > kept and not self.decode:
                    out.append(view[kept:at])
                if instead and not self.decode:
                    out.append(instead)
                kept = end
            self.taken += end - at
            at = end
        if at > kept and not self.decode:
            out.append(view[kept:at])
        return out, at

    def finish(self) -> None:
        """Refuse a body that has not ended; see ``Body.finish``."""
        if not self.done:
            raise self._refuse("http1-body-truncated", 0)

    def _refuse(self, rule: str, offset: int) -> Http1Error:
        return Http1Error(rule, self.taken + offset, response=self.response)

    def _advance(self, size: int) -> None:
        self._remaining -= size
        if not self._remaining:
            self._state = _AFTER_DATA

    def _take_data_end(self, view: memoryview, at: int) -> int:
        """Take the CRLF after a chunk's data, or the half of it that is there."""
        end = min(len(view), at + 2 - self._half)
        for offset in range(at, end):
            if view[offset] != b"\r\n"[self._half]:
                raise self._refuse("http1-chunk-end", offset - at)
            self._half += 1
        if self._half == 2:
            self._half = 0
            self._state = _IN_SIZE
        return end

    def _take_line(self, view: memoryview, at: int) -> tuple[int, bool, bytes]:
        """Take a line, or what of it is there.

        Returns: where it ends, whether it is passed on as it came, and what is passed on instead.
        """
        trailers = self._state == _IN_TRAILERS
        held, self._held = self._held, b""
        limit = self.settings.max_chunk_line_bytes
        if trailers:
            limit = self.settings.max_trailer_bytes - len(self.trailers)
        match = _LINE.match(view, at, at + limit + 1 - len(held))
        end = at if match is None else match.end()
        line = held + bytes(view[at:end])
        self.taken -= len(held)
        if not trailers and not _SIZE.match(line):
            raise self._refuse("http1-chunk-size", 0)
        if len(line) > limit:
            raise self._refuse("http1-trailer-long" if trailers else "http1-chunk-line-long", limit)
        plain, instead = False, b""
        if not line.endswith(b"\n"):
            self._held = line
        elif trailers:
            instead = self._read_trailer(line)
        else:
            instead = self._read_size(line)
            plain = instead == line and not held
        self.taken += len(held)
        return end, plain, instead

    def _read_size(self, line: bytes) -> bytes:
        """Read a size and its extensions; returns them without the latter, nothing for the last chunk."""
        match = _SIZE.match(line)
        end = 0 if match is None else match.end()
        digits = line[:end].lstrip(b"0")
        if len(digits) > MAX_SIZE_DIGITS:
            raise self._refuse("http1-chunk-size", 0)
        if line[end:] != b"\r\n":
            self._check_extensions(line, end)
        size = int(digits or b"0", 16)
        self._overhead = max(0, self._overhead + len(line) - 16 - 2 * size)
        if self._overhead > MAX_OVERHEAD_BYTES:
            raise self._refuse("http1-chunk-overhead", 0)
        self._remaining = size
        self._state = _IN_DATA if size else _IN_TRAILERS
        return b"%b\r\n" % digits if size else b""

    def _check_extensions(self, line: bytes, start: int) -> None:
        match = _EXTENSIONS.match(line, start)
        end = start if match is None else match.end()
        if line[end:] != b"\r\n":
            begun = line[start:].lstrip(b" \t").startswith(b";")
            raise self._refuse("http1-chunk-extension" if begun else "http1-chunk-size", end)

    def _read_trailer(self, line: bytes) -> bytes:
        """Read one line of the trailer section; returns the end of the body with the last one."""
        if line == b"\r\n":
            self.done = True
            return LAST_CHUNK if self.drop_trailers or not self.trailers else b"0\r\n%b\r\n" % self.trailers
        if self._trailer_count == self.settings.max_fields:
            raise self._refuse("http1-fields", 0)
        self._trailer_count += 1
        try:
            (field,), _ = LineReader(line + b"\r\n", response=self.response).fields(0, 1)
        except Http1Error as error:
            raise self._refuse(error.reason, error.offset) from None
        if field.name.lower().replace(b"_", b"-") in FORBIDDEN_TRAILERS:
            raise self._refuse("http1-trailer-forbidden", 0)
        self.trailers += line
        return b""


def encode_chunk(data: Buffer) -> tuple[Buffer, ...]:
    """Return the pieces of one chunk; none for no data, for an empty chunk would end the body."""
    return (b"%x\r\n" % len(data), data, b"\r\n") if len(data) else ()
