"""What ``explain`` says of a client is what a running proxy does with it: who decides, and where it goes."""

import contextlib
import json
import os
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback.authorities import Asked, Authorizer, Blocklist
from tests.loopback.servers import ANSWER_S, Server, hear
from tests.loopback.web import get, say
from tests.plugins.test_policy_geoip import database
from tests.wire.hellos import python_hello
from twisted_lb.command import main
from twisted_lb_plugins.policy_time_of_day import DAYS

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Proxy, StartProxy

pytestmark = pytest.mark.linux

HELLO, SSH, PAGE = python_hello("www.example.org", ("h2",)), b"SSH-2.0-client\r\n", get("/")
ONE, TWO, THREE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
SEVERAL = [{"any_of": [{"use": "tls", "min_version": "1.2"}, "ssh", {"use": "http1", "max_head_bytes": 300}]}]


def serve(client: socket.socket) -> None:
    """A page to who speaks HTTP, an alert to who speaks TLS, a line to all others, and the end."""
    client.settimeout(ANSWER_S)
    said = client.recv(65536)
    if not said:
        return
    others = bytes.fromhex("15030300020228") if said.startswith(b"\x16") else b"SSH-2.0-server\r\n"
    client.sendall(say(b"ok", b"Connection: close") if b" HTTP/1.1\r\n" in said else others)


def around_today() -> list[str]:
    today = datetime.now(UTC).weekday()
    return [DAYS[(today + more) % 7] for more in (-1, 0, 1)]


