"""Rules over real sockets: who is let through, what those get who are not, and that ``explain`` says the same."""

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback.servers import ANSWER_S, Server, hear
from tests.loopback.web import get, say, statuses
from tests.wire.hellos import python_hello
from twisted_lb.command import main

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Proxy, StartProxy

pytestmark = pytest.mark.linux

ALERT = bytes.fromhex("15030300020228")


def answers(client: socket.socket) -> None:
    """An alert to who speaks TLS, a page to all others, and the end."""
    client.settimeout(ANSWER_S)
    said = client.recv(65536)
    client.sendall(ALERT if said.startswith(b"\x16") else say(b"ok", b"Connection: close"))


TLS_RULES: list[dict[str, Any]] = [
    {"deny": "source in @blocklist"},
    {"allow": "tls.sni == 'admin.example.org' and source in ['127.0.0.3', '10.0.0.0/8']"},
    {"use": "source", "deny": ["127.0.0.4"]},
    {"reject": "tls.sni in ['admin.example.org', '*.admin.example.org'] or not known(tls.sni)"},
    {"drop": "'imap' in tls.alpn"},
    {"allow": "tls.sni.endswith('.example.org')"},
    {"deny": "true"},
]
HTTP_RULES: list[dict[str, Any]] = [
    {"reject": "source == '127.0.0.2'"},
    {"allow": "http.headers['x-token'] == 'secret' and http.path.startswith('/admin')"},
    {"redirect": "http.host == 'old.example'", "location": "https://new.example/", "status": 301},
    {"deny": "http.path.startswith('/admin')", "status": 404},
    {"answer": "http.method == 'OPTIONS'", "status": 204, "headers": {"Allow": "GET"}},
    {"deny": "http.headers['user-agent'].lower().matches('.*evil(bot)?.*')", "headers": {"X-Why": "bot"}},
    {"drop": "http.query.startswith('drop')"},
    {"tarpit": "http.query == 'slow'"},
]


@dataclass(frozen=True)
class Case:
    """A client and what becomes of it. ``gets``: how it ends for it, or the status of the answer."""

    source: str
    says: bytes
    policy: int | None
    gets: str | int

    def __str__(self) -> str:
        return f"{self.source}-{self.policy}-{self.gets}"


def hello(name: str | None, *protocols: str) -> bytes:
    return python_hello(name, protocols)


TLS_CASES = [
    Case("127.0.0.1", hello("www.example.org", "h2"), None, "served"),
    Case("127.0.0.1", hello("WWW.EXAMPLE.ORG"), None, "served"),
    Case("127.0.0.1", hello("www.example.com"), 7, "closed"),
    Case("127.0.0.1", hello("admin.example.org"), 4, "reset"),
    Case("127.0.0.1", hello("x.admin.example.org"), 4, "reset"),
    Case("127.0.0.1", hello(None), 4, "reset"),
    Case("127.0.0.1", hello("www.example.org", "h2", "imap"), 5, "silent"),
    Case("127.0.0.3", hello("admin.example.org"), None, "served"),
    Case("127.0.0.3", hello("other.example"), 7, "closed"),
    Case("127.0.0.4", hello("www.example.org"), 3, "closed"),
    Case("127.0.0.9", hello("www.example.org"), 1, "closed"),
]
HTTP_CASES = [
    Case("127.0.0.1", get("/"), None, 200),
    Case("127.0.0.1", get("/admin"), 4, 404),
    Case("127.0.0.1", get("/admin", "X-Token: secret"), None, 200),
    Case("127.0.0.1", get("/admin", "X-Token: wrong", "x-token: secret"), None, 200),
    Case("127.0.0.1", get("//admin"), 4, 400),
    Case("127.0.0.1", get("/%61dmin"), 4, 404),
    Case("127.0.0.1", get("/", host="OLD.example.:80"), 3, 301),
    Case("127.0.0.1", get("*", method="OPTIONS"), 5, 204),
    Case("127.0.0.1", get("/", "User-Agent: EvilBot/1"), 6, 403),
    Case("127.0.0.1", get("/?drop"), 7, "silent"),
    Case("127.0.0.1", get("/?slow"), 8, 500),
    Case("127.0.0.2", get("/"), 1, "reset"),
]


@dataclass
class World:
    """A proxy with the frontends ``tls`` and ``web`` that have the rules above. ``blocklist``: that file's path."""

    proxy: "Proxy"
    ports: dict[str, int]
    blocklist: Any

    def meet(self, frontend: str, case: Case) -> tuple[str | int, bytes]:
        """Be that client; how it ends, and all that is heard."""
        heard = b""
        try:
            with socket.create_connection(("127.0.0.1", self.ports[frontend]), ANSWER_S, (case.source, 0)) as client:
                client.settimeout(0.5 if case.gets == "silent" else ANSWER_S)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.sendall(case.says)
                while more := client.recv(65536):
                    heard += more
                    if frontend == "web" and statuses(heard):
                        return statuses(heard)[0], heard
                    if heard == ALERT:
                        return "served", heard
        except ConnectionResetError:
            return "reset", heard
        except TimeoutError:
            return "silent", heard
        return "closed", heard


