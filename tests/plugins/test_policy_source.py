"""``source`` allows and denies by the client's address."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import ALLOW, ConfigError, Deny, IPolicy, Stage
from twisted_lb.testing import PolicyContract, make_facts
from twisted_lb_plugins.policy_source import SourceOptions, SourcePolicy, build


def policy(**options: Any) -> SourcePolicy:
    return build(SourceOptions(**options))


def allowed(judge: SourcePolicy, source: str) -> bool:
    verdict = judge.decide(make_facts(source))
    assert verdict is ALLOW or isinstance(verdict, Deny)
    return verdict is ALLOW


class TestContractWithDeny(PolicyContract, SynchronousTestCase):
    """``source`` with ``deny`` keeps what every policy promises."""

    def make_policy(self) -> IPolicy:
        return policy(deny=("192.0.2.0/24", "2001:db8::/32", "unix"))


class TestContractWithAllow(PolicyContract, SynchronousTestCase):
    """``source`` with ``allow`` keeps what every policy promises."""

    def make_policy(self) -> IPolicy:
        return policy(allow=("192.0.2.0/24", "fe80::/10"))


def test_it_is_asked_at_admission_where_a_refusal_costs_least() -> None:
    judge = policy(deny=("10.0.0.0/8",))
    assert (judge.stage, judge.only_refuses) == (Stage.ADMISSION, True)


def test_deny_alone_lets_all_others_pass() -> None:
    judge = policy(deny=("203.0.113.0/24", "2001:db8::/32"))
    assert not allowed(judge, "203.0.113.255")
    assert not allowed(judge, "2001:db8:ffff::1")
    assert allowed(judge, "203.0.114.0")
    assert allowed(judge, "2001:db9::1")
    assert allowed(judge, "unix:/run/x")


def test_allow_denies_all_others() -> None:
    judge = policy(allow=("10.0.0.0/8", "::1"))
    assert allowed(judge, "10.255.255.255")
    assert allowed(judge, "::1")
    assert not allowed(judge, "11.0.0.0")
    assert not allowed(judge, "::2")
    assert not allowed(judge, "unix:")


def test_deny_wins_over_allow() -> None:
    judge = policy(allow=("10.0.0.0/8",), deny=("10.1.0.0/16",))
    assert allowed(judge, "10.2.0.1")
    assert not allowed(judge, "10.1.0.1")


def test_an_empty_allow_denies_everybody() -> None:
    judge = policy(allow=())
    assert not any(allowed(judge, source) for source in ("10.0.0.1", "::1", "unix:"))


def test_the_entry_unix_stands_for_clients_of_unix_sockets() -> None:
    assert allowed(policy(allow=("unix",)), "unix:/run/x")
    assert not allowed(policy(deny=("unix",)), "unix:@x")
    assert not allowed(policy(allow=("10.0.0.0/8", "unix"), deny=("10.0.0.0/9",)), "10.0.0.1")
    assert not allowed(policy(allow=("unix",)), "10.0.0.1")


def test_a_mapped_address_is_the_ipv4_address() -> None:
    judge = policy(deny=("203.0.113.0/24",))
    assert not allowed(judge, "::ffff:203.0.113.7")
    assert not allowed(judge, "::ffff:cb00:7107")
    assert allowed(judge, "::ffff:203.0.114.7")


def test_a_mapped_network_is_the_ipv4_network() -> None:
    judge = policy(deny=("::ffff:203.0.113.0/120",))
    assert not allowed(judge, "203.0.113.7")
    assert not allowed(judge, "::ffff:203.0.113.7")
    assert allowed(judge, "203.0.114.7")


def test_a_zone_makes_no_difference() -> None:
    assert not allowed(policy(deny=("fe80::/10",)), "fe80::1%eth0")


@pytest.mark.parametrize("source", ["", "localhost", "10.0.0", "10.0.0.256", "::g", "a.onion", "10.0.0.1\0", "1" * 999])
def test_what_is_no_address_is_denied(source: str) -> None:
    assert not allowed(policy(deny=("203.0.113.0/24",)), source)


def test_the_widest_and_the_narrowest_networks_work() -> None:
    assert not allowed(policy(deny=("0.0.0.0/0",)), "255.255.255.255")
    assert allowed(policy(deny=("0.0.0.0/0",)), "::1")
    assert not allowed(policy(deny=("::/0",)), "ffff::")
    assert allowed(policy(deny=("::/0",)), "10.0.0.1")
    assert not allowed(policy(deny=("10.0.0.1",)), "10.0.0.1")
    assert allowed(policy(deny=("10.0.0.1",)), "10.0.0.2")


def plain(network: Any) -> Any:
    """The IPv4 network where a network is one mapped into IPv6."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return ip_network((mapped, network.prefixlen - 96)) if mapped and network.prefixlen >= 96 else network


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(st.lists(st.tuples(ADDRESSES, st.integers(0, 128)), min_size=1, max_size=8), ADDRESSES, st.integers(0, 16))
def test_it_agrees_with_the_standard_library(entries: list[tuple[Any, int]], source: Any, near: int) -> None:
    networks = [ip_network((address, min(size, address.max_prefixlen)), strict=False) for address, size in entries]
    candidates = [source, ip_address(int(networks[0].network_address) ^ ((1 << near) >> 1))]
    judge = policy(deny=tuple(str(network) for network in networks))
    for candidate in candidates:
        alone = getattr(candidate, "ipv4_mapped", None) or candidate
        assert allowed(judge, str(candidate)) is not any(alone in plain(network) for network in networks)


