"""Kernel settings that the configuration depends on."""

from pathlib import Path
from typing import Any

import pytest

from tests.doctor.fakes import config, machine, wrong
from twisted_lb.doctor.findings import Severity
from twisted_lb.doctor.sysctls import examine

M, A = Severity.MISSING, Severity.ADVICE


def test_a_sound_machine_lacks_nothing(tmp_path: Path) -> None:
    assert wrong(examine(config(), machine(tmp_path))) == []


@pytest.mark.parametrize(
    ("given", "sysctls", "severity", "key", "command"),
    [
        (
            {"bind": {"address": "127.0.0.1:1", "backlog": 5000}},
            {},
            M,
            "frontends.web.bind[0].backlog",
            "sysctl -w net.core.somaxconn=5000",
        ),
        (
            {"bind": {"address": "127.0.0.1:1", "tcp": {"fast_open": True}}},
            {"net.ipv4.tcp_fastopen": "1"},
            M,
            "frontends.web.bind[0].tcp.fast_open",
            "sysctl -w net.ipv4.tcp_fastopen=3",
        ),
        (
            {"server": {"address": "127.0.0.1:1", "tcp": {"fast_open": True}}},
            {"net.ipv4.tcp_fastopen": "0x402"},
            M,
            "backends.app.servers.a.tcp.fast_open",
            "sysctl -w net.ipv4.tcp_fastopen=1027",
        ),
        (
            {"process": {"maxconn": 50000}},
            {},
            A,
            "backends.app.servers.a",
            "sysctl -w 'net.ipv4.ip_local_port_range=1024 65535'",
        ),
        ({"bind": "192.0.2.1:80"}, {}, M, "frontends.web.bind[0]", "sysctl -w net.ipv4.ip_nonlocal_bind=1"),
        (
            {"server": {"address": "127.0.0.1:1", "source": "192.0.2.1"}},
            {},
            M,
            "backends.app.servers.a.source",
            "sysctl -w net.ipv4.ip_nonlocal_bind=1",
        ),
        (
            {"bind": {"address": "*:80", "transparent": True}},
            {"net.ipv4.ip_forward": "0"},
            A,
            "frontends.web.bind[0].transparent",
            "sysctl -w net.ipv4.ip_forward=1",
        ),
        (
            {"bind": {"address": "*:80", "transparent": True}},
            {"net.ipv4.conf.all.rp_filter": "1"},
            A,
            "frontends.web.bind[0].transparent",
            "sysctl -w net.ipv4.conf.all.rp_filter=2",
        ),
        (
            {"bind": {"address": "*:80", "transparent": True}},
            {
                "net.ipv4.conf.all.rp_filter": "0",
                "net.ipv4.conf.eth0.rp_filter": "1",
                "net.ipv4.conf.lo.rp_filter": "1",
            },
            A,
            "frontends.web.bind[0].transparent",
            "sysctl -w net.ipv4.conf.all.rp_filter=2",
        ),
        ({}, {"net.ipv4.tcp_sack": "0"}, A, "lost packets", "sysctl -w net.ipv4.tcp_sack=1"),
    ],
)
def test_what_does_not_fit_is_said_with_its_key_and_the_command(
    given: dict[str, Any], sysctls: dict[str, str], severity: Severity, key: str, command: str, tmp_path: Path
) -> None:
    (one,) = wrong(examine(config(**given), machine(tmp_path, sysctls)))
    assert (one.severity, one.commands) == (severity, (command,))
    assert one.why.startswith(key)


def test_who_is_loose_about_all_interfaces_is_so_about_each(tmp_path: Path) -> None:
    sysctls = {"net.ipv4.conf.all.rp_filter": "2", "net.ipv4.conf.eth0.rp_filter": "1"}
    bind = {"address": "*:80", "transparent": True}
    assert wrong(examine(config(bind), machine(tmp_path, sysctls))) == []


def test_a_setting_is_read_and_set_in_the_namespace_of_the_bind(tmp_path: Path) -> None:
    (tmp_path / "run/netns").mkdir(parents=True)
    (tmp_path / "run/netns/blue").touch()
    inside = "nsenter --net=/run/netns/blue "
    looked_at = machine(tmp_path, answers={f"{inside}cat /proc/sys/net/core/somaxconn": "100\n"})
    given = config({"address": "127.0.0.1:1", "namespace": "blue", "backlog": 200})
    first = wrong(examine(given, looked_at))[0]
    assert first.commands == ("ip netns exec blue sysctl -w net.core.somaxconn=200",)
