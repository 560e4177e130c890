"""Routes and policies, seen from both ends: which server is asked, and what the client is answered."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback import lb_http_policies
from tests.loopback.http_site import Site, get, post
from tests.whole import run

pytestmark = pytest.mark.linux


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for running in run(tmp_path, monkeypatch):
        made = Site(running)
        yield made
        made.close()


class Backends:
    """Backends ``app``, ``other`` and ``third``, each with a server that says its name."""

    def __init__(self, site: Site, **frontend: Any) -> None:
        self.site = site
        names = ("app", "other", "third")
        self.servers = {name: site.upstream(lambda _, name=name: named(name)) for name in names}  # type: ignore[misc]
        site.running.start(
            {
                "plugins": ["tests.loopback.lb_http_policies"],
                "frontends": {"web": {"bind": "127.0.0.1:0", "backend": "app", **frontend}},
                "backends": {name: {"servers": {"s": server.address}} for name, server in self.servers.items()},
            }
        )

    def answer(self, request: bytes) -> str:
        """The body of the answer to a request on a connection of its own; a status if it is none of a server's."""
        said = self.site.client().send(request).answer()
        return said.partition(b"\r\n\r\n")[2].decode() if said.startswith(b"HTTP/1.1 200 ") else said[9:12].decode()

    def records(self, count: int) -> list[dict[str, Any]]:
        return self.site.running.records(count)


def named(name: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name.encode())


