"""Sockets in other network namespaces, for listeners and for connections.

The switch wraps only ``socket()``: a socket stays for good in the namespace that it was made in, so binding, connecting
and all else is done from the thread's own. Linux only.

Source: setns(2), network_namespaces(7), ip-netns(8).
"""

import errno
import os
import socket
import sys
import weakref
from collections.abc import Callable
from typing import NoReturn

from twisted.logger import Logger

from twisted_lb.errors import ConfigError

FOLDER = "/run/netns"
"""Where ``ip netns add`` puts them."""
CLONE_NEWNET = 0x40000000
"""setns(2): the descriptor must be that of a network namespace, and of no other kind. Python 3.12 has it in ``os``."""
_OWN = "/proc/thread-self/ns/net"
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not be waited for

_log = Logger()


def path_of(name: str) -> str:
    """Return the path of a namespace: what does not begin with ``/`` is a name as ``ip netns`` knows it."""
    return name if name.startswith("/") else f"{FOLDER}/{name}"


class Descriptor:
    """An open namespace; closed with the last reference. ``identity``: its device and inode."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, _FLAGS)
        self.close = weakref.finalize(self, os.close, self.fd)
        self.close.atexit = False
        status = os.fstat(self.fd)
        self.identity = status.st_dev, status.st_ino


class Namespace:
    """A network namespace that sockets can be made in, by the thread that opened it.

    ``name``: as it was configured, a name or a path. ``identity``: device and inode, which no other namespace has as
    long as this object lives. ``is_home``: it is the one that this process runs in anyway.
    """

    def __init__(self, name: str, there: Descriptor, home: Descriptor) -> None:
        self.name = name
        self.identity = there.identity
        self.is_home = there.identity == home.identity
        self._there = there
        self._home = home
        self._setns = _find_setns()

    def __repr__(self) -> str:
        return f"<Namespace {self.name}>"

    def socket(self, family: int, type: int, proto: int = 0) -> socket.SocketType:
        """Make a socket in the namespace; the thread is back in its own when this returns or raises.

        If there is no way back, the process is aborted: every connection that it made from then on would be made in
        the wrong network.

        Raises: OSError, as ``socket()`` does, and PermissionError when CAP_SYS_ADMIN has been given up meanwhile.
        Cost: two system calls more than ``socket()``.
        """
        try:
            self._setns(self._there.fd, CLONE_NEWNET)
            return socket.SocketType(family, type, proto)
        finally:
            self._return()

    def enter_and_leave(self) -> None:
        """Try whether sockets could be made here. Raises OSError."""
        try:
            self._setns(self._there.fd, CLONE_NEWNET)
        finally:
            self._return()

    def _return(self) -> None:
        try:
            self._setns(self._home.fd, CLONE_NEWNET)
        except OSError as error:
            if not self._is_at_home():
                _abort(self.name, error)

    def _is_at_home(self) -> bool:
        """Whether this thread is where it should be, if setns() was refused altogether: then it has never left."""
        try:
            status = os.stat(_OWN)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._home.identity


class Namespaces:
    """The namespaces that are in use. An object is closed when nobody has it any more."""

    def __init__(self) -> None:
        self._open: weakref.WeakValueDictionary[str, Namespace] = weakref.WeakValueDictionary()
        self._home: Descriptor | None = None

    def open(self, name: str) -> Namespace:
        """Open a namespace by its name or its path, for the calling thread.

        The same object while the file there is the same one; if it was made anew, a new object, and the old one goes
        on in the old namespace.

        Raises: ConfigError that names it: it is missing, is no network namespace, or may not be entered.
        """
        if sys.platform != "linux":
            raise ConfigError(f'namespace "{name}": network namespaces need Linux, and this is {sys.platform}')
        if not name or "\0" in name or (not name.startswith("/") and (name in (".", "..") or "/" in name)):
            raise ConfigError(
                f'namespace "{name}": neither a name, as "ip netns list" shows it, nor a path from "/" on'
            )
        there = _open_path(name)
        held = self._open.get(name)
        if held is not None and held.identity == there.identity:
            there.close()
            return held
        if self._home is None:
            self._home = _open_home(name)
        namespace = Namespace(name, there, self._home)
        _try(namespace)
        self._open[name] = namespace
        return namespace

    def open_for(self, key: str, name: str) -> Namespace:
        """As ``open``, with the key of the setting that names it at the beginning of each problem."""
        try:
            return self.open(name)
        except ConfigError as error:
            raise ConfigError(*(f"{key}: {problem.removeprefix('namespace ')}" for problem in error.problems)) from None


def _open_path(name: str) -> Descriptor:
    path = path_of(name)
    try:
        return Descriptor(path)
    except FileNotFoundError:
        advice = f"; make it with: ip netns add {name}" if path != name else ""
        raise ConfigError(f'namespace "{name}": there is no {path}{advice}') from None
    except OSError as error:
        raise ConfigError(f'namespace "{name}": cannot open {path}: {error.strerror}') from None


def _open_home(name: str) -> Descriptor:
    try:
        return Descriptor(_OWN)
    except OSError as error:
        raise ConfigError(f'namespace "{name}": there would be no way back: {_OWN}: {error.strerror}') from None


def _try(namespace: Namespace) -> None:
    name, path = namespace.name, path_of(namespace.name)
    try:
        namespace.enter_and_leave()
    except PermissionError:
        raise ConfigError(f'namespace "{name}": entering it needs root or CAP_SYS_ADMIN') from None
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise ConfigError(f'namespace "{name}": {path} is no network namespace') from None
        raise ConfigError(f'namespace "{name}": cannot enter {path}: {error.strerror}') from None


def _abort(name: str, error: OSError) -> NoReturn:
    _log.critical(
        "cannot come back from namespace {name}: {why}; ending at once, or all else would be done in the wrong network",
        name=name,
        why=error.strerror,
    )
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os.abort()


def _find_setns() -> Callable[[int, int], None]:
    """Return Python's own, which came with 3.12, or the C library's. It raises OSError."""
    own: Callable[[int, int], None] | None = getattr(os, "setns", None)
    if own is not None:
        return own
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).setns
    call.argtypes = (ctypes.c_int, ctypes.c_int)

    def setns(fd: int, kind: int) -> None:
        if call(fd, kind):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return setns
