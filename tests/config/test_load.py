"""From the file to a configuration, and every message that an operator may meet on the way."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twisted_lb.config.load import load_dict, load_file
from twisted_lb.config.model import Bind, Config, Server
from twisted_lb.config.section import Section
from twisted_lb.config.timeouts import BackendTimeouts, FrontendTimeouts, Timeouts
from twisted_lb.config.units import Duration
from twisted_lb.config.uses import AccessLogUse, Use
from twisted_lb.errors import ConfigError

WHOLE = """
plugins = ["example.plugin"]
disabled_plugins = ["balance_random"]

[process]
maxconn = 10000
graceful_stop = "1m"
log_format = "json"
log_file = "log/lb.log"
log_level = "debug"

[defaults]
access_log = "json"
balance = "first"
retries = 2
redispatch = 0

[defaults.timeouts]
client = "30s"
queue = "off"

[frontends.web]
bind = ["*:8080", "[::]:8080", { address = "unix:/run/web.sock", mode = "660", user = "www", group = "www" }]
mode = "tcp"
backend = "app"
maxconn = 500
timeouts = { client = "20s", client_fin = "off" }
access_log = { use = "text", path = "/var/log/web.log", colour = true }
validators = ["tls", { use = "payload", starts_with_hex = "cafe" }]
observers = ["counts"]

[[frontends.web.policies]]
use = "source"
deny = ["203.0.113.0/24"]

[frontends."games:7"]
bind = "127.0.0.1:7000-7099"
backend = "games"

[backends.app]
balance = { use = "hash", key = "source" }
timeouts = { tunnel = "1h" }
[backends.app.servers]
a = "127.0.0.1:9001"
b = { address = "127.0.0.1:9002", weight = 2, maxconn = 100 }

[backends.games]
[backends.games.servers]
all = "127.0.0.1:+1000"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "lb.toml"
    path.write_text(text, encoding="utf-8")
    return path


def small(**changes: Any) -> dict[str, Any]:
    """A right configuration, with some top-level tables exchanged."""
    return {
        "frontends": {"web": {"bind": ["*:8080"], "backend": "app"}},
        "backends": {"app": {"servers": {"a": "127.0.0.1:9001"}}},
        **changes,
    }


def frontend(**changes: Any) -> dict[str, Any]:
    """A right configuration whose frontend has these keys changed."""
    return small(frontends={"web": {"bind": ["*:8080"], "backend": "app", **changes}})


def backend(**changes: Any) -> dict[str, Any]:
    """A right configuration whose backend has these keys changed."""
    return small(backends={"app": {"servers": {"a": "127.0.0.1:9001"}, **changes}})


def accept(**accept_proxy: Any) -> dict[str, Any]:
    """A right configuration whose frontend has this ``accept_proxy``."""
    return frontend(accept_proxy=accept_proxy)


def checked(address: str = "h:80", **check: Any) -> dict[str, Any]:
    return backend(servers={"a": address}, check=check)


def send(version: str, **more: Any) -> dict[str, Any]:
    """A right configuration whose backend has this ``send_proxy``."""
    return backend(send_proxy={"version": version, **more})


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_dict(data, "lb.toml")
    return list(caught.value.problems)


def test_a_whole_file_arrives_as_written(tmp_path: Path) -> None:
    path, folder = written(tmp_path, WHOLE), str(tmp_path)
    config = load_file(path)
    web, games = config.frontends["web"], config.frontends["games:7"]
    assert config.plugins == ["example.plugin"]
    assert config.disabled_plugins == ["balance_random"]
    assert (config.process.maxconn, config.process.graceful_stop) == (10000, Duration(60))
    assert (config.process.log_format, config.process.log_level) == ("json", "debug")
    assert (config.defaults.retries, config.defaults.redispatch) == (2, 0)
    assert config.defaults.timeouts == Timeouts(client=Duration(30), queue=None)
    assert config.defaults.balance == Use(use="first", where=f"{path}: defaults.balance", folder=folder)
    assert web.bind == [
        Bind(address="*:8080"),
        Bind(address="[::]:8080"),
        Bind(address="unix:/run/web.sock", mode="660", user="www", group="www"),
    ]
    assert web.timeouts == FrontendTimeouts(client=Duration(20), client_fin=None)
    assert web.validators == [
        Use(use="tls", where=f"{path}: frontends.web.validators[0]", folder=folder),
        Use(
            use="payload",
            options={"starts_with_hex": "cafe"},
            where=f"{path}: frontends.web.validators[1]",
            folder=folder,
        ),
    ]
    assert [policy.options for policy in web.policies if isinstance(policy, Use)] == [{"deny": ["203.0.113.0/24"]}]
    assert web.access_log == AccessLogUse(
        use="text",
        path="/var/log/web.log",
        options={"colour": True},
        where=f"{path}: frontends.web.access_log",
        folder=folder,
    )
    assert games.bind == [Bind(address="127.0.0.1:7000-7099")]
    assert config.backends["app"].servers == {
        "a": Server(address="127.0.0.1:9001"),
        "b": Server(address="127.0.0.1:9002", weight=2, maxconn=100),
    }
    assert config.backends["app"].timeouts == BackendTimeouts(tunnel=Duration(3600))


