"""``twisted-lb doctor``: what it prints, and its exit status."""

import json
from pathlib import Path

import pytest

from twisted_lb.command import main

PLAIN = """
[frontends.web]
bind = "127.0.0.1:8080"
backend = "app"
[backends.app.servers]
a = "127.0.0.1:9001"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lb.toml"
    path.write_text(PLAIN)
    return path


def test_where_nothing_is_missing_the_status_is_0(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", str(file)]) == 0
    assert capsys.readouterr().out.endswith("\nnothing is missing\n")


def test_what_is_missing_makes_it_1_and_comes_with_its_command(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(PLAIN + 'b = { address = "127.0.0.1:1", namespace = "lbt-no-such" }\n')
    assert main(["doctor", "--config", str(file)]) == 1
    out = capsys.readouterr().out
    assert 'missing the network namespace "lbt-no-such" does not exist\n' in out
    assert "\n            ip netns add lbt-no-such\n" in out


def test_the_same_is_there_in_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(PLAIN + 'b = { address = "127.0.0.1:1", namespace = "lbt-no-such" }\n')
    assert main(["doctor", "--config", str(file), "--json"]) == 1
    (one,) = json.loads(capsys.readouterr().out)["namespaces"]
    assert one == {
        "severity": "missing",
        "what": 'the network namespace "lbt-no-such" does not exist',
        "why": "backends.app.servers.b.namespace",
        "commands": ["ip netns add lbt-no-such"],
    }


def test_a_configuration_that_is_wrong_makes_it_2(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(PLAIN.replace("backend =", "backned ="))
    assert main(["doctor", "--config", str(file)]) == 2
    assert all(line.startswith("twisted-lb: ") for line in capsys.readouterr().err.splitlines())


def test_a_frontend_that_needs_no_rules_makes_it_2(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", str(file), "--print-tproxy", "web"]) == 2
    assert "frontends.web needs no rules" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--ports", "0"],
        ["--ports", "80-70"],
        ["--ports", "http"],
        ["--to", "10.0.0.1/8"],
        ["--mark", "0"],
        ["--table", "main"],
        ["--from-interface", "a b"],
    ],
)
def test_a_choice_that_makes_no_sense_makes_it_2(
    words: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--config", str(file), "--print-tproxy", "web", *words])
    assert left.value.code == 2
    assert words[1] in capsys.readouterr().err
