"""What a stream is to the kernel: a descriptor, its options and its two addresses."""

import struct
from socket import AF_UNIX, IPPROTO_TCP, SO_KEEPALIVE, SO_LINGER, SOL_SOCKET, TCP_NODELAY, SocketType
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from twisted_lb.net.poll import READING_AND_WRITING, Poller

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER's value that makes ``close`` send a RST."""


class StreamSocket:
    """A non-blocking stream socket on a poller.

    ``fd`` is -1 once closed. ``writable_watched``: whether the kernel reports room for writing; it is asked to only
    when a send came up short for the first time.
    """

    __slots__ = ("fd", "poller", "sock", "writable_watched")
    fd: int
    poller: Poller
    sock: SocketType
    writable_watched: bool

    def _close(self, reset: bool) -> None:
        if self.fd < 0:
            return
        if reset:
            self.sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
        fd, self.fd = self.fd, -1
        self.poller.close(fd, self.sock)

    def _watch_writable(self) -> None:
        if not self.writable_watched:
            self.writable_watched = True
            self.poller.modify(self.fd, READING_AND_WRITING)

    def getPeer(self) -> Any:  # a Unix address too, as with Twisted's Unix transports
        """See ``ITransport``."""
        return _address(self.sock, self.sock.getpeername())

    def getHost(self) -> Any:  # likewise
        """See ``ITransport``."""
        return _address(self.sock, self.sock.getsockname())

    def getTcpNoDelay(self) -> bool:
        """See ``ITCPTransport``."""
        return bool(self.sock.getsockopt(IPPROTO_TCP, TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See ``ITCPTransport``."""
        self.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """See ``ITCPTransport``."""
        return bool(self.sock.getsockopt(SOL_SOCKET, SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See ``ITCPTransport``."""
        self.sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, enabled)


def _address(sock: SocketType, sockaddr: Any) -> IAddress:
    if sock.family == AF_UNIX:
        return UNIXAddress(sockaddr or None)
    if len(sockaddr) == 2:
        return IPv4Address("TCP", *sockaddr)
    return IPv6Address("TCP", *sockaddr)