def asks(host: str, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


# Routes

ROUTES = [
    {"host": ["other.example", "*.other.example"], "backend": "other"},
    {"path_prefix": "/third", "method": "GET", "backend": "third"},
    {"path": "/teapot", "refuse": 418},
    {"path": "/no", "refuse": True},
]


def test_each_request_of_a_connection_takes_its_own_route(site: Site) -> None:
    backends = Backends(site, mode="http", routes=ROUTES)
    client = site.client()
    said = []
    for request in (asks("a.other.example"), asks("x", "/third/a"), asks("x"), asks("OTHER.example:80", "/third")):
        said.append(client.send(request).answer().partition(b"\r\n\r\n")[2].decode())
    assert said == ["other", "third", "app", "other"]
    assert [record["backend"] for record in backends.records(4)] == said


def test_pipelined_requests_are_answered_in_order_whatever_their_routes(site: Site) -> None:
    Backends(site, mode="http", routes=ROUTES)
    client = site.client().send(asks("other.example") + asks("x", "/teapot") + asks("x", "/third"))
    assert [client.answer()[9:12] for _ in range(3)] == [b"200", b"418", b"200"]


def test_a_route_can_refuse(site: Site) -> None:
    backends = Backends(site, mode="http", routes=ROUTES)
    assert backends.answer(asks("x", "/teapot")) == "418"
    assert backends.answer(asks("x", "/no")) == "403"
    assert not any(server.asked for server in backends.servers.values())
    record = backends.records(2)[0]
    assert (record["ending"], record["stage"], record["reason"]) == ("PR", "policy", "refused by a route")


def test_an_ambiguous_path_is_refused_before_any_server_sees_it(site: Site) -> None:
    backends = Backends(site, mode="http", routes=ROUTES)
    assert backends.answer(asks("x", "/a/..%2fthird")) == "400"
    assert backends.answer(asks("x", "/third/a%2fb")) == "third"
    assert backends.answer(asks("other.example", "/a/..%2fthird")) == "other"
    assert backends.records(1)[0]["reason"] == "path-ambiguous"
    assert not backends.servers["app"].asked


def test_a_host_that_no_route_names_is_refused_if_it_is_to_be(site: Site) -> None:
    backends = Backends(site, mode="http", routes=ROUTES, reject_unknown_hosts=True)
    assert backends.answer(asks("x")) == "421"
    assert backends.answer(asks("x", "/third")) == "421"
    assert backends.answer(b"GET / HTTP/1.0\r\n\r\n") == "421"
    assert backends.answer(asks("b.other.example")) == "other"


def test_a_reload_brings_other_routes(site: Site) -> None:
    backends = Backends(site, mode="http", routes=ROUTES)
    config = dict(site.running.config)
    config["frontends"] = {"web": {**config["frontends"]["web"], "routes": [{"path": "/", "backend": "third"}]}}
    site.running.reload(config)
    assert backends.answer(asks("other.example")) == "third"


def test_tcp_mode_goes_by_what_validators_have_learnt(site: Site) -> None:
    backends = Backends(
        site,
        validators=["learns_name"],
        routes=[
            {"facts": {"tls.sni": "*.example.org", "tls.alpn": "x"}, "backend": "other"},
            {"facts": {"tls.sni": "example.org"}, "backend": "third"},
            {"facts": {"tls.sni": "no.example"}, "refuse": True},
        ],
    )
    for line, name in ((b"a.example.org x\n", "other"), (b"example.org\n", "third"), (b"a.example.org y\n", "app")):
        client = site.client().send(line)
        site.until(lambda name=name: backends.servers[name].served, "the server")  # type: ignore[misc]
        client.close()
    client = site.client().send(b"no.example\n")
    site.until(lambda: client.ended and not site.running.process.sessions, "the end of all")
    assert sorted(record["backend"] for record in backends.records(4)) == ["app", "app", "other", "third"]


# Policies


def policies(*names: str, **options: Any) -> list[dict[str, Any]]:
    return [{"use": "does", "do": name, **options} for name in names]


def test_a_policy_can_deny_with_any_status_and_the_connection_goes_on(site: Site) -> None:
    backends = Backends(site, mode="http", policies=policies("deny"))
    client = site.client().send(get("/deny"))
    said = client.answer()
    assert said.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nRetry-After: 7\r\n" in said
    assert client.ask(get("/")) == 200
    record = backends.records(2)[0]
    assert (record["status"], record["ending"], record["reason"]) == (429, "PR", "policy 1: too often")


def test_a_policy_can_answer_in_place_of_a_server(site: Site) -> None:
    backends = Backends(site, mode="http", policies=policies("answer"))
    client = site.client().send(get("/answer") + get("/answer", method="HEAD"))
    said = client.answer()
    assert said.startswith(b"HTTP/1.1 201 Created\r\n")
    assert b"\r\nX-Made: 1\r\n" in said
    assert b"\r\nDate: " in said
    assert said.endswith(b"\r\nContent-Length: 7\r\n\r\nmade up")
    site.until(lambda: client.heard.endswith(b"\r\n\r\n"), "an answer without a body")
    assert b"Content-Length: 7\r\n" in client.heard
    assert not backends.servers["app"].asked
    record = backends.records(2)[0]
    assert (record["status"], record["ending"], record["server"]) == (201, "LR", "<NOSRV>")


def test_what_a_client_goes_on_sending_to_an_answer_of_ours_closes_the_connection(site: Site) -> None:
    Backends(site, mode="http", policies=policies("answer"))
    client = site.client().send(b"POST /answer HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n...")
    assert client.status() == 201
    site.until(lambda: client.ended, "the end")


def test_a_policy_can_redirect(site: Site) -> None:
    backends = Backends(site, mode="http", policies=policies("redirect"))
    said = site.client().send(get("/redirect")).answer()
    assert said.startswith(b"HTTP/1.1 308 Permanent Redirect\r\n")
    assert b"\r\nLocation: https://elsewhere.example/x\r\n" in said
    assert backends.records(1)[0]["ending"] == "LR"


def test_a_tarpit_answers_late(site: Site) -> None:
    backends = Backends(site, mode="http", policies=policies("tarpit"), timeouts={"tarpit": "3s"})
    client = site.client().send(get("/tarpit"))
    site.pass_time(2.9)
    assert not client.heard
    site.pass_time(0.3)
    assert client.status() == 503
    assert client.ask(get("/")) == 200
    record = backends.records(2)[0]
    assert (record["ending"], record["stage"], record["reason"]) == ("PT", "tarpit", "policy 1: a bot")


@pytest.mark.parametrize("request_", [get("/tarpit"), post(b"x" * 5, "/tarpit")])
def test_who_leaves_a_tarpit_is_noticed(site: Site, request_: bytes) -> None:
    backends = Backends(site, mode="http", policies=policies("tarpit"), timeouts={"tarpit": "3s"})
    client = site.client().send(request_)
    site.settle()
    client.close()
    (record,) = backends.records(1)
    assert (record["ending"], record["stage"]) == ("CT", "tarpit")
    assert not site.running.process.sessions


def test_a_policy_can_choose_the_backend_for_one_request(site: Site) -> None:
    backends = Backends(site, mode="http", policies=policies("choose"), routes=[{"path": "/x", "backend": "third"}])
    assert [backends.answer(get(path)) for path in ("/choose", "/x", "/")] == ["other", "third", "app"]
    client = site.client().send(get("/choose") + get("/"))
    assert [client.answer()[-5:] for _ in range(2)] == [b"other", b"\r\napp"]


def test_what_a_policy_chooses_at_admission_holds_for_the_connection(site: Site) -> None:
    backends = Backends(site, mode="http", policies=policies("choose", early=True))
    assert backends.answer(get("/")) == "other"


def test_in_tcp_mode_a_policy_can_choose_the_backend_too(site: Site) -> None:
    backends = Backends(site, policies=policies("choose"))
    site.client().send(b"hello")
    site.until(lambda: backends.servers["other"].served, "the server")


def test_a_backend_that_does_not_exist_is_the_plugin_s_fault(site: Site) -> None:
    backends = Backends(site, mode="http", policies=policies("misspell"))
    assert backends.answer(get("/misspell")) == "500"
    record = backends.records(1)[0]
    assert (record["ending"], record["plugin"]) == ("IR", "tests.loopback.lb_http_policies")
    assert "otter" in record["reason"]


def test_a_policy_can_edit_fields_but_neither_framing_nor_the_presence_of_host(site: Site) -> None:
    backends = Backends(site, mode="http", policies=policies("edit"))
    assert backends.answer(get("/edit", "X-Gone: 1", "X-User: mallory", "X-More: 0")) == "app"
    (head,) = backends.servers["app"].asked
    lines = head.split(b"\r\n")
    assert b"X-User: alice" in lines
    assert [line for line in lines if line.startswith(b"X-More")] == [b"X-More: 0", b"X-More: 1"]
    assert b"mallory" not in head
    assert b"X-Gone" not in head
    assert b"99" not in head
    assert [line for line in lines if line.lower().startswith(b"host")] == [b"Host: x"]


def test_a_policy_that_does_not_answer_in_time_is_a_500(site: Site) -> None:
    backends = Backends(site, mode="http", policies=policies("wait"), timeouts={"policy": "2s"})
    client = site.client().send(get("/wait"))
    site.pass_time(2.2)
    assert client.status() == 500
    assert backends.records(1)[0]["ending"] == "IR"


def test_a_policy_may_answer_late(site: Site) -> None:
    backends = Backends(site, mode="http", policies=policies("late"), timeouts={"tarpit": "1s", "policy": "5s"})
    client = site.client().send(get("/late?answer") + get("/late?allow") + get("/late?tarpit") + get("/"))
    said: list[bytes] = []
    for _ in range(3):
        site.until(lambda: lb_http_policies.waiting, "the question")
        site.settle()
        assert not client.heard
        lb_http_policies.waiting.pop().callback(None)
        if len(said) == 2:
            site.pass_time(1.1)
        said.append(client.answer())
    assert [one[9:12] for one in said] == [b"200", b"200", b"500"]
    assert [one.partition(b"\r\n\r\n")[2] for one in said[:2]] == [b"late", b"app"]
    assert client.status() == 200
    assert [record["ending"] for record in backends.records(4)] == ["LR", "--", "PT", "--"]


def test_who_leaves_while_a_policy_thinks_is_noticed(site: Site) -> None:
    backends = Backends(site, mode="http", policies=policies("late"))
    client = site.client().send(get("/late?allow"))
    site.until(lambda: lb_http_policies.waiting, "the question")
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    (record,) = backends.records(1)
    assert (record["ending"], record["stage"]) == ("CR", "policy")
    lb_http_policies.waiting.pop().addErrback(lambda _: None)
    assert not site.running.process.sessions


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_a_verdict_about_requests_where_there_is_none_is_the_plugin_s_fault(site: Site, mode: str) -> None:
    backends = Backends(site, mode=mode, policies=policies("answer", early=mode == "http"))
    client = site.client()
    site.until(lambda: client.ended, "the end")
    record = backends.records(1)[0]
    assert record["ending"] == "IR"
    assert "there is no request to answer" in record["reason"]
