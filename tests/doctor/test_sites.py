"""Where binds and servers live."""

from tests.doctor.fakes import config
from twisted_lb.doctor.sites import connecting, listening


def test_a_server_in_its_clients_namespaces_is_in_each_of_them() -> None:
    bind = {"address": "*:80", "namespace": "blue", "accept_proxy": {"namespaces": ["red"]}}
    (to,) = connecting(config(bind, {"address": "127.0.0.1:1", "namespace": "*"}))
    assert to.namespaces == ("blue", "red")


def test_the_families_of_a_bind_are_those_of_its_address() -> None:
    binds = ["*:1", "[::1]:2", "localhost:3", "unix:/x"]
    assert [one.families for one in listening(config(binds))] == [["ip"], ["ip6"], ["ip", "ip6"], []]


def test_an_option_is_told_with_the_key_that_it_comes_from() -> None:
    bind = {"address": "*:80", "tcp": {"mark": 1}}
    (one,) = listening(config(bind))
    assert (one.option("mark"), one.option("tos")) == ("frontends.web.bind[0].tcp.mark", "frontends.web.tcp.tos")
    (to,) = connecting(config(bind, {"address": "127.0.0.1:1", "tcp": {"tos": 4}}))
    assert (to.option("mark"), to.option("tos")) == ("backends.app.tcp.mark", "backends.app.servers.a.tcp.tos")
