"""The how-to page on the PROXY protocol names every test of this folder, and no other."""

import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def test_every_system_of_the_how_to_page_has_its_test_and_every_test_its_row() -> None:
    page = (ROOT / "docs" / "how-to" / "proxy-protocol.md").read_text()
    named = set(re.findall(r"`tests/interop/(\w+\.py)`", page))
    others = {path.name for of in ("http", "tls") for path in HERE.glob(f"test_{of}_*.py")} | {Path(__file__).name}
    assert named == {path.name for path in HERE.glob("test_*.py")} - others
