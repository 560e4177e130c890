"""The contract suites find what is wrong with a plugin; each promise is broken once here."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from tests.testing.suites import failures
from twisted_lb.api import (
    ALLOW,
    NEED_MORE,
    Allow,
    Deny,
    IAccessLog,
    IBalancer,
    IObserver,
    IPolicy,
    Redirect,
    Stage,
)
from twisted_lb.testing import (
    AccessLogContract,
    BalancerContract,
    FakeServer,
    ObserverContract,
    PolicyContract,
    make_facts,
)


def balancer_failures(choose: Callable[[Any, Any], Any]) -> set[str]:
    made = type("Made", (), {"choose": lambda self, candidates, facts: choose(candidates, facts)})
    return failures(BalancerContract, make_balancer=lambda self: implementer(IBalancer)(made)())


def policy_failures(decide: Callable[[Any], Any], stage: Stage = Stage.POLICY, **parts: Any) -> set[str]:
    made = type("Made", (), {"decide": lambda self, facts: decide(facts), "stage": stage})
    return failures(PolicyContract, make_policy=lambda self: implementer(IPolicy)(made)(), **parts)


def access_log_failures(format_record: Callable[[Any], Any]) -> set[str]:
    made = type("Made", (), {"format": lambda self, record: format_record(record)})
    return failures(AccessLogContract, make_access_log=lambda self: implementer(IAccessLog)(made)())


def observer_failures(**methods: Callable[..., Any]) -> set[str]:
    told = ("session_opened", "session_closed", "request_closed", "message_refused")
    quiet = dict.fromkeys(told, lambda self, *_: None)
    fixed = {
        "session_routed": lambda self, facts, backend, server: None,
        "server_state_changed": lambda self, backend, server, state, reason: None,
    }
    made = type("Made", (), quiet | fixed | methods)
    return failures(ObserverContract, make_observer=lambda self: implementer(IObserver)(made)())


# Balancers


def test_a_good_balancer_passes() -> None:
    assert balancer_failures(lambda candidates, facts: candidates[-1]) == set()


def test_a_balancer_that_finds_nobody_when_all_are_busy_is_found_out() -> None:
    idle = balancer_failures(lambda candidates, facts: next((one for one in candidates if not one.connections), None))
    assert {"test_it_chooses_a_candidate_at_equal_load", "test_it_chooses_a_candidate_at_full_load"} <= idle


def test_a_balancer_that_returns_a_copy_is_found_out() -> None:
    assert "test_it_chooses_the_only_candidate" in balancer_failures(lambda candidates, facts: FakeServer("a"))


def test_a_balancer_that_clings_to_a_server_that_left_is_found_out() -> None:
    first: list[Any] = []

    def choose(candidates: Any, facts: Any) -> Any:
        first.append(candidates[0])
        return first[0]

    assert "test_it_chooses_a_candidate_while_candidates_come_and_go" in balancer_failures(choose)


def test_a_balancer_that_counts_connections_itself_is_found_out() -> None:
    def choose(candidates: Any, facts: Any) -> Any:
        candidates[0].connections += 1
        return candidates[0]

    assert balancer_failures(choose) == {"test_it_only_reads"}


def test_an_object_that_does_not_declare_its_interface_is_found_out() -> None:
    made = type("Made", (), {"choose": lambda self, candidates, facts: candidates[0]})
    assert failures(BalancerContract, make_balancer=lambda self: made()) == {"test_it_satisfies_the_interface"}


# Policies


def test_good_policies_pass_at_once_later_and_as_coroutines() -> None:
    async def decide(facts: Any) -> Allow:
        return ALLOW

    assert policy_failures(lambda facts: Deny("no")) == set()
    assert policy_failures(lambda facts: succeed(ALLOW)) == set()
    assert policy_failures(decide) == set()


def test_a_policy_that_raises_on_a_unix_client_is_found_out() -> None:
    only_ip = policy_failures(lambda facts: ALLOW if ip_address(facts.source.host) else Deny("no"))
    assert only_ip == {"test_it_answers_every_source", "test_it_answers_every_request"}


@pytest.mark.parametrize("answer", [None, True, NEED_MORE, succeed(None), fail(ValueError())])
def test_a_policy_that_answers_nonsense_is_found_out(answer: Any) -> None:
    assert policy_failures(lambda facts: answer) == {"test_it_answers_every_source", "test_it_answers_every_request"}


def test_what_a_policy_answered_is_shown() -> None:
    """Seen: "object NoneType can't be used in 'await' expression"."""
    silent: Any = type("Silent", (), {"decide": lambda self, facts: None})()
    with pytest.raises(AssertionError, match=r"^decide\(\) answered None, which is no verdict"):
        PolicyContract().decide(silent, make_facts())


def by_path(facts: Any) -> Any:
    return ALLOW if facts.http.path.decode() else Redirect("/\n")


def test_a_policy_that_answers_what_cannot_be_sent_is_found_out() -> None:
    assert policy_failures(by_path, mode="http") == {"test_it_answers_every_request"}
    assert policy_failures(lambda facts: Redirect(b"http://x" + facts.http.origin), mode="http") == set()


def test_a_policy_that_expects_a_host_is_found_out() -> None:
    def decide(facts: Any) -> Any:
        return Redirect(b"https://" + facts.http.headers.get(b"host") + facts.http.origin)

    assert policy_failures(decide, mode="http") == {"test_it_answers_every_request"}


def test_a_policy_at_a_stage_where_nobody_asks_is_found_out() -> None:
    assert policy_failures(lambda facts: ALLOW, Stage.RELAY) == {"test_it_satisfies_the_interface"}


def test_a_policy_that_answers_later_can_be_settled() -> None:
    waiting: list[Deferred[Any]] = []

    def decide(facts: Any) -> Deferred[Any]:
        waiting.append(Deferred())
        return waiting[-1]

    def settle(self: Any, answer: Deferred[Any]) -> Any:
        waiting[-1].callback(ALLOW)
        return PolicyContract.settle(self, answer)

    assert policy_failures(decide) == {"test_it_answers_every_source", "test_it_answers_every_request"}
    assert policy_failures(decide, settle=settle) == set()


# Access logs


def test_a_good_access_log_passes() -> None:
    assert access_log_failures(lambda record: ascii(record).encode()) == set()


@pytest.mark.parametrize(
    "format_record",
    [
        lambda record: f"{record.source}".encode("utf-8", "replace"),  # a line end in a client's path
        lambda record: record.source.encode(),  # a path that is not UTF-8
        lambda record: ascii(record),  # not bytes
        lambda record: b"",
    ],
)
def test_an_access_log_that_does_not_write_one_line_is_found_out(format_record: Callable[[Any], Any]) -> None:
    assert "test_it_writes_one_line_for_each_record" in access_log_failures(format_record)


def test_an_access_log_that_caches_too_long_is_found_out() -> None:
    lines: list[bytes] = []

    def format_record(record: Any) -> bytes:
        lines.append(ascii(record).encode())
        return lines[len(lines) // 2]

    assert access_log_failures(format_record) == {"test_a_line_depends_on_its_record_alone"}


# Observers


def test_a_good_observer_passes() -> None:
    assert observer_failures() == set()


def test_an_observer_that_expects_every_connection_to_be_routed_is_found_out() -> None:
    routed: list[Any] = []
    found = observer_failures(
        session_routed=lambda self, facts, backend, server: routed.append(facts),
        session_closed=lambda self, facts, record: routed.remove(facts),
    )
    assert found == {"test_it_watches_a_connection_that_was_never_routed"}


def test_an_observer_that_expects_a_connection_to_every_server_is_found_out() -> None:
    found = observer_failures(server_state_changed=lambda self, backend, server, state, reason: {}[server.name])
    assert found == {"test_it_hears_of_servers_that_no_connection_went_to"}
