"""A walk goes where a session would, and tells of every step; loopback/test_rules.py compares with real ones."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from zope.interface import implementer

from tests.wire.hellos import python_hello
from twisted_lb.api import ALLOW, Answer, Deny, Facts, IPolicy, Stage
from twisted_lb.assembly import Assembly, assemble
from twisted_lb.config.load import load_dict
from twisted_lb.errors import ConfigError
from twisted_lb.explain.case import Case
from twisted_lb.explain.steps import Explanation
from twisted_lb.explain.walk import Walk
from twisted_lb.plugin_host import Built
from twisted_lb.process import Process
from twisted_lb.stages.policy import in_asking_order


def built(**settings: Any) -> Assembly:
    frontend = {"bind": "127.0.0.1:0", "backend": "app", **settings}
    backends = {name: {"servers": {"a": "127.0.0.1:1"}} for name in ("app", "other")}
    config = load_dict({"frontends": {"web": frontend}, "backends": backends}, "lb.toml")
    return assemble(config, Process(MemoryReactor(), Clock(), None))


def start(assembly: Assembly, clock: Clock | None = None, ask: bool = True, **case: Any) -> "Deferred[Explanation]":
    return ensureDeferred(Walk(assembly, "web", Case("192.0.2.1", **case), clock or Clock(), ask).go())


def explained(assembly: Assembly, **case: Any) -> Explanation:
    results: list[Any] = []
    start(assembly, **case).addBoth(results.append)
    (result,) = results
    if not isinstance(result, Explanation):
        result.raiseException()
    return result  # type: ignore[no-any-return]


def outcomes(told: Explanation) -> list[str]:
    return [f"{step.what}: {step.outcome}" for step in told.steps]


TLS = {
    "validators": ["tls"],
    "policies": [{"deny": "source == '192.0.2.9'"}, {"allow": "tls.sni == 'a.example'"}, {"deny": "true"}],
    "routes": [{"backend": "other", "facts": {"tls.sni": "a.example"}}],
}


def test_every_step_is_told_up_to_the_backend() -> None:
    told = explained(built(**TLS), data=python_hello("a.example"))
    first, validator, allowed, routed = outcomes(told)
    assert first == "policy 1: does not hold"
    assert validator.startswith("validator 1: allows after ")
    assert allowed == "policy 2: holds: allow"
    assert routed == "routes: to other"
    assert told.steps[1].facts["tls.sni"] == "'a.example'"
    assert told.steps[2].facts == {"tls.sni": "'a.example'"}
    assert told.steps[3].text == "routes[0]"
    assert (told.allowed, told.backend, told.decided_by) == (True, "other", "policy 2")


def test_a_refused_client_of_tls_gets_its_alert() -> None:
    told = explained(built(**TLS), data=python_hello("b.example"))
    assert (told.decided_by, told.result) == ("policy 3", "a closed connection, after 7 last bytes")
    routes = [{"refuse": True, "facts": {"tls.sni": "b.example"}}]
    told = explained(built(validators=["tls"], routes=routes), data=python_hello("b.example"))
    assert (told.decided_by, told.result) == ("routes", "a closed connection, after 7 last bytes")


def test_facts_can_be_said_in_place_of_bytes() -> None:
    told = explained(built(**TLS), learnt={"tls.sni": "b.example"})
    assert outcomes(told)[1:] == [
        "validators: not asked: no first bytes are given (--hex, --file)",
        "policy 2: does not hold",
        "policy 3: holds: deny",
    ]
    assert (told.allowed, told.backend, told.decided_by, told.result) == (
        False,
        None,
        "policy 3",
        "a closed connection",
    )


@pytest.mark.parametrize("data", [None, b"EHLO x\r\n"])
def test_where_the_server_speaks_first_no_byte_is_waited_for(data: bytes | None) -> None:
    """Seen: a client of SMTP was said to be refused for what it says behind the greeting; its protocol was unknown."""
    told = explained(built(validators=["smtp"], policies=[{"deny": "not protocol == 'smtp'"}]), data=data)
    assert told.steps[0].outcome.startswith("not asked: the server speaks first")
    assert told.steps[0].facts == {"protocol": "'smtp'"}
    assert told.allowed


def test_whose_fact_is_said_has_recognised_its_protocol() -> None:
    several = built(validators=[{"any_of": ["tls", "ssh"]}], policies=[{"deny": "protocol == 'tls'"}])
    assert not explained(several, learnt={"tls.sni": "x"}).allowed
    assert explained(several, learnt={"ssh.version": "2.0"}).allowed
    assert explained(several, learnt={"tls.sni": "x", "protocol": "y"}).allowed


def test_what_a_proxy_header_would_say_is_known_from_the_beginning() -> None:
    assembly = built(accept_proxy=True, policies=[{"deny": "proxy.ssl.cn == 'x'"}])
    told = explained(assembly, learnt={"proxy.ssl.cn": "x"})
    assert (told.allowed, told.result) == (False, "a closed connection")
    assert not explained(built(policies=[{"deny": "unix.uid == 5"}]), learnt={"unix.uid": "5"}).allowed
    assert explained(built(policies=[{"deny": "unix.uid == 0"}])).allowed


def test_addresses_are_not_said_as_facts() -> None:
    with pytest.raises(ConfigError, match=r'nobody in this frontend learns a fact "source.port"'):
        explained(built(), learnt={"source.port": "5"})


def test_bytes_that_are_not_enough_are_told_with_how_many_are() -> None:
    told = explained(built(**TLS), data=python_hello("a.example")[:20])
    assert told.steps[-1].outcome.startswith("undecided about these 20 bytes: it waits for more")
    assert told.steps[-1].outcome.endswith("then refuses")
    assert (told.allowed, told.decided_by) == (False, "validator 1")
    assert explained(built(validators=["tls"], inspect_expired="pass"), data=b"\x16\x03").allowed


def test_bytes_that_break_the_protocol_are_told_with_where() -> None:
    told = explained(built(**TLS), data=b"GET / HTTP/1.1\r\n\r\n")
    assert told.steps[-1].outcome.startswith("denies after 1 of 18 bytes: ")
    assert not told.allowed


def test_in_http_mode_it_is_about_a_request() -> None:
    settings: Any = {"mode": "http", "policies": [{"deny": "http.path.startswith('/admin')", "status": 404}]}
    routes = [{"host": "other.example", "backend": "other"}, {"path": "/gone", "refuse": 410}]
    told = explained(built(**settings, routes=routes), path="/admin?x")
    assert told.steps[0].text == "GET /admin?x"
    assert (told.allowed, told.result) == (False, "the answer 404 Not Found")
    assert explained(built(**settings, routes=routes), host="OTHER.example:80").backend == "other"
    gone = explained(built(**settings, routes=routes), path="/gone")
    assert (gone.allowed, gone.decided_by, gone.result) == (False, "routes", "the answer 410 Gone")
    odd = explained(built(**settings, routes=routes), path="//gone")
    assert (odd.allowed, odd.result) == (False, "the answer 400: path-ambiguous")
    broken = explained(built(**settings), data=b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
    assert (broken.allowed, broken.decided_by, broken.result) == (False, "request", "the answer 400 Bad Request")


def test_what_counts_is_not_asked() -> None:
    told = explained(built(policies=[{"limit": "connections per source > 20 in 10s"}]))
    assert outcomes(told) == [
        "policy 1: not asked: only the running process knows its counters",
        "routes: to app",
    ]


def test_a_rule_about_counters_is_not_asked_either() -> None:
    """Seen: it was said not to hold, or to hold, as if all counters were 0."""
    tables = {"t": {"key": "source", "size": 10, "expire": "1m"}}
    policies = [{"deny": "tables.t.gpc0 == 0 and source == '192.0.2.1'"}]
    frontend = {"bind": "127.0.0.1:0", "backend": "app", "policies": policies}
    config = {"tables": tables, "frontends": {"web": frontend}, "backends": {"app": {"servers": {"a": "127.0.0.1:1"}}}}
    told = explained(assemble(load_dict(config, "lb.toml"), Process(MemoryReactor(), Clock(), None)))
    assert outcomes(told) == [
        "policy 1: not asked: only the running process knows its counters",
        "routes: to app",
    ]
    assert told.steps[0].facts == {"tables.t.gpc0": "unknown", "source": "'192.0.2.1'"}


def test_a_case_that_makes_no_sense_is_told() -> None:
    with pytest.raises(ConfigError, match="nobody in this frontend learns"):
        explained(built(), learnt={"tls.sni": "x"})
    with pytest.raises(ConfigError, match="no whole head"):
        explained(built(mode="http"), data=b"GET")


# Policies of plugins


@implementer(IPolicy)
class Says:
    """Answers with what it was made with."""

    stage = Stage.POLICY

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def decide(self, facts: Facts) -> Any:
        """See ``IPolicy``."""
        if isinstance(self._answer, Exception):
            raise self._answer
        if isinstance(self._answer, str):
            facts.backend = self._answer
            return ALLOW
        return self._answer


def with_policy(answer: Any, **settings: Any) -> Assembly:
    assembly = built(policies=[{"use": "source", "deny": ["10.0.0.0/8"]}], **settings)
    frontend = assembly.frontends["web"]
    frontend.policies, frontend.at_admission = in_asking_order([Built("p", "says", Says(answer))])
    return assembly


@pytest.mark.parametrize(
    ("answer", "outcome", "allowed"),
    [
        (ALLOW, "allows", True),
        ("other", "allows, to other", True),
        ("nowhere", "fails: plugin 'p' policy 'says' chose the backend 'nowhere', which does not exist", False),
        (fail(ValueError("boom")), "fails: plugin 'p' policy 'says' raised ValueError('boom') in decide", False),
        (Deny("why not"), "deny: why not", False),
        (ValueError("boom"), "fails: plugin 'p' policy 'says' raised ValueError('boom') in decide", False),
        (Answer(), "fails: plugin 'p' policy 'says' answered Answer(", False),
    ],
)
def test_a_plugins_policy_is_asked(answer: Any, outcome: str, allowed: bool) -> None:
    told = explained(with_policy(answer))
    assert told.steps[0].outcome.startswith(outcome)
    assert told.allowed is allowed
    assert told.steps[0].text == 'use = "source"'


def test_a_plugins_policy_is_waited_for_and_not_for_ever() -> None:
    clock, results = Clock(), list[Explanation]()
    answer: Deferred[Any] = Deferred()
    start(with_policy(answer), clock).addCallback(results.append)
    assert not results
    answer.callback(Deny("later"))
    assert results.pop().steps[0].outcome == "deny: later"
    start(with_policy(Deferred()), clock).addCallback(results.append)
    clock.advance(5)
    assert "did not answer within timeouts.policy" in results[0].steps[0].outcome


def test_a_plugins_policy_that_fails_later_is_told_as_the_log_of_the_proxy_does() -> None:
    results: list[Explanation] = []
    answer: Deferred[Any] = Deferred()
    start(with_policy(answer)).addCallback(results.append)
    answer.errback(SystemExit("no Exception"))
    expected = "fails: plugin 'p' policy 'says' raised SystemExit('no Exception') in decide"
    assert (results[0].steps[0].outcome, results[0].allowed) == (expected, False)


def test_nobody_is_asked_who_might_ask_others_if_that_is_not_wanted() -> None:
    results: list[Explanation] = []
    start(with_policy(Deny("x")), ask=False).addCallback(results.append)
    assert outcomes(results[0]) == ["policy 1: not asked", "routes: to app"]
    assert results[0].allowed
