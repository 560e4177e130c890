"""One open ``bind`` entry: its listening sockets, which live as long as the entry stays in the configuration."""

import socket
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    UNIXServerEndpoint,
    serverFromString,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_lb.bind_check import endpoint_from
from twisted_lb.config.addresses import EndpointDescription, InheritedFd, IpAddress, UnixAbstract, UnixPath, parse_bind
from twisted_lb.config.model import Bind
from twisted_lb.config.resolve import resolve
from twisted_lb.endings import Cause
from twisted_lb.endpoint_session import EndpointSession, endpoint_session_class
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.frontend import Frontend
from twisted_lb.http_express import ExpressSession, may_take_it
from twisted_lb.http_session import HttpSession
from twisted_lb.net.accepted import arrangement
from twisted_lb.net.listening import (
    IpOptions,
    UnixOptions,
    apply,
    blamed_on,
    identity_of,
    is_at,
    open_inherited,
    open_tcp,
    open_unix_abstract,
    open_unix_path,
    owner_of,
    remove_unix_path,
)
from twisted_lb.net.namespace import Namespace
from twisted_lb.net.sockopts import ListenOptions
from twisted_lb.net.stream import Stream
from twisted_lb.process import Process
from twisted_lb.session import Session
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.listener import Accept, StreamListener
from twisted_lb.stages.listener_endpoint import EndpointListener
from twisted_lb.stages.proxy_header import Reception
from twisted_lb.tcp_session import TcpSession

Listener = StreamListener | EndpointListener
Held = tuple[tuple[int, int] | None, int, Any]
"""A namespace's identity, a family, and a socket address or the path of a Unix socket."""
Key = tuple[Any, ...]
"""What two bind entries must share for one to go on with the other's sockets."""

_WILDCARDS = ("0.0.0.0", "::")


_IP = (socket.AF_INET, socket.AF_INET6)


def key_of(bind: Bind, namespace: Namespace | None = None) -> Key:
    """Tell the sockets of this entry from those of another; ``bind.tcp``: its own and its frontend's in one."""
    unix = bind.mode, bind.user, bind.group
    place = bind.namespace, _identity(namespace), bind.interface, bind.transparent
    return bind.address, bind.backlog, *unix, *place, bind.original_dst, bind.tcp


def _identity(namespace: Namespace | None) -> tuple[int, int] | None:
    return None if namespace is None or namespace.is_home else namespace.identity


def _of_no_interest(_: Failure) -> None:
    """An endpoint that was given up could not listen either."""


