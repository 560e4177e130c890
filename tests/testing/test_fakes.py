"""What tests make up is what the real thing is."""

import pytest

from twisted_lb.api import ConfigError, Fact, FactType, IServer, WireError
from twisted_lb.testing import (
    FakeServer,
    fact_finder,
    make_facts,
    make_record,
    make_request,
    make_response,
    make_runtime,
)


def test_the_fake_server_is_a_server() -> None:
    assert IServer.providedBy(FakeServer("a"))


def test_facts_and_records_have_what_the_test_asks_for() -> None:
    facts = make_facts("::1", 7, frontend="games", learnt={"tls.sni": "a.example"})
    assert (str(facts.source), facts.frontend, facts.learnt) == ("[::1]:7", "games", {"tls.sni": "a.example"})
    assert make_record(retries=3).retries == 3


def test_the_time_of_a_made_up_process_stands_still_until_the_test_moves_it() -> None:
    runtime = make_runtime(wall_clock=lambda: 86400.0)
    before = runtime.clock.seconds()
    runtime.reactor.advance(5)
    assert runtime.clock.seconds() == before + 5
    assert runtime.wall_clock() == 86400.0


def test_facts_are_found_as_in_a_frontend() -> None:
    find = fact_finder(learnt={"tls.sni": Fact(FactType.STRING, "the server's name")})
    fact, get = find("source")
    assert fact.type is FactType.ADDRESS
    assert get(make_facts("::1")) == "::1"
    assert find("tls.sni")[1](make_facts(learnt={"tls.sni": "a.example"})) == "a.example"
    with pytest.raises(ConfigError, match='did you mean "source"'):
        find("sorce")
    with pytest.raises(ConfigError, match='only in mode = "http"'):
        find("http.host")
    assert fact_finder("http")("http.host")[0].type is FactType.STRING


def test_heads_of_messages_are_what_the_proxy_would_read() -> None:
    request = make_request("HEAD", "/a?b", [("Accept", "*/*")], "1.0")
    assert (request.method, request.path, request.query, request.version) == (b"HEAD", b"/a", b"b", b"1.0")
    assert request.headers.get(b"accept") == b"*/*"
    response = make_response(404, [("Content-Length", "3")], request)
    assert (response.status, response.content_length, response.framing) == (404, 3, 0)


def test_heads_that_break_a_rule_cannot_be_made() -> None:
    with pytest.raises(WireError):
        make_request(fields=[("Content-Length", "+1")])
    with pytest.raises(WireError):
        make_response(fields=[("Content-Length", "1"), ("Content-Length", "2")])
