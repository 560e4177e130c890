"""Which address a connection to a server comes from.

Source: HAProxy configuration.txt, "source" and "usesrc".
"""

import errno
import os
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from twisted_lb.config.addresses import ClientSource, FixedSource, HeaderSource
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts
from twisted_lb.net.interfaces import SocketMaker, interfaces
from twisted_lb.net.placement import allow_foreign_addresses, choose_port_late, is_broadcast, tie_to_interface
from twisted_lb.networks import Networks
from twisted_lb.wire.http1_addresses import address_in, last_element

_SHOWN = 60
"""Bytes of a field that a reason quotes at most."""
_EVERYBODY = IPv4Address("255.255.255.255")
PRIVILEGES = "CAP_NET_ADMIN or CAP_NET_RAW"


class OutgoingError(Exception):
    """A connection that cannot be made for want of something on our side; ``reason`` is for the record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PortTakenError(OutgoingError):
    """The source port is in use towards this server, often by a connection that is about to end.

    A client may use its port again as soon as its own side is closed, which is before we have heard of it.
    """


def ip_of(host: str) -> tuple[int, str] | None:
    """The family and the address of ``SocketAddress.host``, IPv4 for one that IPv6 carries; ``None`` if it is no IP."""
    if not host or host.startswith(("unix:", "unknown:")):
        return None
    if ":" not in host:
        return socket.AF_INET, host
    mapped = IPv6Address(host).ipv4_mapped
    return (socket.AF_INET6, host) if mapped is None else (socket.AF_INET, str(mapped))


def _of_client(facts: Facts) -> tuple[int, str]:
    found = ip_of(facts.source.host)
    if found is None:
        raise OutgoingError(f"source: the client's address {facts.source} is no IP address, so no server can see it")
    return found


def _check_somebodys(found: tuple[int, str], whose: str) -> None:
    """Refuse what the kernel takes for "any": we would be seen ourselves. Raises: OutgoingError."""
    address = IPv6Address(found[1]) if found[0] == socket.AF_INET6 else IPv4Address(found[1])
    if address.is_unspecified or address.is_multicast or address == _EVERYBODY:
        raise OutgoingError(f"source: {whose}, {found[1]}, is nobody's")


def spelt(family: int) -> str:
    """The name of a family of addresses."""
    return "IPv6" if family == socket.AF_INET6 else "IPv4"


class Source:
    """What ``source`` says, ready to be put on sockets.

    ``address``: ``None`` when only the interface is fixed. ``port``, of a fixed address: 0 for the kernel's choice.
    ``believed``: by frontend, the proxies whose word about their clients counts there; of no other is a field read.
    """

    __slots__ = ("_believed", "address", "fixed", "interface", "transparent")

    def __init__(
        self,
        address: ClientSource | HeaderSource | FixedSource | None,
        transparent: bool,
        interface: str | None,
        believed: Mapping[str, Networks] | None = None,
    ) -> None:
        self.address = address
        self.fixed = ip_of(address.host) if isinstance(address, FixedSource) else None
        self.transparent = transparent or isinstance(address, ClientSource | HeaderSource)
        self.interface = interface
        self._believed = believed or {}

    @property
    def ranged(self) -> bool:
        """Whether ports come out of a range."""
        return isinstance(self.address, FixedSource) and self.address.low < self.address.high

    def without_client(self) -> "Source | None":
        """What a health check can have of it: no client, and no port that connections might want."""
        address = self.address
        if isinstance(address, FixedSource) and address.host:
            return Source(FixedSource(address.host), self.transparent, self.interface)
        return Source(None, False, self.interface) if self.interface else None

    def local(self, facts: Facts | None, family: int) -> tuple[str, int] | None:
        """The address and port to bind a socket of ``family`` to, port 0 for the kernel's choice; ``None`` for none.

        Raises: OutgoingError if there is no such address.
        """
        address = self.address
        if address is None:
            return None
        if isinstance(address, FixedSource):
            return self._checked(self.fixed, family, "the source address"), address.low
        assert facts is not None
        if isinstance(address, HeaderSource):
            whose, port = f"the address in {address.name}", 0
            found = self._in_header(facts, address.name)
        else:
            whose, port = "the client's address", facts.source.port if address.port else 0
            found = _of_client(facts)
        if self.is_claimed(facts):
            _check_somebodys(found, whose)
        return self._checked(found, family, whose), port

    def of_request(self, facts: Facts) -> tuple[int, str] | None:
        """The family and the address that the current request's connection comes from; ``None`` if it can have none.

        For sources that clients have a say in.
        """
        if not isinstance(self.address, HeaderSource):
            return ip_of(facts.source.host)
        try:
            return self._in_header(facts, self.address.name)
        except OutgoingError:
            return None

    def is_claimed(self, facts: Facts) -> bool:
        """Whether somebody only says that this is the client's address, rather than send packets from there."""
        return isinstance(self.address, HeaderSource) or (
            isinstance(self.address, ClientSource) and facts.source != facts.peer
        )

    def _in_header(self, facts: Facts, name: str) -> tuple[int, str]:
        """What a proxy that is believed says in the current request. Raises: OutgoingError."""
        if facts.http is None:
            raise OutgoingError(f'source: {name} is read in mode = "http" only')
        believed = self._believed.get(facts.frontend)
        if believed is None or not believed.contains(facts.source.host):
            where = f"frontends.{facts.frontend}.forwarded.except"
            raise OutgoingError(f"source: {name} of {facts.source.host} does not count, who is not in {where}")
        values = facts.http.headers.get_all(name.encode())
        if not values:
            raise OutgoingError(f"source: the request has no {name}")
        element = last_element(values)
        address = address_in(element)
        found = None if address is None else ip_of(address)
        if found is None:
            quoted = repr(element[-_SHOWN:])[1:]
            raise OutgoingError(f"source: the last element of {name}, {quoted}, is no IP address")
        return found

    def _checked(self, found: tuple[int, str] | None, family: int, whose: str) -> str:
        if found is None:
            return "::" if family == socket.AF_INET6 else "0.0.0.0"
        if found[0] != family:
            raise OutgoingError(f"source: {whose} {found[1]} is {spelt(found[0])}, and the server's {spelt(family)}")
        return found[1]

    def prepare(self, sock: socket.SocketType, family: int, local: tuple[str, int] | None) -> None:
        """Set what the kernel must know before ``bind`` and ``connect``. Raises: OutgoingError."""
        try:
            if self.interface is not None:
                tie_to_interface(sock, self.interface)
        except OSError as error:
            raise OutgoingError(f"source: the interface {self.interface} cannot be used: {error.strerror}") from None
        if local is None:
            return
        if self.transparent:
            make_transparent(sock, family)
        if local[1]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            choose_port_late(sock)


