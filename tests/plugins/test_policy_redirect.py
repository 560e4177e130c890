"""``redirect`` changes the scheme, the host and the port, and nothing else; what is right goes on."""

from typing import Any
from unittest import TestCase

import pytest

from twisted_lb.api import ALLOW, ConfigError, Deny, IPolicy, Redirect
from twisted_lb.testing import PolicyContract, make_facts
from twisted_lb_plugins.policy_redirect import RedirectOptions, build


class TestContract(PolicyContract, TestCase):
    """What every policy promises."""

    mode = "http"

    def make_policy(self) -> IPolicy:
        return build(RedirectOptions(scheme="https", host="www.example.org"))


def asked(target: str = "/a?b", secure: bool = False, **options: Any) -> Any:
    """What a client is told; a location as text."""
    facts = make_facts(request=f"GET {target} HTTP/1.1\r\nHost: example.org\r\n\r\n".encode())
    facts.secure = secure
    verdict = build(RedirectOptions(**options)).decide(facts)
    if not isinstance(verdict, Redirect):
        return verdict
    assert isinstance(verdict.location, bytes)
    return verdict.location.decode()


def test_http_is_sent_to_https() -> None:
    assert asked(scheme="https") == "https://example.org/a?b"
    assert asked(scheme="https", secure=True) is ALLOW
    assert asked(scheme="http", secure=True) == "http://example.org/a?b"


def test_the_port_of_the_other_scheme_is_not_kept_but_can_be_given() -> None:
    facts = make_facts(request=b"GET / HTTP/1.1\r\nHost: example.org:8080\r\n\r\n")
    for port, place in ((None, b""), (8443, b":8443"), (443, b"")):
        verdict = build(RedirectOptions(scheme="https", port=port)).decide(facts)
        assert isinstance(verdict, Redirect)
        assert verdict.location == b"https://example.org%b/" % place


def test_a_host_has_one_name() -> None:
    facts = make_facts(request=b"GET /x HTTP/1.1\r\nHost: example.org:8080\r\n\r\n")
    policy = build(RedirectOptions(host="WWW.example.org", status=308))
    assert policy.decide(facts) == Redirect(
        b"http://www.example.org:8080/x", 308, reason="not the scheme or host that it should be"
    )
    assert policy.decide(make_facts(request=b"GET / HTTP/1.1\r\nHost: www.EXAMPLE.org.\r\n\r\n")) is ALLOW


def test_a_path_that_looks_like_a_host_stays_a_path() -> None:
    assert asked("//evil.example/..", scheme="https") == "https://example.org//evil.example/.."


@pytest.mark.parametrize(
    ("target", "left_alone"),
    [
        ("/.well-known/acme-challenge/x", True),
        ("/.well-known/acme-challenge", True),
        ("/.well-known/acme-challengex", False),
        ("/.well-known/acme-challenge/../../admin", False),
        ("/.well-known/acme-challenge/%zz", False),
        ("/", False),
    ],
)
def test_some_paths_are_left_alone(target: str, left_alone: bool) -> None:
    options = RedirectOptions(scheme="https", except_=["/.well-known/acme-challenge/"])
    verdict = build(options).decide(make_facts(request=f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
    assert (verdict is ALLOW) is left_alone


def test_what_has_no_host_or_path_is_refused() -> None:
    policy = build(RedirectOptions(scheme="https"))
    for raw in (b"GET / HTTP/1.0\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"):
        verdict = policy.decide(make_facts(request=raw))
        assert isinstance(verdict, Deny)
        assert verdict.status == 400


def test_in_tcp_mode_it_denies() -> None:
    assert isinstance(build(RedirectOptions(scheme="https")).decide(make_facts()), Deny)


@pytest.mark.parametrize("options", [{}, {"port": 8443}, {"scheme": "https", "except_": ["x"]}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build(RedirectOptions(**options))
