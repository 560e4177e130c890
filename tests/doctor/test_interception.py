"""The script that ``--print-tproxy`` prints."""

from typing import Any

import pytest

from tests.doctor.fakes import config
from twisted_lb.config.load import load_dict
from twisted_lb.doctor.interception import Choices, interceptions, script
from twisted_lb.errors import ConfigError


def transparent(address: str, **more: Any) -> dict[str, Any]:
    return {"address": address, "transparent": True, **more}


@pytest.mark.parametrize(
    ("address", "choices", "expected"),
    [
        ("*:8080", Choices(), "fib daddr type != { local, broadcast, multicast, anycast } tcp dport { 8080 }"),
        ("*:8080", Choices(), "tproxy ip to :8080 meta mark set 0x1 accept"),
        ("[::]:8080", Choices(), "tproxy ip6 to :8080 meta mark set 0x1 accept"),
        ("192.0.2.1:8080", Choices(), "ip daddr 192.0.2.1 tcp dport { 8080 } tproxy ip to 192.0.2.1:8080"),
        ("*:7000-7009", Choices(), "tcp dport { 7000-7009 } tproxy ip to 127.0.0.1 meta"),
        ("*:8080", Choices(ports=["80", "443"]), "tcp dport { 80, 443 } tproxy ip to :8080"),
        ("*:8080", Choices(interfaces=["eth0"]), 'iifname { "eth0" } meta nfproto ipv4'),
        ("*:8080", Choices(networks=["10.0.0.0/8", "fd00::/8"]), "ip daddr { 10.0.0.0/8 } tcp"),
        ("*:8080", Choices(mark=7, table=9), "ip rule add fwmark 0x7 lookup 9"),
    ],
)
def test_the_selector_is_what_was_chosen(address: str, choices: Choices, expected: str) -> None:
    assert expected in script(config(transparent(address)), "web", choices)


def test_only_the_families_that_are_listened_to_are_routed() -> None:
    assert "ip -6" not in script(config(transparent("*:80")), "web", Choices())


def test_in_a_namespace_everything_happens_there() -> None:
    printed = script(config(transparent("*:80", namespace="blue")), "web", Choices())
    commands = [line for line in printed.splitlines() if line.startswith(("ip ", "nft "))]
    assert commands
    assert all(line.startswith("ip netns exec blue ") for line in commands)


def test_for_answers_to_clients_addresses_alone_nothing_is_intercepted() -> None:
    printed = script(config(server={"address": "127.0.0.1:1", "source": "client"}), "web", Choices())
    assert "socket transparent 1 socket wildcard 0" in printed
    assert "tproxy" not in printed


def test_addresses_in_headers_are_clients_addresses_too() -> None:
    given = load_dict(
        {
            "frontends": {
                "web": {
                    "bind": "127.0.0.1:80",
                    "mode": "http",
                    "backend": "app",
                    "forwarded": {"except": ["10.0.0.1"]},
                }
            },
            "backends": {"app": {"source": "header:X-Real-IP", "servers": {"a": "[2001:db8::1]:1"}}},
        },
        "x",
    )
    printed = script(given, "web", Choices())
    assert "socket transparent 1 socket wildcard 0" in printed
    assert "because of backends.app.source." in printed
    assert "ip -6 rule add" in printed
    assert "tproxy" not in printed


@pytest.mark.parametrize(("name", "problem"), [("web", "needs no rules"), ("wbe", 'there is no frontend "wbe"')])
def test_where_there_is_nothing_to_print_that_is_said(name: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        script(config(), name, Choices())


def test_a_backend_that_a_route_leads_to_counts_too() -> None:
    routed = load_dict(
        {
            "frontends": {
                "web": {
                    "bind": "*:80",
                    "backend": "app",
                    "routes": [{"facts": {"source.host": "x"}, "backend": "spoofed"}],
                },
                "other": {"bind": "*:90", "backend": "app"},
            },
            "backends": {
                "app": {"servers": {"a": "127.0.0.1:1"}},
                "spoofed": {"source": "client", "servers": {"a": "127.0.0.1:1"}},
            },
        },
        "x",
    )
    assert [one.keys for one in interceptions(routed, "web")] == [["backends.spoofed.source"]]
    assert interceptions(routed, "other") == []
