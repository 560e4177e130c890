"""How the sockets of connections to one server are made: where, with which options, and from which address.

A server without any such setting has none of this, and costs nothing of it. Linux only.
Source: HAProxy configuration.txt, "source" and "namespace"; proto_tcp.c for how many ports of a range are tried.
"""

import errno
import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted_lb.backends.loops import Listening, leads_back
from twisted_lb.backends.source import OutgoingError, PortTakenError, Source, cannot_bind, check_source
from twisted_lb.backends.source_ports import LeasedSocket, SourcePorts
from twisted_lb.backends.target import DestinationTarget, SocketTarget
from twisted_lb.config.tcp import ConnectTcp
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts
from twisted_lb.net.interfaces import SocketMaker
from twisted_lb.net.namespace import Namespace
from twisted_lb.net.placement import is_broadcast
from twisted_lb.net.sockopts import ConnectOptions

BIND_ATTEMPTS = 10
"""Ports of a range that one connection tries; HAProxy's number."""
_PORT_TAKEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
NON_BLOCKING = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0) | getattr(socket, "SOCK_CLOEXEC", 0)


class Outgoing:
    """How connections to one server are made.

    ``namespace``: where, ``None`` for the process's own. ``namespaces``: by name, those that clients come in by, when
    connections are made in the client's; else ``None``. ``complain``: told why, when one cannot be made.
    """

    def __init__(
        self,
        tcp: ConnectTcp,
        source: Source | None = None,
        namespace: Namespace | None = None,
        namespaces: Mapping[str, Namespace] | None = None,
        listening: Listening = (),
        complain: Callable[[str], None] = lambda reason: None,
        before: "Outgoing | None" = None,
    ) -> None:
        self.tcp = tcp
        self.source = source
        self.namespace = namespace
        self.namespaces = namespaces
        self.complain = complain
        self._listening = listening
        self._options: dict[tuple[Namespace | None, int], ConnectOptions] = {}
        self.ports: SourcePorts | None = None
        if source is not None and source.ranged:
            self.ports = _ports(source, before)

    def for_checks(self) -> "Outgoing":
        """How health checks connect: the same, but for what only a client has, and for ports."""
        source = None if self.source is None else self.source.without_client()
        return Outgoing(self.tcp, source, self.namespace)

    def check(self, target: SocketTarget | DestinationTarget) -> None:
        """Try what can be tried without a connection. Raises: ConfigError, each problem with its setting's key."""
        families = (target.family,) if isinstance(target, SocketTarget) else (socket.AF_INET, socket.AF_INET6)
        problems: list[str] = []
        for family in families:
            try:
                self._options_for(self.namespace, family).check()
            except ConfigError as error:
                problems.extend(_within("tcp", problem) for problem in error.problems)
        if self.source is not None and self.namespaces is None:
            place = "this machine" if self.namespace is None else f'the namespace "{self.namespace.name}"'
            fixed = self.source.fixed
            sought = families if len(families) == 1 or fixed is None else (fixed[0],)
            try:
                check_source(self.source, sought, _maker(self.namespace), place)
            except ConfigError as error:
                problems.extend(f"source: {problem}" for problem in error.problems)
        if problems:
            raise ConfigError(*dict.fromkeys(problems))

    def connect(self, target: Any, facts: Facts, data_first: bool) -> tuple[socket.SocketType, int]:
        """Make a socket and begin to connect it; ``data_first``: there is something to say to the server at once.

        Returns: the socket and what ``connect_ex`` said, an error of the server's.
        Raises: OutgoingError for an error of ours, which has been complained of; PortTakenError, which has not, as
            another attempt may go well.
        """
        try:
            namespace = self._namespace(facts)
            if isinstance(target, DestinationTarget):
                family, sockaddr = target.reached_from(facts.destination)
                if leads_back(self._listening, namespace, family, sockaddr[0], sockaddr[1]):
                    raise OutgoingError(f"loop: {facts.destination} leads to a listener of this proxy")
            else:
                family, sockaddr = target.family, target.reached_from(facts.destination)
            local = None if self.source is None else self._claimable(self.source, facts, namespace, family)
            return self._connect(namespace, family, sockaddr, local, data_first)
        except PortTakenError:
            raise
        except OutgoingError as error:
            self.complain(error.reason)
            raise

    def connect_check(self, target: SocketTarget, data_first: bool) -> tuple[socket.SocketType, int]:
        """As ``connect``, for a health check, which has no client."""
        local = None if self.source is None else self.source.local(None, target.family)
        return self._connect(self.namespace, target.family, target.sockaddr, local, data_first)

    def _namespace(self, facts: Facts) -> Namespace | None:
        if self.namespaces is None or facts.namespace is None:
            return self.namespace
        try:
            return self.namespaces[facts.namespace]
        except KeyError:
            raise OutgoingError(f"namespace: the client's, {facts.namespace}, is not open") from None

    def _claimable(
        self, source: Source, facts: Facts, namespace: Namespace | None, family: int
    ) -> tuple[str, int] | None:
        """The address and port to come from, of which the kernel will make no other."""
        local = source.local(facts, family)
        if local is None or family != socket.AF_INET or not source.is_claimed(facts):
            return local
        try:
            ours_instead = is_broadcast(_maker(namespace), local[0])
        except OSError as error:
            raise OutgoingError(f"source: {local[0]} cannot be looked at: {error.strerror}") from None
        if ours_instead:
            raise OutgoingError(f"source: {local[0]} is nobody's, but a network's broadcast address")
        return local

    def _connect(
        self, namespace: Namespace | None, family: int, sockaddr: Any, local: tuple[str, int] | None, data_first: bool
    ) -> tuple[socket.SocketType, int]:
        options = self._options_for(namespace, family)

        def prepared() -> socket.SocketType:
            sock = self._socket(namespace, family, options.protocol)
            try:
                if self.source is not None:
                    self.source.prepare(sock, family, local)
                _apply(options, sock, sockaddr, data_first)
            except BaseException:
                sock.close()
                raise
            return sock

        if self.ports is not None and local is not None:
            return self._connect_ranged(prepared, sockaddr, local[0], self.ports)
        sock = prepared()
        if local is not None:
            try:
                sock.bind(local)
            except OSError as error:
                sock.close()
                raise cannot_bind(local, error) from None
        code = sock.connect_ex(sockaddr)
        if code in _PORT_TAKEN:
            sock.close()
            raise PortTakenError(_taken(local))
        return sock, code

    def _connect_ranged(
        self, prepared: Callable[[], socket.SocketType], sockaddr: Any, host: str, ports: SourcePorts
    ) -> tuple[socket.SocketType, int]:
        """Go through the range until a port can be used."""
        attempts = min(BIND_ATTEMPTS, ports.free)
        for _ in range(attempts):
            sock = prepared()
            port = ports.lease()
            assert port is not None
            leased = LeasedSocket.around(sock, ports, port)
            try:
                leased.bind((host, port))
            except OSError as error:
                leased.close()
                if error.errno == errno.EADDRINUSE:
                    continue
                raise cannot_bind((host, port), error) from None
            code = leased.connect_ex(sockaddr)
            if code not in _PORT_TAKEN:
                return leased, code
            leased.close()
        if not attempts:
            raise OutgoingError("source port range exhausted")
        raise OutgoingError(f"source: none of the next {attempts} ports of the range can be used towards this server")

    def _options_for(self, namespace: Namespace | None, family: int) -> ConnectOptions:
        options = self._options.get((namespace, family))
        if options is None:
            options = ConnectOptions.of(self.tcp, family, _maker(namespace))
            self._options[namespace, family] = options
        return options

    def _socket(self, namespace: Namespace | None, family: int, protocol: int) -> socket.SocketType:
        try:
            return _maker(namespace)(family, NON_BLOCKING, protocol)
        except OSError as error:
            where = "" if namespace is None else f" in namespace {namespace.name}"
            raise OutgoingError(f"no socket for the server{where}: {error.strerror}") from None


def _maker(namespace: Namespace | None) -> SocketMaker:
    return socket.SocketType if namespace is None or namespace.is_home else namespace.socket


def _apply(options: ConnectOptions, sock: socket.SocketType, sockaddr: Any, data_first: bool) -> None:
    try:
        options.apply(sock, sockaddr, data_first)
    except OSError as error:
        raise OutgoingError(f"tcp: an option cannot be set: {error.strerror}") from None


def _ports(source: Source, before: Outgoing | None) -> SourcePorts:
    """The ports of a range: those of ``before``, with their leases, if it has the same."""
    address: Any = source.address
    if before is not None and before.ports is not None:
        kept = before.ports
        if (kept.low, kept.high) == (address.low, address.high):
            return kept
    return SourcePorts(address.low, address.high)


def _taken(local: tuple[str, int] | None) -> str:
    if local is None or not local[1]:
        return f"no free source port{'' if local is None else f' of {local[0]}'} towards this server"
    return f"source: port {local[1]} of {local[0]} is in use towards this server"


def _within(key: str, problem: str) -> str:
    return problem if problem.startswith(key) else f"{key}.{problem}"
