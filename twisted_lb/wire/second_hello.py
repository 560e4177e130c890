"""The second ClientHello, which a server of TLS 1.3 may ask for with a HelloRetryRequest.

It must ask for the same server name as the first (RFC 8446, section 4.1.2), but servers need not check that: OpenSSL
chooses the certificate by the second. So whoever was let through with one name would get to another.
"""

from typing import Final

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.client_hello import read_client_hello
from twisted_lb.wire.tls_records import HANDSHAKE, MESSAGE_HEADER, RECORD_HEADER

CLIENT_HELLO: Final = 1
APPLICATION_DATA: Final = 23


class TlsSecondHello:
    """Follows what one client says, from its first ClientHello on, which was sound, until there can be no second one.

    ``early_data``: the first offers it; then it may stand between both. Keeps a second hello only, 64 KiB at most.
    """

    __slots__ = ("_at_least", "_body", "_early_data", "_have", "_head", "_header", "_name", "_second")

    def __init__(self, server_name: str | None, *, early_data: bool = False) -> None:
        self._name = server_name
        self._early_data = early_data
        self._header = b""
        """Of the record that is coming, as far as it is there."""
        self._body = 0
        """Bytes of that record which are to come, once its header is there."""
        self._head = b""
        """The first hello's type and length, as far as they are there."""
        self._have = 0
        """Bytes of the first hello that have come."""
        self._second = b""
        self._at_least = 0

    def feed(self, data: bytes) -> bool:
        """Take what came next; tell whether that was enough: there is no second hello, or it asks for the same name.

        Raises: WireError ``tls-second-hello``; no other exception.
        Cost: linear, apart from a logarithmic number of looks at the second hello.
        """
        if not (self._have or self._header) and _is_one_hello(data):
            self._head, self._have = data[RECORD_HEADER : RECORD_HEADER + MESSAGE_HEADER], len(data) - RECORD_HEADER
            return False  # the usual case, which comes to the same as what follows
        at = 0
        while at < len(data) and not self._second:
            if not self._body:
                start, at = at, at + RECORD_HEADER - len(self._header)
                self._header += data[start:at]
                if len(self._header) == RECORD_HEADER and self._ends_at_header():
                    return True
                continue
            piece = data[at : at + self._body]
            if self._header[0] == HANDSHAKE:
                if not self._first_is_over():
                    self._head += piece[: MESSAGE_HEADER - len(self._head)]
                    self._have += len(piece)
                elif piece[0] != CLIENT_HELLO:
                    return True
                else:
                    self._second = self._header
                    break
            at += len(piece)
            self._body -= len(piece)
            if not self._body:
                self._header = b""
        return bool(self._second) and self._judge(data[at:])

    def _ends_at_header(self) -> bool:
        """Look at the header of a record, now that it is there; tell whether no hello can follow."""
        self._body = self._header[3] << 8 | self._header[4]
        if self._body:
            return self._header[0] == APPLICATION_DATA and not self._early_data
        raise WireError("tls-second-hello")  # servers differ in whether they read on behind a record without a byte

    def _first_is_over(self) -> bool:
        head = self._head
        return len(head) == MESSAGE_HEADER and self._have >= MESSAGE_HEADER + int.from_bytes(head[1:], "big")

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
        if hello.server_name != self._name:
            raise WireError("tls-second-hello")
        return True


def _is_one_hello(data: bytes) -> bool:
    """Tell whether this is a ClientHello in one record, and nothing else."""
    size = len(data) - RECORD_HEADER
    return (
        size > MESSAGE_HEADER
        and data[0] == HANDSHAKE
        and data[3] << 8 | data[4] == size
        and data[6] << 16 | data[7] << 8 | data[8] == size - MESSAGE_HEADER
    )
