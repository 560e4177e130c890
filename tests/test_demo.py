"""The demo's configuration is one that a user could have written, and its servers answer."""

from typing import Any

from twisted.internet.testing import MemoryReactor

from twisted_lb import demo
from twisted_lb.config.load import load_dict


class Reactor(MemoryReactor):
    """Gives each listener a port of its own."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def listenTCP(self, port: int, *arguments: Any, **options: Any) -> Any:
        return super().listenTCP(port or 9001 + len(self.tcpServers), *arguments, **options)  # type: ignore[no-untyped-call]


def test_two_servers_of_our_own_stand_behind_the_port_that_the_text_names() -> None:
    reactor = Reactor()
    config = load_dict(demo.start(reactor), "the demo")
    (frontend,) = config.frontends.values()
    assert [bind.address for bind in frontend.bind] == [demo.LISTEN]
    assert demo.LISTEN in demo.WHAT_TO_TRY
    servers = config.backends[frontend.backend].servers
    assert [server.address for server in servers.values()] == ["127.0.0.1:9001", "127.0.0.1:9002"]
    assert {interface for _, _, _, interface in reactor.tcpServers} == {"127.0.0.1"}


def test_starting_it_twice_shares_nothing() -> None:
    first = demo.start(Reactor())
    demo.start(Reactor())
    assert demo.CONFIGURATION["backends"] == {"demo": {"servers": {}}}
    assert len(first["backends"]["demo"]["servers"]) == 2
