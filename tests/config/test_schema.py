"""The JSON schema says what the loader says, as far as a schema can."""

import tomllib
from typing import Annotated, Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from msgspec import Meta

from twisted_lb.api import Options
from twisted_lb.config.load import load_dict
from twisted_lb.config.schema import json_schema
from twisted_lb.config.units import Duration, Size
from twisted_lb.errors import ConfigError


class Source(Options, frozen=True):
    """Allows or denies by network."""

    allow: list[str] = msgspec.field(default_factory=list)
    deny: list[str] = msgspec.field(default_factory=list)


class Payload(Options, frozen=True):
    """Must be told something."""

    starts_with_hex: str
    within: Duration = Duration(0.25)
    depths: list["Payload"] = msgspec.field(default_factory=list)


class Hash(Options, frozen=True):
    """Has a constraint."""

    key: Annotated[str, Meta(pattern="^[a-z]+$")] = "source"
    room: Size = Size(2048)
    sizes: tuple[Size, ...] = ()
    waits: dict[str, Duration | None] = msgspec.field(default_factory=dict)


SUPPLIES: dict[str, dict[str, type[Options]]] = {
    "balancers": {"round_robin": Options, "least_conn": Options, "hash": Hash},
    "policies": {"source": Source},
    "validators": {"payload": Payload},
    "access_logs": {"text": Options, "json": Options},
    "observers": {"counts": Options},
}

WHOLE = """
plugins = ["example.plugin"]

[process]
maxconn = 10000
graceful_stop = "30s"

[defaults]
balance = "hash"
access_log = "none"

[defaults.timeouts]
client = "30s"
server = "1.5m"
connect = "off"

[frontends.web]
bind = ["*:8080", "[::]:8080", { address = "unix:/run/web.sock", mode = "660" }]
mode = "tcp"
backend = "app"
timeouts = { client = "20s", client_fin = "off" }
access_log = { use = "json", path = "access.log" }
observers = ["counts"]

[[frontends.web.policies]]
use = "source"
deny = ["203.0.113.0/24"]

[frontends.games]
bind = "127.0.0.1:7000-7099"
backend = "games"
access_log = { use = "none" }

[[frontends.games.validators]]
use = "payload"
starts_with_hex = "cafe"
within = "10ms"
depths = [{ starts_with_hex = "ff" }]

[frontends.one]
bind = { address = "127.0.0.1:7", maxconn = 3, accept_proxy = true }
accept_proxy = { from = ["10.0.0.0/8", "unix"], others = "direct", timeout = "5s", max_header = "1KiB" }
backend = "games"

[backends.app]
balance = "least_conn"
[backends.app.servers]
a = "127.0.0.1:9001"
b = { address = "127.0.0.1:9002", weight = 2, maxconn = 100 }

[backends.games]
balance = { use = "hash", key = "source", waits = { a = "off" }, room = "1MiB", sizes = ["1B"] }
send_proxy = { version = "v2", tlvs = { authority = "sni", crc32c = true }, proxy_v2_options = ["cert-cn"] }
retries = 0
[backends.games.servers]
all = "127.0.0.1:+1000"
a = { address = "h:1", send_proxy = false }
b = { address = "h:1", send_proxy = "v1" }
"""

SMALL: dict[str, Any] = {
    "frontends": {"web": {"bind": ["*:8080"], "backend": "app"}},
    "backends": {"app": {"servers": {"a": "127.0.0.1:9001"}}},
}


def validator(supplies: dict[str, dict[str, type[Options]]] = SUPPLIES) -> Any:
    schema = json_schema(supplies)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(msgspec.json.decode(msgspec.json.encode(schema)))


def frontend(**changes: Any) -> dict[str, Any]:
    return {**SMALL, "frontends": {"web": {"bind": ["*:8080"], "backend": "app", **changes}}}


def backend(**changes: Any) -> dict[str, Any]:
    return {**SMALL, "backends": {"app": {"servers": {"a": "127.0.0.1:9001"}, **changes}}}


