"""A frontend asks what needs no bytes first, and costs nothing for what nobody wants."""

from types import SimpleNamespace
from typing import Any

import pytest

from twisted_lb.api import Stage
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.backends.target import EndpointTarget
from twisted_lb.config.inherit import BackendTimers, FrontendTimers
from twisted_lb.frontend import Frontend
from twisted_lb.plugin_host import Built
from twisted_lb.stages.admission import Limit


def frontend(stages: str = "", **parts: Any) -> Frontend:
    kinds = {"A": Stage.ADMISSION, "P": Stage.POLICY}
    policies: list[Any] = [Built("p", "p", SimpleNamespace(stage=kinds[letter])) for letter in stages]
    balancer: Any = Built("b", "b", object())
    backend = Backend("app", [Server("a", EndpointTarget("x", None))], balancer, BackendTimers(5, 5, 30, None, None))
    return Frontend("web", backend, FrontendTimers(30, None, 5, 5), Limit(), policies=policies, **parts)


@pytest.mark.parametrize(("stages", "at_admission"), [("", 0), ("A", 1), ("P", 0), ("AAP", 2), ("PA", 0), ("APA", 1)])
def test_policies_are_asked_early_as_far_as_their_order_allows(stages: str, at_admission: int) -> None:
    assert frontend(stages).at_admission == at_admission


def test_records_are_made_only_if_somebody_wants_them() -> None:
    observer: Any = Built("o", "o", object())
    log: Any = object()
    assert not frontend().recorded
    assert frontend(observers=[observer]).recorded
    assert frontend(access_log=log).recorded


def test_the_idle_timers_are_worked_out_once() -> None:
    idle = frontend().idle
    assert (idle.client, idle.server, idle.client_fin, idle.server_fin) == (30, 30, 30, 30)
