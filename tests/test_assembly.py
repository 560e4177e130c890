"""From a configuration to what serves it: every problem at once, and what a reload keeps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor

from tests.assembling import build, problems
from twisted_lb.plugin_host import PluginHost
from twisted_lb.process import Process


@pytest.fixture
def process() -> Process:
    return Process(MemoryReactor(), Clock(), None)


def test_every_problem_is_told_at_once(process: Process) -> None:
    said = problems(
        process,
        frontends={
            "web": {
                "bind": "127.0.0.1:0",
                "backend": "app",
                "policies": [{"use": "sauce"}],
                "validators": [{"use": "payload", "starts_with_hax": "00"}],
                "access_log": {"use": "json", "path": "/no/such/folder/log"},
            }
        },
        backends={"app": {"servers": {"a": "no-such-host.invalid:80"}, "balance": "round_robbin"}},
    )
    assert "backends.app.servers.a: " in said
    assert "no-such-host.invalid" in said
    assert 'did you mean "round_robin"?' in said
    assert 'did you mean "source"?' in said
    assert "starts_with_hax" in said
    assert "/no/such/folder/log" in said


def test_an_unknown_plugin_lists_the_known_ones(process: Process) -> None:
    said = problems(process, backends={"app": {"servers": {"a": "127.0.0.1:1"}, "balance": "nothing-like-it"}})
    for name in ("first", "least_conn", "random", "round_robin"):
        assert f'"{name}"' in said


def test_what_is_for_http_alone_is_an_error_in_tcp_mode(process: Process) -> None:
    """Seen: a redirect that was valid, and denied every connection."""
    frontend = {"bind": "127.0.0.1:0", "backend": "app", "policies": [{"use": "redirect", "host": "a.example"}]}
    told = problems(process, frontends={"web": frontend})
    assert told.endswith('frontends.web.policies[0]: "redirect" is only for mode = "http"')
    build(process, frontends={"web": {**frontend, "mode": "http"}})


def test_an_entry_of_several_validators_becomes_one(process: Process) -> None:
    several = {"any_of": ["http2", {"use": "payload", "starts_with_hex": "ff"}, "smtp"]}
    frontend = {"bind": "127.0.0.1:0", "backend": "app", "validators": ["http1", several]}
    made = build(process, frontends={"web": frontend}).frontends["web"]
    assert [type(entry).__name__ for entry in made.validators] == ["Built", "AnyOf"]
    assert (made.waits, made.watchers, made.lets_undecided) == (True, None, False)
    frontend |= {"validators": ["http1"], "inspect_expired": "pass"}
    assert build(process, frontends={"web": frontend}).frontends["web"].lets_undecided


def test_what_is_wrong_with_one_of_several_is_told_with_its_place(process: Process) -> None:
    wrong = {"any_of": ["http1", {"use": "payload", "starts_with_hax": "ff"}]}
    frontend = {"bind": "127.0.0.1:0", "backend": "app", "validators": [wrong]}
    assert "frontends.web.validators[0].any_of[1].starts_with_hax" in problems(process, frontends={"web": frontend})
    frontend["validators"] = [{"any_of": ["smtp", "imap"]}]
    said = problems(process, frontends={"web": frontend})
    assert 'frontends.web.validators[0].any_of: in "smtp" and "imap" the server speaks first' in said


def test_a_validator_that_stays_on_the_stream_has_no_place_in_http_mode(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "lb_stays.py").write_text(STAYS)
    frontend = {"bind": "127.0.0.1:0", "backend": "app", "mode": "http", "validators": ["stays"]}
    said = problems(process, frontends={"web": frontend}, plugins=["lb_stays"])
    assert 'frontends.web.validators[0]: "stays" stays on the stream: only in mode = "tcp"' in said


STAYS = """
from zope.interface import implementer
from twisted_lb.api import *

@implementer(IStreamValidator)
class Stays:
    server_first = False

    def validate(self, data, facts):
        return ALLOW

    def watch(self, facts):
        return None

@hookimpl
def lb_validators():
    return {"stays": Supply(lambda options: Stays())}
