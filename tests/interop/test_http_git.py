"""git over HTTP through the proxy: what is cloned, fetched and pushed is whole."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.daemons import Daemons
from tests.interop.ways import FreePort
from tests.loopback.web import http_config

if TYPE_CHECKING:
    from tests.loopback.conftest import Proxy, StartProxy

pytestmark = [pytest.mark.linux, pytest.mark.daemon("git")]

BIG = os.urandom(3_000_000)
"""More than git keeps in memory to push: it goes in chunks."""


def git(folder: Path, *words: object) -> str:
    """Run git in ``folder``, without anybody's configuration; return what it says."""
    who = {f"GIT_{role}_{what}": "tests@test" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    ours = {"HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["git", *map(str, words)], cwd=folder, env=ours | who, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def commit(folder: Path, name: str, content: bytes) -> str:
    """Commit a file; return the commit's name."""
    (folder / name).write_bytes(content)
    git(folder, "add", name)
    git(folder, "commit", "-q", "-m", f"add {name}")
    return git(folder, "rev-parse", "HEAD").strip()


@pytest.fixture(scope="module")
def projects(daemons: Daemons) -> Path:
    """A folder with a bare repository: one big file, and fifty commits."""
    folder = daemons.folder()
    work = folder / "work"
    work.mkdir()
    git(work, "init", "-q", "-b", "main")
    commit(work, "big", BIG)
    for number in range(50):
        git(work, "commit", "-q", "--allow-empty", "-m", f"number {number}")
    git(folder, "clone", "-q", "--bare", "work", "project.git")
    git(folder / "project.git", "config", "http.receivepack", "true")
    git(folder / "project.git", "update-server-info")
    return folder


@pytest.fixture(scope="module")
def running(daemons: Daemons, module_proxy: "StartProxy", free_port: FreePort, projects: Path, port: int) -> "Proxy":
    server = free_port()
    program = Path(__file__).with_name("git_server.py")
    daemons.start("git", sys.executable, program, str(server), projects, folder=projects, ports=[server])
    return module_proxy(http_config(port, f"127.0.0.1:{server}"))


@pytest.fixture(scope="module")
def port(free_port: FreePort) -> int:
    return free_port()


@pytest.fixture
def url(running: "Proxy", port: int) -> str:
    return f"http://127.0.0.1:{port}/project.git"


@pytest.mark.parametrize("version", [0, 2])
def test_a_clone_is_whole(version: int, url: str, projects: Path, tmp_path: Path) -> None:
    git(tmp_path, "-c", f"protocol.version={version}", "clone", "-q", url, "clone")
    git(tmp_path / "clone", "fsck", "--full")
    assert (tmp_path / "clone" / "big").read_bytes() == BIG
    theirs, ours = (git(folder, "rev-parse", "HEAD") for folder in (projects / "project.git", tmp_path / "clone"))
    assert theirs == ours


def test_a_shallow_clone_is_deepened(url: str, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth", 1, url, "clone")
    assert git(tmp_path / "clone", "rev-list", "--count", "HEAD") == "1\n"
    git(tmp_path / "clone", "fetch", "-q", "--unshallow")
    assert int(git(tmp_path / "clone", "rev-list", "--count", "HEAD")) >= 51


@pytest.mark.parametrize("content", [b"small", BIG[::-1]], ids=["at once", "in chunks"])
def test_what_is_pushed_can_be_fetched(content: bytes, url: str, projects: Path, tmp_path: Path) -> None:
    for name in ("writer", "reader"):
        git(tmp_path, "clone", "-q", url, name)
    pushed = commit(tmp_path / "writer", f"of-{len(content)}", content)
    git(tmp_path / "writer", "push", "-q", "origin", "main")
    assert git(projects / "project.git", "rev-parse", "main").strip() == pushed
    git(tmp_path / "reader", "pull", "-q", "--ff-only")
    assert (tmp_path / "reader" / f"of-{len(content)}").read_bytes() == content