@pytest.fixture(scope="module")
def world(
    module_proxy: "StartProxy", free_port: "FreePort", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    ports = {"tls": free_port(), "web": free_port()}
    blocklist = tmp_path_factory.mktemp("lists") / "blocklist.txt"
    blocklist.write_text("# nobody knows why\n127.0.0.8/29\n")
    server = Server(answers)
    config = {
        "lists": {"blocklist": str(blocklist)},
        "frontends": {
            "tls": {
                "bind": f"127.0.0.1:{ports['tls']}",
                "backend": "app",
                "validators": ["tls"],
                "policies": TLS_RULES,
            },
            "web": {
                "bind": f"127.0.0.1:{ports['web']}",
                "backend": "app",
                "mode": "http",
                "policies": HTTP_RULES,
                "timeouts": {"tarpit": "200ms"},
            },
        },
        "backends": {"app": {"servers": {"s": f"127.0.0.1:{server.port}"}}},
    }
    yield World(module_proxy(config), ports, blocklist)
    server.close()


def record_of(world: World, before: int) -> dict[str, Any]:
    """Return the record of the one connection, or request, that came after the first ``before``."""
    return world.proxy.records(before + 1)[before]


@pytest.mark.parametrize(
    ("frontend", "case"),
    [*(("tls", case) for case in TLS_CASES), *(("web", case) for case in HTTP_CASES)],
    ids=str,
)
def test_the_first_rule_that_holds_decides_and_explain_says_so(
    world: World, frontend: str, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(world.proxy.records(0))
    got, _ = world.meet(frontend, case)
    assert got == case.gets
    record = record_of(world, before)
    number = record["reason"].partition(":")[0]
    assert number == ("" if case.policy is None else f"policy {case.policy}")

    file = str(world.proxy.folder / "lb.toml")
    status = main(["explain", "--config", file, "--frontend", frontend, "--source", case.source, "--json",
                   "--hex", case.says.hex()])  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert status == (0 if case.policy is None else 1)
    assert told["allowed"] is (case.policy is None)
    assert told["backend"] == ("app" if case.policy is None else None)
    if case.policy is not None:
        assert told["decided_by"] == number
        words = {"reset": "reset", "silent": "nothing", "closed": "closed"}
        assert (f" {case.gets}" if isinstance(case.gets, int) else words[case.gets]) in told["result"]


def test_an_answer_has_what_the_rule_says(world: World) -> None:
    redirected = world.meet("web", Case("127.0.0.1", get("/", host="old.example"), 3, 301))[1]
    assert b"\r\nLocation: https://new.example/\r\n" in redirected
    assert b"\r\nAllow: GET\r\n" in world.meet("web", Case("127.0.0.1", get("*", method="OPTIONS"), 5, 204))[1]
    refused = world.meet("web", Case("127.0.0.1", get("/", "User-Agent: evil"), 6, 403))[1]
    assert b"\r\nX-Why: bot\r\n" in refused


def test_a_rule_about_the_source_does_not_wait_for_a_byte(world: World) -> None:
    address = ("127.0.0.1", world.ports["tls"])
    with socket.create_connection(address, ANSWER_S, ("127.0.0.10", 0)) as client:
        assert hear(client) == b""


def test_each_request_of_a_connection_is_judged_by_itself(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.ports["web"]), ANSWER_S) as client:
        for target, status in (("/admin", 404), ("/?x", 200)):
            client.sendall(get(target))
            heard = b""
            while not heard.endswith((b"</html>\n", b"ok")):
                heard += client.recv(65536)
            assert statuses(heard) == [status]


def test_a_list_that_changes_is_in_force_without_a_reload(world: World, wait: Any) -> None:
    case = Case("127.0.0.5", hello("www.example.org"), None, "served")
    assert world.meet("tls", case)[0] == "served"
    old = world.blocklist.read_text()
    new = world.blocklist.with_suffix(".new")
    new.write_text(old + "127.0.0.5\n")
    new.rename(world.blocklist)
    world.proxy.wait_for_stderr("list blocklist: read anew, 2 entries")
    assert world.meet("tls", case)[0] == "closed"

    world.blocklist.write_text("127.0.0.5/8\n")
    world.proxy.wait_for_stderr("list blocklist: the version before stays in force")
    assert world.meet("tls", case)[0] == "closed"
    assert f"{world.blocklist}:1: " in world.proxy.stderr()

    target = world.blocklist.with_suffix(".other")
    target.write_text(old)
    link = world.blocklist.with_suffix(".link")
    link.symlink_to(target)
    link.rename(world.blocklist)
    world.proxy.wait_for_stderr("list blocklist: read anew, 1 entries")
    assert world.meet("tls", case)[0] == "served"
