"""Opening listening sockets: every family, whole port ranges, Unix paths without a gap, inherited descriptors."""

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted_lb.config.addresses import MAX_UNIX_BYTES
from twisted_lb.config.model import Bind
from twisted_lb.config.tcp import ListenTcp
from twisted_lb.errors import ConfigError
from twisted_lb.net.interfaces import SocketMaker, interfaces, mtu_towards
from twisted_lb.net.namespace import Namespace
from twisted_lb.net.placement import allow_foreign_addresses, tie_to_interface
from twisted_lb.net.sockopts import SO_REUSEPORT, TCP_MAXSEG, ListenOptions

LOCK_S = 1.0
"""How long a process waits for another one that opens a Unix path in the same folder; that takes far less than 1 ms."""

Place = tuple[tuple[int, int] | None, str, int]
"""Where TCP connections are accepted: the namespace's identity (``None`` for our own), host and port as bound."""


UNSET_OPTIONS = ListenTcp()


@dataclass(frozen=True, slots=True)
class IpOptions:
    """How the TCP sockets of a bind entry are made.

    ``transparent``: connections to any address, also one that is not ours. ``interface``: only those that come in by
    it. ``make``: makes sockets in the namespace that they are to be in.
    """

    tcp: ListenTcp = UNSET_OPTIONS
    transparent: bool = False
    interface: str | None = None
    make: SocketMaker = socket.SocketType

    @classmethod
    def of_bind(cls, bind: Bind, namespace: Namespace | None) -> "IpOptions":
        """Work out how the sockets of this entry are made; ``bind.tcp``: its own and its frontend's in one."""
        tcp = bind.tcp if isinstance(bind.tcp, ListenTcp) else UNSET_OPTIONS
        return cls(tcp, bind.transparent, bind.interface, socket.SocketType if namespace is None else namespace.socket)

    def of(self, family: int, backlog: int) -> ListenOptions:
        """Work out what ``tcp`` means for a listener of that family."""
        return ListenOptions.of(self.tcp, family, backlog)

    def check(self, family: int, host: str, backlog: int) -> None:
        """Try them on sockets that do not listen. Raises: ConfigError with all that this kernel refuses."""
        problems: list[str] = []
        options = self.of(family, backlog)
        for attempt in (partial(options.check, self.make), partial(self._check_place, family, options, host)):
            try:
                attempt()
            except ConfigError as error:
                problems.extend(error.problems)
        if problems:
            raise ConfigError(*problems)

    def _check_place(self, family: int, options: ListenOptions, host: str) -> None:
        sock = self.make(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0)
        try:
            self.place(sock, family)
        finally:
            sock.close()
        self.shorten(options, host)

    def place(self, sock: socket.SocketType, family: int) -> None:
        """Say, before it is bound, which traffic is the socket's. Raises: ConfigError."""
        if self.interface is not None:
            self._tie_to_interface(sock, self.interface)
        if self.transparent:
            _make_transparent(sock, family)

    def _tie_to_interface(self, sock: socket.SocketType, name: str) -> None:
        try:
            tie_to_interface(sock, name)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise ConfigError(f'interface: cannot use "{name}": {error.strerror}') from None
            known = ", ".join(one.name for one in interfaces(self.make))
            raise ConfigError(f'interface: there is no "{name}" here, only {known}') from None

    def shorten(self, options: ListenOptions, host: str) -> int | None:
        """Work out a relative ``max_segment`` of a listener on ``host``; ``None`` without one. Raises: ConfigError."""
        if not options.less:
            return None
        try:
            mtu = mtu_towards(host, self.interface, interfaces(self.make))
        except (LookupError, OSError) as error:
            raise ConfigError(f"tcp.max_segment: how long packets may be is not known: {error}") from None
        return options.segment_within(mtu)


PLAIN = IpOptions()


def _make_transparent(sock: socket.SocketType, family: int) -> None:
    try:
        allow_foreign_addresses(sock, family)
    except PermissionError:
        raise ConfigError("transparent: needs root, CAP_NET_ADMIN or CAP_NET_RAW") from None
    except OSError as error:
        raise ConfigError(f"transparent: this kernel cannot: {error.strerror}") from None


@contextlib.contextmanager
def sharing(*socks: socket.SocketType) -> Iterator[None]:
    """Let several sockets be bound to one address, or listen there, as long as this lasts."""
    before = [sock.getsockopt(socket.SOL_SOCKET, SO_REUSEPORT) for sock in socks]
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 1)
    try:
        yield
    finally:
        for sock, value in zip(socks, before, strict=True):
            sock.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, value)


@dataclass(frozen=True, slots=True)
class UnixOptions:
    """Who may connect to a Unix path: ``mode`` as chmod takes it, ``user`` and ``group`` as names or numbers."""

    mode: int | None = None
    user: str | None = None
    group: str | None = None


