"""What this machine or this process cannot do is told before anything is served, with status 1, and by ``--check``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.conftest import toml
from tests.loopback.test_startup_errors import Attempt
from tests.namespaces.topology import FRONT, NOWHERE, ONE, Network

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("nft")]

BIND = f"{FRONT['4']}:9000"
ENTRY = "frontends.web.bind[0]"
WAYS = pytest.mark.parametrize("way", ["start", "--check"])


def problems(folder: Path, config: dict[str, Any], way: str, before: Sequence[str]) -> list[str]:
    """Start a proxy, or let it check, what cannot work; what it says, without the program's name and the file's."""
    (folder / "lb.toml").write_text("".join(f"{key} = {toml(value)}\n" for key, value in config.items()))
    return Attempt(folder, ["--config", "lb.toml", *([way] if way == "--check" else [])], before).problems


def config(bind: Any = BIND, server: Any = f"{ONE['4']}:80", frontend: Any = (), backend: Any = ()) -> dict[str, Any]:
    return {
        "frontends": {"web": {"bind": [bind], "backend": "app", **dict(frontend)}},
        "backends": {"app": {"servers": {"s": server}, **dict(backend)}},
    }


MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "namespace-of-a-bind": (config({"address": BIND, "namespace": "lbt-none"}), f"{ENTRY}.namespace", "ip netns add"),
    "namespace-of-a-server": (
        config(server={"address": "127.0.0.1:80", "namespace": "lbt-none"}),
        "backends.app.servers.s.namespace",
        "lbt-none",
    ),
    "namespace-of-a-backend": (config(backend={"namespace": "lbt-none"}), "backends.app.namespace", "lbt-none"),
    "namespace-of-a-header": (
        config(frontend={"accept_proxy": {"namespaces": ["lbt-none"]}}),
        "frontends.web.accept_proxy.namespaces[0]",
        "lbt-none",
    ),
    "no-namespace-at-all": (
        config({"address": BIND, "namespace": "/etc/hostname"}),
        f"{ENTRY}.namespace",
        "/etc/hostname",
    ),
    "interface-of-a-bind": (config({"address": BIND, "interface": "lbt-none"}), f"{ENTRY}.interface", "only lo, "),
    "interface-of-a-source": (
        config(backend={"source": {"interface": "lbt-none"}}),
        "backends.app.source",
        "only lo, ",
    ),
    "congestion-of-a-bind": (
        config({"address": BIND, "tcp": {"congestion": "fastest"}}, frontend={"tcp": {"mark": 1}}),
        f"{ENTRY}.tcp.congestion",
        "reno",
    ),
    "congestion-of-a-frontend": (
        config({"address": BIND, "tcp": {"mark": 1}}, frontend={"tcp": {"congestion": "fastest"}}),
        "frontends.web.tcp.congestion",
        "reno",
    ),
    "congestion-of-a-server": (
        config(backend={"tcp": {"congestion": "fastest"}}),
        "backends.app.tcp.congestion",
        "reno",
    ),
    "segment": (config(frontend={"tcp": {"max_segment": 20}}), "frontends.web.tcp.max_segment", "kernel"),
    "transparent-on-a-path": (
        config({"address": "unix:/nowhere/lb.sock", "transparent": True}),
        "frontends.web.bind[0].transparent",
        "Unix socket",
    ),
    "original-dst-on-a-path": (
        config({"address": "unix:/nowhere/lb.sock", "original_dst": True}),
        "frontends.web.bind[0].original_dst",
        "Unix socket",
    ),
    "source-is-no-address": (config(backend={"source": "somewhere"}), "backends.app.source", "somewhere"),
    "source-is-nobodys": (config(backend={"source": NOWHERE["4"]}), "backends.app.source", NOWHERE["4"]),
    "source-is-broadcast": (
        config(backend={"source": {"address": "10.2.0.255", "transparent": True}}),
        "backends.app.source",
        "10.2.0.255 is a network's broadcast address",
    ),
    "source-of-another-family": (config(backend={"source": "[::1]"}), "backends.app.source", "IPv"),
    "source-of-a-header-in-tcp-mode": (
        config(backend={"source": "header:X-Real-IP"}),
        "frontends.web.backend",
        "only HTTP mode sees",
    ),
    "source-of-a-header-that-anybody-may-write": (
        config(frontend={"mode": "http"}, backend={"source": "header:X-Real-IP"}),
        "frontends.web.forwarded",
        "except = [...]",
    ),
    "source-ports-backwards": (config(backend={"source": "10.2.0.1:200-100"}), "backends.app.source", "200-100"),
}


@WAYS
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_key(tmp_path: Path, network: Network, mistake: str, way: str) -> None:
    wrong, key, said = MISTAKES[mistake]
    (problem,) = problems(tmp_path, wrong, way, network.proxy.prefix)
    assert problem.startswith(f"{tmp_path}/lb.toml: {key}: ")
    assert said in problem


def test_all_mistakes_are_told_at_once(tmp_path: Path, network: Network) -> None:
    wrong = config(
        {"address": BIND, "namespace": "lbt-none"},
        {"address": "127.0.0.1:80", "namespace": "lbt-gone"},
        {"tcp": {"congestion": "fastest"}},
        {"tcp": {"congestion": "slowest"}},
    )
    told = "\n".join(problems(tmp_path, wrong, "start", network.proxy.prefix))
    for part in ("lbt-none", "lbt-gone"):
        assert part in told


def without(*capabilities: str) -> list[str]:
    return ["setpriv", "--bounding-set=" + ",".join(f"-{one}" for one in capabilities), "--inh-caps=-all"]


UNPRIVILEGED: dict[str, tuple[dict[str, Any], str, str]] = {
    "transparent": (config({"address": BIND, "transparent": True}), f"{ENTRY}.transparent", "CAP_NET_ADMIN"),
    "source": (config(backend={"source": "client"}), "backends.app.source", "CAP_NET_ADMIN"),
    "source-of-a-header": (
        config(
            frontend={"mode": "http", "forwarded": {"except": ["10.0.0.1"]}}, backend={"source": "header:X-Real-IP"}
        ),
        "backends.app.source",
        "CAP_NET_ADMIN",
    ),
    "mark": (config(frontend={"tcp": {"mark": 1}}), "frontends.web.tcp.mark", "CAP_NET_ADMIN"),
    "namespace": (
        config({"address": "127.0.0.1:9000", "namespace": "SELF"}),
        f"{ENTRY}.namespace",
        "CAP_SYS_ADMIN",
    ),
}


@WAYS
@pytest.mark.daemon("setpriv")
@pytest.mark.parametrize("setting", UNPRIVILEGED)
def test_a_missing_capability_is_told_by_its_name(tmp_path: Path, network: Network, setting: str, way: str) -> None:
    wrong, key, capability = UNPRIVILEGED[setting]
    if setting == "namespace":
        wrong = config({"address": "127.0.0.1:9000", "namespace": network.one.name})
    before = [*network.proxy.prefix, *without("net_admin", "net_raw", "sys_admin")]
    (problem,) = problems(tmp_path, wrong, way, before)
    assert problem.startswith(f"{tmp_path}/lb.toml: {key}: ")
    assert capability in problem


@WAYS
def test_a_kernel_without_multipath_is_told(tmp_path: Path, network: Network, way: str) -> None:
    network.one.set("net/mptcp/enabled", 0)
    wrong = config("127.0.0.1:9000", frontend={"tcp": {"multipath": True}})
    (problem,) = problems(tmp_path, wrong, way, network.one.prefix)
    assert "tcp.multipath" in problem
    assert "net.mptcp.enabled" in problem
