"""``answer`` answers what it is told to, however the path is spelt, and lets the rest on."""

from typing import Any
from unittest import TestCase

import pytest

from twisted_lb.api import ALLOW, Answer, ConfigError, Deny, IPolicy
from twisted_lb.testing import PolicyContract, make_facts
from twisted_lb_plugins.policy_answer import AnswerOptions, build


class TestContract(PolicyContract, TestCase):
    """What every policy promises."""

    mode = "http"

    def make_policy(self) -> IPolicy:
        return build(AnswerOptions(path_prefix=["/a"], status=404, headers={"X-A": "1"}))


def decide(target: str = "/", **options: Any) -> Any:
    facts = make_facts(request=f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return build(AnswerOptions(**options)).decide(facts)


def test_robots() -> None:
    robots = "User-agent: *\nDisallow: /\n"
    expected = Answer(200, robots.encode(), [("Content-Type", "text/plain; charset=utf-8")])
    assert decide("/robots.txt?x", path=["/robots.txt"], body=robots) == expected
    assert decide("/robots", path=["/robots.txt"], body=robots) is ALLOW


def test_maintenance_is_for_all_and_has_the_frontend_s_error_page() -> None:
    verdict = decide("/any/thing", status=503, headers={"Retry-After": "60"})
    assert verdict == Deny("answered by a policy", 503, [("Retry-After", "60")])


def test_a_body_takes_the_page_s_place() -> None:
    verdict = decide(status=503, body="<p>soon</p>", content_type="text/html")
    assert verdict == Answer(503, b"<p>soon</p>", [("Content-Type", "text/html")])


@pytest.mark.parametrize(
    "target",
    [
        "/admin",
        "/admin/",
        "/admin/x",
        "/%61dmin",
        "//admin",
        "/x/../admin",
        "/x/..%2fadmin",
        "/admin;x",
        "/x\\..\\admin",
    ],
)
def test_a_path_is_closed_however_it_is_spelt(target: str) -> None:
    assert decide(target, path_prefix=["/admin/"], status=404) == Deny("answered by a policy", 404, [])


@pytest.mark.parametrize("target", ["/adminx", "/x/admin", "/"])
def test_other_paths_stay_open(target: str) -> None:
    assert decide(target, path_prefix=["/admin"], status=404) is ALLOW


def test_a_path_without_sense_is_refused() -> None:
    assert decide("/%zz", path=["/x"]) == Deny("path-senseless", 400)


def test_in_tcp_mode_it_denies() -> None:
    assert isinstance(build(AnswerOptions()).decide(make_facts()), Deny)


@pytest.mark.parametrize("options", [{"path": ["x"]}, {"path_prefix": ["x"]}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="slash"):
        build(AnswerOptions(**options))
