"""The doctor's cure: before it something is missing; what it prints is applied as it is; then traffic flows."""

import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.namespaces.topology import FAMILIES, FAR, Network
from tests.namespaces.witness import seen_by

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("nft")]

SCRIPTS = sysconfig.get_path("scripts")
CONFIG = {
    "frontends": {
        "web": {
            "bind": [{"address": f"{host}:8080", "transparent": True} for host in ("0.0.0.0", "[::]")],
            "backend": "there",
        }
    },
    "backends": {"there": {"source": "client", "servers": {"all": "*"}}},
}


def doctor(network: Network, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [*network.proxy.prefix, f"{SCRIPTS}/twisted-lb", "doctor", "--config", str(folder / "lb.toml"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def shell(network: Network, script: str) -> None:
    command = ["env", f"PATH={SCRIPTS}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", "sh"]
    network.proxy.run(*command, text=script)


def test_what_it_prints_is_what_was_missing(network: Network, servers: Any, module_proxy: Any) -> None:
    running = module_proxy(CONFIG, before=network.proxy.prefix)
    before = doctor(network, running.folder)
    assert (before.returncode, before.stderr) == (1, "")
    (cure,) = (line.strip() for line in before.stdout.splitlines() if "--print-tproxy" in line)
    shell(network, cure)
    after = doctor(network, running.folder)
    assert (after.returncode, after.stderr) == (0, ""), after.stdout
    for family in FAMILIES:
        seen, ends = seen_by(network.client, (FAR[family], 8080))
        assert (seen.local, seen.peer) == ((FAR[family], 8080), ends)
    chosen = doctor(network, running.folder, "--print-tproxy", "web", "--ports", "80-81", "--from-interface", "client")
    shell(network, chosen.stdout)
    for family in FAMILIES:
        seen, ends = seen_by(network.client, (FAR[family], 81))
        assert (seen.local, seen.peer) == ((FAR[family], 81), ends)
    (undo,) = (line.removeprefix("#   ") for line in chosen.stdout.splitlines() if line.startswith("#   "))
    shell(network, undo)
    assert network.proxy.run("nft", "list", "ruleset") == ""
    assert doctor(network, running.folder).returncode == 1
