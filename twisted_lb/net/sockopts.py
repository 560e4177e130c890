"""What ``tcp = {...}`` means to the kernel: the options of listening, accepted and connecting sockets.

Accepted sockets inherit nearly all of them from their listener (seen on Linux 6.18, over IPv4 and IPv6); what they do
not is in ``ListenOptions.per_connection``, empty unless it was asked for: ``quickack``, ``priority`` and, of a listener
with ``multipath`` whose client does not speak it, ``notsent_lowat`` and ``busy_poll``.

Source: tcp(7), socket(7), ip(7), ipv6(7); Linux include/uapi/linux/tcp.h.
"""

import errno
import math
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from socket import AF_INET6, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET
from typing import Any, NamedTuple

from msgspec import UnsetType

from twisted_lb.config.tcp import ConnectTcp, Keepalive, ListenTcp, Tcp
from twisted_lb.errors import ConfigError
from twisted_lb.net.interfaces import SocketMaker

# Numbers of Linux: Python lacks some of them, and elsewhere this module must at least be importable.
IPPROTO_MPTCP = 262
TCP_NODELAY, TCP_MAXSEG, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT = 1, 2, 4, 5, 6
TCP_LINGER2, TCP_DEFER_ACCEPT, TCP_WINDOW_CLAMP, TCP_QUICKACK, TCP_CONGESTION, TCP_MD5SIG = 8, 9, 10, 12, 13, 14
TCP_USER_TIMEOUT, TCP_FASTOPEN, TCP_NOTSENT_LOWAT, TCP_SAVE_SYN, TCP_SAVED_SYN = 18, 23, 25, 27, 28
TCP_FASTOPEN_CONNECT, TCP_MD5SIG_EXT = 30, 32
SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_PRIORITY, SO_LINGER, SO_REUSEPORT = 7, 8, 9, 12, 13, 15
SO_MARK, SO_BUSY_POLL = 36, 46
IP_TOS, IP_MTU, IPV6_MTU, IPV6_TCLASS = 1, 14, 24, 67

