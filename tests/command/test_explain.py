"""``twisted-lb explain``: what it prints, and its exit status."""

import json
import re
from pathlib import Path

import pytest

from tests.wire.hellos import python_hello
from twisted_lb.command import main

CONFIG = """
[frontends.web]
bind = "127.0.0.1:8443"
backend = "app"
validators = ["tls"]
[[frontends.web.policies]]
deny = "tls.sni == 'x.example'"
[frontends.site]
bind = "127.0.0.1:8080"
mode = "http"
backend = "app"
[[frontends.site.policies]]
deny = "http.headers['x-a'] == '1' and http.method == 'PUT'"
[backends.app.servers]
a = "127.0.0.1:9001"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "lb.toml"
    path.write_text(CONFIG)
    return str(path)


def explain(file: str, *arguments: str, frontend: str = "web") -> int:
    return main(["explain", "--config", file, "--frontend", frontend, "--source", "192.0.2.1", *arguments])


def test_who_is_refused_makes_it_1(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(file, "--sni", "x.example") == 1
    out = capsys.readouterr().out
    assert "policy 1: deny = \"tls.sni == 'x.example'\"\n    tls.sni is 'x.example'\n    => holds: deny\n" in out
    assert out.endswith("\nrefused by policy 1: a closed connection\n")


def test_who_is_let_through_makes_it_0(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(file, "--sni", "y.example", "--alpn", "h2,http/1.1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["allowed"], told["backend"]) == (True, "app")
    assert told["steps"][0]["facts"] == {"tls.sni": "'y.example'", "tls.alpn": "['h2', 'http/1.1']"}


def test_first_bytes_come_in_hexadecimal_or_from_a_file(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hello = python_hello("x.example")
    assert explain(file, "--hex", hello.hex(":")) == 1
    path = tmp_path / "hello"
    path.write_bytes(hello)
    assert explain(file, "--file", str(path)) == 1
    assert capsys.readouterr().out.count("refused by policy 1: a closed connection") == 2


def test_a_client_may_say_nothing(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(file, "--silent") == 1
    assert "undecided about who says nothing for timeouts.inspect, then refuses" in capsys.readouterr().out


def test_a_request_is_described(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    described = ("--method", "PUT", "--host", "a.example", "--path", "/x")
    assert explain(file, *described, "--header", "X-A: 1", frontend="site") == 1
    assert explain(file, *described, "--header", "X-A: 2", frontend="site") == 0
    assert "request: PUT /x\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (
            ["--fact", "tls.snl=x"],
            'twisted-lb: nobody in this frontend learns a fact "tls.snl"; did you mean "tls.sni"?',
        ),
        (["--source", "x"], 'twisted-lb: "x" is neither an address'),
        (["--silent", "--hex", "16"], "twisted-lb: --silent: says no bytes"),
        (["--frontend", "site", "--silent"], "twisted-lb: --silent: frontend site is in HTTP mode"),
        (["--hex", "00", "--file", "/x"], "one of --hex and --file is enough"),
        (["--hex", ""], "there are no first bytes in it"),
        (["--file", "/no/such/file"], "No such file"),
        (["--frontend", "wep"], 'there is no frontend "wep"; did you mean "web"?'),
    ],
)
def test_what_makes_no_sense_makes_it_2(
    file: str, arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(file, *arguments) == 2
    assert what in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--hex", "x"], ["--fact", "x"], ["--header", "x"]])
def test_what_cannot_be_read_is_told_by_the_command_line(file: str, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        explain(file, *arguments)
    assert caught.value.code == 2


def test_among_several_frontends_one_has_to_be_named(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--config", file, "--source", "::1"]) == 2
    assert "which frontend? --frontend web or site" in capsys.readouterr().err


def test_a_configuration_with_mistakes_is_told_with_the_places_marked(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(file).write_text(CONFIG.replace("tls.sni", "tls.snl"))
    assert explain(file) == 2
    assert capsys.readouterr().err == (
        f'twisted-lb: {file}: frontends.web.policies[0].deny: there is no fact "tls.snl"; did you mean "tls.sni"?\n'
        "twisted-lb:     tls.snl == 'x.example'\n"
        "twisted-lb:     ^^^^^^^\n"
    )


def test_the_page_shows_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "explain.md").read_text()
    (config,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "lb.toml"
    path.write_text(config)
    command = re.findall(r"^twisted-lb (explain .*example\.org)$", page, re.MULTILINE)[0].split()
    assert main([str(path) if word == "lb.toml" else word for word in command]) == 1
    assert capsys.readouterr().out == shown


def test_a_request_makes_no_sense_in_tcp_mode(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(file, "--path", "/x") == 2
    assert capsys.readouterr().err == (
        "twisted-lb: --path: frontend web is in TCP mode, and sees no requests: give --hex or --file\n"
    )


def test_a_file_that_cannot_be_read_is_named(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(file, "--file", "/none/there") == 2
    assert capsys.readouterr().err == "twisted-lb: --file: /none/there: cannot be read: No such file or directory\n"
