"""The third-party plugin of ``docs/how-to/write-a-plugin.md`` works as the page shows it."""

import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.plugins import shown
from tests.plugins.shown import HOW_TO, TWISTD, shows

EXAMPLE = HOW_TO / "example-plugin"
FILES = {"lb_sticky_source.py": "python", "pyproject.toml": "toml", "test_lb_sticky_source.py": "python"}

ASK = """
from twisted_lb.api import IBalancer
from twisted_lb.config.uses import Use
from twisted_lb.plugin_host import load_plugins

built = load_plugins().build("balancers", Use(use="sticky_source", options={"salt": "x"}), "backends.app.balance")
print(built.plugin, built.name, IBalancer.providedBy(built.object))
"""


def test_the_example_consists_of_the_files_that_the_page_shows() -> None:
    assert {path.name for path in EXAMPLE.iterdir() if not path.name.startswith((".", "_"))} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_page_shows_each_file_as_it_is(name: str) -> None:
    page = (HOW_TO / "write-a-plugin.md").read_text()
    assert shows(page, EXAMPLE / name, FILES[name])


def configuration() -> str:
    """Return the configuration file that the page shows."""
    found = re.search(r"```toml\n# lb.toml\n(.*?)```", (HOW_TO / "write-a-plugin.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command that knows nothing of this Python's surroundings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    return shown.run(*command, cwd=cwd, env=environment | variables)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment that sees what is installed here, with the example installed by pip."""
    folder = tmp_path_factory.mktemp("example")
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    here = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    site_packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in here)
    (Path(site_packages) / "outer.pth").write_text(lines)
    shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    run(python, "-m", "pip", "install", "--quiet", *offline, "./source", cwd=folder)
    return python


def test_the_installed_example_is_found_and_builds_its_balancer(python: Path, tmp_path: Path) -> None:
    assert run(python, "-c", ASK, cwd=tmp_path) == "sticky_source sticky_source True\n"


def test_the_example_s_own_test_passes_on_what_was_installed(python: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "test_lb_sticky_source.py", tmp_path)
    out = run(python, "-m", "pytest", "-p", "no:cacheprovider", "test_lb_sticky_source.py", cwd=tmp_path)
    assert " passed" in out


def test_the_installed_example_is_what_the_page_s_configuration_uses(python: Path, tmp_path: Path) -> None:
    (tmp_path / "lb.toml").write_text(configuration())
    out = run(python, "-c", TWISTD, "-n", "twisted-lb", "--config", "lb.toml", "--check", cwd=tmp_path)
    assert "lb.toml is valid" in out


def test_the_example_need_not_be_installed_to_be_tried(tmp_path: Path) -> None:
    (tmp_path / "lb.toml").write_text('plugins = ["lb_sticky_source"]\n' + configuration())
    shutil.copy(EXAMPLE / "lb_sticky_source.py", tmp_path)
    command = (sys.executable, "-c", TWISTD, "-n", "twisted-lb", "--config", "lb.toml", "--check")
    assert "lb.toml is valid" in run(*command, cwd=tmp_path, PYTHONPATH=str(tmp_path))
