"""What policies may say in HTTP mode beyond an answer: last words, ways to part, waits before there is a request."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.http_sessions.conftest import GET, OK
from tests.sessions.proxied import reception
from twisted_lb.api import ALLOW, ALLOW_FINALLY, Answer, Deny, Stage
from twisted_lb.stages.proxy_header import Trust
from twisted_lb.verdicts import Tarpit

if TYPE_CHECKING:
    from tests.http_sessions.conftest import HttpWorld

A, P = Stage.ADMISSION, Stage.POLICY


def policy(answer: Any, stage: Stage = P, **attributes: Any) -> Any:
    """A policy that always says the same, and counts how often."""
    made = SimpleNamespace(stage=stage, asked=0, **attributes)

    def decide(facts: Any) -> Any:
        made.asked += 1
        return answer(facts) if callable(answer) else answer

    made.decide = decide
    return made


def served(world: "HttpWorld", client: Any, upstream: Any, times: int = 1) -> None:
    """The client asks so many times, and is answered by the server."""
    for _ in range(times):
        before = len(client.read())
        world.ask(client, upstream).send(OK)
        assert client.read()[before:].startswith(b"HTTP/1.1 200")


# Last words


def test_a_final_word_at_admission_holds_for_all_requests_of_the_connection(world: "HttpWorld") -> None:
    never = policy(Deny("no"))
    upstream, client = world.site(policies=[policy(ALLOW_FINALLY, A), policy(Deny("no"), A), never])
    served(world, client, upstream, 3)
    assert never.asked == 0


def test_a_final_word_about_a_request_holds_for_that_request(world: "HttpWorld") -> None:
    first = policy(lambda facts: ALLOW_FINALLY if facts.http.target == b"/" else ALLOW)
    upstream, client = world.site(policies=[first, policy(Deny("closed"))])
    served(world, client, upstream, 2)
    client.send(GET.replace(b"/ ", b"/other "))
    assert b"HTTP/1.1 403" in client.read()
    assert first.asked == 3
    assert world.records[-1].reason == "policy 2: closed"


def test_no_final_word_leaves_the_rest_to_be_asked_each_time(world: "HttpWorld") -> None:
    each = policy(ALLOW)
    upstream, client = world.site(policies=[policy(ALLOW, A), each])
    served(world, client, upstream, 3)
    assert each.asked == 3


def test_what_only_refuses_by_address_is_asked_once_and_first(world: "HttpWorld") -> None:
    source, content = policy(ALLOW, A, only_refuses=True), policy(ALLOW, P, only_refuses=True)
    upstream, client = world.site(policies=[content, source])
    assert (source.asked, content.asked) == (1, 0)
    served(world, client, upstream, 2)
    assert (source.asked, content.asked) == (1, 2)


def test_what_policies_learnt_of_a_request_is_forgotten_for_the_next_one(world: "HttpWorld") -> None:
    """Seen: who was known in one request was so in all that followed, which may be of others behind the same proxy."""

    def of_connection(facts: Any) -> Any:
        facts.learnt["geo.country"] = "DE"
        return ALLOW

    def learns(facts: Any) -> Any:
        if facts.http.headers.get_all(b"authorization"):
            facts.learnt["user.name"] = "admin"
        return ALLOW

    seen: list[dict[str, Any]] = []

    def judges(facts: Any) -> Any:
        seen.append(dict(facts.learnt))
        return ALLOW

    upstream, client = world.site(policies=[policy(of_connection, A), policy(learns), policy(judges)])
    for request in (GET.replace(b"\r\n\r\n", b"\r\nAuthorization: x\r\n\r\n"), GET):
        before = len(client.read())
        world.ask(client, upstream, request).send(OK)
        assert client.read()[before:].startswith(b"HTTP/1.1 200")
    assert seen == [{"geo.country": "DE", "user.name": "admin"}, {"geo.country": "DE"}]


@pytest.mark.parametrize("late", [(), (policy(ALLOW),)], ids=["none about requests", "one about requests"])
def test_a_direct_client_of_a_bind_that_takes_headers_is_judged_by_its_address_too(
    world: "HttpWorld", late: tuple[Any, ...]
) -> None:
    """Entries at admission were asked of nobody who sent no PROXY header and need not, so that all of them got in."""
    source = policy(Deny("closed"), A)
    frontend = world.frontend(world.backend(world.upstream()), policies=[source, *late])
    client = world.client(frontend, reception=reception(from_=["10.0.0.0/8"], others=Trust.DIRECT))
    assert (source.asked, client.ended(), world.endings()) == (1, True, ["PR"])


# Who refused


@pytest.mark.parametrize(
    ("verdict", "code", "reason"),
    [
        (Deny("closed"), "PR", "policy 2: closed"),
        (Deny(""), "PR", "policy 2: deny"),
        (Answer(reason="a page"), "LR", "policy 2: a page"),
    ],
)
def test_the_record_names_the_entry(world: "HttpWorld", verdict: Any, code: str, reason: str) -> None:
    _, client = world.site(policies=[policy(ALLOW), policy(verdict, label="deny")])
    client.send(GET)
    assert client.read().startswith(b"HTTP/1.1")
    assert (world.records[0].ending, world.records[0].reason) == (code, reason)


# Ways to part


@pytest.mark.parametrize("how", ["close", "reset", "drop"])
def test_before_there_is_a_request_the_connection_ends_in_the_way_that_is_asked_for(
    world: "HttpWorld", how: Any
) -> None:
    _, client = world.site(policies=[policy(Deny("closed", how=how, farewell=b"bye"), A)])
    assert client.ended()
    assert client.read() == b"", "a farewell is no HTTP"
    assert (world.records[0].ending, world.records[0].reason) == ("PR", "policy 1: closed")


@pytest.mark.parametrize("how", ["reset", "drop"])
def test_a_request_may_get_no_answer_at_all(world: "HttpWorld", how: Any) -> None:
    _, client = world.site(policies=[policy(Deny("closed", how=how))])
    client.send(GET)
    assert client.ended()
    assert client.read() == b""
    assert world.endings() == ["PR"]


# Tarpit before there is a request


def test_who_is_held_at_admission_gets_no_answer_in_the_end(world: "HttpWorld") -> None:
    _, client = world.site(policies=[policy(Tarpit("slow down"), A)], tarpit=2)
    client.send(GET)
    world.wait(1.8)
    assert world.records == []
    assert not client.ended()
    world.wait(0.4)
    assert client.ended()
    assert client.read() == b""
    record = world.records[0]
    assert (record.ending, record.stage, record.reason) == ("PT", "tarpit", "policy 1: slow down")


def test_who_leaves_the_tarpit_at_admission_is_not_kept(world: "HttpWorld") -> None:
    _, client = world.site(policies=[policy(Tarpit("slow"), A)], tarpit=60)
    client.leave()
    world.turn()
    assert world.endings() == ["CT"]


def test_a_stop_ends_the_tarpit_at_admission(world: "HttpWorld") -> None:
    world.site(policies=[policy(Tarpit("slow"), A)], tarpit=60)
    (held,) = world.process.sessions
    held.kill("the process stops")
    assert world.endings() == ["KT"]
