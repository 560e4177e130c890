"""How the machine is looked at: files of /proc and the output of commands, in the network namespace that is meant."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from twisted_lb.net.namespace import FOLDER, path_of

TIMEOUT_S = 10.0
PACKAGES = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux"}
"""The Debian packages of the programs that are asked."""
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""Where they are looked for: an ordinary user's PATH lacks the folders that distributions put them in."""


class CannotLookError(Exception):
    """Something could not be looked at. ``commands``: what makes it possible."""

    def __init__(self, what: str, *commands: str) -> None:
        super().__init__(what)
        self.commands = commands


Run = Callable[[Sequence[str]], str]
"""Runs a command and returns its standard output. Raises CannotLookError."""


class Machine:
    """This machine. ``root``: where its /proc is; ``run``: see ``Run``."""

    def __init__(self, root: Path = Path("/"), run: Run | None = None) -> None:
        self.root = root
        self._run = run or _run

    def file(self, path: str, namespace: str | None = None) -> str | None:
        """Read a file such as ``/proc/sys/...``, ``None`` if there is none. Raises: CannotLookError."""
        if namespace is not None:
            return self._in_namespace(["cat", path], namespace)
        try:
            return (self.root / path.lstrip("/")).read_text().strip()
        except OSError:
            return None

    def names(self, folder: str, namespace: str | None = None) -> list[str]:
        """Name what is in a folder such as ``/proc/sys/...``; nothing if there is none. Raises: CannotLookError."""
        if namespace is not None:
            return (self._in_namespace(["ls", folder], namespace) or "").split()
        try:
            return sorted(path.name for path in (self.root / folder.lstrip("/")).iterdir())
        except OSError:
            return []

    def _in_namespace(self, command: Sequence[str], namespace: str) -> str | None:
        if not (self.root / path_of(namespace).lstrip("/")).exists():
            raise CannotLookError(f'the network namespace "{namespace}" does not exist')
        try:
            return self.run(command, namespace).strip()
        except CannotLookError as error:
            if "No such file" in str(error):
                return None
            raise

    def sysctl(self, name: str, namespace: str | None = None) -> str | None:
        """Read a kernel setting, ``None`` if there is none of that name. Raises: CannotLookError."""
        return self.file(f"/proc/sys/{name.replace('.', '/')}", namespace)

    def json(self, command: Sequence[str], namespace: str | None = None) -> Any:
        """Run a command that answers in JSON, and decode that. Raises: CannotLookError."""
        text = self.run(command, namespace)
        try:
            return msgspec.json.decode(text or "[]")
        except msgspec.DecodeError as error:
            raise CannotLookError(f"{shlex.join(command)} gave an answer that is not JSON: {error}") from None

    def run(self, command: Sequence[str], namespace: str | None = None) -> str:
        """Run a command and return its output. Raises: CannotLookError."""
        inside = [] if namespace is None else ["nsenter", f"--net={path_of(namespace)}"]
        return self._run([*inside, *command])


def inside(namespace: str | None, command: str) -> str:
    """Return the line for a shell that runs ``command`` in a namespace; ``None``: where the shell is."""
    if namespace is None:
        return command
    path = path_of(namespace)
    if path.startswith(f"{FOLDER}/"):
        return f"ip netns exec {shlex.quote(path.removeprefix(f'{FOLDER}/'))} {command}"
    return f"nsenter --net={shlex.quote(path)} {command}"


def place(namespace: str | None) -> str:
    """Say where, for the end of a sentence."""
    return "" if namespace is None else f' in the namespace "{namespace}"'


def _run(command: Sequence[str]) -> str:
    for program in [command[0]] + ([command[2]] if command[0] == "nsenter" else []):
        if shutil.which(program, path=SYSTEM_PATH) is None:
            package = PACKAGES.get(program, program)
            raise CannotLookError(f"the program {program} is not installed", f"apt-get install {package}")
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotLookError(f"{shlex.join(command)}: {error}") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"it exited with {done.returncode}"])[0]
        hint = "" if os.geteuid() == 0 else "; try it as root"
        raise CannotLookError(f"this could not be looked at: {shlex.join(command)}: {said}{hint}")
    return done.stdout