def open_tcp(
    family: int,
    sockaddr: Any,
    backlog: int,
    options: IpOptions = PLAIN,
    instead_of: socket.SocketType | None = None,
) -> socket.SocketType:
    """A listening TCP socket; accepted sockets inherit nearly all of its options, see ``sockopts``.

    ``instead_of``: a socket that listens there already; then this one is only bound, to listen when that one goes.
    Raises: OSError, ConfigError.
    """
    tcp = options.of(family, backlog)
    sock = options.make(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, tcp.protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.apply(sock)
        segment = options.shorten(tcp, sockaddr[0])
        if segment is not None:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_MAXSEG, segment)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        options.place(sock, family)
        if instead_of is None:
            sock.bind(sockaddr)
            sock.listen(backlog)
        else:
            with sharing(sock, instead_of):
                sock.bind(sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def open_unix_abstract(name: str, backlog: int, make: SocketMaker = socket.SocketType) -> socket.SocketType:
    """A listening socket with an abstract name, at its exact length; each network namespace has names of its own.

    Raises OSError.
    """
    sock = make(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        sock.bind(b"\0" + name.encode())
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def open_unix_path(path: str, backlog: int, options: UnixOptions) -> socket.SocketType:
    """A listening socket at ``path``. A stale socket there is replaced by renaming over it, so that there is no moment
    without one; a live one, or a file of another kind, is an error. Raises OSError.
    """
    with _folder_locked(os.path.dirname(path)) as folder:
        _refuse_to_replace(path)
        return _open_and_rename(path, _beside(path, folder), backlog, options)


@contextlib.contextmanager
def _folder_locked(folder: str) -> Iterator[int]:
    """Keep other processes from looking at a path and replacing it at the same time as this one; the descriptor.

    Whoever may read the folder may lock it too, so that one who never lets go is not waited for.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # cannot be locked, and can be used
    try:
        deadline = time.monotonic() + LOCK_S
        while not _locked(descriptor) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # not to be had here, however long one waits
    return True


def _beside(path: str, folder: int) -> str:
    """A temporary name in the same folder, through the folder's descriptor if a socket's name cannot be as long."""
    beside = f"{path}.{os.getpid()}.tmp"
    return beside if len(os.fsencode(beside)) <= MAX_UNIX_BYTES else f"/proc/self/fd/{folder}/.{os.getpid()}.tmp"


def _open_and_rename(path: str, beside: str, backlog: int, options: UnixOptions) -> socket.SocketType:
    sock = socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        sock.bind(beside)
        try:
            apply(beside, options)
            sock.listen(backlog)
            os.rename(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
    except BaseException:
        sock.close()
        raise
    return sock


def _refuse_to_replace(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise FileExistsError(errno.EEXIST, "there is a file of another kind in its place")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        if probe.connect_ex(path) in (0, errno.EAGAIN):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def apply(path: str, options: UnixOptions) -> None:
    """Give a Unix path its mode and its owner. Raises OSError, or ConfigError for an owner that does not exist."""
    if options.user is not None or options.group is not None:
        os.chown(path, *owner_of(options))
    if options.mode is not None:
        os.chmod(path, options.mode)


def owner_of(options: UnixOptions) -> tuple[int, int]:
    """The numbers of the user and the group, -1 for none. Raises ConfigError if this machine does not know them."""
    return _uid(options.user), _gid(options.group)


def _uid(user: str | None) -> int:
    if user is None:
        return -1
    if user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(f"there is no user {user!r} on this machine") from None


def _gid(group: str | None) -> int:
    if group is None:
        return -1
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {group!r} on this machine") from None


def identity_of(path: str) -> tuple[int, int]:
    """What tells this file from another one that takes its place later: device and inode."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def is_at(path: str, identity: tuple[int, int]) -> bool:
    """Whether ``path`` is there, and is still the file of that identity."""
    try:
        return identity_of(path) == identity
    except OSError:
        return False


def remove_unix_path(path: str, identity: tuple[int, int]) -> None:
    """Remove ``path`` unless another file has taken its place."""
    with contextlib.suppress(OSError):
        if identity_of(path) == identity:
            os.unlink(path)


def open_inherited(fd: int, backlog: int) -> socket.SocketType:
    """A copy of the bound or listening stream socket that this process was started with as ``fd``. Raises OSError."""
    copy = os.dup(fd)
    try:
        sock = socket.SocketType(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    try:
        if sock.type != socket.SOCK_STREAM:
            raise OSError(errno.ESOCKTNOSUPPORT, "it is no stream socket")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(backlog)
        sock.setblocking(False)
        os.set_inheritable(sock.fileno(), False)
    except OSError:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def blamed_on(address: str) -> Iterator[None]:
    """Turn an OSError of the opening functions into a ConfigError that names ``address`` and what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "")
        raise ConfigError(f"cannot listen on {address}: {error.strerror or error}{advice}") from None


_ADVICE = {
    errno.EADDRINUSE: " (another process listens there, or this one does already)",
    errno.EACCES: " (ports below 1024 need root or CAP_NET_BIND_SERVICE; a Unix path needs a writable folder)",
    errno.EADDRNOTAVAIL: " (no interface of this machine has that address)",
    errno.EMFILE: " (too many open files: raise the descriptor limit or listen on fewer ports)",
    errno.EBADF: " (no such descriptor was passed to this process)",
    errno.ENOTSOCK: " (that descriptor is no socket)",
}