def test_each_entry_that_is_no_network_is_named_with_its_list() -> None:
    with pytest.raises(ConfigError) as caught:
        policy(allow=("10.0.0.1/8",), deny=("10.0.0.0/33", "x", "::1"))
    first, second, third = caught.value.problems
    assert first.startswith('allow: "10.0.0.1/8" is no network: ')
    assert "host bits" in first
    assert second.startswith('deny: "10.0.0.0/33"')
    assert third.startswith('deny: "x"')


def test_two_missing_lists_are_an_error_not_a_policy_without_effect() -> None:
    with pytest.raises(ConfigError, match='"allow", "deny"'):
        policy()


def written(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_lists_may_be_in_files(tmp_path: Path) -> None:
    file = written(tmp_path / "list", "# bad ones", "10.1.0.0/16", "192.0.2.0/24 ; SBL1")
    judge = policy(deny_file=file)
    assert not allowed(judge, "10.1.2.3")
    assert allowed(judge, "10.2.0.1")
    judge = policy(allow_file=file)
    assert allowed(judge, "192.0.2.77")
    assert not allowed(judge, "10.2.0.1")


def test_a_file_adds_to_the_list_beside_it(tmp_path: Path) -> None:
    file = written(tmp_path / "list", "10.1.0.0/16")
    judge = policy(allow=("10.2.0.0/16",), allow_file=file, deny=("10.1.9.0/24",))
    assert [allowed(judge, f"10.{host}") for host in ("1.0.1", "2.0.1", "3.0.1", "1.9.1")] == [True, True, False, False]
    judge = policy(deny=("10.2.0.0/16",), deny_file=file)
    assert [allowed(judge, f"10.{host}") for host in ("1.0.1", "2.0.1", "3.0.1")] == [False, False, True]


def test_an_empty_file_of_those_allowed_denies_everybody(tmp_path: Path) -> None:
    assert not allowed(policy(allow_file=written(tmp_path / "list")), "10.0.0.1")


def test_bad_lines_are_named_with_option_file_and_number(tmp_path: Path) -> None:
    file = written(tmp_path / "list", "10.1.0.0/16", "10.1.0.0/8", "nobody")
    with pytest.raises(ConfigError) as caught:
        policy(deny=("x",), deny_file=file, allow_file=str(tmp_path / "none"))
    missing, entry, bits, word = caught.value.problems
    assert missing == f"allow_file: {tmp_path}/none: cannot be read: No such file or directory"
    assert entry.startswith('deny: "x"')
    assert bits.startswith(f'deny_file: {file}:2: "10.1.0.0/8" is no network')
    assert word.startswith(f'deny_file: {file}:3: "nobody"')
