"""A server's ``maxconn`` in HTTP mode: so many requests at once; the others wait, by class and then in turn."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.http_site import OK, Client, Site, get
from tests.whole import run

pytestmark = pytest.mark.linux


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for running in run(tmp_path, monkeypatch):
        made = Site(running)
        yield made
        made.close()


def one_at_a_time(site: Site, count: int = 1, **settings: Any) -> Any:
    """A server that takes ``count`` requests at once and answers when it is told to."""
    server = site.upstream(lambda request: None)
    site.start({"address": server.address, "maxconn": count}, **settings)
    return server


def waiting(site: Site) -> int:
    assert site.running.balancer.assembly is not None
    return len(site.running.balancer.assembly.backends["app"].queue)


def clients_in_turn(site: Site, paths: Sequence[str]) -> list[Client]:
    """Clients that ask one after the other; the first gets the slot, the others wait."""
    clients = []
    for number, path in enumerate(paths):
        clients.append(site.client().send(get(path)))
        site.until(lambda number=number: waiting(site) == number, "the request's turn")  # type: ignore[misc]
        site.settle()
    return clients


def paths(server: Any) -> list[str]:
    return [request.split()[1].decode() for request in server.asked]


def test_one_is_served_two_wait_in_turn_and_who_waits_for_too_long_gets_503(site: Site) -> None:
    server = one_at_a_time(site, timeouts={"queue": "2s"})
    clients = clients_in_turn(site, ["/1", "/2", "/3"])
    assert paths(server) == ["/1"]
    site.pass_time(1)
    server.served[0].say(OK)
    assert clients[0].status() == 200
    site.until(lambda: paths(server) == ["/1", "/2"], "the second request")
    site.pass_time(1.2)
    assert clients[2].status() == 503
    server.served[0].say(OK)
    assert clients[1].status() == 200
    assert paths(server) == ["/1", "/2"], "who was answered 503 was sent to the server all the same"
    assert len(server.served) == 1
    records = {record["target"]: record for record in site.running.records(3)}
    assert [records[path]["ending"] for path in ("/1", "/2", "/3")] == ["--", "--", "sQ"]
    assert [records[path]["backend_queue"] for path in ("/1", "/2", "/3")] == [0, 0, 1]
    assert (records["/3"]["status"], records["/3"]["server"], records["/3"]["stage"]) == (503, "<NOSRV>", "queue")
    assert records["/2"]["queue_ms"] >= 1000
    clients[2].send(get("/4"))
    site.until(lambda: paths(server)[2:] == ["/4"], "the request after the 503")
    server.served[0].say(OK)
    assert clients[2].status() == 200


def test_an_idle_connection_holds_no_slot(site: Site) -> None:
    server = one_at_a_time(site)
    server.answer = lambda request: OK
    clients = [site.client() for _ in range(5)]
    assert [client.ask() for client in clients] == [200] * 5
    assert site.server().connections == 0
    assert len(server.served) == 1


def test_connections_of_single_clients_hold_no_slot_either(site: Site) -> None:
    server = one_at_a_time(site, http_reuse="never")
    server.answer = lambda request: OK
    clients = [site.client() for _ in range(5)]
    assert [client.ask() for client in clients] == [200] * 5
    assert (server.open, site.server().connections) == (5, 0)


def test_a_client_that_leaves_the_queue_is_not_sent_to_the_server(site: Site) -> None:
    server = one_at_a_time(site)
    clients = clients_in_turn(site, ["/1", "/2", "/3"])
    clients[1].sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
    clients[1].close()
    site.until(lambda: waiting(site) == 1, "one fewer in the queue")
    server.served[0].say(OK)
    site.until(lambda: paths(server) == ["/1", "/3"], "the third request")
    assert [(one["target"], one["ending"]) for one in site.running.records(2)] == [("/2", "CQ"), ("/1", "--")]
    server.served[0].say(OK)
    assert clients[2].status() == 200


def test_a_client_s_next_request_waits_behind_those_of_others(site: Site) -> None:
    server = one_at_a_time(site)
    first = site.client().send(get("/1") + get("/3"))
    site.until(lambda: server.asked, "the first request")
    second = site.client().send(get("/2"))
    site.until(lambda: waiting(site) == 1, "the second client in the queue")
    server.served[0].say(OK)
    site.until(lambda: paths(server) == ["/1", "/2"], "the other client's request")
    server.served[0].say(OK)
    site.until(lambda: paths(server) == ["/1", "/2", "/3"], "the first client's next request")
    server.served[0].say(OK)
    assert [first.status(), second.status(), first.status()] == [200] * 3


def test_beyond_maxqueue_there_is_no_waiting(site: Site) -> None:
    server = one_at_a_time(site, maxqueue=1)
    clients = clients_in_turn(site, ["/1", "/2"])
    third = site.client()
    assert third.ask(get("/3")) == 503
    (record,) = site.running.records(1)
    assert (record["target"], record["ending"], record["stage"], record["backend_queue"]) == ("/3", "SQ", "queue", 1)
    for client in clients:
        server.served[0].say(OK)
        assert client.status() == 200
        site.settle()
    server.answer = lambda request: OK
    assert third.ask(get("/3")) == 200


def test_a_slot_that_a_failed_connection_frees_is_handed_on(site: Site) -> None:
    server = one_at_a_time(site)
    clients = clients_in_turn(site, ["/1", "/2"])
    server.served[0].close(reset=True)
    assert clients[0].status() == 502
    site.until(lambda: paths(server) == ["/1", "/2"], "the second request")
    server.served[1].say(OK)
    assert clients[1].status() == 200


def test_who_waits_gets_the_slots_that_a_reload_brings(site: Site) -> None:
    server = one_at_a_time(site)
    clients = clients_in_turn(site, ["/1", "/2", "/3"])
    site.running.reload(site.config({"address": server.address, "maxconn": 3}))
    site.until(lambda: len(server.asked) == 3, "all requests")
    for one in server.served:
        one.say(OK)
    assert [client.status() for client in clients] == [200] * 3


PRIORITY = """
from zope.interface import implementer
from twisted_lb.api import ALLOW, IPolicy, Stage, Supply, hookimpl

@implementer(IPolicy)
class ByQuery:
    stage = Stage.POLICY

    def decide(self, facts):
        facts.priority = int(facts.http.query) if facts.http.query else facts.priority
        return ALLOW

@hookimpl
def lb_policies():
    return {"by_query": Supply(lambda options: ByQuery())}
"""


def test_lower_classes_are_served_first(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lb_priority_for_test.py").write_text(PRIORITY)
    monkeypatch.syspath_prepend(tmp_path)
    server = site.upstream(lambda request: None)
    config = site.config({"address": server.address, "maxconn": 1}, of_frontend={"policies": ["by_query"]})
    site.running.start({**config, "plugins": ["lb_priority_for_test"]})
    asked = ["/a?0", "/b?5", "/c?0", "/d?-3", "/e?5", "/f?-3"]
    clients = clients_in_turn(site, asked)
    for count in range(1, 7):
        site.until(lambda count=count: len(server.asked) == count, "the next request")  # type: ignore[misc]
        server.served[0].say(OK)
    assert [client.status() for client in clients] == [200] * 6
    assert paths(server) == ["/a?0", "/d?-3", "/f?-3", "/c?0", "/b?5", "/e?5"]
