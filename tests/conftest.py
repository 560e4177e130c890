"""Markers: a test that needs what this machine lacks is skipped with the name of the missing piece.

With ``TWISTED_LB_TEST_ALL=1`` in the environment it fails instead, so that a machine which is meant to have everything
cannot pass by skipping.
"""

import os
import shutil
import sys

import pytest

SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""Where daemons are looked for: an ordinary user's PATH lacks the folders that distributions put them in."""


def missing_piece(item: pytest.Item) -> str | None:
    """Name what the markers of ``item`` ask for and this machine lacks; ``None`` if it has everything."""
    if item.get_closest_marker("linux") and sys.platform != "linux":
        return f"needs Linux, and this is {sys.platform}"
    if item.get_closest_marker("root") and os.geteuid() != 0:
        return "needs root"
    for marker in item.iter_markers("daemon"):
        for name in marker.args:
            if shutil.which(name, path=SYSTEM_PATH) is None:
                return f"needs the program {name}, which is not installed"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, before any fixture of the test is made."""
    missing = missing_piece(item)
    if missing is None:
        return
    if os.environ.get("TWISTED_LB_TEST_ALL") == "1":
        pytest.fail(f"{missing}, and TWISTED_LB_TEST_ALL=1 says that nothing may be skipped", pytrace=False)
    pytest.skip(missing)
