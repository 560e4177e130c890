"""What twistd keeps with ``--uid`` is enough: foreign addresses and other namespaces after the drop."""

import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.conftest import toml, wait_until
from tests.namespaces.topology import FAMILIES, FRONT, ONE, Network, net
from tests.namespaces.witness import seen_by

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("nft")]

NOBODY = "65534"
SPOOFING, ENTERING = 9000, 9001


def config(network: Network) -> dict[str, Any]:
    return {
        "frontends": {
            f"{kind}{family}": {"bind": [f"{net(FRONT[family])}:{port}"], "backend": f"{kind}{family}"}
            for kind, port in (("spoofing", SPOOFING), ("entering", ENTERING))
            for family in FAMILIES
        },
        "backends": {
            **{
                f"spoofing{family}": {"source": "client", "servers": {"s": f"{net(ONE[family])}:80"}}
                for family in FAMILIES
            },
            **{
                f"entering{family}": {
                    "namespace": network.two.name,
                    "servers": {"s": "127.0.0.1:80" if family == "4" else "[::1]:80"},
                }
                for family in FAMILIES
            },
        },
    }


@pytest.fixture
def dropped(network: Network, servers: Any, open_folder: Path) -> Iterator[int]:
    """A proxy that twistd has taken root from; its process."""
    (open_folder / "lb.toml").write_text("".join(f"{key} = {toml(value)}\n" for key, value in config(network).items()))
    log = open_folder / "log.txt"
    twistd = [f"{sysconfig.get_path('scripts')}/twistd", "-n", "--pidfile=", "--uid", NOBODY, "--gid", NOBODY]
    network.take_answers()
    with log.open("wb") as output:
        words = [*network.proxy.prefix, *twistd, "twisted-lb", "--config", "lb.toml"]
        process = subprocess.Popen(words, cwd=open_folder, stdout=output, stderr=output)
    try:
        wait_until(lambda: "serving on" in log.read_text() or process.poll() is not None, "it serves")
        assert process.poll() is None, log.read_text()
        yield process.pid
        assert "Traceback" not in log.read_text()
    finally:
        process.terminate()
        process.wait(15)


@pytest.mark.parametrize("family", FAMILIES)
def test_after_the_drop_servers_see_the_client_and_namespaces_are_entered(
    network: Network, dropped: int, family: str
) -> None:
    assert f"\nUid:\t{NOBODY}\t{NOBODY}\t" in Path(f"/proc/{dropped}/status").read_text()
    seen, ends = seen_by(network.client, (FRONT[family], SPOOFING))
    assert (seen.server, seen.peer) == ("one", ends)
    seen, _ = seen_by(network.client, (FRONT[family], ENTERING))
    assert (seen.server, seen.local[0]) == ("two", "127.0.0.1" if family == "4" else "::1")
