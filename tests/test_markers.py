"""What this machine lacks is skipped by name, and fails where nothing may be skipped."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = """
import pytest

@pytest.mark.daemon("no-such-program-anywhere")
def test_it():
    raise AssertionError("it must not run")

@pytest.mark.daemon("sh")
@pytest.mark.linux
def test_what_is_there_runs():
    pass
"""

INI = """
[pytest]
markers =
    linux: needs Linux
    root: needs root
    daemon(name): needs the named program
"""


@pytest.mark.linux
@pytest.mark.parametrize(
    ("value", "outcome", "status"), [(None, "1 passed, 1 skipped", 0), ("1", "1 passed, 1 error", 1)]
)
def test_a_missing_program_is_skipped_by_name_or_fails(
    tmp_path: Path, value: str | None, outcome: str, status: int
) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    (tmp_path / "pytest.ini").write_text(INI)
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST", "TWISTED_LB"))}
    if value is not None:
        environment["TWISTED_LB_TEST_ALL"] = value
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert outcome in done.stdout
    assert "no-such-program-anywhere" in done.stdout
    assert done.returncode == status
