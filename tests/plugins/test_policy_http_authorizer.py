"""``http_authorizer`` asks a real HTTP service, which decides, fails, or says nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent

from tests.turning import Origin, Turning, says, turning
from twisted_lb.api import ALLOW, Answer, ConfigError, Credentials, Deny, Duration, Facts, IPolicy, Size, Stage
from twisted_lb.config.uses import Use
from twisted_lb.plugin_host import load_plugins
from twisted_lb.testing import PolicyContract, make_facts, make_runtime
from twisted_lb_plugins.policy_http_authorizer import HttpAuthorizerOptions, build

__all__ = ["turning"]


@pytest.fixture
def origin(turning: Turning) -> Iterator[Origin]:
    made = Origin(turning, lambda request: says(200))
    yield made
    made.close()
    turning.until(lambda: not made.connections, "the end of the connections")
    turning.settle()


class Asking:
    """A policy and what it is asked with."""

    def __init__(self, turning: Turning, origin: Origin, **options: Any) -> None:
        self._turning = turning
        self.policy = build(HttpAuthorizerOptions(**{"url": origin.url, **options}), turning.runtime)

    def __call__(self, facts: Facts) -> Any:
        verdict = self._turning.result(self.policy.decide(facts))
        self._turning.settle()
        return verdict

    def get(self, target: str = "/", *fields: str, **more: Any) -> Any:
        """The verdict about a request."""
        return self(request(target, *fields, **more))


def request(target: str = "/", *fields: str, source: str = "192.0.2.1") -> Facts:
    head = "\r\n".join([f"GET {target} HTTP/1.1", "Host: Example.org:8080", *fields, "", ""])
    return make_facts(source, request=head.encode())


def fields_of(asked: bytes) -> dict[str, str]:
    lines = asked.decode().partition("\r\n\r\n")[0].split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


class TestContract(PolicyContract):
    """What every policy promises, of one that allows."""

    answer = says(200, b"", "X-User: alice")

    @pytest.fixture(autouse=True)
    def _around(self, turning: Turning, origin: Origin) -> None:
        self.turning, self.origin = turning, origin
        origin.answer = lambda request: self.answer

    def make_policy(self) -> IPolicy:
        return build(HttpAuthorizerOptions(url=self.origin.url, response_headers=["X-User"]), self.turning.runtime)

    def settle(self, answer: Deferred[Any]) -> Any:
        return self.turning.result(answer)


class TestContractOfRefusals(TestContract):
    """Likewise, of one that refuses."""

    answer = says(401, b"<p>who?</p>", "WWW-Authenticate: Basic", "Content-Type: text/html")


# In HTTP mode


def test_it_is_asked_about_each_request(turning: Turning, origin: Origin) -> None:
    ask = Asking(turning, origin)
    assert ask.policy.stage is Stage.POLICY
    assert ask.get("/a?b=c", "Cookie: session=1", "X-Other: 1") is ALLOW
    assert origin.requests[0].startswith(b"GET /auth HTTP/1.1\r\n")
    assert b"\r\nContent-Length:" not in origin.requests[0]
    told = fields_of(origin.requests[0])
    assert told.pop("host") == f"127.0.0.1:{origin.port}"
    assert told.pop("connection", "") in ("", "keep-alive")
    assert told == {
        "cookie": "session=1",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-host": "example.org:8080",
        "x-forwarded-method": "GET",
        "x-forwarded-proto": "http",
        "x-forwarded-uri": "/a?b=c",
        "x-original-method": "GET",
        "x-original-uri": "/a?b=c",
        "x-original-url": "http://example.org:8080/a?b=c",
    }


def test_what_clients_say_of_themselves_is_not_believed(turning: Turning, origin: Origin) -> None:
    forged = ("X-Forwarded-For: 127.0.0.1", "X-Original-URI: /public", "X-Forwarded-Uri: /public")
    Asking(turning, origin).get("/private", *forged)
    told = fields_of(origin.requests[0])
    assert (told["x-forwarded-for"], told["x-original-uri"], told["x-forwarded-uri"]) == (
        "192.0.2.1",
        "/private",
        "/private",
    )


def test_a_client_without_an_address_has_none_to_be_told(turning: Turning, origin: Origin) -> None:
    Asking(turning, origin).get(source="unix:/run/x")
    assert "x-forwarded-for" not in fields_of(origin.requests[0])


def test_the_operator_says_which_fields_are_sent(turning: Turning, origin: Origin) -> None:
    ask = Asking(turning, origin, request_headers=["X-Api-Key"], headers={"X-Secret": "s3"})
    ask.get("/", "X-Api-Key: one", "x-api-key: two", "Cookie: c", "Authorization: a")
    told = fields_of(origin.requests[0])
    assert origin.requests[0].lower().count(b"\r\nx-api-key: ") == 2
    assert told["x-secret"] == "s3"
    assert not {"cookie", "authorization"} & set(told)


def test_the_server_learns_from_the_service_and_not_from_the_client(turning: Turning, origin: Origin) -> None:
    origin.answer = lambda asked: says(204, b"", "X-User: alice", "X-Other: no", "X-User: second")
    ask = Asking(turning, origin, response_headers=["X-User", "X-Roles"])
    facts = request("/", "x-user: root", "X-Roles: admin")
    assert ask(facts) is ALLOW
    assert facts.http.headers.get_all(b"x-user") == [b"alice", b"second"]
    assert b"x-roles" not in facts.http.headers
    assert b"x-other" not in facts.http.headers


def test_a_refusal_is_passed_on_with_its_body_and_what_is_to_be_done(turning: Turning, origin: Origin) -> None:
    said = ("WWW-Authenticate: Basic realm=x", "Content-Type: text/html", "X-Internal: secret", "Set-Cookie: a=b")
    origin.answer = lambda asked: says(401, b"<p>who?</p>", *said)
    verdict = Asking(turning, origin).get()
    assert isinstance(verdict, Answer)
    assert (verdict.status, verdict.body) == (401, b"<p>who?</p>")
    assert dict(verdict.fields) == {
        b"WWW-Authenticate": b"Basic realm=x",
        b"Content-Type": b"text/html",
        b"Set-Cookie": b"a=b",
    }
    assert verdict.reason == "the authorizer says 401"


def test_a_redirect_to_a_place_to_log_in_is_passed_on(turning: Turning, origin: Origin) -> None:
    origin.answer = lambda asked: says(302, b"", "Location: https://login.example/?rd=/")
    verdict = Asking(turning, origin).get()
    assert isinstance(verdict, Answer)
    assert (verdict.status, verdict.fields) == (302, ((b"Location", b"https://login.example/?rd=/"),))


@pytest.mark.parametrize("status", [400, 403, 404, 429])
def test_a_refusal_without_a_body_has_the_frontend_s_error_page(turning: Turning, origin: Origin, status: int) -> None:
    origin.answer = lambda asked: says(status, b"", "Content-Type: text/plain", "Retry-After: 7")
    verdict = Asking(turning, origin).get()
    assert verdict == Deny(f"the authorizer says {status}", status, [(b"Retry-After", b"7")])


def test_a_body_that_is_too_long_is_not_passed_on(turning: Turning, origin: Origin) -> None:
    origin.answer = lambda asked: says(403, b"x" * 11)
    verdict = Asking(turning, origin, max_body=Size(10)).get()
    assert verdict == Deny("the authorizer says 403", 403, [])
    origin.answer = lambda asked: says(200, b"x" * 11)
    assert Asking(turning, origin, max_body=Size(10)).get() is ALLOW


# In TCP mode


def test_of_a_connection_it_is_told_the_facts(turning: Turning, origin: Origin) -> None:
    ask = Asking(turning, origin)
    facts = make_facts("192.0.2.1", 4000, learnt={"tls.sni": "a.example", "tls.alpn": ("h2",), "tcp.saved_syn": b"\0"})
    facts.credentials = Credentials(1, 2, 3)
    assert ask(facts) is ALLOW
    assert origin.requests[0].startswith(b"POST /auth HTTP/1.1\r\n")
    assert fields_of(origin.requests[0])["content-type"] == "application/json"
    told = json.loads(origin.requests[0].partition(b"\r\n\r\n")[2])
    some = {"source": "192.0.2.1", "source.port": 4000, "frontend": "web", "tls.sni": "a.example", "tls.alpn": ["h2"]}
    assert told | some == told
    assert told["unix.uid"] == 2
    assert not {"tcp.saved_syn", "namespace"} & set(told)


def test_the_operator_says_which_facts_are_sent(turning: Turning, origin: Origin) -> None:
    Asking(turning, origin, facts=["source", "tls.sni", "tls.ja4"])(make_facts(learnt={"tls.sni": "a.example"}))
    assert json.loads(origin.requests[0].partition(b"\r\n\r\n")[2]) == {"source": "192.0.2.1", "tls.sni": "a.example"}


@pytest.mark.parametrize("answer", [says(403, b"no"), says(401), says(302, b"", "Location: /")])
def test_a_connection_is_refused_by_status_alone(turning: Turning, origin: Origin, answer: bytes) -> None:
    origin.answer = lambda asked: answer
    verdict = Asking(turning, origin)(make_facts())
    assert isinstance(verdict, Deny)
    assert verdict.reason == f"the authorizer says {answer[9:12].decode()}"


# When it fails


FAILURES = {
    "an error": (says(500), "the answer is 500"),
    "nowhere": (says(302), "the answer is 302"),
    "not changed": (says(304), "the answer is 304"),
    "no HTTP": (b"nonsense\r\nConnection: close\r\n\r\n", "the answer is no HTTP"),
    "half": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf", "the answer breaks off"),
    "controls": (says(200, b"", "X-User: a\0b"), "the answer's field X-User has control characters"),
}


@pytest.mark.parametrize(("answer", "why"), FAILURES.values(), ids=FAILURES)
def test_a_failure_denies_unless_told_otherwise(turning: Turning, origin: Origin, answer: bytes, why: str) -> None:
    origin.answer = lambda asked: answer
    denied = Asking(turning, origin, response_headers=["X-User"]).get()
    assert denied == Deny(f"the authorizer cannot be asked: {why}", 503)
    facts = request("/", "X-User: root")
    assert Asking(turning, origin, response_headers=["X-User"], on_failure="allow")(facts) is ALLOW
    assert b"x-user" not in facts.http.headers


def test_letting_clients_in_although_it_fails_is_logged(
    turning: Turning, origin: Origin, logged: list[LogEvent]
) -> None:
    origin.answer = lambda asked: says(500)
    Asking(turning, origin, on_failure="allow").get()
    said = (
        f"policy http_authorizer, {origin.url}: the authorizer cannot be asked: the answer is 500; clients are let in"
    )
    assert any(formatEvent(event).startswith(said) for event in logged)


def test_one_that_is_dead_denies(turning: Turning, origin: Origin) -> None:
    ask = Asking(turning, origin)
    origin.close()
    turning.settle()
    verdict = ask.get()
    assert "refused" in verdict.reason
    assert verdict.status == 503


def test_one_that_is_slow_is_waited_for_no_longer_than_told(turning: Turning, origin: Origin) -> None:
    origin.answer = lambda asked: None
    ask = Asking(turning, origin, timeout=Duration(0.1))
    assert ask.get() == Deny("the authorizer cannot be asked: no answer within 0.1 s", 503)
    turning.until(lambda: not origin.connections, "the end of the connection")


def test_one_that_never_ends_is_waited_for_no_longer_than_told(turning: Turning, origin: Origin) -> None:
    origin.answer = lambda asked: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx"
    assert Asking(turning, origin, timeout=Duration(0.1)).get().status == 503
    turning.until(lambda: not origin.connections, "the end of the connection")


def test_when_the_client_leaves_the_question_is_given_up(turning: Turning, origin: Origin) -> None:
    origin.answer = lambda asked: None
    answer = Asking(turning, origin).policy.decide(request())
    assert isinstance(answer, Deferred)
    turning.until(lambda: origin.requests, "the question")
    answer.addBoth(lambda _: None)
    answer.cancel()
    turning.until(lambda: not origin.connections, "the end of the connection")
    turning.settle()
    assert len(origin.requests) == 1
    assert not turning.reactor.getDelayedCalls()


def test_that_a_client_leaves_is_not_logged_as_one_that_is_let_in(
    turning: Turning, origin: Origin, logged: list[LogEvent]
) -> None:
    origin.answer = lambda asked: None
    answer = Asking(turning, origin, on_failure="allow").policy.decide(request())
    assert isinstance(answer, Deferred)
    said: list[Any] = []
    answer.addBoth(said.append)
    answer.cancel()
    turning.settle()
    assert isinstance(said[0], Deny)
    assert not any("let in" in formatEvent(event) for event in logged)


def test_no_more_questions_are_under_way_than_told(turning: Turning, origin: Origin) -> None:
    held = [True]
    origin.answer = lambda asked: None if held else says(200)
    ask = Asking(turning, origin, max_requests=2)
    answers = [ask.policy.decide(request(f"/{number}")) for number in range(6)]
    turning.until(lambda: len(origin.requests) == 2, "two questions")
    turning.settle()
    assert len(origin.requests) == 2
    held.clear()
    for one in list(origin.connections):
        one.transport.write(says(200))  # type: ignore[union-attr]
    assert all(turning.result(answer) is ALLOW for answer in answers)
    assert origin.accepted == 2


# What is remembered


def test_without_being_told_nothing_is_remembered_and_nothing_shared(turning: Turning, origin: Origin) -> None:
    ask = Asking(turning, origin)
    answers = [ask.policy.decide(request()) for _ in range(3)]
    assert all(turning.result(answer) is ALLOW for answer in answers)
    assert ask.get() is ALLOW
    assert len(origin.requests) == 4


def test_an_answer_is_remembered_for_the_same_question(turning: Turning, origin: Origin) -> None:
    origin.answer = lambda asked: says(200, b"", "X-User: " + fields_of(asked).get("cookie", "nobody"))
    ask = Asking(turning, origin, cache_ttl=Duration(60), response_headers=["X-User"])
    for cookie in ("a", "b", "a", "b"):
        facts = request("/", f"Cookie: {cookie}")
        assert ask(facts) is ALLOW
        assert facts.http.headers.get(b"X-User") == cookie.encode()
    assert len(origin.requests) == 2
    ask.get("/other", "Cookie: a")
    ask.get("/", "Cookie: a", source="192.0.2.9")
    assert len(origin.requests) == 4


def test_what_is_remembered_by_may_be_less(turning: Turning, origin: Origin) -> None:
    key = ["source", "http.host", "http.headers['Authorization']"]
    ask = Asking(turning, origin, cache_ttl=Duration(60), cache_key=key)
    ask.get("/a", "Authorization: x"), ask.get("/b", "Authorization: x", "Cookie: c")
    assert len(origin.requests) == 1
    ask.get("/a", "Authorization: y"), ask.get("/a"), ask.get("/a", "Authorization: x", source="192.0.2.9")
    assert len(origin.requests) == 4


def test_connections_are_remembered_by_facts(turning: Turning, origin: Origin) -> None:
    ask = Asking(turning, origin, cache_ttl=Duration(60), cache_key=["source", "tls.sni"])
    for port in range(3):
        for name in ("a", "b"):
            ask(make_facts("192.0.2.1", port, learnt={"tls.sni": name}))
    assert len(origin.requests) == 2


def test_refusals_are_remembered_too_but_not_what_is_meant_for_one_client(turning: Turning, origin: Origin) -> None:
    ask = Asking(turning, origin, cache_ttl=Duration(60))
    origin.answer = lambda asked: says(403, b"no")
    assert ask.get() == ask.get()
    assert len(origin.requests) == 1
    for own in (says(302, b"", "Location: /?nonce=1"), says(401, b"", "Set-Cookie: a=b")):
        ask, before = Asking(turning, origin, cache_ttl=Duration(60)), len(origin.requests)
        origin.answer = lambda asked, own=own: own  # type: ignore[misc]
        ask.get(), ask.get()
        assert len(origin.requests) == before + 2


def test_failures_are_not_remembered(turning: Turning, origin: Origin) -> None:
    ask = Asking(turning, origin, cache_ttl=Duration(60))
    origin.answer = lambda asked: says(500)
    assert ask.get().status == 503
    origin.answer = lambda asked: says(200)
    assert ask.get() is ALLOW


def test_no_more_is_remembered_than_told(turning: Turning, origin: Origin) -> None:
    ask = Asking(turning, origin, cache_ttl=Duration(60), cache_size=2)
    for path in ("/1", "/2", "/3", "/1"):
        ask.get(path)
    assert len(origin.requests) == 4


# Options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"url": "127.0.0.1:9090"}, "x.url: expected a URL"),
        ({"url": "http://user:word@127.0.0.1/"}, "x.url: expected a URL"),
        ({"request_headers": ["X Y"]}, "x.request_headers[0]: expected the name of an HTTP field"),
        ({"headers": {"X-A": "a\r\nb"}}, "x.headers.X-A: expected a value of an HTTP field"),
        ({"request_headers": ["Connection"]}, "request_headers: Connection is of one connection or message"),
        ({"response_headers": ["Content-Length"]}, "response_headers: Content-Length is of one connection or message"),
        ({"request_headers": ["X-Forwarded-For"]}, "request_headers: X-Forwarded-For is what we tell the service"),
        ({"cache_ttl": "1s", "cache_key": ["sorce"]}, 'cache_key[0]: there is no fact "sorce"'),
        ({"cache_ttl": "1s", "cache_key": ["http.headers['a b']"]}, "cache_key[0]: there is no fact"),
        ({"facts": ["http.host"]}, 'facts[0]: there is no fact "http.host"'),
        ({"timeout": "0s"}, "timeout: must be more than nothing"),
        ({"ca_file": "/nowhere"}, "ca_file: it is for https://"),
        ({"endpoint": "nonsense:1"}, 'endpoint: "nonsense:1" is no description of an endpoint'),
    ],
)
def test_what_makes_no_sense_is_an_error(options: dict[str, Any], told: str) -> None:
    host = load_plugins(runtime=make_runtime())
    use = Use(use="http_authorizer", options={"url": "http://127.0.0.1:9090/", **options})
    with pytest.raises(ConfigError) as caught:
        host.build("policies", use, "x")
    assert str(caught.value).replace('plugin "policy_http_authorizer": ', "").startswith("x." + told.removeprefix("x."))
