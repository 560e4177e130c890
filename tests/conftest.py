"""Markers, a poller that tests turn by hand, and what is logged meanwhile.

Markers: a test that needs what this machine lacks is skipped with the name of the missing piece.

With ``TWISTED_LB_TEST_ALL=1`` in the environment it fails instead, so that a machine which is meant to have everything
cannot pass by skipping.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import provider

from twisted_lb.net.poll import BATCH, Poller

# The checkout's ``benchmarks``, which are never installed; at the end, so that an installed twisted_lb stays the one
# under test.
sys.path.append(str(Path(__file__).parents[1]))

_POSTGRESQL = map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
SYSTEM_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin", *_POSTGRESQL]
)
"""Where daemons are looked for: an ordinary user's PATH lacks the folders that distributions put them in."""
PACKAGES = {
    "ab": "apache2-utils",
    "dig": "bind9-dnsutils",
    "dnsmasq": "dnsmasq-base",
    "dovecot": "dovecot-imapd",
    "gnutls-cli": "gnutls-bin",
    "initdb": "postgresql",
    "ip": "iproute2",
    "mariadb": "mariadb-client",
    "mariadb-install-db": "mariadb-server",
    "mariadbd": "mariadb-server",
    "mosquitto_pub": "mosquitto-clients",
    "mosquitto_sub": "mosquitto-clients",
    "nft": "nftables",
    "nginx": "nginx-light",
    "node": "nodejs",
    "postgres": "postgresql",
    "psql": "postgresql-client",
    "redis-cli": "redis-tools",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "stunnel": "stunnel4",
    "tstclnt": "libnss3-tools",
    "varnishd": "varnish",
}
"""The Debian packages of programs whose names differ from theirs."""


def missing_piece(item: pytest.Item) -> str | None:
    """Name what the markers of ``item`` ask for and this machine lacks; ``None`` if it has everything."""
    if item.get_closest_marker("linux") and sys.platform != "linux":
        return f"needs Linux, and this is {sys.platform}"
    if item.get_closest_marker("root") and os.geteuid() != 0:
        return "needs root"
    for marker in item.iter_markers("daemon"):
        for name in marker.args:
            if shutil.which(name, path=SYSTEM_PATH) is None:
                return f"needs the program {name}, which is not installed (Debian: {PACKAGES.get(name, name)})"
    return None


def do_without(missing: str) -> NoReturn:
    """Skip the test for want of something, or fail it where nothing may be skipped."""
    if os.environ.get("TWISTED_LB_TEST_ALL") == "1":
        pytest.fail(f"{missing}, and TWISTED_LB_TEST_ALL=1 says that nothing may be skipped", pytrace=False)
    pytest.skip(missing)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, before any fixture of the test is made."""
    missing = missing_piece(item)
    if missing is not None:
        do_without(missing)


class Loop:
    """A poller that the test turns by hand, with a clock that only the test moves."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)  # a moment of 0 means "never" in places
        self.poller = Poller(self.clock)

    def turn(self, timeout_s: float = 0.0) -> int:
        """Work off one batch, waiting for it no longer than ``timeout_s``; returns how many events there were."""
        events = self.poller.epoll.poll(0 if self.poller.ready else timeout_s, BATCH)
        self.poller.dispatch(events)
        return len(events)

    def until(self, condition: Callable[[], object], timeout_s: float = 5.0) -> None:
        """Turn until ``condition`` holds; fail after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            self.turn(0.01)

    def settle(self) -> None:
        """Turn until nothing is left to do. What is sent within this machine has arrived when ``send`` returns."""
        for _ in range(10_000):
            if not self.turn() and not self.poller.ready:
                return
        raise AssertionError("it never comes to rest")


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A poller that the test turns by hand."""
    one = Loop()
    yield one
    one.poller.epoll.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter. Pytest's are closed to others, anew whenever somebody starts it."""
    with tempfile.TemporaryDirectory(prefix="twisted-lb-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """The application events that are logged while the test runs."""
    events: list[LogEvent] = []

    @provider(ILogObserver)
    def note(event: LogEvent) -> None:
        events.append(event)

    globalLogPublisher.addObserver(note)
    yield events
    globalLogPublisher.removeObserver(note)
