r"""The prefix ``proxy-protocol:`` of Twisted's endpoint description strings, for servers and for clients.

``proxy-protocol:ENDPOINT:OPTION=VALUE:...``, where ``ENDPOINT`` is any other description with a ``\`` before each
of its colons and backslashes: what ``twisted.internet.endpoints.quoteStringArgument`` makes of it.

Imported by each program that looks for Twisted's plugins, so all else is imported when a description is parsed.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted_lb.facts import SocketAddress

PREFIX = "proxy-protocol"

TLS_OPTIONS = {"privateKey": "private_key", "certKey": "certificate", "extraCertChain": "chain"}
"""Twisted's names of them, and ours."""

SERVER_OPTIONS = ("from", "others", "timeout", "versions", "max_header", *TLS_OPTIONS)
CLIENT_OPTIONS = ("version", "source", "destination", "local")
_BOOLEANS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@implementer(IPlugin, IStreamServerEndpointStringParser)
class ProxyProtocolServerParser:
    """Makes a ``ProxyProtocolServerEndpoint`` of a description; options as there.

    ``from`` and ``versions`` are lists with commas, ``timeout`` is in seconds or has a unit, ``max_header`` is in bytes
    or has one. ``privateKey``, ``certKey`` and ``extraCertChain``, as in Twisted's ``ssl:``: TLS begins behind the
    header.
    """

    prefix = PREFIX

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> Any:
        """See ``IStreamServerEndpointStringParser``. Raises ValueError for what makes no sense."""
        from twisted.internet.endpoints import serverFromString

        from twisted_lb.endpoints.proxy_protocol_server import ProxyProtocolServerEndpoint
        from twisted_lb.errors import ConfigError

        description, options = split(args, kwargs, SERVER_OPTIONS)
        tls = {name: options.pop(key) for key, name in TLS_OPTIONS.items() if key in options}
        endpoint = serverFromString(reactor, description)
        try:
            proxied = ProxyProtocolServerEndpoint(reactor, endpoint, **_server_options(options))
        except ConfigError as error:
            raise ValueError(f"{PREFIX}: {'; '.join(error.problems)}") from None
        if not tls:
            return proxied
        from twisted_lb.endpoints.tls import TlsServerEndpoint, load_certificate

        if "private_key" not in tls:
            raise ValueError(f"{PREFIX}: a certificate needs its privateKey")
        return TlsServerEndpoint(reactor, proxied, load_certificate(**tls))


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class ProxyProtocolClientParser:
    """Makes a ``ProxyProtocolClientEndpoint`` of a description; options as there.

    ``source`` and ``destination`` are ``IPV4:PORT``, ``[IPV6]:PORT`` or ``unix:/PATH``; ``local`` is ``yes`` or ``no``.
    """

    prefix = PREFIX

    def parseStreamClient(self, reactor: Any, *args: Any, **kwargs: Any) -> Any:
        """See ``IStreamClientEndpointStringParserWithReactor``. Raises ValueError for what makes no sense."""
        from twisted.internet.endpoints import clientFromString

        from twisted_lb.endpoints.proxy_protocol_client import ProxyProtocolClientEndpoint
        from twisted_lb.errors import ConfigError

        description, options = split(args, kwargs, CLIENT_OPTIONS)
        endpoint = clientFromString(reactor, description)
        local = parse_boolean("local", options.get("local", "no"))
        source, destination = (parse_address(options.get(key)) for key in ("source", "destination"))
        version = options.get("version", "v2")
        try:
            return ProxyProtocolClientEndpoint(
                endpoint, version=version, source=source, destination=destination, local=local
            )
        except ConfigError as error:
            raise ValueError(f"{PREFIX}: {'; '.join(error.problems)}") from None


def split(
    args: tuple[str, ...], kwargs: Mapping[str, str], known: tuple[str, ...], prefix: str = PREFIX
) -> tuple[str, dict[str, str]]:
    """Part the description of the endpoint that is wrapped from the options.

    Raises: ValueError, which says how to write it, if there is no description, more than one, or an unknown option.
    """
    options = dict(kwargs)
    descriptions = [arg for arg in args if arg]
    for key in kwargs:
        # quoteStringArgument leaves "=" alone: "tcp\:80\:interface=::1" has come apart at its first one.
        if ":" in key:
            descriptions.append(f"{key}={options.pop(key)}")
    if len(descriptions) != 1:
        quoted = ":".join(descriptions).replace(":", "\\:") if len(descriptions) > 1 else "tcp\\:8080"
        raise ValueError(
            f"{prefix}: one endpoint is wrapped; its colons are quoted, and so are those of addresses in options:"
            f" {prefix}:{quoted}"
        )
    for key in options:
        if key not in known:
            raise ValueError(f'{prefix}: there is no option "{key}" (known: {", ".join(known) or "none"})')
    return descriptions[0], options


def parse_boolean(option: str, text: str, prefix: str = PREFIX) -> bool:
    """Read ``yes`` or ``no``. Raises ValueError that names the option."""
    if text.lower() not in _BOOLEANS:
        raise ValueError(f'{prefix}: {option}: "{text}" is neither yes nor no')
    return _BOOLEANS[text.lower()]


def _server_options(options: Mapping[str, str]) -> dict[str, Any]:
    """Turn texts into what ``ProxyProtocolServerEndpoint`` takes."""
    from twisted_lb.config.units import parse_duration, parse_size

    found: dict[str, Any] = {}
    if "from" in options:
        found["from_"] = [entry.strip() for entry in options["from"].split(",")]
    if "versions" in options:
        found["versions"] = [entry.strip() for entry in options["versions"].split(",")]
    if "others" in options:
        found["others"] = options["others"]
    if "timeout" in options:
        found["timeout_s"] = parse_duration(_with_unit(options["timeout"], "s"))
    if "max_header" in options:
        found["max_header"] = parse_size(_with_unit(options["max_header"], "B"))
    return found


def _with_unit(text: str, unit: str) -> str:
    return text + unit if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else text


def parse_address(text: str | None) -> "SocketAddress | None":
    """Read an address as a header can have it, if there is one. Raises ValueError that quotes the text."""
    from ipaddress import ip_address

    from twisted_lb.facts import SocketAddress

    if text is None:
        return None
    if text.startswith("unix:"):
        return SocketAddress(text)
    match = re.fullmatch(r"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\]):([0-9]{1,5})", text)
    try:
        if match is not None and int(match[3]) <= 65535:
            return SocketAddress(str(ip_address(match[1] or match[2])), int(match[3]))
    except ValueError:
        pass
    raise ValueError(f'{PREFIX}: "{text}" is no address: write IPV4:PORT, [IPV6]:PORT or unix:/PATH, colons quoted')