@pytest.mark.parametrize("supplies", [SUPPLIES, {}], ids=["known supplies", "unknown supplies"])
def test_a_whole_right_file_fits(supplies: dict[str, dict[str, type[Options]]]) -> None:
    data = tomllib.loads(WHOLE)
    load_dict(data, "test")
    validator(supplies).validate(data)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {**SMALL, "proces": {}},
        {**SMALL, "frontends": {}},
        {**SMALL, "plugins": "a"},
        {**SMALL, "process": {"maxconn": 0}},
        {**SMALL, "process": {"graceful_stop": "off"}},
        {**SMALL, "process": {"log_level": "loud"}},
        {**SMALL, "defaults": {"timeouts": {"client": "30"}}},
        {**SMALL, "defaults": {"timeouts": {"client": 30}}},
        {**SMALL, "defaults": {"redispatch": -2}},
        frontend(bind=[]),
        frontend(bind=[80]),
        frontend(bind=[{"mode": "660"}]),
        frontend(bind=[{"address": "unix:/a", "mode": 660}]),
        frontend(mode="udp"),
        frontend(bnd="*:80"),
        frontend(timeouts={"server": "1s"}),
        frontend(policies="source"),
        {**SMALL, "frontends": {"a b": {"bind": "*:80", "backend": "app"}}},
        {**SMALL, "frontends": {"a\n": {"bind": "*:80", "backend": "app"}}},
        frontend(accept_proxy="v1"),
        frontend(accept_proxy={"versions": []}),
        frontend(accept_proxy={"from": []}),
        frontend(accept_proxy={"from_": ["::1"]}),
        frontend(accept_proxy={"from": ["::1"], "others": "accept"}),
        frontend(accept_proxy={"timeout": "off"}),
        frontend(accept_proxy={"max_header": 4096}),
        frontend(accept_proxy={"max_header": "4KB"}),
        frontend(bind=[{"address": "*:80", "accept_proxy": 1}]),
        backend(send_proxy=True),
        backend(send_proxy={}),
        backend(send_proxy={"version": "v2", "tlvs": {"alpn": 3}}),
        backend(send_proxy={"version": "v2", "proxy_v2_options": ["cert_cn"]}),
        backend(servers={}),
        backend(servers=["h"]),
        backend(servers={"a": {"address": "h", "weight": 257}}),
        backend(servers={"a": {}}),
    ],
)
def test_what_the_loader_refuses_does_not_fit(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        load_dict(data, "test")
    assert not validator().is_valid(data)


@pytest.mark.parametrize(
    "data",
    [
        frontend(policies=["sauce"]),
        frontend(policies=[{"use": "source", "dney": []}]),
        frontend(policies=[{"use": "source", "deny": "203.0.113.0/24"}]),
        frontend(policies=[{"use": "source", "path": "a"}]),
        frontend(validators=["payload"]),
        frontend(validators=[{"use": "payload"}]),
        frontend(validators=[{"any_of": ["payload"]}]),
        frontend(validators=[{"any_of": [{"use": "payload", "starts_with_hex": "ff"}], "use": "payload"}]),
        frontend(validators=[{"use": "payload", "starts_with_hex": "ff", "within": 1}]),
        frontend(validators=[{"use": "payload", "starts_with_hex": "ff", "depths": [{}]}]),
        frontend(access_log="xml"),
        frontend(access_log={"use": "none", "path": "a"}),
        frontend(access_log={"use": "json", "colour": True}),
        backend(balance={"use": "hash", "key": "UPPER"}),
        backend(balance={"use": "hash", "waits": {"a": "soon"}}),
        backend(balance={"use": "round_robin", "key": "source"}),
        backend(balance={"key": "source"}),
    ],
)
def test_options_that_no_supply_has_do_not_fit(data: dict[str, Any]) -> None:
    assert not validator().is_valid(data)


def test_defaults_are_spelt_as_the_file_would() -> None:
    defs = json_schema(SUPPLIES)["$defs"]
    assert defs["Timeouts"]["properties"]["client"]["default"] == "30s"
    assert defs["validators.payload"]["properties"]["within"]["default"] == "0.25s"
    assert defs["AcceptProxy"]["properties"]["max_header"]["default"] == "4KiB"
    assert defs["Frontend"]["properties"]["accept_proxy"]["default"] is False
    assert defs["balancers.hash"]["properties"]["room"]["default"] == "2KiB"
    assert defs["Bind"]["properties"]["backlog"]["default"] == 1024


def test_several_validators_in_one_entry_fit_with_their_options() -> None:
    one = {"use": "payload", "starts_with_hex": "ff"}
    assert validator().is_valid(frontend(validators=[one, {"any_of": [one, one]}]))