class Binding:
    """The sockets of one bind entry. Accepts nothing before ``serve`` and ``start``.

    ``bind.tcp``: its own and its frontend's in one. ``namespace``: the one that it listens in, ``None`` for our own.
    ``opening``: endpoints that could not say at once whether they can listen.
    """

    _log = Logger()

    def __init__(self, process: Process, bind: Bind, namespace: Namespace | None = None) -> None:
        self.process = process
        self.bind = bind
        self.namespace = namespace
        self.opening: list[Deferred[Any]] = []
        self.listeners: list[Listener] = []
        self._held: Mapping[Held, StreamListener] = MappingProxyType({})
        self._unix: tuple[str, tuple[int, int]] | None = None
        self._options: UnixOptions | None = None
        self._ip = IpOptions.of_bind(bind, namespace)
        # ``make`` is not part of it: where a socket is, its place says.
        queue = bind.backlog if self._ip.tcp.fast_open is True else None
        self._made_with = self._ip.tcp, bind.transparent, bind.interface, queue
        self._replacing: list[tuple[StreamListener, StreamListener]] = []

    def open(self, held: Mapping[Held, StreamListener] = MappingProxyType({})) -> None:
        """Open all of them; those that are in ``held`` are shared with the entry that has them open already.

        Raises: ConfigError, and has opened none then.
        """
        self._held = held
        try:
            with blamed_on(self.bind.address):
                self._open(parse_bind(self.bind.address))
        except BaseException:
            self.stop(besides=list(held.values()))
            raise

    def held(self) -> dict[Held, StreamListener]:
        """What another entry can go on with: sockets that are bound to an address, or to a path."""
        if self._unix is not None:
            (path, identity), (listener,) = self._unix, self.listeners
            ours = isinstance(listener, StreamListener) and is_at(path, identity)
            return {(None, socket.AF_UNIX, path): listener} if ours else {}  # type: ignore[dict-item]
        where = _identity(self.namespace)
        return {
            (where, one.family, one.getsockname()): one
            for one in self.listeners
            if isinstance(one, StreamListener) and one.family != socket.AF_UNIX
        }

    def _open(self, address: Any) -> None:
        backlog = self.bind.backlog
        match address:
            case IpAddress(host, low, high):
                for port in range(low, high + 1):
                    for family, sockaddr in resolve(host, port):
                        with blamed_on(self._spelt(host, port, low != high)):
                            self._open_ip(family, sockaddr)
            case UnixPath(path):
                self._open_unix(path)
            case UnixAbstract(name):
                self._add(open_unix_abstract(name, backlog, self._ip.make))
            case InheritedFd(fd):
                sock = open_inherited(fd, backlog)
                if sock.family in _IP:
                    self._ip.of(sock.family, backlog).apply(sock)
                self._add(sock)
            case EndpointDescription(text):
                self._add_endpoint(endpoint_from(serverFromString, self.process.reactor, text))

    def _spelt(self, host: str, port: int, ranged: bool) -> str:
        if not ranged:
            return self.bind.address
        return f"{SocketAddress(host, port)} (of {self.bind.address})"

    def _open_ip(self, family: int, sockaddr: Any) -> None:
        held = self._held.get((_identity(self.namespace), family, sockaddr))
        if held is not None and held.made_with == self._made_with:
            self.listeners.append(held)
        elif self.process.poller is not None:
            instead_of = None if held is None else held.sock
            new = self._add(open_tcp(family, sockaddr, self.bind.backlog, self._ip, instead_of))
            if held is not None:
                self._replacing.append((new, held))
        else:
            endpoint = TCP6ServerEndpoint if family == socket.AF_INET6 else TCP4ServerEndpoint
            self._add_endpoint(endpoint(self.process.reactor, sockaddr[1], self.bind.backlog, sockaddr[0]))

    def _open_unix(self, path: str) -> None:
        bind = self.bind
        mode = None if bind.mode is None else int(bind.mode, 8)
        if self.process.poller is None:
            self._add_endpoint(UNIXServerEndpoint(self.process.reactor, path, bind.backlog, mode or 0o666, 0))
            return
        options = UnixOptions(mode, bind.user, bind.group)
        held = self._held.get((None, socket.AF_UNIX, path))
        if held is not None:
            owner_of(options)
            self._options = options
            self.listeners.append(held)
        else:
            self._add(open_unix_path(path, bind.backlog, options))
        self._unix = path, identity_of(path)

    def take_over(self) -> None:
        """Do what must wait until the entry cannot be refused any more, as long as those that go are still open.

        A Unix path that is shared with another entry gets what this one says of it, and where sockets with other
        options listen, these listen in their place.
        """
        for new, old in self._replacing:
            try:
                new.listen_instead_of(old, self.bind.backlog)
            except OSError as error:
                what = "{address} is not served any more: {reason}"
                self._log.error(what, address=self.bind.address, reason=error.strerror)
        self._replacing.clear()
        self._held = MappingProxyType({})
        if self._options is not None and self._unix is not None:
            try:
                apply(self._unix[0], self._options)
            except OSError as error:
                what = "{address} keeps its mode and owner: {reason}"
                self._log.error(what, address=self.bind.address, reason=error.strerror)
            self._options = None

    def _add(self, sock: socket.SocketType) -> StreamListener:
        poller = self.process.poller
        if poller is None:
            sock.close()
            raise ConfigError(f"{self.bind.address}: addresses of this kind need Linux")
        listener = StreamListener(poller, self.process.clock, sock, self.bind.address, ())
        self.listeners.append(listener)
        listener.made_with = self._made_with
        if sock.family in _IP:
            host, port = sock.getsockname()[:2]
            of_both = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            self._note(listener, host, port, of_both)
        return listener

    def _note(self, listener: Listener, host: str, port: int, of_both: bool) -> None:
        where = _identity(self.namespace)
        listener.places = [(where, one, port) for one in (_WILDCARDS if of_both and host in _WILDCARDS else (host,))]
        self.process.listening.update(listener.places)

    def _note_endpoint(self, listener: EndpointListener, address: Any) -> None:
        if isinstance(address, IPv4Address | IPv6Address):
            self._note(listener, address.host, address.port, of_both=isinstance(address, IPv6Address))

    def _close(self, listener: Listener) -> None:
        listener.stop()
        if isinstance(listener, StreamListener):
            listener.accept = None  # it leads back here: a namespace would stay open until the collector comes by
        listening = self.process.listening
        for place in listener.places:
            listening[place] -= 1
            if not listening[place]:
                del listening[place]
        listener.places = []

    def _add_endpoint(self, endpoint: Any) -> None:
        listener = EndpointListener(endpoint, self.bind.address, ())
        self.listeners.append(listener)
        listener.opened = partial(self._note_endpoint, listener)
        opening = listener.listen()
        failures: list[Failure] = []
        opening.addErrback(failures.append)
        if failures:
            raise ConfigError(f"cannot listen on {self.bind.address}: {failures[0].getErrorMessage()}")
        if not opening.called:
            self.opening.append(opening.addCallback(self._check, failures))

    def _check(self, _: Any, failures: Sequence[Failure]) -> None:
        if failures:
            raise ConfigError(f"cannot listen on {self.bind.address}: {failures[0].getErrorMessage()}")

    def serve(self, frontend: Frontend, limit: Limit, reception: Reception | None = None) -> None:
        """Give the connections that come from now on to ``frontend``; ``limit`` is this entry's own.

        ``reception``: what proxies before us have to send; ``None`` for nothing.
        """
        limits = (self.process.limit, frontend.limit, limit)
        for listener in self.listeners:
            listener.limits = limits
            if isinstance(listener, StreamListener):
                listener.accept = self._accepting(listener, frontend, limits, reception)
            else:
                listener.arrive = self._arriving(frontend, limits, reception)

    def start(self) -> None:
        """Begin to accept; endpoints did when they were opened, and hold what came."""
        for listener in self.listeners:
            if isinstance(listener, StreamListener):
                listener.start(self.bind.backlog)

    def resume(self) -> None:
        """Look again whether there is room: the limits may have changed."""
        for listener in self.listeners:
            listener.resume()

    def _local_address(self, listener: StreamListener) -> SocketAddress | None:
        if self._unix is not None:
            return SocketAddress(f"unix:{self._unix[0]}")
        local = SocketAddress.from_sockaddr(listener.getsockname())
        return None if local.host in _WILDCARDS or self.bind.transparent else local

    def _listen_options(self, family: int) -> ListenOptions | None:
        return self._ip.of(family, self.bind.backlog) if family in _IP else None

    def _accepting(
        self,
        listener: StreamListener,
        frontend: Frontend,
        limits: tuple[Limit, ...],
        reception: Reception | None,
    ) -> Accept:
        process, name, bind, namespace = self.process, frontend.name, self.bind.address, self.bind.namespace
        local, family = self._local_address(listener), listener.family
        session_class = _session_class(frontend)
        complain = partial(process.complain, f"frontend {name}")
        arrange = arrangement(self._listen_options(family), family, self.bind.original_dst, complain)

        address_of = SocketAddress.converter(family)

        def accept(stream: Stream, peer: Any) -> None:
            destination = address_of(stream.sock.getsockname()) if local is None else local
            facts = Facts(address_of(peer), destination, name, bind, namespace)
            if arrange is not None:
                arrange(stream.sock, facts)
            session = session_class(process, frontend, limits, stream, facts, reception)
            stream.attach(session, half_close=True)
            try:
                stream.accepted()
            except OSError:
                self._log.failure("a connection cannot be watched; it is reset")
                stream.drop(reset=True)
                return
            try:
                session.start()
            except Exception:
                self._log.failure("a session could not start; it is ended")
                session.kill("a defect", Cause.INTERNAL)

        return accept

    def _arriving(
        self, frontend: Frontend, limits: tuple[Limit, ...], reception: Reception | None
    ) -> Callable[..., EndpointSession]:
        session_class = endpoint_session_class(frontend)

        def arrive(address: Any, arrived: Callable[[EndpointSession], None]) -> EndpointSession:
            source = SocketAddress.from_address(address)
            facts = Facts(source, SocketAddress(""), frontend.name, self.bind.address)
            return session_class(self.process, frontend, limits, facts, arrived, reception)

        return arrive

    def sockets(self) -> list[Any]:
        """The socket addresses that this entry's streams are accepted at."""
        return [one.getsockname() for one in self.listeners if isinstance(one, StreamListener)]

    def __len__(self) -> int:
        return len(self.listeners)

    def stop(self, besides: Container[Listener] = ()) -> None:
        """Close all of them but those that another entry goes on with."""
        for opening in self.opening:
            opening.addErrback(_of_no_interest)
        self.opening.clear()
        kept = [listener for listener in self.listeners if listener in besides]
        for listener in self.listeners:
            if listener not in kept:
                self._close(listener)
        self.listeners.clear()
        if self._unix is not None and not kept:
            remove_unix_path(*self._unix)
        self._unix = None


def _session_class(frontend: Frontend) -> type[Session]:
    if frontend.http is None:
        return TcpSession
    return ExpressSession if may_take_it(frontend) else HttpSession
