r"""The prefixes ``netns:``, ``transparent:`` and ``from:`` of Twisted's endpoint description strings.

``netns:NAME:ENDPOINT`` for servers and clients, ``transparent:ENDPOINT`` for servers, ``from:ADDRESS:ENDPOINT`` for
clients; ``ENDPOINT`` is another description, quoted as in ``descriptions``. What stands within gets a reactor that
makes its sockets so: they nest in each other and in ``proxy-protocol:``, in any order.

Imported by each program that looks for Twisted's plugins, so all else is imported when a description is parsed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

from twisted_lb.endpoints.descriptions import parse_boolean, split

NETNS = "netns"
TRANSPARENT = "transparent"
FROM = "from"
FROM_OPTIONS = ("port", "interface", "transparent", "namespace")
ANY = "*"
"""As the address of ``from:``: the kernel chooses."""
_ELSEWHERE = ("unix", "systemd", "fd", "stdio")
"""Endpoints that would not be where the prefix says; others are found out when they listen or connect."""


@implementer(IPlugin, IStreamServerEndpointStringParser)
class NamespaceServerParser:
    r"""``netns:NAME:tcp\:80``: listens in a network namespace, given by its name or its path."""

    prefix = NETNS

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> Any:
        """See ``IStreamServerEndpointStringParser``. Raises ValueError for what makes no sense or is not there."""
        from twisted.internet.endpoints import serverFromString

        return _in_namespace(serverFromString, reactor, args, kwargs)


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class NamespaceClientParser:
    r"""``netns:NAME:tcp\:10.0.0.1\:80``: connects in a network namespace, given by its name or its path."""

    prefix = NETNS

    def parseStreamClient(self, reactor: Any, *args: Any, **kwargs: Any) -> Any:
        """See ``IStreamClientEndpointStringParserWithReactor``. Raises ValueError, likewise."""
        from twisted.internet.endpoints import clientFromString

        return _in_namespace(clientFromString, reactor, args, kwargs)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class TransparentServerParser:
    r"""``transparent:tcp\:8080``: takes connections to any address that TPROXY leads here; ``namespace`` as above."""

    prefix = TRANSPARENT

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> Any:
        """See ``IStreamServerEndpointStringParser``. Raises ValueError for what makes no sense or may not be done."""
        from twisted.internet.endpoints import serverFromString

        description, options = split(args, kwargs, ("namespace",), TRANSPARENT)
        return _within(TRANSPARENT, serverFromString, reactor, description, transparent=True, **options)


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class SourceClientParser:
    r"""``from:192.0.2.7:tcp\:10.0.0.1\:80``: connects from that address; ``*`` leaves it to the kernel.

    ``port``: the port to connect from. ``interface``: which the packets take. ``transparent=yes``: the address need
    not be this machine's. ``namespace``: as ``netns:``.
    """

    prefix = FROM

    def parseStreamClient(self, reactor: Any, *args: Any, **kwargs: Any) -> Any:
        """See ``IStreamClientEndpointStringParserWithReactor``. Raises ValueError, as the others do."""
        from twisted.internet.endpoints import clientFromString

        address, rest = _leading(FROM, "ADDRESS", args)
        description, texts = split(rest, kwargs, FROM_OPTIONS, FROM)
        options: dict[str, Any] = {key: texts[key] for key in ("interface", "namespace") if key in texts}
        if address != ANY:
            options["source"] = address
        if "port" in texts:
            if not texts["port"].isdecimal():
                raise ValueError(f'{FROM}: port: "{texts["port"]}" is no port')
            options["source_port"] = int(texts["port"])
        if "transparent" in texts:
            options["transparent"] = parse_boolean("transparent", texts["transparent"], FROM)
        return _within(FROM, clientFromString, reactor, description, **options)


def _leading(prefix: str, what: str, args: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Part what stands first from the rest."""
    if not args or not args[0]:
        raise ValueError(f"{prefix}: write {prefix}:{what}:ENDPOINT, with the colons of both quoted")
    return args[0], args[1:]


def _in_namespace(parse: Callable[..., Any], reactor: Any, args: tuple[str, ...], kwargs: Mapping[str, str]) -> Any:
    name, rest = _leading(NETNS, "NAME", args)
    description, _ = split(rest, kwargs, (), f"{NETNS}:{name}")
    return _within(NETNS, parse, reactor, description, namespace=name)


def _within(prefix: str, parse: Callable[..., Any], reactor: Any, description: str, **options: Any) -> Any:
    from twisted_lb.endpoints.socket_reactor import SocketReactor
    from twisted_lb.errors import ConfigError

    if description.partition(":")[0] in _ELSEWHERE:
        raise ValueError(f'{prefix}: "{description}" is no TCP or TLS endpoint')
    try:
        sockets = SocketReactor(reactor, **options)
    except ConfigError as error:
        raise ValueError(f"{prefix}: {'; '.join(error.problems)}") from None
    return parse(sockets, description)
