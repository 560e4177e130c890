"""The third-party stream validator of ``docs/how-to/write-a-plugin.md`` works as the page shows it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
EXAMPLE = HOW_TO / "example-stream-validator"
PAGE = (HOW_TO / "write-a-plugin.md").read_text().partition("\n## A validator that stays on the stream\n")[2]
FILES = ("lb_tripwire.py", "test_lb_tripwire.py")
TWISTD = "from twisted.scripts.twistd import run; run()"


def run(*command: str, cwd: Path) -> str:
    """Run a command that finds the example to its good end, and return what it writes to standard output."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_consists_of_the_files_that_the_page_shows() -> None:
    assert {path.name for path in EXAMPLE.iterdir() if not path.name.startswith((".", "_"))} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_page_shows_each_file_as_it_is(name: str) -> None:
    assert f"`{name}`:\n\n```python\n{(EXAMPLE / name).read_text()}```\n" in PAGE


def test_the_example_s_own_test_passes(tmp_path: Path) -> None:
    arguments = ("-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(EXAMPLE / "test_lb_tripwire.py"))
    assert " passed" in run("-m", "pytest", *arguments, cwd=tmp_path)


def test_the_page_s_configuration_uses_it(tmp_path: Path) -> None:
    found = re.search(r"```toml\n(plugins = .*?)```", PAGE, re.DOTALL)
    assert found is not None
    (tmp_path / "lb.toml").write_text(found[1])
    out = run("-c", TWISTD, "-n", "twisted-lb", "--config", "lb.toml", "--check", cwd=tmp_path)
    assert "lb.toml is valid" in out
