"""slowhttptest in its four modes at once, a thousand connections each: who else asks for something still gets it."""

import csv
import subprocess
import time
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.interop.daemons import Daemons
from tests.interop.ways import FreePort
from tests.interop.web_servers import start_nginx
from tests.loopback.conftest import wait_until
from tests.loopback.traffic import need_descriptors
from tests.loopback.web import http_config

if TYPE_CHECKING:
    from tests.loopback.conftest import Proxy, StartProxy

pytestmark = [pytest.mark.linux, pytest.mark.daemon("slowhttptest", "nginx", "curl")]

CONNECTIONS = 1000
LASTS_S = 10
PATIENT_S = 40
"""How long those go on that are sent away before; the others, who read slowly, are let do that."""
FILE_BYTES = 200_000
MODES: dict[str, tuple[str, ...]] = {
    "slow-headers": ("-H", "-i", "1", "-x", "10", "-u", "/big"),
    "slow-body": ("-B", "-i", "1", "-x", "10", "-s", "8192", "-u", "/form"),
    "slow-read": ("-X", "-n", "2", "-w", "64", "-y", "512", "-z", "16", "-k", "3", "-u", "/big"),
    "ranges": ("-R", "-a", "5", "-b", "1000", "-t", "HEAD", "-u", "/big"),
}
TIMEOUTS = {"http_request": "4s", "http_keep_alive": "4s", "client": "8s", "server": "8s", "connect": "2s"}
"""As somebody would set them who expects this."""
NGINX = """\
    access_log off;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /small {{ return 200 "here"; }}
        location = /form {{ proxy_pass http://127.0.0.1:{port}/small; }}
        location / {{ root files; }}
    }}
"""


class Attacks(NamedTuple):
    """What came of it: the seconds of each mode, as slowhttptest counts connections, and how long answers took."""

    modes: dict[str, list[dict[str, str]]]
    answers_s: list[float]


@pytest.fixture(scope="module")
def port(free_port: FreePort) -> int:
    return free_port()


@pytest.fixture(scope="module")
def running(daemons: Daemons, module_proxy: "StartProxy", free_port: FreePort, port: int) -> "Proxy":
    need_descriptors(5 * CONNECTIONS)
    folder, server = daemons.folder(), free_port()
    (folder / "files").mkdir()
    (folder / "files" / "big").write_bytes(bytes(FILE_BYTES))
    start_nginx(daemons, folder, NGINX.format(port=server), server)
    config = http_config(port, f"127.0.0.1:{server}", TIMEOUTS)
    config["frontends"]["web"]["min_rate"] = {"rate": "100B", "after": "3s"}
    config["frontends"]["web"]["bind"] = {"address": f"127.0.0.1:{port}", "backlog": 4096}
    # Else the kernel would hold some MiB for each client that does not read.
    config["frontends"]["web"]["tcp"] = {"send_buffer": "32KiB"}
    return module_proxy(config)


def ask(port: int) -> float:
    """Ask for something small as a new client; returns how many seconds that took."""
    begun = time.monotonic()
    url = f"http://127.0.0.1:{port}/small"
    done = subprocess.run(["curl", "-sS", "--max-time", "15", url], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"here"), done
    return time.monotonic() - begun


@pytest.fixture(scope="module")
def attacks(running: "Proxy", port: int, tmp_path_factory: pytest.TempPathFactory) -> Attacks:
    """Run all modes at once, and ask for something all the while."""
    folder = tmp_path_factory.mktemp("slow")
    shared = ("-c", CONNECTIONS, "-r", 500, "-p", 10, "-v", 0, "-g")
    running_modes = []
    for name, more in MODES.items():
        url = f"http://127.0.0.1:{port}{more[-1]}"
        lasts_s = LASTS_S if name == "slow-read" else PATIENT_S
        command = ["slowhttptest", *map(str, shared), "-l", str(lasts_s), *more[:-1], url, "-o", name]
        running_modes.append(subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL))
    answers_s: list[float] = []
    try:
        while any(one.poll() is None for one in running_modes):
            answers_s.append(ask(port))
            time.sleep(0.1)
    finally:
        for one in running_modes:
            one.kill()
            one.wait()
    rows = {name: (folder / f"{name}.csv").read_text().splitlines() for name in MODES}
    return Attacks({name: list(csv.DictReader(lines)) for name, lines in rows.items()}, answers_s)


def test_a_client_is_answered_at_once_all_the_while(attacks: Attacks) -> None:
    """Each within fifteen seconds, which is what ``ask`` waits, and most of them much sooner, whatever else goes on."""
    assert len(attacks.answers_s) > 10
    assert median(attacks.answers_s) < 1.0


@pytest.mark.parametrize("mode", MODES)
def test_slowhttptest_finds_the_service_available_all_the_while(mode: str, attacks: Attacks) -> None:
    assert {row["Service Available"] for row in attacks.modes[mode]} == {"1000"}


@pytest.mark.parametrize("mode", ["slow-headers", "slow-body", "slow-read"])
def test_they_were_many_at_once(mode: str, attacks: Attacks) -> None:
    assert max(int(row["Connected"]) for row in attacks.modes[mode]) > CONNECTIONS / 2


@pytest.mark.parametrize("mode", ["slow-headers", "slow-body", "ranges"])
def test_they_are_sent_away_before_they_leave(mode: str, attacks: Attacks) -> None:
    assert int(attacks.modes[mode][-1]["Seconds"]) < PATIENT_S, "it ends as soon as no connection is left"


def test_nothing_of_them_is_left(attacks: Attacks, running: "Proxy") -> None:
    wait_until(lambda: running.descriptors() < 100, "the end of their connections")
