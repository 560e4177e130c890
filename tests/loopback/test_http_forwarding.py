"""What the settings do to heads, as the server sees them and as the client does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.http_site import OK, Site
from tests.whole import run

pytestmark = pytest.mark.linux

REQUEST = (
    b"GET /a?b HTTP/1.1\r\nHost: public.example:8080\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Host: forged.example\r\nForwarded: for=192.0.2.1\r\nVia: 1.1 first\r\nX-Secret: 1\r\n"
    b"Cookie: a\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: x\r\nX-Powered-By: y\r\nX-Powered-By: z\r\nSet-Cookie: a=b\r\n"
    b"Content-Length: 2\r\n\r\nok"
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for running in run(tmp_path, monkeypatch):
        made = Site(running)
        yield made
        made.close()


def both(site: Site, of_backend: dict[str, Any] | None = None, **of_frontend: Any) -> tuple[list[str], list[str]]:
    """Send the request; the lines of what the server sees, and of what the client does."""
    server = site.upstream(lambda _: RESPONSE)
    site.start(server, of_frontend=of_frontend, **(of_backend or {}))
    said = site.client().send(REQUEST).answer()
    (seen,) = server.asked
    return lines(seen), lines(said)


def lines(message: bytes) -> list[str]:
    return message.partition(b"\r\n\r\n")[0].decode().split("\r\n")


def named(lines: list[str], name: str) -> list[str]:
    return [line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name.lower()}:")]


def test_without_settings_nothing_that_the_client_says_speaks_for_us_and_the_rest_passes(site: Site) -> None:
    seen, said = both(site)
    assert seen == [line for line in lines(REQUEST) if "Forwarded" not in line]
    assert sorted(said) == sorted(lines(RESPONSE))


# Fields by setting


def test_fields_of_requests_are_removed_set_and_added(site: Site) -> None:
    edits = {"remove": ["x-secret"], "set": {"cookie": "b", "X-New": "1"}, "add": {"Via": "1.1 more"}}
    seen, _ = both(site, request_headers=edits)
    assert named(seen, "X-Secret") == []
    assert named(seen, "Cookie") == ["b"]
    assert named(seen, "X-New") == ["1"]
    assert named(seen, "Via") == ["1.1 first", "1.1 more"]


def test_fields_of_responses_are_removed_set_and_added(site: Site) -> None:
    edits = {"remove": ["X-Powered-By"], "set": {"Server": "lb"}, "add": {"Set-Cookie": "c=d"}}
    _, said = both(site, response_headers=edits)
    assert named(said, "X-Powered-By") == []
    assert named(said, "Server") == ["lb"]
    assert named(said, "Set-Cookie") == ["a=b", "c=d"]
    assert named(said, "Content-Length") == ["2"]


def test_a_backend_s_edits_come_after_the_frontend_s_on_the_way_there_and_before_them_on_the_way_back(
    site: Site,
) -> None:
    seen, said = both(
        site,
        {"request_headers": {"set": {"X-A": "backend"}}, "response_headers": {"set": {"X-B": "backend"}}},
        request_headers={"set": {"X-A": "frontend"}},
        response_headers={"set": {"X-B": "frontend"}},
    )
    assert named(seen, "X-A") == ["backend"]
    assert named(said, "X-B") == ["frontend"]


def test_host_can_be_set(site: Site) -> None:
    seen, _ = both(site, {"request_headers": {"set": {"Host": "internal.example"}}}, forwarded=True)
    assert named(seen, "Host") == ["internal.example"]
    assert named(seen, "X-Forwarded-Host") == ["public.example:8080"]


# Who the client is


def test_the_server_is_told_who_the_client_is_and_what_the_client_forged_is_gone(site: Site) -> None:
    seen, _ = both(site, forwarded=True)
    assert named(seen, "X-Forwarded-For") == ["192.0.2.1, 127.0.0.1"]
    assert named(seen, "X-Forwarded-Proto") == ["http"]
    assert named(seen, "X-Forwarded-Host") == ["public.example:8080"]
    assert named(seen, "X-Forwarded-Port") == [str(site.running.port())]
    assert named(seen, "Forwarded") == []


def test_each_of_the_fields_has_a_setting(site: Site) -> None:
    settings = {
        "x_forwarded_for": "set",
        "x_forwarded_proto": "pass",
        "x_forwarded_host": "remove",
        "x_forwarded_port": "remove",
        "rfc7239": "append",
    }
    seen, _ = both(site, forwarded=settings)
    assert named(seen, "X-Forwarded-For") == ["127.0.0.1"]
    assert named(seen, "X-Forwarded-Proto") == ["https"]
    assert named(seen, "X-Forwarded-Host") == named(seen, "X-Forwarded-Port") == []
    (forwarded,) = named(seen, "Forwarded")
    assert forwarded.startswith("for=192.0.2.1, for=127.0.0.1")


def test_a_proxy_that_is_excepted_is_taken_at_its_word(site: Site) -> None:
    seen, _ = both(site, forwarded={"except": ["127.0.0.0/8"]})
    assert named(seen, "X-Forwarded-For") == ["192.0.2.1"]
    assert named(seen, "X-Forwarded-Proto") == ["https"]


def test_via_names_us_in_both_directions(site: Site) -> None:
    seen, said = both(site, via="lb")
    assert ", ".join(named(seen, "Via")) == "1.1 first, 1.1 lb"
    assert named(said, "Via") == ["1.1 lb"]


# Answers of ours


def test_an_answer_of_ours_has_the_frontend_s_fields_too(site: Site) -> None:
    site.start(
        {"address": "127.0.0.1:1", "weight": 0},
        of_frontend={"response_headers": {"set": {"Strict-Transport-Security": "max-age=1", "Cache-Control": "x"}}},
    )
    said = lines(site.client().send(REQUEST).answer())
    assert said[0] == "HTTP/1.1 503 Service Unavailable"
    assert named(said, "Strict-Transport-Security") == ["max-age=1"]
    assert named(said, "Cache-Control") == ["x"]


def test_error_files_take_the_place_of_our_pages_with_the_type_that_their_names_tell(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "503.json").write_text('{"sorry": true}')
    (tmp_path / "400.html").write_text("<p>no</p>")
    files = {"503": str(tmp_path / "503.json"), "400": str(tmp_path / "400.html")}
    site.start({"address": "127.0.0.1:1", "weight": 0}, of_frontend={"error_files": files})
    said = site.client().send(REQUEST).answer()
    assert said.endswith(b'\r\n\r\n{"sorry": true}')
    assert named(lines(said), "Content-Type") == ["application/json"]
    said = site.client().send(b"GET / HTTP/1.1\r\n\r\n").answer()
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.endswith(b"\r\n\r\n<p>no</p>")
    assert named(lines(said), "Content-Type") == ["text/html; charset=utf-8"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("application/json", "application/json"), ("text/html", "text/html"), ("*/*", "text/html")],
)
def test_who_prefers_json_gets_errors_in_json(site: Site, accept: str, kind: str) -> None:
    site.start({"address": "127.0.0.1:1", "weight": 0}, of_frontend={"json_errors": True})
    said = site.client().send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: %b\r\n\r\n" % accept.encode()).answer()
    assert named(lines(said), "Content-Type") == [kind]


def test_the_bytes_of_an_answer_of_ours_are_counted(site: Site) -> None:
    site.start({"address": "127.0.0.1:1", "weight": 0})
    said = [site.client().send(request).answer() for request in (REQUEST, b"GET / HTTP/1.1\r\n\r\n")]
    counted = {record["status"]: record["bytes_out"] for record in site.running.records(2)}
    assert counted == {503: len(said[0]), 400: len(said[1])}


# The load balancer in front


MONITOR = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def test_the_monitor_is_answered_without_a_server_a_policy_or_a_record(site: Site) -> None:
    server = site.upstream(lambda _: OK)
    site.start(server, of_frontend={"monitor_uri": "/health", "policies": [{"use": "source", "deny": ["127.0.0.2"]}]})
    client = site.client()
    for _ in range(2):
        assert client.send(MONITOR).answer().endswith(b"\r\n\r\nOK\n")
    assert client.ask(MONITOR.replace(b"/health", b"/healthy")) == 200
    assert [record["target"] for record in site.running.records(1)] == ["/healthy"]
    assert len(server.asked) == 1
    client.sock.shutdown(1)
    site.until(lambda: client.ended, "the end")
    assert len(site.running.records(1)) == 1


def test_the_monitor_says_no_when_no_server_is_usable(site: Site) -> None:
    server = site.upstream(lambda _: OK)
    site.start(server, of_frontend={"monitor_uri": "/health"})
    client = site.client()
    assert client.ask(MONITOR) == 200
    site.server().up = False
    assert site.running.balancer.assembly is not None
    site.running.balancer.assembly.backends["app"].server_changed()
    assert client.ask(MONITOR) == 503


def test_a_monitor_that_wants_the_connection_closed_gets_it_closed(site: Site) -> None:
    site.start(site.upstream(), of_frontend={"monitor_uri": "/health"})
    client = site.client().send(MONITOR.replace(b"Host", b"Connection: close\r\nHost"))
    assert client.status() == 200
    site.until(lambda: client.ended, "the end")
    site.until(lambda: not site.running.process.sessions, "the end of the session")
