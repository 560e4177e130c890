"""Which settings count during the relay, and which side's timer is due when."""

from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from twisted_lb.config.inherit import BackendTimers, FrontendTimers
from twisted_lb.endings import Cause
from twisted_lb.stages.relay_timers import IdleTimers, Relay


class Owner:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.half_closed = 0

    def relay_ended(self, cause: Cause, reason: str) -> None:
        raise AssertionError

    def relay_half_closed(self) -> None:
        self.half_closed += 1


def frontend(client: float | None = 30.0, fin: float | None = None) -> FrontendTimers:
    known: dict[str, Any] = dict.fromkeys(FrontendTimers.__dataclass_fields__)
    return FrontendTimers(**known | {"client": client, "client_fin": fin})


def backend(server: float | None = 20.0, fin: float | None = None, tunnel: float | None = None) -> BackendTimers:
    known: dict[str, Any] = dict.fromkeys(BackendTimers.__dataclass_fields__)
    return BackendTimers(**known | {"server": server, "server_fin": fin, "tunnel": tunnel})


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        (frontend(30), backend(20), (30, 20, 30, 20)),
        (frontend(None), backend(None), (inf, inf, inf, inf)),
        (frontend(30, 5), backend(20, 6), (30, 20, 5, 6)),
        (frontend(30), backend(20, tunnel=100), (100, 100, 100, 100)),
        (frontend(30, 5), backend(20, 6, 100), (100, 100, 5, 6)),
        (frontend(30, inf), backend(20, inf), (30, 20, inf, inf)),
        (frontend(30), backend(20, tunnel=inf), (inf, inf, inf, inf)),
        (frontend(30, 5), backend(20, None, inf), (inf, inf, 5, inf)),
        (frontend(None, 5), backend(None, 6), (inf, inf, 5, 6)),
    ],
)
def test_which_settings_count(client: FrontendTimers, server: BackendTimers, expected: tuple[float, ...]) -> None:
    timers = IdleTimers.of(client, server)
    assert (timers.client, timers.server, timers.client_fin, timers.server_fin) == expected
    assert timers.shortest == min(expected)


class AnyRelay(Relay):
    """A relay of any kind, as far as timers look at it."""

    client: Any
    server: Any


IDLE = IdleTimers(client=30, server=20, client_fin=5, server_fin=6, shortest=5)
C, S = Cause.CLIENT_TIMEOUT, Cause.SERVER_TIMEOUT


@pytest.mark.parametrize(
    ("timers", "state", "expected"),
    [
        pytest.param(IDLE, "", (120, S), id="both read timers run, the shorter one is due first"),
        pytest.param(IdleTimers(10, 20, 5, 6, 5), "", (110, C), id="or that of the client"),
        pytest.param(IdleTimers(20, 20, 5, 6, 5), "", (120, C), id="of two at once it is the client's"),
        pytest.param(IdleTimers(inf, 20, 5, 6, 5), "", (120, S), id="no client timer"),
        pytest.param(IdleTimers(30, inf, 5, 6, 5), "", (130, C), id="no server timer"),
        pytest.param(IdleTimers(inf, inf, 5, 6, 5), "", None, id="none at all"),
        pytest.param(IDLE, "server blocked", (110, S), id="a full server: its write timer, and we refuse to read"),
        pytest.param(IDLE, "client blocked", (120, C), id="a full client: likewise"),
        pytest.param(IDLE, "both blocked", (110, S), id="both full: both write timers"),
        pytest.param(IdleTimers(30, inf, 5, 6, 5), "server blocked", None, id="a full server without a timer"),
        pytest.param(IDLE, "client eof", (106, S), id="the client has ended: the server is awaited"),
        pytest.param(IDLE, "server eof", (105, C), id="the server has ended: the client is awaited"),
        pytest.param(IdleTimers(30, 20, 5, inf, 5), "client eof", None, id="half-closed for ever"),
        pytest.param(IDLE, "client eof, server blocked", (96, S), id="ended, and the rest is not taken"),
        pytest.param(IDLE, "client eof, client blocked", (95, C), id="ended, and does not take its answer"),
        pytest.param(IDLE, "both eof", None, id="nobody is awaited"),
        pytest.param(IDLE, "both eof, client blocked", (95, C), id="ended both, and the rest is not taken"),
    ],
)
def test_which_timer_is_due_when(timers: IdleTimers, state: str, expected: tuple[float, Cause] | None) -> None:
    """The last byte moved at 100, and who is blocked has been since 90."""

    def side(name: str) -> Any:
        is_in = [f"{who} {what}" in state for what in ("eof", "blocked") for who in (name, "both")]
        return SimpleNamespace(
            eof=is_in[0] or is_in[1], blocked_since=90.0 if is_in[2] or is_in[3] else 0.0, bytes_in=0
        )

    relay = AnyRelay(Owner(), 100)
    relay.client, relay.server = side("client"), side("server")
    if "eof" in state:
        relay.half_close()
    assert relay.next_deadline(timers) == expected


def test_the_first_half_close_is_told_once() -> None:
    relay = AnyRelay(owner := Owner(), 100)
    relay.half_close()
    relay.half_close()
    assert owner.half_closed == 1