SAVED_SYN_LIMIT = 512
"""Bytes: the longest headers of IP and TCP have 60 each, with IPv6 extensions some more."""
LARGEST_SEGMENT, SMALLEST_SEGMENT = 32767, 88
"""What TCP_MAXSEG takes."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_MD5_PREFIX = 1
_LARGEST_VALUE = 0x7FFFFFFF

_NEEDS_PRIVILEGE = {
    "mark": "CAP_NET_ADMIN or CAP_NET_RAW",
    "priority": "CAP_NET_ADMIN or CAP_NET_RAW, from 7 on",
    "busy_poll": "CAP_NET_ADMIN, when it is more than the sysctl net.core.busy_read says",
    "congestion": "CAP_NET_ADMIN, unless the sysctl net.ipv4.tcp_allowed_congestion_control lists it",
}
_LIMITED_BY = {
    "receive_buffer": "the sysctl net.core.rmem_max allows {most} bytes: raise it",
    "send_buffer": "the sysctl net.core.wmem_max allows {most} bytes: raise it",
    "fin_wait": "this kernel waits {most} s at most",
    "defer_accept": "this kernel waits {most} s at most",
}
_SYSCTLS = Path("/proc/sys/net/ipv4")


class Setting(NamedTuple):
    """One option of a socket; ``key``: what asks for it, within ``tcp``."""

    key: str
    level: int
    option: int
    value: int | bytes


class ListenOptions:
    """The options of a listening TCP socket, and of those that it accepts.

    ``protocol``: that ``socket()`` is called with. ``per_connection``: what to set on each accepted socket.
    ``save_syn``: each accepted socket has its SYN (``TCP_SAVED_SYN``). ``less``: bytes that segments are to be shorter
    than there is room for, see ``segment_within``.
    """

    def __init__(self, tcp: ListenTcp, family: int, backlog: int) -> None:
        self.family = family
        self.protocol = _protocol(tcp)
        self.save_syn = tcp.save_syn is True
        self.less = _less(tcp)
        self.settings = (*_settings(tcp, family), *_listening(tcp, family, backlog))
        kept = {"quickack", "priority", *(("notsent_lowat", "busy_poll") if self.protocol else ())}
        self.per_connection = tuple(
            (level, option, value) for key, level, option, value in self.settings if key in kept
        )

    @classmethod
    def of(cls, tcp: ListenTcp, family: int, backlog: int) -> "ListenOptions":
        """Work out the options of a listener of that family."""
        return cls(tcp, family, backlog)

    def apply(self, sock: socket.SocketType) -> None:
        """Set all of them on a socket that is to listen. Raises OSError; ``check`` says which one it is."""
        for _, level, option, value in self.settings:
            sock.setsockopt(level, option, value)

    def check(self, make: SocketMaker = socket.SocketType) -> None:
        """Try each one on this kernel. Raises: ConfigError with every one that it refuses, by its key."""
        _check(self.settings, self.family, self.protocol, make)

    def segment_within(self, mtu: int) -> int:
        """The longest segment for packets of ``mtu`` bytes, less what is asked for. Raises: ConfigError."""
        return _segment(mtu, self.less, self.family)


class ConnectOptions:
    """The options of TCP sockets that connect. ``protocol``: that ``socket()`` is called with.

    ``make``: how sockets are made in the namespace that they connect in; with a relative ``max_segment`` it makes one
    more per connection, to ask the kernel for the room on the path.
    """

    def __init__(self, tcp: ConnectTcp, family: int, make: SocketMaker = socket.SocketType) -> None:
        self.family = family
        self.protocol = _protocol(tcp)
        self.less = _less(tcp)
        self.fast_open = tcp.fast_open is True
        self.settings = tuple(_settings(tcp, family))
        self._md5_key = b"" if isinstance(tcp.md5_key, UnsetType) else tcp.md5_key.encode()
        self._mark = next((setting for setting in self.settings if setting.key == "mark"), None)
        self._make = make

    @classmethod
    def of(cls, tcp: ConnectTcp, family: int, make: SocketMaker = socket.SocketType) -> "ConnectOptions":
        """Work out the options of connections to a server of that family."""
        return cls(tcp, family, make)

    def apply(self, sock: socket.SocketType, sockaddr: Any, data_first: bool) -> None:
        """Set all of them on a socket that is to connect to ``sockaddr``. Raises OSError.

        ``data_first``: there is something to say at once; without it fast open would never send the SYN.
        """
        for _, level, option, value in self.settings:
            sock.setsockopt(level, option, value)
        if self._md5_key:
            sock.setsockopt(IPPROTO_TCP, TCP_MD5SIG, md5_signature(self.family, sockaddr[0], self._md5_key))
        if self.less:
            self._shorten(sock, sockaddr)
        if data_first and self.fast_open:
            sock.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)

    def check(self) -> None:
        """Try each one on this kernel. Raises: ConfigError with every one that it refuses, by its key."""
        wanted = list(self.settings)
        if self._md5_key:
            host = "::1" if self.family == AF_INET6 else "127.0.0.1"
            value = md5_signature(self.family, host, self._md5_key)
            wanted.append(Setting("md5_key", IPPROTO_TCP, TCP_MD5SIG, value))
        if self.fast_open:
            wanted.append(Setting("fast_open", IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1))
        _check(wanted, self.family, self.protocol, self._make)

    def _shorten(self, sock: socket.SocketType, sockaddr: Any) -> None:
        level, option = (IPPROTO_IPV6, IPV6_MTU) if self.family == AF_INET6 else (IPPROTO_IP, IP_MTU)
        asked = self._make(self.family, SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        try:
            if self._mark is not None:
                asked.setsockopt(*self._mark[1:])  # routes may depend on it
            if asked.connect_ex(sockaddr):
                return  # there is no path, as the connection itself will say
            mtu = asked.getsockopt(level, option)
        finally:
            asked.close()
        segment = max(mtu - _headers(self.family) - self.less, SMALLEST_SEGMENT)
        sock.setsockopt(IPPROTO_TCP, TCP_MAXSEG, min(segment, LARGEST_SEGMENT))


def md5_signature(family: int, host: str, key: bytes, prefix: int | None = None) -> bytes:
    """The value of TCP_MD5SIG, or with ``prefix``, the bits of ``host`` that count, of TCP_MD5SIG_EXT.

    Source: struct tcp_md5sig.
    """
    packed = socket.inet_pton(family, host.partition("%")[0])
    address = struct.pack(
        "=HHI16s" if family == AF_INET6 else "=HH4s", family, 0, *((0,) * (family == AF_INET6)), packed
    )
    flags = 0 if prefix is None else _MD5_PREFIX
    return struct.pack("=128sBBHi80s", address, flags, prefix or 0, len(key), 0, key)


def _protocol(tcp: Tcp) -> int:
    return IPPROTO_MPTCP if tcp.multipath is True else 0


def _less(tcp: Tcp) -> int:
    return 0 if isinstance(tcp.max_segment, UnsetType) else max(0, -tcp.max_segment)


def _headers(family: int) -> int:
    return 60 if family == AF_INET6 else 40


def _segment(mtu: int, less: int, family: int) -> int:
    segment = min(mtu - _headers(family) - less, LARGEST_SEGMENT)
    if segment < SMALLEST_SEGMENT:
        raise ConfigError(
            f"tcp.max_segment: {less} less than packets of {mtu} bytes have room for leaves {segment},"
            f" and TCP needs {SMALLEST_SEGMENT}"
        )
    return segment


def _settings(tcp: Tcp, family: int) -> Iterator[Setting]:
    """What both sides have. Unset: nothing is asked of the kernel, but that nodelay is on."""
    yield Setting("nodelay", IPPROTO_TCP, TCP_NODELAY, int(tcp.nodelay is not False))
    yield from _keepalive(tcp)
    tos = (IPPROTO_IPV6, IPV6_TCLASS) if family == AF_INET6 else (IPPROTO_IP, IP_TOS)
    for key, level, option, value in (
        ("quickack", IPPROTO_TCP, TCP_QUICKACK, tcp.quickack),
        ("user_timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, _scaled(tcp.user_timeout, 1000)),
        ("receive_buffer", SOL_SOCKET, SO_RCVBUF, tcp.receive_buffer),
        ("send_buffer", SOL_SOCKET, SO_SNDBUF, tcp.send_buffer),
        ("notsent_lowat", IPPROTO_TCP, TCP_NOTSENT_LOWAT, tcp.notsent_lowat),
        ("window_clamp", IPPROTO_TCP, TCP_WINDOW_CLAMP, tcp.window_clamp),
        ("tos", *tos, tcp.tos),
        ("priority", SOL_SOCKET, SO_PRIORITY, tcp.priority),  # after tos, which sets one too
        ("fin_wait", IPPROTO_TCP, TCP_LINGER2, _scaled(tcp.fin_wait, 1)),
        ("busy_poll", SOL_SOCKET, SO_BUSY_POLL, _scaled(tcp.busy_poll, 1_000_000)),
    ):
        if not isinstance(value, UnsetType):
            yield Setting(key, level, option, int(value))
    if not isinstance(tcp.congestion, UnsetType):
        yield Setting("congestion", IPPROTO_TCP, TCP_CONGESTION, tcp.congestion.encode())
    if not isinstance(tcp.max_segment, UnsetType) and tcp.max_segment > 0:
        yield Setting("max_segment", IPPROTO_TCP, TCP_MAXSEG, tcp.max_segment)
    if not isinstance(tcp.mark, UnsetType):
        yield Setting("mark", SOL_SOCKET, SO_MARK, struct.pack("=I", tcp.mark))
    if tcp.reset_on_close is True:
        yield Setting("reset_on_close", SOL_SOCKET, SO_LINGER, _RESET_ON_CLOSE)


def _keepalive(tcp: Tcp) -> Iterator[Setting]:
    if isinstance(tcp.keepalive, UnsetType):
        return
    yield Setting("keepalive", SOL_SOCKET, SO_KEEPALIVE, int(tcp.keepalive is not False))
    if isinstance(tcp.keepalive, Keepalive):
        for key, option, value in (
            ("idle", TCP_KEEPIDLE, _scaled(tcp.keepalive.idle, 1)),
            ("interval", TCP_KEEPINTVL, _scaled(tcp.keepalive.interval, 1)),
            ("count", TCP_KEEPCNT, tcp.keepalive.count),
        ):
            if not isinstance(value, UnsetType):
                yield Setting(f"keepalive.{key}", IPPROTO_TCP, option, value)


def _listening(tcp: ListenTcp, family: int, backlog: int) -> Iterator[Setting]:
    defer = _scaled(tcp.defer_accept, 1)
    if not isinstance(defer, UnsetType):
        yield Setting("defer_accept", IPPROTO_TCP, TCP_DEFER_ACCEPT, defer)
    if not isinstance(tcp.fast_open, UnsetType):
        length = backlog if tcp.fast_open is True else int(tcp.fast_open)
        yield Setting("fast_open", IPPROTO_TCP, TCP_FASTOPEN, length)
    if tcp.save_syn is True:
        yield Setting("save_syn", IPPROTO_TCP, TCP_SAVE_SYN, 1)
    if tcp.reuse_port is True:
        yield Setting("reuse_port", SOL_SOCKET, SO_REUSEPORT, 1)
    if not isinstance(tcp.md5_key, UnsetType):
        everybody = md5_signature(family, "::" if family == AF_INET6 else "0.0.0.0", tcp.md5_key.encode(), 0)
        yield Setting("md5_key", IPPROTO_TCP, TCP_MD5SIG_EXT, everybody)


def _scaled(duration: float | UnsetType, units: int) -> int | UnsetType:
    """A duration in units of that many to the second, rounded up: no time that is asked for becomes none."""
    return duration if isinstance(duration, UnsetType) else math.ceil(round(duration * units, 6))


def _check(settings: Any, family: int, protocol: int, make: SocketMaker) -> None:
    problems: list[str] = []
    for setting in settings:
        try:
            sock = make(family, SOCK_STREAM | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            if not protocol:
                raise ConfigError(f"tcp: sockets cannot be made: {error.strerror}") from None
            raise ConfigError(
                f"tcp.multipath: this kernel has none: {error.strerror} (is the sysctl net.mptcp.enabled 1?)"
            ) from None
        try:
            problem = _try(setting, sock)
        finally:
            sock.close()
        if problem is not None:
            problems.append(f"tcp.{setting.key}: {problem}")
    if problems:
        raise ConfigError(*problems)


def _try(setting: Setting, sock: socket.SocketType) -> str | None:
    """Set one option on a fresh socket, and say what is wrong with it."""
    key, level, option, value = setting
    if isinstance(value, int) and value > _LARGEST_VALUE:
        return "is too much for this kernel"
    try:
        sock.setsockopt(level, option, value)
    except OSError as error:
        return _refused(setting, sock, error)
    if key in _LIMITED_BY and isinstance(value, int):
        most = sock.getsockopt(level, option)
        most = most // 2 if key.endswith("_buffer") else most  # the kernel doubles these, for its own part of it
        if most < value:
            return f"{value!r} is too much: " + _LIMITED_BY[key].format(most=most)
    if key == "tos" and sock.getsockopt(level, option) != value:
        return f"{value!r}: the two lowest bits are the kernel's own, for ECN: leave them 0"
    return None


def _refused(setting: Setting, sock: socket.SocketType, error: OSError) -> str:
    key = setting.key
    if error.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP):
        if sock.proto == IPPROTO_MPTCP:
            return "cannot be used with tcp.multipath on this kernel: leave out one of them"
        return "this kernel does not know this option"
    if error.errno == errno.EPERM:
        return f"needs {_NEEDS_PRIVILEGE.get(key, 'root')}"
    if key == "congestion" and isinstance(setting.value, bytes):
        return f'this kernel knows no "{setting.value.decode()}", only {_congestion_controls()}'
    if error.errno == errno.EINVAL:
        return f"{setting.value!r}: this kernel does not take this value"
    return error.strerror or str(error)


def _congestion_controls() -> str:
    try:
        return ", ".join((_SYSCTLS / "tcp_available_congestion_control").read_text().split())
    except OSError:
        return "others"
