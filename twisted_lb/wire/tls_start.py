"""Does TLS begin here? For protocols that agree in the clear to speak it; what it says is not looked at.

Source: RFC 8446, section 5.1: a record of type handshake, and a version that began with 3 ever since SSL 3.0.
"""

from twisted_lb.errors import WireError

_BEGINS = b"\x16\x03"


class TlsStart:
    """Waits for the first two bytes of a TLS handshake. ``reason``: of the error when there is something else."""

    __slots__ = ("_reason", "_seen")

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self._seen = 0

    def feed(self, data: bytes) -> bool:
        """Take what came next, and say whether TLS has begun.

        Raises: WireError with the ``reason``, at the first byte that is wrong.
        """
        for byte, wanted in zip(data, _BEGINS[self._seen :], strict=False):
            if byte != wanted:
                raise WireError(self._reason, self._seen)
            self._seen += 1
        return self._seen == len(_BEGINS)