def test_relative_files_start_from_the_configuration_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = 'access_log = { use = "json", path = "../access.log" }\n'
    written(tmp_path, WHOLE.replace('access_log = "json"', data))
    monkeypatch.chdir(tmp_path)
    config = load_file("lb.toml")
    assert config.process.log_file == str(tmp_path / "log" / "lb.log")
    assert config.defaults.access_log.path == str(tmp_path / ".." / "access.log")
    assert isinstance(config.frontends["web"].access_log, AccessLogUse)
    assert config.frontends["web"].access_log.path == "/var/log/web.log"


def test_every_error_of_a_file_is_listed_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [process]
        graceful_stop = 30
        [frontends.web]
        bnd = ["*:8080"]
        backend = "ap"
        timeouts = { server = "1s" }
        [frontends.games]
        bind = ["127.0.0.1:70000", { address = "*:81", mode = "660" }]
        backend = "app"
        maxconn = "many"
        [backends.app]
        servers = { a = "127.0.0.1:9001", b = { address = "::1", weight = 257 } }
        """,
    )
    with pytest.raises(ConfigError) as caught:
        load_file(path)
    assert [problem.removeprefix(f"{path}: ") for problem in caught.value.problems] == [
        'process.graceful_stop: 30 has no unit: write "30s"',
        'frontends.web.bnd: unknown key; did you mean "bind"?',
        "frontends.web.timeouts.server: unknown key here; "
        "it belongs in [defaults.timeouts] or [backends.NAME.timeouts]",
        "frontends.games.maxconn: expected an integer, got a string",
        "backends.app.servers.b.weight: expected an integer <= 256, got 257",
        'frontends.web.backend: there is no backend "ap"; did you mean "app"?',
        'frontends.games.bind[0]: "127.0.0.1:70000": "70000" is not a port; a port is a number from 0 to 65535',
        'frontends.games.bind[1].mode: only a Unix socket with a path has one, and "*:81" is not',
        'backends.app.servers.b: "::1" has too many ":": IPv6 is written as "[ADDRESS]:PORT"',
    ]
    assert all(problem.startswith(f"{path}: ") for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[process]\nmaxconn = \n", "line 2, column 11: "),
        ("a = 1\na = 2\n", "line 2, column 6: "),
        ("a = [1,", "end of document: "),
        ("a = " + "9" * 5000, "syntax: "),
        ("a = " + "[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_syntax_error_says_where(tmp_path: Path, text: str, where: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_file(path)
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(f"{path}: {where}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file or directory$"):
        load_file(tmp_path / "absent.toml")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        load_file(tmp_path)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lb.toml"
    path.write_bytes("# für\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="is not UTF-8 text: byte 3 is 0xfc"):
        load_file(path)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (small(proces={}), 'proces: unknown key; did you mean "process"?'),
        (small(maxconn=3), "maxconn: unknown key here; it belongs in [process] or [frontends.NAME] or "),
        (small(frontends={}), "frontends: is empty; at least one entry is needed"),
        (small(frontends={"a b": {"bind": "*:80", "backend": "app"}}), 'frontends."a b": expected a name made of '),
        (small(frontends={"web": 3}), "frontends.web: expected a table, got an integer"),
        (small(process={"maxconn": 0}), "process.maxconn: expected an integer >= 1, got 0"),
        (small(process={"maxconn": None}), "process.maxconn: expected an integer, got nothing"),
        (small(process={"log_format": "yaml"}), 'process.log_format: "yaml" is not possible here; possible: "text", '),
        (small(process={"log_level": "warning"}), 'process.log_level: "warning" is not possible here; did you mean "w'),
        (small(process={"log_level": 3}), 'process.log_level: expected one of "debug", "info", '),
        (small(process={"log_file": ""}), "process.log_file: expected a string of length >= 1"),
        (small(process={"graceful_stop": "off"}), 'process.graceful_stop: "off" is not a duration'),
        (small(defaults={"retries": -1}), "defaults.retries: expected an integer >= 0, got -1"),
        (small(defaults={"redispatch": -2}), "defaults.redispatch: expected an integer >= -1, got -2"),
        (
            small(defaults={"timeouts": {"client": "0s"}}),
            "defaults.timeouts.client: a timeout cannot be 0; for no limit",
        ),
        (
            small(defaults={"timeouts": {"client": "of"}}),
            'defaults.timeouts.client: "of" is not a duration: expected a ',
        ),
        (small(plugins="a.b"), 'plugins: expected a list, got a string: write ["a.b"]'),
        (small(plugins=[3]), "plugins[0]: expected a string, got an integer"),
        (frontend(bind=[]), "frontends.web.bind: is empty; at least one entry is needed"),
        (frontend(bind=[80]), "frontends.web.bind[0]: expected a string or a table, got an integer"),
        (frontend(bind=[{"mode": "660"}]), "frontends.web.bind[0].address: is missing"),
        (frontend(bind=[{"address": "*:80", "backlog": 0}]), "frontends.web.bind[0].backlog: expected an integer >= 1"),
        (frontend(bind=[{"address": "unix:/a", "mode": 660}]), "frontends.web.bind[0].mode: expected an octal file "),
        (frontend(bind=[{"address": "unix:/a", "mode": "689"}]), "frontends.web.bind[0].mode: expected an octal file "),
        (frontend(bind=[{"address": "*:80", "user": "a"}]), "frontends.web.bind[0].user: only a Unix socket with a p"),
        (frontend(bind=[{"address": "unix:@a", "group": "a"}]), "frontends.web.bind[0].group: only a Unix socket wit"),
        (frontend(bind=[{"address": "*:80", "weight": 1}]), "frontends.web.bind[0].weight: unknown key here; it belo"),
        (frontend(mode="udp"), 'frontends.web.mode: "udp" is not possible here; possible: "tcp", "http"'),
        (frontend(backend="other"), 'frontends.web.backend: there is no backend "other"; there are "app"'),
        (frontend(servers={}), "frontends.web.servers: unknown key here; it belongs in [backends.NAME]"),
        (frontend(timeouts={"connect": "1s"}), "frontends.web.timeouts.connect: unknown key here; it belongs in "),
        (frontend(timeouts={"client": 5}), 'frontends.web.timeouts.client: 5 has no unit: write "5s"'),
        (frontend(timeouts={"client_fin": "0ms"}), "frontends.web.timeouts.client_fin: a timeout cannot be 0"),
        (frontend(policies="source"), 'frontends.web.policies: expected a list, got a string: write ["source"]'),
        (
            frontend(policies={"use": "a"}),
            "frontends.web.policies: expected a list, got a table: write [[frontends.web",
        ),
        (frontend(policies=[{"uses": "x"}]), "frontends.web.policies[0].use: is missing"),
        (frontend(policies=[{"deny": []}]), "frontends.web.policies[0].deny: expected an expression as a string"),
        (frontend(access_log={"use": "none", "path": "a"}), 'frontends.web.access_log: "none" writes no access log'),
        (backend(servers={}), "backends.app.servers: is empty; at least one entry is needed"),
        (backend(servers=["127.0.0.1:9001"]), "backends.app.servers: expected a table with one key per name, got a l"),
        (backend(servers={"a/b": "127.0.0.1:1"}), 'backends.app.servers."a/b": expected a name made of '),
        (backend(servers={"a": "127.0.0.1:0"}), 'backends.app.servers.a: "127.0.0.1:0": a server cannot be on port 0'),
        (backend(servers={"a": {"address": "h", "weight": -1}}), "backends.app.servers.a.weight: expected an integer"),
        (backend(servers={"a": {"address": "h", "maxconn": -1}}), "backends.app.servers.a.maxconn: expected an integ"),
        (backend(servers={"a": {"address": "h", "weight": True}}), "backends.app.servers.a.weight: expected an integ"),
        (backend(bind=["*:80"]), "backends.app.bind: unknown key here; it belongs in [frontends.NAME]"),
        (backend(timeouts={"client": "1s"}), "backends.app.timeouts.client: unknown key here; it belongs in [default"),
        (frontend(accept_proxy="v1"), "frontends.web.accept_proxy: expected true, false or a table, got a string"),
        (accept(form=["::1"]), 'frontends.web.accept_proxy.form: unknown key; did you mean "from"?'),
        (frontend(others="direct"), "frontends.web.others: unknown key here; it belongs in accept_proxy"),
        (accept(versions=[]), "frontends.web.accept_proxy.versions: is empty; at least one entry is needed"),
        (accept(versions=["v1", "v1"]), 'frontends.web.accept_proxy.versions: "v1" is there twice'),
        (accept(versions="v1"), 'frontends.web.accept_proxy.versions: expected a list, got a string: write ["v1"]'),
        (accept(**{"from": []}), "frontends.web.accept_proxy.from: is empty; at least one entry is needed"),
        (accept(**{"from": ["a"]}), 'frontends.web.accept_proxy.from: "a" is no network: '),
        (accept(**{"from": ["10.0.0.1/8"]}), 'frontends.web.accept_proxy.from: "10.0.0.1/8" is no network: '),
        (accept(others="direct"), 'frontends.web.accept_proxy.others: without "from" there are no others: every '),
        (accept(others="reject"), 'frontends.web.accept_proxy.others: without "from" there are no others: every '),
        (accept(others="accept"), 'frontends.web.accept_proxy.others: "accept" is not possible here; possible: "rej'),
        (accept(timeout="off"), 'frontends.web.accept_proxy.timeout: "off" is not a duration'),
        (accept(timeout="0s"), "frontends.web.accept_proxy.timeout: cannot be 0"),
        (accept(max_header=4096), 'frontends.web.accept_proxy.max_header: 4096 has no unit: write "4096B"'),
        (accept(max_header="231B"), 'frontends.web.accept_proxy.max_header: "231B" is too little: the least is "232B"'),
        (accept(max_header="65KiB"), 'frontends.web.accept_proxy.max_header: "65KiB" is too much: the most is "65'),
        (
            frontend(bind={"address": "*:80", "accept_proxy": {"others": "direct"}}),
            "frontends.web.bind[0].accept_proxy.others: without",
        ),
        (backend(send_proxy=True), "backends.app.send_proxy: expected false, a string or a table, got true"),
        (backend(send_proxy={"tlvs": {}}), "backends.app.send_proxy.version: is missing"),
        (send("v1", tlvs={"crc32c": True}), "backends.app.send_proxy.tlvs: a v1 header has no room for it: write vers"),
        (send("v1", forward_tlvs=["all"]), "backends.app.send_proxy.forward_tlvs: a v1 header has no room for it"),
        (send("v1", proxy_v2_options=["ssl"]), "backends.app.send_proxy.proxy_v2_options: a v1 header has no room "),
        (send("v2", tlvs={"alpn": 3}), "backends.app.send_proxy.tlvs.alpn: expected true or false or a string, got "),
        (send("v2", tlvs={"alpn": "{bnd}"}), 'backends.app.send_proxy.tlvs.alpn: "{bnd}": there is no field "bnd"; di'),
        (send("v2", forward_tlvs=["sll"]), 'backends.app.send_proxy.forward_tlvs[0]: "sll" is no TLV that can be here'),
        (send("v2", forward_tlvs=["all", 3]), "backends.app.send_proxy.forward_tlvs[1]: expected a string, got an in"),
        (
            send("v2", proxy_v2_options=["cert_cn"]),
            'backends.app.send_proxy.proxy_v2_options[0]: "cert_cn" is not possible here; did you mean "cert-cn"?',
        ),
        (
            backend(servers={"a": {"address": "h", "send_proxy": {"version": "v2", "tlvs": {"x": "y"}}}}),
            'backends.app.servers.a.send_proxy.tlvs.x: "x" is no TLV that can be here',
        ),
        (backend(check="yes"), "backends.app.check: expected true, false or a table, got a string"),
        (checked(interval="0s"), "backends.app.check.interval: cannot be 0"),
        (checked(interval=2), 'backends.app.check.interval: 2 has no unit: write "2s"'),
        (checked(timeout="0s"), "backends.app.check.timeout: cannot be 0"),
        (checked(timeout="off"), 'backends.app.check.timeout: "off" is not a duration'),
        (checked(rise=0), "backends.app.check.rise: expected an integer >= 1, got 0"),
        (checked(fal=1), 'backends.app.check.fal: unknown key; did you mean "fall"?'),
        (checked(port=65536), "backends.app.check.port: expected an integer <= 65535, got 65536"),
        (checked("unix:/a", port=80), 'backends.app.servers.a: check.port = 80 does not fit "unix:/a"'),
        (checked("h"), 'backends.app.servers.a: the port of "h" depends on the client, and a check has none: write'),
        (checked("h:+10"), 'backends.app.servers.a: the port of "h:+10" depends on the client, and a check has none'),
        (
            backend(servers={"a": {"address": "h", "check": True}}),
            'backends.app.servers.a: the port of "h" depends on the client, and a check has none',
        ),
        (
            backend(servers={"a": "h:80"}, check=True, check_send_proxy=True),
            "backends.app.check_send_proxy: there is no send_proxy that would say which header",
        ),
        (
            backend(servers={"a": "h:80"}, send_proxy="v1", check_send_proxy=True),
            "backends.app.check_send_proxy: there is no check that could begin with a header",
        ),
        (
            backend(servers={"a": {"address": "h:80", "check_send_proxy": True}}, check=True),
            "backends.app.servers.a.check_send_proxy: there is no send_proxy that would say which header",
        ),
        (backend(balance=["a"]), "backends.app.balance: expected a string or a table, got a list"),
    ],
)
def test_each_error_names_its_key_and_what_is_wrong(data: dict[str, Any], problem: str) -> None:
    found = problems(data)
    assert len(found) == 1
    assert found[0].startswith(f"lb.toml: {problem}")


def test_what_is_missing_altogether_is_listed() -> None:
    assert problems({}) == ["lb.toml: frontends: is missing", "lb.toml: backends: is missing"]


def test_the_source_is_named_as_given() -> None:
    with pytest.raises(ConfigError, match=r"^command line: backends: is missing$"):
        load_dict({"frontends": frontend()["frontends"]}, "command line")


def test_anything_but_a_table_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^lb\.toml: expected a table, got a list$"):
        load_dict([], "lb.toml")  # type: ignore[arg-type]


def test_the_file_can_be_any_path_like(tmp_path: Path) -> None:
    path = os.fspath(written(tmp_path, WHOLE))
    assert load_file(path).frontends.keys() == load_file(Path(path)).frontends.keys()


keys = st.sampled_from(
    sorted(
        {name for table in Section.__subclasses__() for name in table.__struct_encode_fields__} | {"a", "b.c", "use"}
    )
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["5s", "*:80"])
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=3), inner, max_size=4),
    max_leaves=30,
)
frontends = st.dictionaries(st.sampled_from("ab"), st.dictionaries(keys, anything, max_size=4) | anything, max_size=2)
almost = st.fixed_dictionaries(
    {"frontends": frontends, "backends": frontends}, optional={"process": anything, "defaults": anything}
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(keys | st.text(), anything) | almost)
def test_any_tables_are_a_config_or_a_config_error(data: dict[str, Any]) -> None:
    with suppress(ConfigError):
        assert isinstance(load_dict(data, "fuzz"), Config)


@pytest.mark.parametrize(
    "data",
    [
        checked("h", port=80),
        checked("h:+10", port=80),
        backend(servers={"a": {"address": "h", "check": False}, "b": "unix:/b"}, check=True),
        backend(servers={"a": "h:80", "b": "h"}, send_proxy="v2"),
    ],
)
def test_a_port_that_depends_on_the_client_suits_what_is_not_checked_or_is_checked_elsewhere(
    data: dict[str, Any],
) -> None:
    assert load_dict(data, "lb.toml").backends["app"]
