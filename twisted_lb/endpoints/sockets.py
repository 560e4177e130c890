"""How the TCP sockets of an endpoint are made: in which namespace, from which address, for whose traffic.

Source: ip(7), ipv6(7), socket(7), tcp(7); Linux, Documentation/networking/tproxy.rst.
"""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from ipaddress import ip_address
from typing import Any

from twisted_lb.errors import ConfigError
from twisted_lb.net.namespace import Namespace, Namespaces
from twisted_lb.net.placement import allow_foreign_addresses, choose_port_late, tie_to_interface


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """What is special about the sockets.

    ``namespace``: its name or path. ``transparent``: a listener takes what was sent to any address and was led here by
    TPROXY; a client may have a ``source`` that is not this machine's. ``source``, ``source_port``: what a client is
    bound to; port 0 lets the kernel choose. ``interface``: the network interface that a client's packets take.
    """

    namespace: str | None = None
    transparent: bool = False
    source: str | None = None
    source_port: int = 0
    interface: str | None = None

    def with_(self, **more: Any) -> "SocketOptions":
        """Add options. Raises ConfigError if one of them is there already with another value."""
        mine = {field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name)}
        more = {name: value for name, value in more.items() if value}
        for name in mine.keys() & more.keys():
            if mine[name] != more[name]:
                raise ConfigError(f'{name}: "{mine[name]}" and "{more[name]}" cannot be had together')
        return replace(self, **more)


class Sockets:
    """Makes sockets with options; everything that can be wrong with them is found out at once.

    The namespace is looked up by its name for each socket, so that one which was made anew is noticed.

    Raises: ConfigError for what makes no sense, is not there, or needs a privilege that this process has not.
    """

    def __init__(self, options: SocketOptions) -> None:
        self.options = options
        self._namespaces = Namespaces()
        self._namespace: Namespace | None = None
        self._source_family = _check(options)
        self._open_namespace()
        for family in (socket.AF_INET, socket.AF_INET6):
            if self._source_family not in (None, family):
                continue
            try:
                self._make(family).close()
            except OSError as error:
                if family == socket.AF_INET6 and error.errno == errno.EAFNOSUPPORT:
                    continue  # a machine without IPv6
                raise ConfigError(str(error.args[1])) from None

    def server(self, family: int) -> socket.socket:
        """Make a socket to listen with, not yet bound. Raises OSError."""
        return self._make(family)

    def client(self, family: int) -> socket.socket:
        """Make a socket to connect with, bound if there is a source address. Raises OSError."""
        options = self.options
        if self._source_family not in (None, family):
            raise OSError(errno.EAFNOSUPPORT, f"from {options.source} there is no way to an address of another family")
        sock = self._make(family)
        if options.source is None and not options.source_port:
            return sock
        any_address = "0.0.0.0" if family == socket.AF_INET else "::"
        try:
            if options.source_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            elif sys.platform == "linux":
                # Else the kernel would choose a port that no other connection has, to whomever that is.
                choose_port_late(sock)
            port = f", port {options.source_port}" if options.source_port else ""
            with _named(f"cannot connect from {options.source or any_address}{port}"):
                sock.bind((options.source or any_address, options.source_port))
        except OSError:
            sock.close()
            raise
        return sock

    def _open_namespace(self) -> None:
        if self.options.namespace is not None:
            self._namespace = self._namespaces.open(self.options.namespace)

    def _make(self, family: int) -> socket.socket:
        try:
            self._open_namespace()
        except ConfigError as error:
            raise OSError(errno.ENOENT, str(error)) from None
        kind = socket.SOCK_STREAM
        if self._namespace is None:
            sock = socket.socket(family, kind)
        else:
            with _named(f"no socket in namespace {self.options.namespace}"):
                sock = socket.socket(family, kind, 0, self._namespace.socket(family, kind).detach())
        try:
            sock.setblocking(False)
            self._set(sock, family)
        except OSError:
            sock.close()
            raise
        return sock

    def _set(self, sock: socket.socket, family: int) -> None:
        if self.options.transparent:
            with _named("transparent sockets need root, CAP_NET_ADMIN or CAP_NET_RAW"):
                allow_foreign_addresses(sock, family)
        if self.options.interface is not None:
            with _named(f"cannot use the interface {self.options.interface}"):
                tie_to_interface(sock, self.options.interface)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Say in an OSError what could not be done."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{what}: {os.strerror(error.errno or 0)}") from None


def _check(options: SocketOptions) -> int | None:
    """Check what can be checked without a socket; returns the family of the source address."""
    if sys.platform != "linux" and (options.transparent or options.interface is not None):
        what = "transparent sockets need" if options.transparent else "a choice of the interface needs"
        raise ConfigError(f"{what} Linux, and this is {sys.platform}")
    if not 0 <= options.source_port <= 65535:
        raise ConfigError(f"port: {options.source_port} is no port")
    if options.interface is not None and not 0 < len(options.interface.encode()) < 16:
        raise ConfigError(f'interface: "{options.interface}" is no name of an interface')
    if options.source is None:
        return None
    try:
        address = ip_address(options.source)
    except ValueError:
        raise ConfigError(f'"{options.source}" is no IP address that one could connect from') from None
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