def decide(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    return (403 if asked.fields.get("x-forwarded-uri") == "/no" else 200), {}, b""


@dataclass(frozen=True)
class Case:
    """A client of a frontend. ``said``: its arguments for ``explain`` besides. ``reason``: how its record begins.

    ``counted``: only the running process knows; ``explain`` says that it was not asked, and goes on.
    """

    frontend: str
    source: str = ONE
    data: bytes = b"hello"
    backend: str | None = "app"
    reason: str = ""
    said: tuple[str, ...] = field(default=())
    counted: bool = False

    def __str__(self) -> str:
        return f"{self.frontend}-{self.source}-{self.reason or self.backend}"


def frontends(folder: Path, service: Authorizer, blocklist: Blocklist) -> dict[str, dict[str, Any]]:
    """Return configurations as operators write them, each bundled policy among them."""
    places = {f"127.0.0.{n}/32": {"country": {"iso_code": code}} for n, code in ((1, "DE"), (2, "FR"))}
    geo = database(folder / "places.mmdb", places)
    (folder / "denied.txt").write_text("127.0.0.3 # he knows why\n")
    (folder / "friends.txt").write_text("127.0.0.2\n")
    in_http = {"mode": "http", "timeouts": {"tarpit": "100ms", "http_keep_alive": "50ms"}}
    return {
        "source": {"policies": [{"use": "source", "allow": ["127.0.0.0/8"], "deny_file": str(folder / "denied.txt")}]},
        "lists": {
            "validators": ["tls"],
            "policies": [
                {"allow": "source in @friends and tls.sni == 'www.example.org'"},
                {"reject": "source in @friends"},
                {"deny": "'h2' in tls.alpn and not source == '127.0.0.1'"},
            ],
        },
        "hours": {"policies": [{"use": "time_of_day", "days": around_today(), "inside": "deny"}]},
        "open": {"policies": [{"use": "time_of_day", "days": around_today()}, {"drop": "source == '127.0.0.3'"}]},
        "geo": {
            "policies": [{"use": "geoip", "databases": geo}, {"deny": "not known(geo.country)"}],
            "routes": [{"facts": {"geo.country": "FR"}, "backend": "other"}],
        },
        "dnsbl": {
            "policies": [{"use": "dnsbl", "zones": "bl.example", "resolvers": blocklist.resolver, "listed": "allow"},
                         {"deny": "dnsbl.code == '127.0.0.2'"}],
        },
        "asking": {**in_http, "policies": [{"use": "http_authorizer", "url": service.url}]},
        "several": {
            "validators": SEVERAL,
            "timeouts": {"inspect": "200ms"},
            "policies": [{"deny": "protocol == 'ssh' and source == '127.0.0.2'"}, {"use": "bandwidth", "out": "1MiB"}],
            "routes": [{"facts": {"protocol": "ssh"}, "backend": "other"}],
        },
        "greeting": {
            "validators": [{"any_of": ["tls", "http1", "smtp"]}],
            "timeouts": {"inspect": "200ms"},
            "routes": [{"facts": {"protocol": "smtp"}, "backend": "other"}],
        },
        "guarded": {"validators": [{"use": "redis_commands", "deny": ["FLUSHALL"]}, "redis"],
                    "timeouts": {"inspect": "200ms"}},
        "patient": {
            "validators": [{"use": "payload", "starts_with": "GAME", "protocol": "game"}],
            "inspect_expired": "pass",
            "timeouts": {"inspect": "200ms"},
            "routes": [{"facts": {"protocol": "game"}, "backend": "other"}],
        },
        "mail": {
            "validators": ["smtp"],
            "policies": [{"deny": "not protocol == 'smtp'"}, {"deny": "source == '127.0.0.3'"}],
            "routes": [{"facts": {"protocol": "smtp"}, "backend": "other"}],
        },
        "limited": {
            "policies": [
                {"deny": "source == '127.0.0.3'"},
                {"limit": "connections per source > 1000 in 10s"},
                {"track": "seen"},
                {"deny": "tables.seen.connections > 1000"},
                {"use": "source", "deny": ["127.0.0.2"]},
            ],
        },
        "site": {
            **in_http,
            "policies": [
                {"reject": "source == '127.0.0.3'"},
                {"use": "redirect", "host": "a.example"},
                {"use": "answer", "path": ["/robots.txt"], "body": "no"},
                {"use": "source", "deny": ["127.0.0.2"]},
                {"tarpit": "http.path.startswith('/wait')"},
                {"allow": "http.path == '/in'"},
                {"deny": "http.path in ['/in', '/out']", "status": 404},
            ],
            "routes": [{"path": "/other", "backend": "other"}, {"path": "/gone", "refuse": 410}],
        },
        "judged": {**in_http, "validators": [{"use": "payload", "starts_with": "GET"}]},
        "order": {
            "validators": ["tls"],
            "policies": [
                {"deny": "tls.sni == 'www.example.org'"},
                {"drop": "source == '127.0.0.2'"},
                {"allow": "not known(tls.sni)"},
                {"reject": "source == '127.0.0.3'"},
            ],
        },
        "shut": {"policies": [{"allow": "source == '127.0.0.2'"}, {"deny": "true"}]},
    }  # fmt: skip


CASES = [
    Case("source"),
    Case("source", THREE, backend=None, reason="policy 1"),
    Case("lists", ONE, HELLO),
    Case("lists", TWO, HELLO),
    Case("lists", TWO, python_hello("x.example"), None, "policy 2"),
    Case("lists", THREE, HELLO, None, "policy 3"),
    Case("lists", THREE, PAGE, None, "validator tls"),
    Case("hours", backend=None, reason="policy 1"),
    Case("open"),
    Case("open", THREE, backend=None, reason="policy 2"),
    Case("geo"),
    Case("geo", TWO, backend="other"),
    Case("geo", THREE, backend=None, reason="policy 2"),
    Case("dnsbl"),
    Case("dnsbl", TWO, backend=None, reason="policy 2"),
    Case("asking", data=PAGE),
    Case("asking", data=get("/no"), backend=None, reason="policy 1"),
    Case("several", ONE, HELLO),
    Case("several", ONE, SSH, "other"),
    Case("several", TWO, SSH, None, "policy 1"),
    Case("several", TWO, PAGE),
    Case("several", ONE, b"\x00\x01\x02\x03", None, "validator tls"),
    Case("several", ONE, SSH[:5], None, "too little said"),
    Case("several", ONE, get("/" + "x" * 400), None, "validator tls"),
    Case("greeting", data=PAGE),
    Case("greeting", data=b"", backend="other"),
    Case("guarded", data=b"", backend=None, reason="too little said"),
    Case("patient", data=b""),
    Case("guarded", data=b"PING\r\n"),
    Case("guarded", data=b"*1\r\n$8\r\nFLUSHALL\r\n", backend=None, reason="validator redis_commands"),
    Case("patient", data=b"GAME on", backend="other"),
    Case("patient", data=b"GA"),
    Case("patient", data=b"GOLF", backend=None, reason="validator payload"),
    Case("mail", data=b"", backend="other"),
    Case("mail", THREE, data=b"", backend=None, reason="policy 2"),
    Case("limited", counted=True),
    Case("limited", THREE, backend=None, reason="policy 1"),
    Case("limited", TWO, backend=None, reason="policy 5", counted=True),
    Case("site", data=PAGE),
    Case("site", THREE, PAGE, None, "policy 1"),
    Case("site", ONE, get("/", host="other.example"), None, "policy 2"),
    Case("site", ONE, get("/robots.txt"), None, "policy 3"),
    Case("site", TWO, get("/robots.txt"), None, "policy 3"),
    Case("site", TWO, PAGE, None, "policy 4"),
    Case("site", ONE, get("/wait"), None, "policy 5"),
    Case("site", ONE, get("/in")),
    Case("site", ONE, get("/out"), None, "policy 7"),
    Case("site", ONE, get("//out"), None, "policy 7"),
    Case("site", ONE, get("/other"), "other"),
    Case("site", ONE, get("/gone"), None, "refused by a route"),
    Case("site", ONE, get("/x", "Bad Name: x"), None, "http1-"),
    Case("judged", data=PAGE),
    Case("judged", data=get("/", method="HEAD"), backend=None, reason="validator payload"),
    Case("order", ONE, HELLO, None, "policy 1"),
    Case("order", TWO, HELLO, None, "policy 2"),
    Case("order", THREE, HELLO, None, "policy 1"),
    Case("order", THREE, python_hello(None)),
    Case("shut", backend=None, reason="policy 2"),
    Case("shut", TWO),
]
ASKING = ("dnsbl", "asking")


@dataclass
class World:
    """A proxy with all frontends. ``met``: how many connections it has recorded."""

    proxy: "Proxy"
    ports: dict[str, int]

    def meet(self, case: Case) -> dict[str, Any]:
        """Be that client, and return its record."""
        before = len(self.proxy.records(0))
        address = ("127.0.0.1", self.ports[case.frontend])
        with (
            contextlib.suppress(ConnectionResetError, BrokenPipeError),
            socket.create_connection(address, ANSWER_S, (case.source, 0)) as client,
        ):
            client.settimeout(0.3 if case.frontend in ("open", "order") or not case.data else ANSWER_S)
            client.sendall(case.data)
            with contextlib.suppress(TimeoutError):
                hear(client)
        return self.proxy.records(before + 1)[before]

    def explain(self, case: Case, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
        """Ask about that client; those who ask other machines in a process of their own, as they need the reactor."""
        file = str(self.proxy.folder / "lb.toml")
        arguments = ["explain", "--config", file, "--frontend", case.frontend, "--source", case.source, "--json"]
        arguments += ["--hex", case.data.hex()] if case.data else ["--silent"]
        if case.frontend not in ASKING:
            return main([*arguments, *case.said]), json.loads(capsys.readouterr().out)
        command = os.path.join(sysconfig.get_path("scripts"), "twisted-lb")
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def world(
    module_proxy: "StartProxy", free_port: "FreePort", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("explained")
    service, blocklist = Authorizer(decide), Blocklist({"2.0.0.127.bl.example": "127.0.0.2"})
    servers = [Server(serve), Server(serve)]
    settings = frontends(folder, service, blocklist)
    ports = {name: free_port() for name in settings}
    config = {
        "lists": {"friends": str(folder / "friends.txt")},
        "tables": {"seen": {"key": "source"}},
        "frontends": {
            name: {"bind": f"127.0.0.1:{ports[name]}", "backend": "app", **one} for name, one in settings.items()
        },
        "backends": {
            name: {"servers": {"s": f"127.0.0.1:{server.port}"}}
            for name, server in zip(("app", "other"), servers, strict=True)
        },
    }
    yield World(module_proxy(config), ports)
    service.close()
    blocklist.close()
    for server in servers:
        server.close()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_said_of_a_client_is_what_becomes_of_it(
    world: World, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    record = world.meet(case)
    assert record["reason"].startswith(case.reason) if case.reason else record["reason"] == ""
    assert (record["server"] != "<NOSRV>") is (case.backend is not None)

    status, told = world.explain(case, capsys)
    assert (status, told["allowed"], told["backend"]) == (
        int(case.backend is None),
        case.backend is not None,
        case.backend,
    )
    if case.backend is not None:
        assert record["backend"] == case.backend
    if case.reason.startswith("policy"):
        assert told["decided_by"] == case.reason
    elif case.backend is None:
        by = {"refused by a route": "routes", "http1-": "request"}.get(case.reason, "validator 1")
        by = by if case.data else "validators"
        assert told["decided_by"] == by
    not_asked = [step for step in told["steps"] if "only the running process" in step["outcome"]]
    assert bool(not_asked) is case.counted


def test_each_bundled_policy_is_among_them(tmp_path: Path) -> None:
    from twisted_lb.plugin_host import load_plugins

    service, blocklist = Authorizer(decide), Blocklist({})
    used = {
        entry.get("use")
        for one in frontends(tmp_path, service, blocklist).values()
        for entry in one.get("policies", ())
    }
    service.close()
    blocklist.close()
    assert set(load_plugins().supplies("policies")) - {"peer_credentials"} <= used  # its clients come by Unix sockets
