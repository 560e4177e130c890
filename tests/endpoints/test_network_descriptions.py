r"""``netns:``, ``transparent:`` and ``from:`` in descriptions: what is understood, what is said about the rest."""

import re
from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, clientFromString, serverFromString
from twisted.internet.interfaces import (
    IReactorPluggableNameResolver,
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.plugin import IPlugin, getPlugins
from zope.interface.verify import verifyObject

from twisted_lb.config.addresses import EndpointDescription, parse_bind, parse_server
from twisted_lb.config.prefixes import client_prefixes, server_prefixes
from twisted_lb.endpoints import network_descriptions
from twisted_lb.endpoints.proxy_protocol_server import ProxyProtocolServerEndpoint
from twisted_lb.endpoints.socket_reactor import SocketReactor

HOME = "/proc/self/ns/net"


@pytest.fixture(scope="module")
def reactor() -> SelectReactor:
    """One that never runs."""
    return SelectReactor()


def options(endpoint: Any) -> dict[str, Any]:
    """The options that an endpoint's sockets are made with, without those that were left alone."""
    sockets = endpoint._reactor._sockets.options
    return {name: getattr(sockets, name) for name in sockets.__slots__ if getattr(sockets, name)}


@pytest.mark.parametrize(
    ("interface", "prefix", "kind"),
    [
        (IStreamServerEndpointStringParser, "netns", network_descriptions.NamespaceServerParser),
        (IStreamClientEndpointStringParserWithReactor, "netns", network_descriptions.NamespaceClientParser),
        (IStreamServerEndpointStringParser, "transparent", network_descriptions.TransparentServerParser),
        (IStreamClientEndpointStringParserWithReactor, "from", network_descriptions.SourceClientParser),
    ],
)
def test_twisted_finds_the_parsers(interface: Any, prefix: str, kind: type[Any]) -> None:
    (found,) = (plugin for plugin in getPlugins(interface) if plugin.prefix == prefix)
    assert isinstance(found, kind)
    verifyObject(interface, found)
    verifyObject(IPlugin, found)


def test_the_configuration_knows_them() -> None:
    assert {"netns", "transparent"} <= server_prefixes()
    assert {"netns", "from"} <= client_prefixes()
    assert parse_bind(r"netns:blue:tcp\:80") == EndpointDescription(r"netns:blue:tcp\:80")
    assert parse_server(r"from:192.0.2.7:tcp\:h\:80") == EndpointDescription(r"from:192.0.2.7:tcp\:h\:80")


def test_a_source_address_is_understood(reactor: SelectReactor) -> None:
    endpoint = clientFromString(reactor, r"from:127.0.0.7:tcp\:127.0.0.1\:80\:timeout=5")
    assert isinstance(endpoint, TCP4ClientEndpoint)
    assert (endpoint._host, endpoint._port, endpoint._timeout) == ("127.0.0.1", 80, 5)
    assert options(endpoint) == {"source": "127.0.0.7"}
    assert options(clientFromString(reactor, r"from:\:\:1:port=5000:tcp\:\\\:\\\:1\:80")) == {
        "source": "::1",
        "source_port": 5000,
    }
    assert options(clientFromString(reactor, r"from:*:tcp\:127.0.0.1\:80:transparent=no")) == {}


@pytest.mark.linux
@pytest.mark.root
def test_namespaces_and_transparent_ones_are_understood(reactor: SelectReactor) -> None:
    endpoint = serverFromString(reactor, rf"netns:{HOME}:tcp\:80\:interface=127.0.0.1")
    assert isinstance(endpoint, TCP4ServerEndpoint)
    assert (endpoint._port, endpoint._interface) == (80, "127.0.0.1")
    assert options(endpoint) == {"namespace": HOME}
    assert options(clientFromString(reactor, rf"netns:{HOME}:tcp\:127.0.0.1\:80")) == {"namespace": HOME}
    assert options(serverFromString(reactor, r"transparent:tcp\:80")) == {"transparent": True}
    assert options(serverFromString(reactor, rf"transparent:tcp\:80:namespace={HOME}")) == {
        "transparent": True,
        "namespace": HOME,
    }
    assert options(
        clientFromString(
            reactor, rf"from:192.0.2.7:tcp\:127.0.0.1\:80:port=5:interface=lo:transparent=yes:namespace={HOME}"
        )
    ) == {"source": "192.0.2.7", "source_port": 5, "interface": "lo", "transparent": True, "namespace": HOME}


@pytest.mark.linux
@pytest.mark.root
def test_they_nest_in_any_order(reactor: SelectReactor) -> None:
    both = {"transparent": True, "namespace": HOME}
    assert options(serverFromString(reactor, rf"transparent:netns\:{HOME}\:tcp\\\:80")) == both
    assert options(serverFromString(reactor, rf"netns:{HOME}:transparent\:tcp\\\:80")) == both
    assert options(clientFromString(reactor, rf"netns:{HOME}:from\:127.0.0.7\:tcp\\\:127.0.0.1\\\:80")) == {
        "namespace": HOME,
        "source": "127.0.0.7",
    }
    for description in (
        rf"netns:{HOME}:proxy-protocol\:tcp\\\:80",
        rf"proxy-protocol:netns\:{HOME}\:tcp\\\:80",
    ):
        endpoint: Any = serverFromString(reactor, description)
        assert isinstance(endpoint, ProxyProtocolServerEndpoint)
        assert options(endpoint._endpoint) == {"namespace": HOME}


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        ("netns:", "write netns:NAME:ENDPOINT"),
        ("netns::tcp\\:80", "write netns:NAME:ENDPOINT"),
        ("netns:blue", "one endpoint is wrapped"),
        ("netns:blue:tcp:80", r"netns:blue:tcp\\:80"),
        (r"netns:blue:tcp\:80:backlog=5", 'no option "backlog" .known: none'),
        (r"netns:blue:unix\:/run/s", "no TCP or TLS endpoint"),
        ("transparent:", "one endpoint is wrapped"),
        (r"transparent:systemd\:domain=INET\:index=0", "no TCP or TLS endpoint"),
        (r"transparent:tcp\:80:from=1", 'no option "from" .known: namespace'),
    ],
)
def test_servers_that_make_no_sense(reactor: SelectReactor, description: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        serverFromString(reactor, description)


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        ("from:", "write from:ADDRESS:ENDPOINT"),
        (r"from:example.org:tcp\:h\:80", '"example.org" is no IP address'),
        (r"from:127.0.0.1:tcp\:h\:80:port=x", 'port: "x" is no port'),
        (r"from:127.0.0.1:tcp\:h\:80:port=65536", "65536 is no port"),
        (r"from:127.0.0.1:tcp\:h\:80:transparent=perhaps", "neither yes nor no"),
        (r"from:127.0.0.1:tcp\:h\:80:bind=1", 'no option "bind" .known: port'),
        (r"from:127.0.0.1:from\:127.0.0.2\:tcp\\\:h\\\:80", "cannot be had together"),
        (r"from:127.0.0.1:unix\:/run/s", "no TCP or TLS endpoint"),
    ],
)
def test_clients_that_make_no_sense(reactor: SelectReactor, description: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        clientFromString(reactor, description)


@pytest.mark.linux
def test_what_is_not_there_is_said_at_once(reactor: SelectReactor) -> None:
    with pytest.raises(ValueError, match=re.escape('netns: namespace "lbt-missing": there is no /run/netns')):
        serverFromString(reactor, r"netns:lbt-missing:tcp\:80")
    with pytest.raises(ValueError, match="from: cannot use the interface lbt-missing: No such device"):
        clientFromString(reactor, r"from:*:tcp\:127.0.0.1\:80:interface=lbt-missing")


def test_a_reactor_that_has_no_use_for_sockets_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot watch sockets"):
        clientFromString(Clock(), r"from:127.0.0.1:tcp\:127.0.0.1\:80")


def test_a_reactor_within_resolves_names_as_the_real_one(reactor: SelectReactor) -> None:
    endpoint: Any = clientFromString(reactor, r"from:127.0.0.7:tls\:localhost\:443")
    inner = endpoint._wrappedEndpoint
    assert isinstance(inner._reactor, SocketReactor)
    assert IReactorPluggableNameResolver.providedBy(inner._reactor)
    assert inner._reactor.nameResolver is reactor.nameResolver
