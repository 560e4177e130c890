"""What goes over a wire, and what a running process has set on its sockets; imported by tests, runs no test itself.

Source: packet(7), pidfd_getfd(2), RFC 9293, section 3.1.
"""

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tests.loopback.conftest import wait_until
from tests.namespaces.netns import Namespace
from tests.namespaces.witness import Ends

_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_PIDFD_GETFD = 438
_SYN, _ACK = 0x02, 0x10
_END, _NOP, _MSS, _FAST_OPEN, _MPTCP, _MD5 = 0, 1, 2, 34, 30, 19
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Syn:
    """The first packet of a connection. ``options``: kind -> value; ``data``: what it brings along."""

    port: int
    tos: int
    options: dict[int, bytes]
    data: bytes

    @property
    def segment(self) -> int:
        """The longest segment that its sender takes, in bytes."""
        return int.from_bytes(self.options[_MSS])

    @property
    def multipath(self) -> bool:
        """Whether its sender offers multipath TCP."""
        return _MPTCP in self.options

    @property
    def signed(self) -> bool:
        """Whether it has an MD5 signature."""
        return _MD5 in self.options


class Wire:
    """What passes through an interface of a namespace, from ``watching`` on."""

    def __init__(self, namespace: Namespace, interface: str) -> None:
        with namespace.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        self.socket.bind((interface, 0x0003))
        self.socket.settimeout(5)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)

    def syn(self, port: int) -> Syn:
        """Wait for the next SYN to that port."""
        while True:
            packet, (_, protocol, *_) = self.socket.recvfrom(65536)
            found = _syn(packet, protocol)
            if found is not None and found.port == port:
                return found


@contextlib.contextmanager
def watching(namespace: Namespace, interface: str) -> Iterator[Wire]:
    """Look at an interface for a while."""
    wire = Wire(namespace, interface)
    with wire.socket:
        yield wire


def _syn(packet: bytes, protocol: int) -> Syn | None:
    if protocol == _ETH_P_IP and packet[9] == socket.IPPROTO_TCP:
        tos, segment = packet[1], packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4])]
    elif protocol == _ETH_P_IPV6 and packet[6] == socket.IPPROTO_TCP:
        tos, segment = (int.from_bytes(packet[:2]) >> 4) & 255, packet[40:]
    else:
        return None
    offset, flags = (segment[12] >> 4) * 4, segment[13]
    if flags & (_SYN | _ACK) != _SYN:
        return None
    return Syn(int.from_bytes(segment[2:4]), tos, dict(_options(segment[20:offset])), segment[offset:])


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _NOP:
            at += 1
        else:
            yield data[at], data[at + 2 : at + data[at + 1]]
            at += data[at + 1]


@contextlib.contextmanager
def sockets_of(pid: int) -> Iterator[list[socket.socket]]:
    """Copies of all sockets of a running process, which share everything but the descriptor with its own."""
    with contextlib.ExitStack() as stack:
        process = os.pidfd_open(pid)
        stack.callback(os.close, process)
        found = []
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                    copy = _libc.syscall(_PIDFD_GETFD, process, int(name), 0)
                    if copy >= 0:
                        found.append(stack.enter_context(socket.socket(fileno=copy)))
        yield found


@contextlib.contextmanager
def socket_of(pid: int, address: Ends, end: str) -> Iterator[socket.socket]:
    """A copy of the process's one socket that ``end``: ``listening``, ``accepted`` there, or ``connected`` to there."""

    def fits(one: socket.socket) -> bool:
        if one.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        listens = bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        if listens != (end == "listening"):
            return False
        try:
            name = one.getpeername() if end == "connected" else one.getsockname()
            return bool(name[:2] == address) and (listens or bool(one.getpeername()))
        except OSError:
            return False

    def find() -> socket.socket | None:
        with sockets_of(pid) as all_of_them:
            # Not ``socket.dup``, which would change whether the process's own socket blocks.
            return next((socket.socket(fileno=os.dup(one.fileno())) for one in all_of_them if fits(one)), None)

    found = wait_until(find, f"a socket that is {end}: {address}")
    assert found is not None
    with found:
        yield found


def number(sock: socket.socket, level: int, option: int) -> int:
    """The value of an option that is a number."""
    return int(struct.unpack("=i", sock.getsockopt(level, option, 4))[0])
