"""Who is at the other end of a Unix socket, as the kernel vouches for it.

Source: unix(7), ``SO_PEERCRED``; Linux include/uapi/asm-generic/socket.h, ``SO_PEERGROUPS`` (since Linux 4.13).
"""

import socket
import struct
from typing import Any

from twisted_lb.facts import Credentials

SO_PEERGROUPS = 59
MOST_GROUPS = 256
"""Python gives no more of a socket option than 1024 bytes; of a process that is in more groups none are known."""

_CREDENTIALS = struct.Struct("iII")
_NOBODY = 0xFFFFFFFF


def peer_credentials(sock: Any) -> Credentials | None:
    """Ask for the process that connected; ``None`` if the kernel does not say, as for any but a Unix socket.

    They are those that it had when it connected.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    try:
        pid, uid, gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    except (OSError, struct.error):
        return None
    if _NOBODY in (uid, gid):  # the kernel's word for "nobody": what is no Unix socket has it
        return None
    return Credentials(pid, uid, gid, _groups(sock))


def _groups(sock: Any) -> tuple[int, ...] | None:
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MOST_GROUPS)
    except OSError:
        return None
    return struct.unpack(f"{len(data) // 4}I", data)


def transport_credentials(transport: Any) -> Credentials | None:
    """Ask likewise about a Twisted transport's other end; ``None`` if it does not show its socket."""
    get_handle = getattr(transport, "getHandle", None)
    sock = None if get_handle is None else get_handle()
    if not isinstance(sock, socket.SocketType) or sock.family != socket.AF_UNIX:
        return None
    return peer_credentials(sock)