def make_transparent(sock: socket.SocketType, family: int) -> None:
    """Let the socket have an address that is not ours. Raises: OutgoingError that names the capability."""
    try:
        allow_foreign_addresses(sock, family)
    except PermissionError:
        raise OutgoingError(f"source: an address that is not ours needs {PRIVILEGES}") from None
    except OSError as error:
        raise OutgoingError(f"source: no address that is not ours is possible: {error.strerror}") from None


def cannot_bind(local: tuple[str, int], error: OSError) -> OutgoingError:
    """Say why ``bind`` failed."""
    spelling = f"[{local[0]}]:{local[1]}" if ":" in local[0] else f"{local[0]}:{local[1]}"
    match error.errno:
        case errno.EADDRNOTAVAIL:
            return OutgoingError(f"source: {local[0]} is none of this machine's addresses")
        case errno.EADDRINUSE:
            return OutgoingError(f"source: {spelling} is in use by another socket")
        case errno.EACCES:
            return OutgoingError(f"source: the port of {spelling} needs CAP_NET_BIND_SERVICE")
    return OutgoingError(f"source: cannot bind to {spelling}: {error.strerror}")


def check_source(source: Source, families: tuple[int, ...], make: SocketMaker, place: str) -> None:
    """Try on scratch sockets what can be tried without a connection.

    ``make``: makes sockets where the server is; ``place``: how to say that, such as ``this machine``.
    Raises: ConfigError with what to do.
    """
    for family in families:
        if source.fixed is not None and source.fixed[0] != family:
            raise ConfigError(
                f"{source.fixed[1]} is {spelt(source.fixed[0])}, and the server's address is {spelt(family)}:"
                " give that server a source of its family, or source = false"
            )
        sock = make(family, socket.SOCK_STREAM, 0)
        try:
            _try(source, sock, family, make, place)
        finally:
            sock.close()


def _try(source: Source, sock: Any, family: int, make: SocketMaker, place: str) -> None:
    if source.transparent:
        try:
            make_transparent(sock, family)
        except OutgoingError as error:
            raise ConfigError(
                f"{error.reason.removeprefix('source: ')}: start as root, or give the process that capability"
            ) from None
    if source.interface is not None:
        try:
            tie_to_interface(sock, source.interface)
        except OSError as error:
            if error.errno == errno.ENODEV:
                known = ", ".join(one.name for one in interfaces(make))
                raise ConfigError(f'there is no interface "{source.interface}" on {place}, only {known}') from None
            raise ConfigError(f'the interface "{source.interface}" cannot be used: {error.strerror}') from None
    if not isinstance(source.address, FixedSource):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    local = source.local(None, family)
    assert local is not None
    if source.address.host and family == socket.AF_INET and is_broadcast(make, local[0]):
        raise ConfigError(f"{local[0]} is a network's broadcast address, and no connection can come from there")
    try:
        sock.bind(local)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(
                f"{local[0]} is no address of {place}: add it to an interface, or write"
                " source = { address = ..., transparent = true } if it shall be used although it is none"
            ) from None
        if error.errno == errno.EACCES:
            raise ConfigError(f"port {local[1]} needs root or CAP_NET_BIND_SERVICE") from None
        if error.errno != errno.EADDRINUSE:  # which may have passed when a connection wants it
            raise ConfigError(f"cannot bind to {local[0]} port {local[1]}: {os.strerror(error.errno or 0)}") from None
