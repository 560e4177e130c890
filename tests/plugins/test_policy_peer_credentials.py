"""``peer_credentials`` goes by what the kernel says of a Unix socket's other end; real ones are in tests/loopback."""

import grp
import os
import pwd
from typing import Any
from unittest import TestCase

import pytest

from twisted_lb.api import ALLOW, ConfigError, Credentials, IPolicy, Stage
from twisted_lb.config.uses import Use
from twisted_lb.plugin_host import load_plugins
from twisted_lb.testing import PolicyContract, make_facts
from twisted_lb_plugins.policy_peer_credentials import PeerCredentialsOptions, build

ROOT = pwd.getpwuid(0).pw_name
ROOTS_GROUP = grp.getgrgid(0).gr_name


class TestContract(PolicyContract, TestCase):
    """What every policy promises."""

    def make_policy(self) -> IPolicy:
        return build(PeerCredentialsOptions(users=[1000]))


def reason(credentials: Credentials | None, **options: Any) -> str:
    """Why a client is denied; empty if it is allowed."""
    facts = make_facts("unix:")
    facts.credentials = credentials
    verdict = build(PeerCredentialsOptions(**options)).decide(facts)
    return "" if verdict is ALLOW else verdict.reason


ALICE = Credentials(100, 1000, 1000, (27, 33))


def test_it_is_asked_before_a_byte_is_read() -> None:
    judge = build(PeerCredentialsOptions(users=[0]))
    assert (judge.stage, judge.only_refuses) == (Stage.ADMISSION, True)


def test_users_are_allowed_by_number_and_by_name() -> None:
    assert reason(ALICE, users=[1000]) == ""
    assert reason(ALICE, users=[1001]) == "user 1000 is not among those allowed"
    assert reason(Credentials(1, 0, 5), users=[ROOT]) == ""
    assert reason(ALICE, users=[ROOT]) == "user 1000 is not among those allowed"


def test_groups_are_the_one_that_it_runs_as_and_the_others_that_it_is_in() -> None:
    assert [reason(ALICE, groups=[group]) == "" for group in (1000, 27, 33, 100)] == [True, True, True, False]
    assert reason(Credentials(1, 7, 0), groups=[ROOTS_GROUP]) == ""


def test_a_user_or_a_group_is_enough() -> None:
    assert reason(ALICE, users=[1], groups=[33]) == ""
    assert reason(ALICE, users=[1000], groups=[1]) == ""


def test_who_is_denied_is_denied_all_the_same() -> None:
    assert reason(ALICE, groups=[1000], deny_users=[1000]) == "user 1000 is denied"
    assert reason(ALICE, users=[1000], deny_groups=[33]) == "user 1000 is denied"


def test_with_denied_ones_alone_all_others_are_allowed() -> None:
    assert reason(ALICE, deny_users=[0]) == ""
    assert reason(Credentials(1, 0, 0), deny_users=[0]) == "user 0 is denied"


def test_whose_groups_are_unknown_is_in_none_that_is_allowed_and_may_be_in_one_that_is_denied() -> None:
    unknown = Credentials(1, 1000, 1000, None)
    assert reason(unknown, groups=[1000]) == ""
    assert reason(unknown, groups=[33]) == "user 1000 is not among those allowed"
    assert reason(unknown, deny_groups=[33]) == "the groups of user 1000 are unknown"


@pytest.mark.parametrize("options", [{"users": [1000]}, {"deny_users": [0]}])
def test_who_is_unknown_is_denied(options: dict[str, Any]) -> None:
    assert reason(None, **options) == "who connected is unknown: it is no Unix socket"


def test_names_that_do_not_exist_are_errors() -> None:
    with pytest.raises(ConfigError) as caught:
        build(PeerCredentialsOptions(users=["nobody-here"], deny_groups=["none-here", -1], deny_users=[1 << 32]))
    assert caught.value.problems == (
        'users: there is no user "nobody-here"',
        f"deny_users: {1 << 32} is no user's number",
        'deny_groups: there is no group "none-here"',
        "deny_groups: -1 is no group's number",
    )


def test_without_any_list_it_is_an_error() -> None:
    with pytest.raises(ConfigError, match='"users", "groups"'):
        build(PeerCredentialsOptions())


def test_numbers_and_names_may_be_mixed_in_the_file() -> None:
    use = Use(use="peer_credentials", options={"users": [os.getuid(), ROOT]})
    assert load_plugins().build("policies", use, "x").name == "peer_credentials"
    with pytest.raises(ConfigError, match=r"x.users\[0\]: expected"):
        load_plugins().build("policies", Use(use="peer_credentials", options={"users": [True]}), "x")
