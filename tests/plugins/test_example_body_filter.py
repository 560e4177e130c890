"""The third-party body filter of ``docs/how-to/write-a-plugin.md`` works as the page shows it."""

from pathlib import Path

from tests.plugins.shown import HOW_TO, Example

PAGE = (HOW_TO / "write-a-plugin.md").read_text().partition("\n## A body filter\n")[2]
EXAMPLE = Example("example-body-filter", PAGE, "lb_canary.py")


def test_the_page_shows_the_whole_example_as_it_is() -> None:
    EXAMPLE.check_files()


def test_the_example_s_own_test_passes(tmp_path: Path) -> None:
    EXAMPLE.check_own_test(tmp_path)


def test_the_page_s_configuration_uses_it(tmp_path: Path) -> None:
    EXAMPLE.check_configuration(tmp_path, "plugins = ")
