"""What the pages of ``docs/how-to`` promise of the plugins that they show."""

import os
import re
import subprocess
import sys
from pathlib import Path

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
TWISTD = "from twisted.scripts.twistd import run; run()"


def run(*command: str | Path, cwd: Path, env: dict[str, str]) -> str:
    """Run a command to its good end and return what it writes to standard output."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shows(page: str, path: Path, language: str = "python") -> bool:
    """Whether a page has that file under its name, as it is."""
    return f"`{path.name}`:\n\n```{language}\n{path.read_text()}```\n" in page


class Example:
    """A plugin of one module with its test, that need not be installed to be tried.

    ``folder``: below ``docs/how-to``. ``page``: the text that shows it. ``module``: its file.
    """

    def __init__(self, folder: str, page: str, module: str) -> None:
        self.folder = HOW_TO / folder
        self.page = page
        self.files = (module, f"test_{module}")

    def check_files(self) -> None:
        """The example has these files and no others, and the page shows each of them as it is."""
        there = {path.name for path in self.folder.iterdir() if not path.name.startswith((".", "_"))}
        assert there == set(self.files)
        assert [name for name in self.files if not shows(self.page, self.folder / name)] == []

    def check_own_test(self, cwd: Path) -> None:
        """The example's test passes, for who has no more than the example."""
        own = self.folder / self.files[1]
        command = ("-m", "pytest", "-p", "no:cacheprovider", "--rootdir", cwd, own)
        assert " passed" in self._run(*command, cwd=cwd)

    def check_configuration(self, cwd: Path, begins: str) -> None:
        """The page's configuration, which begins like that, is valid where the example is found."""
        found = re.search(rf"```toml\n({re.escape(begins)}.*?)```", self.page, re.DOTALL)
        assert found is not None
        (cwd / "lb.toml").write_text(found[1])
        said = self._run("-c", TWISTD, "-n", "twisted-lb", "--config", "lb.toml", "--check", cwd=cwd)
        assert "lb.toml is valid" in said

    def _run(self, *command: str | Path, cwd: Path) -> str:
        found_there = {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        return run(sys.executable, *command, cwd=cwd, env={**os.environ, **found_there})
