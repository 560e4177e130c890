"""A frontend's validators are shown each request's head."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.http_sessions.conftest import GET, OK, HttpWorld, post, world
from twisted_lb.verdicts import ALLOW, Deny, NeedMore

__all__ = ["world"]


class Validator:
    """Answers as it is told, and remembers what it was shown."""

    def __init__(self, answer: Callable[[bytes, Any], Any]) -> None:
        self.answer = answer
        self.shown: list[bytes] = []

    def validate(self, data: bytes, facts: Any) -> Any:
        self.shown.append(data)
        return self.answer(data, facts)


def test_each_head_is_shown_whole_and_alone(world: HttpWorld) -> None:
    validator = Validator(lambda data, facts: ALLOW)
    upstream, client = world.site(validators=[validator])
    world.ask(client, upstream, post(b"body")).send(OK)
    for piece in (GET[:9], GET[9:]):
        client.send(piece)
    upstream.peers[-1].send(OK)
    assert validator.shown == [post(b"body")[:-4], GET]
    assert world.statuses() == [(200, "--"), (200, "--")]


@pytest.mark.parametrize(
    ("verdict", "status"), [(Deny("no"), 403), (Deny("no", status=422), 422), (NeedMore(10_000), 400)]
)
def test_what_is_not_allowed_reaches_no_server(world: HttpWorld, verdict: Any, status: int) -> None:
    upstream, client = world.site(validators=[Validator(lambda data, facts: verdict)])
    client.send(GET)
    assert client.read().startswith(b"HTTP/1.1 %d " % status)
    assert upstream.peers == []
    assert world.statuses() == [(status, "PR")]


def test_one_that_raises_denies_and_is_blamed(world: HttpWorld) -> None:
    upstream, client = world.site(validators=[Validator(lambda data, facts: 1 / 0)])
    client.send(GET)
    assert client.read().startswith(b"HTTP/1.1 500 ")
    assert upstream.peers == []
    assert world.process.plugin_failures == {"validation_test": 1}


def test_what_was_learnt_of_one_request_is_not_known_of_the_next(world: HttpWorld) -> None:
    known: list[dict[str, Any]] = []

    def learn(data: bytes, facts: Any) -> Any:
        known.append(dict(facts.learnt))
        facts.learnt["test.method"] = data.split()[0]
        return ALLOW

    upstream, client = world.site(validators=[Validator(learn)])
    for request in (post(b""), GET):
        world.ask(client, upstream, request).send(OK)
    assert known == [{}, {}]
