"""From the settings of a server and its backend to how connections to it are made; at start-up and reload."""

import socket
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from twisted_lb.backends.loops import Listening
from twisted_lb.backends.outgoing import Outgoing
from twisted_lb.backends.source import Source
from twisted_lb.backends.target import DestinationTarget, EndpointTarget, SocketTarget, Target
from twisted_lb.config import inherit
from twisted_lb.config.addresses import HeaderSource, parse_source
from twisted_lb.config.keys import ServerKeys
from twisted_lb.config.model import Backend, Server
from twisted_lb.config.tcp import ConnectTcp
from twisted_lb.errors import ConfigError
from twisted_lb.net.namespace import Namespace, Namespaces
from twisted_lb.networks import Networks


class Surroundings(NamedTuple):
    """What the process lends to all of them.

    ``of_clients``: opens the namespaces that clients may come in by, by name. ``streams``: there can be sockets
    of ours. ``believed``: by frontend, the proxies whose word about their clients counts there.
    """

    namespaces: Namespaces
    of_clients: Callable[[], Mapping[str, Namespace]]
    listening: Listening
    streams: bool
    complain: Callable[[str, str], None]
    believed: Callable[[], Mapping[str, Networks]] = dict


def outgoing_for(
    where: tuple[str, str], backend: Backend, server: Server, target: Target, around: Surroundings, now: Outgoing | None
) -> Outgoing | None:
    """How connections to ``target`` are made; ``None`` for the plain way.

    ``where``: the names of backend and server. ``now``: how they are made until now, whose leases of ports go on.
    Raises: ConfigError whose problems begin with the whole dotted key.
    """
    keys = ServerKeys(f"backends.{where[0]}", where[1], server)
    source_settings, namespace_name = inherit.source(backend, server), inherit.namespace(backend, server)
    tcp = inherit.connect_tcp(backend, server)
    if isinstance(target, EndpointTarget) or _is_unix(target):
        return None  # what does not fit them is refused by config/checks.py; the rest is not meant for them
    if isinstance(target, SocketTarget) and source_settings is None and namespace_name is None and tcp == ConnectTcp():
        return None
    if not around.streams:
        key = keys.of("source") if source_settings else keys.of("namespace") if namespace_name else keys.of("tcp")
        key = keys.entry if isinstance(target, DestinationTarget) else key
        raise ConfigError(f"{key}: this needs Linux with epoll, and this is {sys.platform}: leave it out")
    namespace = of_clients = None
    if namespace_name == "*":
        of_clients = around.of_clients()
    elif namespace_name is not None:
        namespace = around.namespaces.open_for(keys.of("namespace"), namespace_name)
    source = None
    if source_settings is not None:
        address = None if source_settings.address is None else parse_source(source_settings.address)
        believed = around.believed() if isinstance(address, HeaderSource) else None
        source = Source(address, source_settings.transparent, source_settings.interface, believed)
    name = f"server {'/'.join(where)}"
    complain = around.complain  # the rest of ``around`` must not live as long as the server
    made = Outgoing(tcp, source, namespace, of_clients, around.listening, lambda reason: complain(name, reason), now)
    try:
        made.check(target)
    except ConfigError as error:
        raise ConfigError(*(keys.whole(problem) for problem in error.problems)) from None
    return made


def _is_unix(target: Target) -> bool:
    return isinstance(target, SocketTarget) and target.family == socket.AF_UNIX
