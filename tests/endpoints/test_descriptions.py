r"""``proxy-protocol:`` in endpoint descriptions: what is understood, and what is said about the rest."""

from typing import Any

import pytest
from twisted.internet import endpoints
from twisted.internet.endpoints import clientFromString, quoteStringArgument, serverFromString
from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor, IStreamServerEndpointStringParser
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import IPlugin, getPlugins
from zope.interface.verify import verifyObject

from twisted_lb.config.addresses import EndpointDescription, parse_bind, parse_server
from twisted_lb.endpoints import descriptions
from twisted_lb.endpoints.proxy_protocol_client import ProxyProtocolClientEndpoint
from twisted_lb.endpoints.proxy_protocol_server import ProxyProtocolServerEndpoint
from twisted_lb.facts import SocketAddress


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Parse a server's description; returns the options that ``ProxyProtocolServerEndpoint`` would have got."""
    return parsing(monkeypatch, "proxy_protocol_server.ProxyProtocolServerEndpoint", serverFromString)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Likewise for a client's."""
    return parsing(monkeypatch, "proxy_protocol_client.ProxyProtocolClientEndpoint", clientFromString)


def parsing(monkeypatch: pytest.MonkeyPatch, name: str, parse: Any) -> Any:
    monkeypatch.setattr(f"twisted_lb.endpoints.{name}", lambda *args, **options: (args[-1], options))
    return lambda description: parse(MemoryReactorClock(), description)


@pytest.mark.parametrize(
    ("interface", "kind"),
    [
        (IStreamServerEndpointStringParser, descriptions.ProxyProtocolServerParser),
        (IStreamClientEndpointStringParserWithReactor, descriptions.ProxyProtocolClientParser),
    ],
)
def test_twisted_finds_the_parsers(interface: Any, kind: type[Any]) -> None:
    (found,) = (plugin for plugin in getPlugins(interface) if plugin.prefix == "proxy-protocol")
    assert isinstance(found, kind)
    verifyObject(interface, found)
    verifyObject(IPlugin, found)


def test_they_make_our_endpoints() -> None:
    reactor = MemoryReactorClock()
    assert isinstance(serverFromString(reactor, r"proxy-protocol:tcp\:8080"), ProxyProtocolServerEndpoint)
    assert isinstance(clientFromString(reactor, r"proxy-protocol:tcp\:h\:80"), ProxyProtocolClientEndpoint)


def test_the_configuration_knows_them() -> None:
    assert parse_bind(r"proxy-protocol:tcp\:8080") == EndpointDescription(r"proxy-protocol:tcp\:8080")
    assert parse_server(r"proxy-protocol:tcp\:h\:80") == EndpointDescription(r"proxy-protocol:tcp\:h\:80")


@pytest.mark.parametrize(
    "description",
    [
        r"proxy-protocol:tcp\:8080\:interface\=127.0.0.1:timeout=5",
        r"proxy-protocol:tcp\:8080\:interface=127.0.0.1:timeout=5",
        r"proxy-protocol:timeout=5:tcp\:8080\:interface=127.0.0.1",
        f"proxy-protocol:{quoteStringArgument('tcp:8080:interface=127.0.0.1')}:timeout=5",
    ],
)
def test_any_way_to_quote_the_endpoint_is_understood(server: Any, description: str) -> None:
    endpoint, options = server(description)
    assert isinstance(endpoint, endpoints.TCP4ServerEndpoint)
    assert (endpoint._port, endpoint._interface) == (8080, "127.0.0.1")
    assert options == {"timeout_s": 5.0}


def test_an_endpoint_within_an_endpoint_within_an_endpoint(server: Any) -> None:
    inner = "proxy-protocol:" + quoteStringArgument("unix:/run/with\\:colon.sock:mode=660") + ":versions=v1"
    (endpoint, inside), outside = server("proxy-protocol:" + quoteStringArgument(inner) + ":versions=v2")
    assert endpoint._address == "/run/with:colon.sock"
    assert (inside, outside) == ({"versions": ["v1"]}, {"versions": ["v2"]})


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        (
            r":from=10.0.0.0/8,192.0.2.1, 2001\:db8\:\:/32,unix",
            {"from_": ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "unix"]},
        ),
        (":others=direct", {"others": "direct"}),
        (":versions=v1,v2", {"versions": ["v1", "v2"]}),
        (":timeout=2.5", {"timeout_s": 2.5}),
        (":timeout=250ms", {"timeout_s": 0.25}),
        (":max_header=536", {"max_header": 536}),
        (":max_header=4KiB", {"max_header": 4096}),
    ],
)
def test_options_of_a_server(server: Any, text: str, options: dict[str, Any]) -> None:
    assert server(rf"proxy-protocol:tcp\:8080{text}")[1] == options


