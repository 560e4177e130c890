"""What is wrong is told with the key to look for in the file, of an entry or of the table around it."""

import pytest
from msgspec import UNSET, UnsetType

from twisted_lb.config.keys import BindKeys, ServerKeys, option_key
from twisted_lb.config.model import Server
from twisted_lb.config.tcp import ConnectTcp, Keepalive, ListenTcp
from twisted_lb.errors import ConfigError


@pytest.mark.parametrize(
    ("own", "option", "key"),
    [
        (UNSET, "mark", "frontends.web.tcp.mark"),
        (ListenTcp(tos=32), "mark", "frontends.web.tcp.mark"),
        (ListenTcp(mark=1), "mark", "frontends.web.bind[2].tcp.mark"),
        (ListenTcp(keepalive=Keepalive()), "keepalive.idle", "frontends.web.bind[2].tcp.keepalive.idle"),
        (ListenTcp(mark=1), "keepalive.idle", "frontends.web.tcp.keepalive.idle"),
    ],
)
def test_an_option_is_the_entrys_if_it_says_so_itself(own: ListenTcp | UnsetType, option: str, key: str) -> None:
    assert option_key(own, "frontends.web.bind[2]", "frontends.web", option) == key


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("tcp.mark: needs root", "frontends.web.bind[0].tcp.mark: needs root"),
        ("tcp.tos: 3: odd", "frontends.web.tcp.tos: 3: odd"),
        ("tcp: needs Linux", "frontends.web.bind[0].tcp: needs Linux"),
        ('interface: there is no "x": look', 'frontends.web.bind[0].interface: there is no "x": look'),
        ('"tcp:x" is no description: no', 'frontends.web.bind[0]: "tcp:x" is no description: no'),
    ],
)
def test_a_binds_problem_has_the_whole_key(problem: str, told: str) -> None:
    keys = BindKeys("frontends.web", 0, ListenTcp(mark=1))
    with pytest.raises(ConfigError) as caught, keys.blamed():
        raise ConfigError(problem)
    assert list(caught.value.problems) == [told]


def test_without_options_of_its_own_they_are_the_frontends() -> None:
    assert BindKeys("frontends.web", 0).whole("tcp: needs Linux") == "frontends.web.tcp: needs Linux"


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("source: odd: very", "backends.app.servers.a.source: odd: very"),
        ("namespace: odd", "backends.app.namespace: odd"),
        ("tcp.mark: odd", "backends.app.servers.a.tcp.mark: odd"),
        ("tcp.tos: odd", "backends.app.tcp.tos: odd"),
        ("odd: very", "backends.app.servers.a: odd: very"),
    ],
)
def test_a_servers_problem_has_the_whole_key(problem: str, told: str) -> None:
    keys = ServerKeys("backends.app", "a", Server(address="x:1", source=False, tcp=ConnectTcp(mark=1)))
    assert keys.whole(problem) == told
