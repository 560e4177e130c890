"""The how-to page on the PROXY protocol names every test of this folder that puts something before or behind us."""

import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
USES = re.compile(r": (PutBefore|Behind)\b")
"""A test that has one of these among its arguments."""


def test_every_system_of_the_how_to_page_has_its_test_and_every_test_its_row() -> None:
    page = (ROOT / "docs" / "how-to" / "proxy-protocol.md").read_text()
    named = set(re.findall(r"`tests/interop/(\w+\.py)`", page))
    assert named == {path.name for path in HERE.glob("test_*.py") if USES.search(path.read_text())}
