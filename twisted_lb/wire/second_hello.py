"""The second ClientHello, which a server of TLS 1.3 may ask for with a HelloRetryRequest.

It must ask for the same server name as the first (RFC 8446, section 4.1.2), but servers need not check that: OpenSSL
chooses the certificate by the second. So whoever was let through with one name would get to another.
"""

from typing import Final

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.client_hello import ClientHello, read_client_hello
from twisted_lb.wire.client_hello_extensions import EARLY_DATA
from twisted_lb.wire.tls_records import HANDSHAKE, RECORD_HEADER

CLIENT_HELLO: Final = 1
APPLICATION_DATA: Final = 23


class TlsSecondHello:
    """Follows what one client says behind its first ClientHello, which was sound, until there can be no second one.

    Keeps a second hello only, 64 KiB at most.
    """

    __slots__ = ("_at_least", "_body", "_first", "_header", "_second")

    def __init__(self, first: ClientHello) -> None:
        self._first = first
        self._header = b""
        """Of the record that is coming, as far as it is there."""
        self._body = 0
        """Bytes of that record which are to come, once its header is there."""
        self._second = b""
        self._at_least = 0

    def feed(self, data: bytes) -> bool:
        """Take what came next; tell whether that was enough: there is no second hello, or it asks for the same name.

        Raises: WireError ``tls-second-hello``; no other exception.
        Cost: linear, apart from a logarithmic number of looks at the second hello.
        """
        at = 0
        while at < len(data) and not self._second:
            if not self._body:
                start, at = at, at + RECORD_HEADER - len(self._header)
                self._header += data[start:at]
                if len(self._header) == RECORD_HEADER and self._ends_at_header():
                    return True
                continue
            if self._header[0] == HANDSHAKE:
                if data[at] != CLIENT_HELLO:
                    return True
                self._second = self._header
                break
            skipped = min(self._body, len(data) - at)
            at += skipped
            self._body -= skipped
            if not self._body:
                self._header = b""
        return bool(self._second) and self._judge(data[at:])

    def _ends_at_header(self) -> bool:
        """Look at the header of a record, now that it is there; tell whether no hello can follow."""
        self._body = self._header[3] << 8 | self._header[4]
        if self._body:
            # Early data, which the first may have offered, may stand between both: RFC 8446, section 4.2.10.
            return self._header[0] == APPLICATION_DATA and EARLY_DATA not in self._first.extensions
        raise WireError("tls-second-hello")  # servers differ in whether they read on behind a record without a byte

    def _judge(self, data: bytes) -> bool:
        self._second += data
        if len(self._second) < self._at_least:
            return False
        try:
            hello = read_client_hello(self._second)
        except WireError as error:
            raise WireError("tls-second-hello", error.offset) from None
        if isinstance(hello, NeedMore):
            self._at_least = hello.at_least
            return False
        if hello.server_name != self._first.server_name:
            raise WireError("tls-second-hello")
        return True
