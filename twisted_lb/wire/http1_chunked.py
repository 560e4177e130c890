"""Chunked bodies, read strictly: decoded, or checked and passed on without their extensions.

Source: RFC 9112, section 7.1; RFC 9110, section 6.5.1.
"""

from collections.abc import Sequence

from twisted_lb.wire.http1_body import Buffer
from twisted_lb.wire.http1_settings import STRICT, Http1Settings

LAST_CHUNK = b"0\r\n\r\n"


class ChunkedBody:
    """A chunked body. ``decode``: pass on the data alone; otherwise canonical chunks, without extensions.

    ``trailers``: the trailer section, lines that each end with CRLF; empty until the end, and if there is none.
    """

    def __init__(
        self,
        *,
        decode: bool = False,
        settings: Http1Settings = STRICT,
        response: bool = False,
        drop_trailers: bool = False,
    ) -> None:
        self.done = False
        self.trailers = b""

    def feed(self, data: Buffer) -> tuple[Sequence[Buffer], int]:
        """Take what belongs to the body; see ``Body.feed``."""
        raise NotImplementedError

    def finish(self) -> None:
        """Refuse a body that has not ended; see ``Body.finish``."""
        raise NotImplementedError


def encode_chunk(data: Buffer) -> tuple[Buffer, ...]:
    """Return the pieces of one chunk; none for no data, for an empty chunk would end the body."""
    raise NotImplementedError
