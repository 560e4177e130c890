"""Daemons that tests run for a while: each in the foreground, with a folder of its own, ended by its process id."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conftest import SYSTEM_PATH
from tests.loopback.conftest import DEADLINE_S, wait_until

LISTEN = "0A"
"""TCP_LISTEN, as the kernel's tables spell it."""


def is_listening(port: int) -> bool:
    """Whether some process listens on TCP port ``port``, found out without connecting to it.

    A connection that brings no header would be taken for a broken sender.
    """
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(wanted) and fields[3] == LISTEN:
                return True
    return False


class Daemon:
    """A running daemon. ``folder``: its files. What it writes to its standard streams is in ``output``."""

    def __init__(
        self, name: str, arguments: Sequence[str | Path], folder: Path, more_env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.folder = folder
        self.output = folder / f"{name}.output"
        environment = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": str(folder), **(more_env or {})}
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                list(map(str, arguments)),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_listening(self, *ports: int) -> "Daemon":
        """Wait until all ``ports`` are open; fail if it ends before that."""
        wait_until(
            lambda: self._process.poll() is not None or all(map(is_listening, ports)),
            f"{self.name} listens on {ports}: {self.logs()}",
        )
        assert self._process.poll() is None, f"{self.name} ended with {self._process.returncode}: {self.logs()}"
        return self

    def logs(self) -> str:
        """The end of everything that it has written: its standard streams, and each log file in its folder."""
        files = [self.output, *sorted(self.folder.rglob("*.log"))]
        return "\n".join(f"{file.name}:\n{file.read_text('utf-8', 'replace')[-4000:]}" for file in files)

    def wait_for(self, text: str, file: str | None = None) -> None:
        """Wait until ``text`` was written to the log ``file`` in its folder, or to its standard streams."""
        path = self.output if file is None else self.folder / file
        wait_until(
            lambda: path.exists() and text in path.read_text("utf-8", "replace"),
            f"{text!r} in {path.name} of {self.name}",
        )

    def stop(self) -> None:
        """End it, and whatever it has started."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._kill_session()
                self._process.wait(DEADLINE_S)
        self._kill_session()

    def _kill_session(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


class Daemons:
    """The daemons that one fixture has started.

    Their folders are not pytest's: those are closed to other users, and some daemons give up root for a user of theirs.
    """

    def __init__(self) -> None:
        self.running: list[Daemon] = []
        self._folders: list[Path] = []

    def folder(self) -> Path:
        """Make a folder that every user may enter; its path is short enough for Unix sockets in it."""
        made = Path(tempfile.mkdtemp(prefix="twisted-lb-"))
        made.chmod(0o755)
        self._folders.append(made)
        return made

    def start(
        self,
        name: str,
        *arguments: str | Path,
        folder: Path,
        ports: Sequence[int],
        env: Mapping[str, str] | None = None,
    ) -> Daemon:
        """Start one, and wait until it listens on ``ports``. ``name``: of its output's file."""
        made = Daemon(name, arguments, folder, env)
        self.running.append(made)
        return made.wait_until_listening(*ports)

    def stop(self) -> None:
        """End them all, the last first, and take their folders away."""
        for one in reversed(self.running):
            one.stop()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
