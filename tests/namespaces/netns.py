"""Network namespaces as the tests use them: made and removed, entered for a while, and commands in them.

Imported by tests, runs no test itself. Apart from the code that is tested: nothing here is the package's.
"""

import contextlib
import ctypes
import itertools
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import SYSTEM_PATH

FOLDER = Path("/run/netns")
COMMAND_S = 20
"""How long one command of iproute2 or nftables may take; they take milliseconds."""

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()
_OURS = re.compile(r"lbt(\d+)-\d+-")


def run(*command: str, text: str = "") -> str:
    """Run a command with ``text`` as its input and return what it says; what it complains of fails the test."""
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
        env={**os.environ, "PATH": SYSTEM_PATH},
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}\n{text}"
    return done.stdout


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    """A network namespace. ``name``: as ``ip netns`` knows it; no other run uses the same."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = FOLDER / name
        self.make()

    def make(self) -> None:
        """Make it, with an open loopback interface; also again, after ``remove``: another one with the same name."""
        run("ip", "netns", "add", self.name)
        self.set("net/ipv4/conf/all/rp_filter", 0)
        self.set("net/ipv4/conf/default/rp_filter", 0)
        self.set("net/ipv6/conf/default/accept_dad", 0)
        self.ip("link set lo up")

    def remove(self) -> None:
        """Remove it; what runs inside or holds a socket of it keeps it alive without its name."""
        run("ip", "netns", "del", self.name)

    def ip(self, *lines: str, family: str = "") -> None:
        """Run commands of ``ip`` inside; ``family``, ``4`` or ``6``, is for those that no address tells it."""
        run("ip", *([f"-{family}"] if family else []), "-n", self.name, "-batch", "-", text="\n".join(lines))

    def nft(self, ruleset: str) -> None:
        """Put this ruleset in force inside, in place of any before."""
        self.run("nft", "-f", "-", text=f"flush ruleset\n{ruleset}")

    def run(self, *command: str, text: str = "") -> str:
        """Run a command inside and return what it says."""
        return run(*self.prefix, *command, text=text)

    @property
    def prefix(self) -> list[str]:
        """The words that make a command run inside when they are put in front of it."""
        return ["ip", "netns", "exec", self.name]

    def set(self, key: str, value: object) -> None:
        """Set a kernel parameter of this namespace: its path below ``/proc/sys``."""
        with self.entered():
            Path("/proc/sys", key).write_text(f"{value}\n")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread be inside meanwhile; the sockets that it makes stay inside."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(there)
            try:
                yield
            finally:
                _enter(home)
        finally:
            os.close(there)
            os.close(home)


class Namespaces:
    """The namespaces of one topology; ``remove`` takes all of them away, whatever became of them."""

    def __init__(self) -> None:
        self._number = next(_numbers)
        self._made: list[Namespace] = []

    def make(self, role: str) -> Namespace:
        """Make one for ``role``, a few letters."""
        made = Namespace(f"lbt{os.getpid()}-{self._number}-{role}")
        self._made.append(made)
        return made

    def remove(self) -> None:
        """Remove all that are still there; their interfaces, rules and routes go with them."""
        failures = []
        for one in self._made:
            if one.path.exists():
                try:
                    one.remove()
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    failures.append(str(error))
        assert not failures, failures


def remove_abandoned() -> None:
    """Remove what runs have left that were killed: namespaces whose names say a process that is no more."""
    for path in FOLDER.glob("lbt*") if FOLDER.is_dir() else ():
        found = _OURS.match(path.name)
        if found and not Path("/proc", found[1]).exists():
            run("ip", "netns", "del", path.name)