NOTHING: dict[str, Any] = {"version": "v2", "source": None, "destination": None, "local": False}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        (":version=v1", {"version": "v1"}),
        (":local=yes", {"local": True}),
        (":local=0", {"local": False}),
        (r":source=192.0.2.1\:4711", {"source": SocketAddress("192.0.2.1", 4711)}),
        (r":destination=[2001\:DB8\:\:1]\:25", {"destination": SocketAddress("2001:db8::1", 25)}),
        (r":source=unix\:/run/x", {"source": SocketAddress("unix:/run/x")}),
    ],
)
def test_options_of_a_client(client: Any, text: str, options: dict[str, Any]) -> None:
    endpoint, got = client(rf"proxy-protocol:tcp\:127.0.0.1\:25{text}")
    assert isinstance(endpoint, endpoints.TCP4ClientEndpoint)
    assert got == NOTHING | options


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("proxy-protocol:", "one endpoint is wrapped"),
        ("proxy-protocol:timeout=3", "one endpoint is wrapped"),
        ("proxy-protocol:tcp:8080", r"proxy-protocol:tcp\:8080"),
        (r"proxy-protocol:tcp\:8080:form=::1", "one endpoint is wrapped"),
        (r"proxy-protocol:tcp\:8080:form=127.0.0.1", 'no option "form" (known: from, '),
        (r"proxy-protocol:nonsense\:8080", "Unknown endpoint type: 'nonsense'"),
        (r"proxy-protocol:tcp\:8080:from=127.0.0.1/8", '"127.0.0.1/8" is no network'),
        (r"proxy-protocol:tcp\:8080:others=direct", '"others" needs "from"'),
        (r"proxy-protocol:tcp\:8080:timeout=soon", '"soon" is not a duration'),
        (r"proxy-protocol:tcp\:8080:max_header=1e3", '"1e3" is not a size'),
        (r"proxy-protocol:tcp\:8080:max_header=100", "max_header: 100"),
        (r"proxy-protocol:tcp\:8080:versions=v1,v3", '"v3"'),
        (r"proxy-protocol:tcp\:8080:versions=", '""'),
        (r"proxy-protocol:tcp\:8080:certKey=x", "privateKey"),
    ],
)
def test_a_server_that_makes_no_sense_is_refused_with_a_reason(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  the text is looked at
        serverFromString(MemoryReactorClock(), text)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("proxy-protocol:tcp:127.0.0.1:25", r"proxy-protocol:tcp\:127.0.0.1\:25"),
        (r"proxy-protocol:tcp\:h\:25:from=::1", "one endpoint is wrapped"),
        (r"proxy-protocol:tcp\:h\:25:from=x", 'no option "from" (known: version, '),
        (r"proxy-protocol:tcp\:h\:25:version=v3", '"v3"'),
        (r"proxy-protocol:tcp\:h\:25:local=maybe", '"maybe" is neither yes nor no'),
        (r"proxy-protocol:tcp\:h\:25:local=yes:source=192.0.2.1\:1", '"local" cannot'),
        (r"proxy-protocol:tcp\:h\:25:source=192.0.2.1", '"192.0.2.1" is no address'),
        (r"proxy-protocol:tcp\:h\:25:source=192.0.2.256\:1", "is no address"),
        (r"proxy-protocol:tcp\:h\:25:source=192.0.2.1\:65536", "is no address"),
        (r"proxy-protocol:tcp\:h\:25:source=\:\:1\:1", "is no address"),
        (r"proxy-protocol:tcp\:h\:25:source=name\:1", "is no address"),
    ],
)
def test_a_client_that_makes_no_sense_is_refused_with_a_reason(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  the text is looked at
        clientFromString(MemoryReactorClock(), text)
    assert problem in str(raised.value)
