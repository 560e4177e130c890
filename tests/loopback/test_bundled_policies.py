"""The bundled policies, seen from both ends of real connections: who gets through, and what the record says."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.interop.certificates import certificate
from tests.loopback.authorities import Asked, Authorizer, Blocklist
from tests.loopback.conftest import FreePort, Proxy, StartProxy, Wait
from tests.loopback.servers import ANSWER_S, Echo, abstract, echo, hear
from tests.loopback.web import Recorder, get, statuses
from tests.plugins.test_policy_geoip import database
from twisted_lb_plugins.policy_time_of_day import DAYS

pytestmark = pytest.mark.linux


@pytest.fixture(scope="module")
def server() -> Iterator[Echo]:
    with echo() as made:
        yield made


class Door:
    """A proxy with one frontend in TCP mode and these policies; ``ask`` connects and says something."""

    def __init__(self, proxy: StartProxy, port: int, server: Echo, *policies: Any, **frontend: Any) -> None:
        self.port = port
        self.server = server
        self.running: Proxy = proxy(self.config(*policies, **frontend))

    def config(self, *policies: Any, **frontend: Any) -> dict[str, Any]:
        web = {"bind": f"127.0.0.1:{self.port}", "backend": "app", "policies": list(policies), **frontend}
        backend = {"servers": {"s": f"127.0.0.1:{self.server.port}"}}
        return {"frontends": {"web": web}, "backends": {"app": backend}}

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), ANSWER_S, (source, 0))

    def ask(self, source: str = "127.0.0.1") -> bool:
        """Whether a client from there reaches the server."""
        heard = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError), self.connect(source) as client:
            client.sendall(b"ping")
            client.shutdown(socket.SHUT_WR)
            heard = hear(client)
        assert heard in (b"ping", b"")
        return heard == b"ping"


# Addresses


def test_a_list_in_a_file_is_read_again_at_a_reload(
    proxy: StartProxy, free_port: FreePort, server: Echo, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("127.0.0.2 # first\n")
    policy = {"use": "source", "deny_file": str(bad)}
    door = Door(proxy, free_port(), server, policy)
    assert [door.ask(f"127.0.0.{last}") for last in (1, 2, 3)] == [True, False, True]
    bad.write_text("127.0.0.3\n")
    door.running.reload(door.config(policy))
    assert [door.ask(f"127.0.0.{last}") for last in (1, 2, 3)] == [True, True, False]


def test_a_bad_line_keeps_the_old_list_in_force(
    proxy: StartProxy, free_port: FreePort, server: Echo, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("127.0.0.2\n")
    policy = {"use": "source", "deny_file": str(bad)}
    door = Door(proxy, free_port(), server, policy)
    bad.write_text("127.0.0.3\nlocalhost\n")
    door.running.process.send_signal(1)
    door.running.wait_for_stderr(f'.deny_file: plugin "policy_source": {bad}:2: "localhost" is no network')
    assert [door.ask(f"127.0.0.{last}") for last in (2, 3)] == [False, True]


def test_a_country_is_denied_and_another_leads_elsewhere(
    proxy: StartProxy, free_port: FreePort, server: Echo, tmp_path: Path
) -> None:
    places = {f"127.0.0.{last}/32": {"country": {"iso_code": code}} for last, code in ((1, "DE"), (2, "FR"), (3, "US"))}
    path = database(tmp_path / "places.mmdb", places)
    geoip = {"use": "geoip", "databases": path, "countries": ["DE", "FR"]}
    with echo(b"French: ") as french:
        door = Door(proxy, free_port(), server)
        config = door.config(geoip, routes=[{"facts": {"geo.country": "FR"}, "backend": "french"}])
        config["backends"]["french"] = {"servers": {"s": f"127.0.0.1:{french.port}"}}
        door.running.reload(config)
        with door.connect("127.0.0.2") as client:
            assert client.recv(100) == b"French: "
        assert [door.ask(f"127.0.0.{last}") for last in (1, 3, 4)] == [True, False, False]
    reasons = [record["reason"] for record in door.running.records(4)]
    assert "policy 1: country US is not among those allowed" in reasons
    assert "policy 1: country is unknown" in reasons


def test_at_the_wrong_time_nobody_gets_through(proxy: StartProxy, free_port: FreePort, server: Echo) -> None:
    today = datetime.now(UTC).weekday()
    days = [DAYS[(today + more) % 7] for more in (-1, 0, 1)]  # midnight may come before the client does
    door = Door(proxy, free_port(), server, {"use": "time_of_day", "days": days, "inside": "deny"})
    assert not door.ask()
    (record,) = door.running.records(1)
    assert (record["reason"], record["stage"]) == ("policy 1: not at this time of day", "admission")


# DNS blocklists


@pytest.fixture
def blocklist() -> Iterator[Blocklist]:
    made = Blocklist({"2.0.0.127.bl.example": "127.0.0.2"})
    yield made
    made.close()


def test_who_is_listed_does_not_get_through(
    proxy: StartProxy, free_port: FreePort, server: Echo, blocklist: Blocklist
) -> None:
    policy = {"use": "dnsbl", "zones": "bl.example", "resolvers": blocklist.resolver}
    door = Door(proxy, free_port(), server, policy)
    assert [door.ask("127.0.0.1"), door.ask("127.0.0.2"), door.ask("127.0.0.2")] == [True, False, False]
    assert blocklist.asked == ["1.0.0.127.bl.example", "2.0.0.127.bl.example"]
    assert "policy 1: listed by bl.example as 127.0.0.2" in [record["reason"] for record in door.running.records(3)]


@pytest.mark.parametrize("on_failure", ["deny", "allow"])
@pytest.mark.parametrize("how", ["dead", "silent"])
def test_a_blocklist_that_does_not_answer_holds_nobody_up_for_long(
    proxy: StartProxy, free_port: FreePort, server: Echo, blocklist: Blocklist, how: str, on_failure: str
) -> None:
    if how == "dead":
        blocklist.close()
    blocklist.silent = True
    more = {"timeout": "300ms", "on_failure": on_failure}
    policy = {"use": "dnsbl", "zones": "bl.example", "resolvers": blocklist.resolver, **more}
    door = Door(proxy, free_port(), server, policy)
    before = time.monotonic()
    assert door.ask() is (on_failure == "allow")
    assert time.monotonic() - before < 5
    (record,) = door.running.records(1)
    assert record["plugin"] == ""
    why = {"dead": "nobody answers at", "silent": "no answer"}[how]
    assert (f"bl.example cannot be asked: {why}" in record["reason"]) is (on_failure == "deny")


def asking(running: Proxy) -> int:
    """How many UDP sockets the proxy has open: one for each question."""
    inodes = {line.split()[9] for line in Path(f"/proc/{running.pid}/net/udp").read_text().splitlines()[1:]}
    found = 0
    for descriptor in Path(f"/proc/{running.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += os.readlink(descriptor).removeprefix("socket:[").removesuffix("]") in inodes
    return found


def test_who_leaves_while_the_blocklist_is_asked_is_gone(
    proxy: StartProxy, free_port: FreePort, server: Echo, blocklist: Blocklist, wait: Wait
) -> None:
    policy = {"use": "dnsbl", "zones": "bl.example", "resolvers": blocklist.resolver, "timeout": "4s"}
    door = Door(proxy, free_port(), server, policy)
    blocklist.silent = True
    with door.connect("127.0.0.3") as client:
        wait(lambda: blocklist.asked, "the question")
        assert asking(door.running) == 1
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    (record,) = door.running.records(1)
    assert (record["ending"][0], record["stage"]) == ("C", "admission")
    wait(lambda: not asking(door.running), "the end of the question")


# Unix sockets


def ask_as(name: str, user: int, group: int, groups: list[int]) -> bool:
    """Whether a process of that user and these groups reaches the server."""
    child = os.fork()  # whoever that is may not be able to run this Python anew
    if not child:
        reached = False
        try:
            os.setgroups(groups)
            os.setgid(group)
            os.setuid(user)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(ANSWER_S)
                client.connect(f"\0{name}")
                client.sendall(b"ping")
                reached = client.recv(100) == b"ping"
        finally:
            os._exit(0 if reached else 7)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 7)
    return status == 0


@pytest.mark.root
def test_processes_are_known_by_their_users_and_groups(proxy: StartProxy, free_port: FreePort, server: Echo) -> None:
    name = abstract("credentials")
    policy = {"use": "peer_credentials", "users": [12345], "groups": [777], "deny_groups": [666]}
    Door(proxy, free_port(), server, policy, bind=f"unix:@{name}")
    assert ask_as(name, 12345, 1, [])
    assert ask_as(name, 12346, 777, [])
    assert ask_as(name, 12346, 1, [2, 777])
    assert not ask_as(name, 12346, 1, [2])
    assert not ask_as(name, 12345, 1, [666])
    assert not ask_as(name, 0, 0, [])


def test_our_own_user_may_be_allowed_and_over_tcp_nobody_is(
    proxy: StartProxy, free_port: FreePort, server: Echo
) -> None:
    name, port = abstract("own"), free_port()
    policy = {"use": "peer_credentials", "users": [os.getuid()]}
    door = Door(proxy, port, server, policy, bind=[f"unix:@{name}", f"127.0.0.1:{port}"])
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ANSWER_S)
        client.connect(f"\0{name}")
        client.sendall(b"ping")
        assert client.recv(100) == b"ping"
    assert not door.ask()


# An HTTP authorizer


@pytest.fixture
def authorizer() -> Iterator[Callable[..., Authorizer]]:
    """Start services: ``authorizer(decide)``."""
    made: list[Authorizer] = []

    def start(decide: Any = lambda asked: (200, {}, b""), certificate: Path | None = None) -> Authorizer:
        made.append(Authorizer(decide, certificate))
        return made[-1]

    yield start
    for one in made:
        one.close()


def by_source(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    return (200 if json.loads(asked.body)["source"] == "127.0.0.1" else 403), {}, b""


def test_a_service_decides_about_connections(
    proxy: StartProxy, free_port: FreePort, server: Echo, authorizer: Callable[..., Authorizer]
) -> None:
    service = authorizer(by_source)
    door = Door(proxy, free_port(), server, {"use": "http_authorizer", "url": service.url})
    assert [door.ask("127.0.0.1"), door.ask("127.0.0.2"), door.ask("127.0.0.1")] == [True, False, True]
    assert {asked.method for asked in service.asked} == {"POST"}
    told = json.loads(service.asked[0].body)
    assert (told["destination.port"], told["frontend"]) == (door.port, "web")
    assert "policy 1: the authorizer says 403" in [record["reason"] for record in door.running.records(3)]


def by_cookie(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    if asked.fields["x-forwarded-uri"] == "/login":
        return 302, {"Location": "https://login.example/"}, b""
    if asked.fields.get("cookie") == "alice":
        return 200, {"X-User": "alice"}, b""
    return 401, {"WWW-Authenticate": "Basic", "Content-Type": "text/plain"}, b"who are you?"


class Site:
    """A proxy in HTTP mode with one server, and a service that decides."""

    def __init__(self, proxy: StartProxy, free_port: FreePort, service: Authorizer, **options: Any) -> None:
        self.recorder = Recorder()
        self.port = free_port()
        policy = {"use": "http_authorizer", "url": service.url, "response_headers": ["X-User"], **options}
        web = {"bind": f"127.0.0.1:{self.port}", "mode": "http", "backend": "app", "policies": [policy]}
        backend = {"servers": {"s": f"127.0.0.1:{self.recorder.port}"}}
        self.running: Proxy = proxy({"frontends": {"web": web}, "backends": {"app": backend}})

    def ask(self, *requests: bytes) -> bytes:
        """Send requests over one connection, the last of which closes it, and return all that is answered."""
        with socket.create_connection(("127.0.0.1", self.port), ANSWER_S) as client:
            client.sendall(b"".join(requests))
            return hear(client)


@pytest.fixture
def site(proxy: StartProxy, free_port: FreePort) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def start(service: Authorizer, **options: Any) -> Site:
        made.append(Site(proxy, free_port, service, **options))
        return made[-1]

    yield start
    for one in made:
        one.recorder.close()


def test_a_service_decides_about_each_request(site: Callable[..., Site], authorizer: Callable[..., Authorizer]) -> None:
    here = site(authorizer(by_cookie))
    heard = here.ask(
        get("/a", "Cookie: alice", "X-User: root"),
        get("/b", "X-User: root"),
        get("/login"),
        get("/c", "Cookie: alice", "Connection: close"),
    )
    assert statuses(heard) == [200, 401, 302, 200]
    assert b"\r\nWWW-Authenticate: Basic\r\n" in heard
    assert b"\r\n\r\nwho are you?" in heard
    assert b"\r\nLocation: https://login.example/\r\n" in heard
    assert [target for _, target, _ in here.recorder.requests] == ["/a", "/c"]
    users = [
        [value for name, value in fields if name == b"x-user"]
        for one in here.recorder.connections
        for fields in one.fields
    ]
    assert users == [[b"alice"], [b"alice"]]
    records = here.running.records(4)
    assert [record["reason"] for record in records] == [
        "",
        "policy 1: the authorizer says 401",
        "policy 1: the authorizer says 302",
        "",
    ]


@pytest.mark.parametrize(("on_failure", "status"), [("deny", 503), ("allow", 200)])
@pytest.mark.parametrize("how", ["dead", "silent", "broken"])
def test_a_service_that_fails_denies_unless_told_otherwise(
    site: Callable[..., Site], authorizer: Callable[..., Authorizer], how: str, on_failure: str, status: int
) -> None:
    service = authorizer(lambda asked: (500, {}, b""))
    if how == "dead":
        service.close()
    elif how == "silent":
        service.hold.clear()
    here = site(service, timeout="300ms", on_failure=on_failure)
    assert statuses(here.ask(get("/", "X-User: root", "Connection: close"))) == [status]
    assert b"root" not in here.recorder.raw
    (record,) = here.running.records(1)
    assert record["plugin"] == ""
    assert ("the authorizer cannot be asked: " in record["reason"]) is (status == 503)


def test_who_leaves_while_the_service_thinks_is_not_thought_about_any_more(
    site: Callable[..., Site], authorizer: Callable[..., Authorizer], wait: Wait
) -> None:
    service = authorizer()
    service.hold.clear()
    here = site(service, timeout="4s")
    with socket.create_connection(("127.0.0.1", here.port), ANSWER_S) as client:
        client.sendall(get("/"))
        wait(lambda: service.asked, "the question")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert service.left.wait(3)
    (record,) = here.running.records(1)
    assert (record["ending"][0], record["stage"]) == ("C", "policy")
    assert here.recorder.requests == []


def test_what_is_remembered_is_not_asked_again(
    site: Callable[..., Site], authorizer: Callable[..., Authorizer]
) -> None:
    service = authorizer(by_cookie)
    here = site(service, cache_ttl="1m", cache_key=["http.headers['Cookie']"])
    heard = here.ask(get("/1", "Cookie: alice"), get("/2", "Cookie: alice"), get("/3"), get("/4", "Connection: close"))
    assert statuses(heard) == [200, 200, 401, 401]
    assert [asked.fields.get("cookie") for asked in service.asked] == ["alice", None]


def test_over_tls_the_service_must_be_who_it_should_be(
    site: Callable[..., Site], authorizer: Callable[..., Authorizer], tmp_path: Path
) -> None:
    ours, other = certificate("localhost", tmp_path / "a.pem"), certificate("localhost", tmp_path / "b.pem")
    service = authorizer(by_cookie, ours)
    request = get("/", "Cookie: alice", "Connection: close")
    for trusted, status in ((ours, 200), (other, 503)):
        here = site(service, url=f"https://localhost:{service.port}/", ca_file=str(trusted))
        assert statuses(here.ask(request)) == [status]
    assert len(service.asked) == 1