"""


def test_limits_stay_and_get_their_new_maximum_at_commit(process: Process) -> None:
    def frontends(maxconn: int, bind_maxconn: int) -> Any:
        bind = {"address": "127.0.0.1:0", "maxconn": bind_maxconn}
        return {"web": {"bind": bind, "backend": "app", "maxconn": maxconn}}

    before = build(process, frontends=frontends(10, 5), process={"maxconn": 100})
    before.commit()
    limit, bind_limit = before.frontends["web"].limit, before.binds[0][2]
    assert (process.limit.maximum, limit.maximum, bind_limit.maximum) == (100, 10, 5)
    after = build(process, before, frontends=frontends(20, 15), process={"maxconn": 200})
    assert (process.limit.maximum, limit.maximum, bind_limit.maximum) == (100, 10, 5)
    after.commit()
    assert (process.limit.maximum, limit.maximum, bind_limit.maximum) == (200, 20, 15)
    assert after.frontends["web"].limit is limit
    assert after.binds[0][2] is bind_limit


def test_frontends_that_share_an_access_log_share_its_file(process: Process, tmp_path: Path) -> None:
    log = {"use": "json", "path": str(tmp_path / "log")}
    one = {"backend": "app", "access_log": log}
    frontends = {"web": {"bind": "127.0.0.1:0", **one}, "more": {"bind": "127.0.0.2:0", **one}}
    before = build(process, frontends=frontends)
    assert list(before.log_files) == [str(tmp_path / "log")]
    after = build(process, before, frontends=frontends)
    assert after.log_files == before.log_files
    before.close_logs(besides=after)
    after.reopen_logs()
    after.close_logs()


def test_a_frontend_without_an_access_log_has_none(process: Process) -> None:
    frontends = {"web": {"bind": "127.0.0.1:0", "backend": "app", "access_log": "none"}}
    assert not build(process, frontends=frontends).frontends["web"].recorded


def test_first_checks_are_spread_over_the_interval_across_all_backends(process: Process) -> None:
    server = {"servers": {"a": "127.0.0.1:9001"}, "check": {"interval": "4s"}}
    made = build(process, backends={"app": {**server}, "more": {**server}})
    made.start_checks()
    clock: Any = process.clock
    assert [call.getTime() for call in clock.getDelayedCalls()] == [0, 2]
    made.stop_checks()
    assert clock.getDelayedCalls() == []


def test_the_observers_of_all_frontends_of_a_backend_hear_of_its_servers_each_once(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"backend": "app", "observers": ["trace"]}
    frontends = {"web": {"bind": "127.0.0.1:0", **one}, "more": {"bind": "127.0.0.2:0", **one}}
    made = build(process, frontends=frontends)
    assert {id(built.object) for built in made.health["app"].observers} == {
        id(frontend.observers[0].object) for frontend in made.frontends.values()
    }
    shared = made.frontends["web"].observers[0]
    monkeypatch.setattr(PluginHost, "build", _always(shared, PluginHost.build))
    assert build(process, frontends=frontends).health["app"].observers == (shared,)


def _always(observer: Any, build: Callable[..., Any]) -> Callable[..., Any]:
    def one_observer(host: PluginHost, kind: Any, use: Any, where: str = "") -> Any:
        return observer if kind == "observers" else build(host, kind, use, where)

    return one_observer


def test_lists_are_watched_from_when_they_are_in_force_until_they_are_not(process: Process, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("10.0.0.0/8")
    frontend = {"bind": "127.0.0.1:0", "backend": "app", "policies": [{"deny": "source in @bad"}]}
    settings: dict[str, Any] = {"frontends": {"web": frontend}, "lists": {"bad": str(path), "unused": str(path)}}
    assembly = build(process, **settings)
    assert isinstance(process.clock, Clock)
    before = len(process.clock.getDelayedCalls())
    assembly.leave_lists()
    assembly.watch_lists()
    assembly.watch_lists()
    assert len(process.clock.getDelayedCalls()) == before + 1
    after = build(process, assembly, **settings)
    assert after.lists.views == assembly.lists.views
    assembly.leave_lists()
    assert len(process.clock.getDelayedCalls()) == before
    settings["lists"]["unused"] = "/no/such/file"
    assert "lists.unused: /no/such/file: cannot be read" in problems(process, **settings)
