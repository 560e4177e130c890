"""The third-party codec of ``docs/how-to/write-a-proxy-codec.md`` works as the page shows it."""

from pathlib import Path

from tests.plugins.shown import HOW_TO, Example

PAGE = (HOW_TO / "write-a-proxy-codec.md").read_text()
EXAMPLE = Example("example-proxy-codec", PAGE, "lb_netscaler_cip.py")


def test_the_page_shows_the_whole_example_as_it_is() -> None:
    EXAMPLE.check_files()


def test_the_example_s_own_test_passes(tmp_path: Path) -> None:
    EXAMPLE.check_own_test(tmp_path)


def test_the_page_s_configuration_uses_it(tmp_path: Path) -> None:
    EXAMPLE.check_configuration(tmp_path, "# lb.toml\n")
