"""What the backends of a configuration become: servers, the way to each of them, and their checks."""

import socket
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from twisted.internet.endpoints import clientFromString

from twisted_lb.backends.health import Check, Health, Rhythm
from twisted_lb.backends.outgoing import Outgoing
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.backends.reach import Surroundings, outgoing_for
from twisted_lb.backends.target import DestinationTarget, EndpointTarget, SocketTarget, Target
from twisted_lb.bind_check import endpoint_from
from twisted_lb.config import inherit, model
from twisted_lb.config.addresses import (
    ClientDestination,
    EndpointDescription,
    UnixAbstract,
    UnixPath,
    parse_server,
)
from twisted_lb.config.resolve import resolve
from twisted_lb.config.tlvs import forwarded_types, own_tlvs
from twisted_lb.config.uses import Use
from twisted_lb.errors import ConfigError, PluginError
from twisted_lb.http_assembly import believed, http_backend
from twisted_lb.net.namespace import Namespace
from twisted_lb.plugin_host import PluginHost
from twisted_lb.problems import Problems
from twisted_lb.process import Process
from twisted_lb.stages.proxy_header import Sender
from twisted_lb.wire.proxy_header import TlvType

_ABOUT_TLS = {"ssl", "cert-cn", "ssl-cipher", "cert-sig", "cert-key"}
# All of these are parts of one TLV, and until TLS is terminated here that one comes, whole, from a received header.


class PlannedServer(NamedTuple):
    """What a server is to be; until that is put in force it may serve as what it was."""

    server: Server
    settings: model.Server
    sender: Sender | None
    outgoing: Outgoing | None

    def put_in_force(self) -> None:
        """From now on the server is that."""
        server, settings = self.server, self.settings
        server.weight, server.maxconn, server.sender = settings.weight, settings.maxconn, self.sender
        server.outgoing = self.outgoing


class BackendAssembly:
    """Builds backends. ``servers``: what the servers of all that were built are to be."""

    def __init__(self, config: model.Config, process: Process, host: PluginHost, problems: Problems) -> None:
        self.servers: list[PlannedServer] = []
        self._config = config
        self._process = process
        self._host = host
        self._problems = problems

    def build(self, name: str, before: Backend | None) -> tuple[Backend, Health] | None:
        """Build the backend of that name, and the checks of its servers; nothing if it has no balancer.

        ``before``: what it was so far. Its servers that are still where they were are kept, and so is what is counted.
        """
        config, settings = self._config, self._config.backends[name]
        kept = {(server.name, str(server.target)): server for server in before.servers} if before else {}
        servers = []
        checks = []
        for server_name, server_settings in settings.servers.items():
            with self._problems.collected(f"backends.{name}.servers.{server_name}"):
                target = target_of(server_settings.address, self._process.reactor)
                server = kept.get((server_name, str(target))) or Server(server_name, target)
                servers.append(server)
                sender = self._sender(name, server_settings)
                outgoing = self._outgoing(name, server, server_settings)
                self.servers.append(PlannedServer(server, server_settings, sender, outgoing))
                check = self._check(name, server, server_settings, sender, outgoing)
                if check is not None:
                    checks.append(check)
        with self._problems.collected():
            made = Backend(
                name,
                servers,
                self._host.build("balancers", inherit.balance(config, name)),
                inherit.backend_timers(config, name),
                inherit.retries(config, name),
                inherit.redispatch(config, name),
                before,
                http_backend(settings),
                settings.maxqueue,
            )
            return made, Health(made, checks, self._process.blame)
        return None

    def _sender(self, backend: str, server: model.Server) -> Sender | None:
        settings = inherit.send_proxy(self._config.backends[backend], server)
        if settings is None:
            return None
        forwarded = forwarded_types(settings)
        if settings.proxy_v2_options and not _ABOUT_TLS.isdisjoint(settings.proxy_v2_options):
            forwarded |= {TlvType.SSL}
        codec = self._host.build("proxy_codecs", Use(use=settings.version, where=f"backends.{backend}.send_proxy"))
        return Sender(codec, own_tlvs(settings), forwarded)

    def _outgoing(self, backend: str, server: Server, settings: model.Server) -> Outgoing | None:
        """Work out how connections to a server are made; a problem may be of a setting that several inherit."""
        process = self._process
        around = Surroundings(
            process.namespaces,
            self._clients_namespaces,
            process.listening,
            process.poller is not None,
            process.complain,
            partial(believed, self._config),
        )
        of_backend = self._config.backends[backend]
        with self._problems.collected():
            return outgoing_for((backend, server.name), of_backend, settings, server.target, around, server.outgoing)
        return None

    def _clients_namespaces(self) -> dict[str, Namespace]:
        """Open all that clients may come in by. One that cannot be opened is a problem of the bind that names it."""
        names: dict[str, None] = {}
        for frontend, settings in self._config.frontends.items():
            for bind in settings.bind:
                if bind.namespace is not None:
                    names[bind.namespace] = None
                accepted = inherit.accept_proxy(self._config, frontend, bind)
                names |= dict.fromkeys(accepted.namespaces if accepted else ())
        opened = {}
        for name in names:
            with suppress(ConfigError):
                opened[name] = self._process.namespaces.open(name)
        return opened

    def _check(
        self,
        backend: str,
        server: Server,
        settings: model.Server,
        sender: Sender | None,
        outgoing: Outgoing | None,
    ) -> Check | None:
        of_backend = self._config.backends[backend]
        check = inherit.check(of_backend, settings)
        if check is None:
            return None
        header = b""
        if sender is not None and inherit.check_send_proxy(of_backend, settings):
            try:
                header = sender.local()
            except PluginError as error:
                raise ConfigError(f'check_send_proxy: plugin "{error.plugin}" {error.what}') from None
        target = server.target
        if check.port is not None and isinstance(target, SocketTarget):
            target = SocketTarget(target.family, (target.sockaddr[0], check.port, *target.sockaddr[2:]))
        timeout_s = inherit.check_timeout(self._config, backend, check)
        rhythm = Rhythm(check.interval, timeout_s, check.rise, check.fall)
        process = self._process
        how = None if outgoing is None else outgoing.for_checks()
        return Check(server, target, header, rhythm, process.clock, process.poller, process.reactor, how)


def target_of(address: str, reactor: Any) -> Target:
    """Where the server of that address is reached; a host name is resolved, and its first address taken.

    Raises: ConfigError.
    """
    parsed = parse_server(address)
    match parsed:
        case ClientDestination(port, offset):
            return DestinationTarget(port, offset)
        case UnixPath(path):
            return SocketTarget(socket.AF_UNIX, path)
        case UnixAbstract(name):
            return SocketTarget(socket.AF_UNIX, b"\0" + name.encode())
        case EndpointDescription(text):
            return EndpointTarget(text, endpoint_from(clientFromString, reactor, text))
    family, sockaddr = resolve(parsed.host, parsed.port or 0)[0]
    return SocketTarget(family, sockaddr, parsed.offset if parsed.port is None else None)
