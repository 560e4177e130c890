"""``twisted-lb``: the tools beside the proxy."""

import pytest

from twisted_lb import __version__
from twisted_lb.command import main


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"twisted-lb {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["no-such-tool"], ["doctor"]])
def test_what_is_not_understood_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: twisted-lb" in capsys.readouterr().err


def test_what_cannot_be_read_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", "/no/such/file"]) == 2
    assert "/no/such/file" in capsys.readouterr().err
