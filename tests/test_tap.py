"""The command line: what is wrong is said in one message on standard error, with status 1; ``--help`` teaches."""

import json
import re
import socket
import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from twisted_lb import __version__
from twisted_lb.tap import Options

ROOT = Path(__file__).parents[1]
GOOD = """
[frontends.web]
bind = "127.0.0.1:0"
backend = "app"
[backends.app.servers]
a = "127.0.0.1:9001"
"""


class Said:
    """What a command line led to."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as ended:
            Options().parseOptions([str(argument) for argument in arguments])
        status = ended.value.code
        return Said(status if isinstance(status, int) else 0, *capfd.readouterr())

    return run


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "lb.toml"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "give either --config FILE, or --listen and --server, or --demo"),
        (["--demo", "--config", "x"], "give either"),
        (["--listen", "127.0.0.1:0"], "--listen needs at least one --server"),
        (["--server", "127.0.0.1:1"], "--listen needs at least one --server"),
        (["--lissen", "127.0.0.1:0"], "option --lissen not recognized"),
        (["--config"], "option --config requires argument"),
        (["--config", "/no/such/file"], "/no/such/file: cannot be read: No such file or directory"),
        (["--config", "/"], "cannot be read: Is a directory"),
        (["extra"], "Wrong number of arguments"),
        (["--listen", ":80", "--server", "127.0.0.1:1"], '":80" has no host'),
        (["--listen", "127.0.0.1:0", "--server", "80"], '"80" has no host'),
        (["--check", "--listen", "127.0.0.1:0", "--server", "no-such-host.invalid:80"], "no-such-host.invalid"),
        (["--check", "--listen", "no-such-host.invalid:80", "--server", "127.0.0.1:1"], "no-such-host.invalid"),
        (["--check", "--listen", "tcp:x", "--server", "127.0.0.1:1"], 'frontends.main.bind[0]: "tcp:x"'),
        (["--check", "--listen", "127.0.0.1:0", "--server", "tcp:x"], "tcp:x"),
    ],
)
def test_what_is_wrong_is_one_message_and_status_1(say: Any, arguments: list[str], expected: str) -> None:
    said = say(*arguments)
    assert said.status == 1
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("twisted-lb: ")
    assert expected in lines[0]


def test_every_problem_of_a_file_is_told(say: Any, tmp_path: Path) -> None:
    path = tmp_path / "lb.toml"
    path.write_text(GOOD.replace("backend =", "backned =").replace('"127.0.0.1:9001"', '"127.0.0.1:99999"'))
    said = say("--config", path)
    assert said.status == 1
    assert len(said.err.splitlines()) >= 2
    assert all(line.startswith(f"twisted-lb: {path}: ") for line in said.err.splitlines())
    assert "backned" in said.err
    assert '"backend"' in said.err, "the nearest valid name is missing"
    assert "99999" in said.err


def test_check_says_what_is_valid(say: Any, good: Path) -> None:
    said = say("--check", "--config", good)
    assert (said.status, said.err) == (0, "")
    assert said.out == f"{good} is valid (frontends: 1, servers: 1)\n"


def test_check_finds_what_only_shows_when_everything_is_built(say: Any, good: Path) -> None:
    good.write_text(
        'plugins = ["no_such_module"]\n' + GOOD + '[defaults]\naccess_log = { use = "json", path = "missing/log" }\n'
    )
    said = say("--check", "--config", good)
    assert said.status == 1
    assert "no_such_module" in said.err
    good.write_text(GOOD + '[defaults]\naccess_log = { use = "json", path = "missing/log" }\n')
    said = say("--check", "--config", good)
    assert said.status == 1
    assert said.err.startswith(f"twisted-lb: {good}: ")
    assert f"cannot write to {good.parent}/missing/log" in said.err


def test_check_listens_nowhere(say: Any, good: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        good.write_text(GOOD.replace("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}"))
        assert say("--check", "--config", good).status == 0


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("[process]\nmaxconn = 2_000_000_000\n", "process.maxconn = 2000000000 needs"),
        ("[frontends.x]\nbackend = 'app'\nbind = { address = 'unix:/tmp/x', user = 'no-such-user' }\n", "no-such-user"),
        ("[frontends.x]\nbackend = 'app'\nbind = { address = 'unix:/tmp/x', group = 'no-such-group' }\n", "group"),
    ],
)
def test_check_looks_at_what_the_machine_has(say: Any, good: Path, section: str, expected: str) -> None:
    good.write_text(GOOD + section)
    said = say("--check", "--config", good)
    assert said.status == 1
    assert expected in said.err


def test_help_teaches(say: Any) -> None:
    said = say("--help")
    assert said.status == 0
    for taught in (
        "--listen",
        "--server",
        "--config",
        "--check",
        "--demo",
        "--json-schema",
        "HUP",
        "USR1",
        "[V6]:PORT",
    ):
        assert taught in said.out
    assert max(map(len, said.out.splitlines())) < 130


def test_the_version_is_ours_and_not_twisteds(say: Any) -> None:
    assert say("--version").out == f"twisted-lb {__version__}\n"


def test_a_relative_path_is_that_of_the_folder_it_was_said_in(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(good.parent)
    options = Options()
    options.parseOptions(["--config", "lb.toml"])
    monkeypatch.chdir("/")
    assert set(options.load().frontends) == {"web"}


def test_listen_and_server_make_a_configuration() -> None:
    options = Options()
    options.parseOptions(["-l", "127.0.0.1:8080", "--listen", "[::1]:8080", "-s", "127.0.0.1:1", "--server", "b:2"])
    config = options.load()
    assert [bind.address for bind in config.frontends["main"].bind] == ["127.0.0.1:8080", "[::1]:8080"]
    assert {name: one.address for name, one in config.backends["main"].servers.items()} == {
        "s1": "127.0.0.1:1",
        "s2": "b:2",
    }


# The JSON schema


@pytest.fixture
def schema(say: Any) -> Any:
    said = say("--json-schema")
    assert (said.status, said.err) == (0, "")
    return json.loads(said.out)


def test_the_schema_is_a_valid_schema(schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_schema_accepts_what_the_proxy_accepts(schema: Any, good: Path) -> None:
    jsonschema.validate(tomllib.loads(good.read_text()), schema)


def is_whole(parsed: dict[str, Any]) -> bool:
    """Whether an example is more than a part of a file."""
    frontends, backends = parsed.get("frontends", {}).values(), parsed.get("backends", {}).values()
    lacks = [one for one in frontends if "bind" not in one] + [one for one in backends if "servers" not in one]
    return bool(frontends) and bool(backends) and not lacks


def test_the_schema_accepts_the_examples_of_the_documentation(schema: Any) -> None:
    examples = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/reference/configuration.md").read_text(), re.DOTALL)
    whole = [parsed for parsed in map(tomllib.loads, examples) if is_whole(parsed)]
    assert whole, "the reference shows no whole configuration"
    for parsed in whole:
        jsonschema.validate(parsed, schema)


@pytest.mark.parametrize(
    "spoilt",
    [
        GOOD.replace("backend =", "backned ="),
        GOOD.replace('"127.0.0.1:0"', "80"),
        GOOD + "[process]\nmaxconn = 0\n",
        GOOD + '[defaults]\nbalance = { use = "random", drows = 2 }\n',
    ],
)
def test_the_schema_refuses_what_the_proxy_refuses(schema: Any, spoilt: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(spoilt), schema)


def test_the_schema_covers_the_options_of_the_plugins_that_a_file_names(
    say: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lb_schema_example.py").write_text(
        """
from twisted_lb.api import Options, Supply, hookimpl

class Mine(Options):
    very_own_option: int = 3

@hookimpl
def lb_balancers():
    return {"mine": Supply(lambda options: None, Mine)}
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "lb.toml"
    path.write_text('plugins = ["lb_schema_example"]\n' + GOOD)
    assert "very_own_option" in say("--json-schema", "--config", path).out
    assert "very_own_option" not in say("--json-schema").out


def test_the_schema_of_a_file_with_a_plugin_that_does_not_load_is_an_error(say: Any, good: Path) -> None:
    good.write_text('plugins = ["no_such_module"]\n' + GOOD)
    said = say("--json-schema", "--config", good)
    assert (said.status, said.out) == (1, "")
    assert "no_such_module" in said.err
