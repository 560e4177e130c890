"""What can be found out about a ``bind`` entry before it listens, so that ``--check`` can tell it."""

import socket
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET, structs
from twisted.internet.endpoints import serverFromString

from twisted_lb.config import inherit
from twisted_lb.config.addresses import EndpointDescription, InheritedFd, IpAddress, UnixPath, parse_bind
from twisted_lb.config.model import Bind, Frontend
from twisted_lb.config.resolve import resolve
from twisted_lb.config.tcp import ListenTcp
from twisted_lb.errors import ConfigError
from twisted_lb.net.listening import IpOptions, UnixOptions, owner_of
from twisted_lb.net.namespace import Namespace
from twisted_lb.process import Process


def whole_bind(frontend: Frontend, bind: Bind) -> Bind:
    """Put the options of the frontend's sockets into the entry, if they are TCP sockets of ours."""
    ours = isinstance(parse_bind(bind.address), IpAddress | InheritedFd)
    return structs.replace(bind, tcp=inherit.listen_tcp(frontend, bind) if ours else UNSET)


def check_bind(bind: Bind, process: Process) -> Namespace | None:
    """Find out, without listening, what can be found out about an address to listen on.

    Returns: the namespace that it is in. Raises: ConfigError.
    """
    if process.poller is None:
        _refuse_without_streams(bind)
    namespace = None if bind.namespace is None else process.namespaces.open_for("namespace", bind.namespace)
    match parse_bind(bind.address):
        case IpAddress(host, low, _):
            _check_ip(bind, resolve(host, low), namespace)
        case InheritedFd():
            # Of which family it is, is known once it is opened; most options are the same for both.
            if bind.tcp not in (UNSET, ListenTcp()):
                IpOptions.of_bind(bind, None).of(socket.AF_INET, bind.backlog).check()
        case UnixPath():
            owner_of(UnixOptions(None, bind.user, bind.group))
        case EndpointDescription(text):
            endpoint_from(serverFromString, process.reactor, text)
    return namespace


def _check_ip(bind: Bind, addresses: Sequence[tuple[int, Any]], namespace: Namespace | None) -> None:
    options = IpOptions.of_bind(bind, namespace)
    if (options.tcp, options.transparent, options.interface) == (ListenTcp(), False, None):
        return
    problems: dict[str, None] = {}
    for family, sockaddr in addresses:
        try:
            options.check(family, sockaddr[0], bind.backlog)
        except ConfigError as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        raise ConfigError(*problems)


def _refuse_without_streams(bind: Bind) -> None:
    """These settings belong to sockets of ours, which Twisted's own transports are not."""
    keys = [key for key in ("transparent", "original_dst", "interface", "namespace") if getattr(bind, key)]
    if bind.tcp not in (UNSET, ListenTcp()):
        keys.append("tcp")
    if keys:
        raise ConfigError(*(f"{key}: needs Linux, and Twisted's epoll reactor or the one of twistd" for key in keys))


def endpoint_from(read: Callable[[Any, str], Any], reactor: Any, text: str) -> Any:
    """Let ``read``, of Twisted, make an endpoint of a description. Raises: ConfigError."""
    try:
        return read(reactor, text)
    except Exception as error:  # each prefix may be a plugin's, which raises what it likes
        raise ConfigError(f'"{text}" is no endpoint description that Twisted understands: {error}') from None
