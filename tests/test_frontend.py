"""A frontend asks what needs no bytes first, and costs nothing for what nobody wants."""

from types import SimpleNamespace
from typing import Any

import pytest
from zope.interface import directlyProvides

from twisted_lb.api import IStreamValidator, Stage
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.backends.target import EndpointTarget
from twisted_lb.config.inherit import BackendTimers, FrontendTimers
from twisted_lb.frontend import UNKNOWN_HOST, Frontend, Refusal, Routing
from twisted_lb.plugin_host import Built
from twisted_lb.routing import Routes, Rule
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.recognition import AnyOf
from twisted_lb.testing import make_facts, make_request


def frontend(stages: str = "", **parts: Any) -> Frontend:
    kinds = {"A": Stage.ADMISSION, "P": Stage.POLICY}
    policies: list[Any] = [Built("p", "p", SimpleNamespace(stage=kinds[letter])) for letter in stages]
    balancer: Any = Built("b", "b", object())
    backend = Backend("app", [Server("a", EndpointTarget("x", None))], balancer, BackendTimers(5, 5, 30, None, None))
    return Frontend("web", backend, FrontendTimers(30, None, 5, 5), Limit(), policies=policies, **parts)


@pytest.mark.parametrize(("stages", "at_admission"), [("", 0), ("A", 1), ("P", 0), ("AAP", 2), ("PA", 0), ("APA", 1)])
def test_policies_are_asked_early_as_far_as_their_order_allows(stages: str, at_admission: int) -> None:
    assert frontend(stages).at_admission == at_admission


def validator(server_first: bool | None = None) -> Any:
    """A validator that stays on the stream, unless ``server_first`` is ``None``."""
    made = SimpleNamespace(server_first=server_first)
    if server_first is not None:
        directlyProvides(made, IStreamValidator)
    return Built("v", "v", made)


@pytest.mark.parametrize(
    ("validators", "waits", "watchers"),
    [
        ([], False, 0),
        ([validator()], True, 0),
        ([validator(False)], True, 1),
        ([validator(True)], False, 1),
        ([validator(True), validator()], True, 1),
        ([AnyOf([validator(), validator()])], True, 0),
        ([AnyOf([validator(), validator(True)])], True, None),
        ([validator(True), AnyOf([validator(), validator(True)])], True, None),
    ],
)
def test_bytes_of_the_client_are_waited_for_unless_the_server_speaks_first_for_all(
    validators: Any, waits: bool, watchers: int | None
) -> None:
    made = frontend(validators=validators)
    assert (made.waits, None if made.watchers is None else len(made.watchers)) == (waits, watchers)


def test_records_are_made_only_if_somebody_wants_them() -> None:
    observer: Any = Built("o", "o", object())
    log: Any = object()
    assert not frontend().recorded
    assert frontend(observers=[observer]).recorded
    assert frontend(access_log=log).recorded


def test_the_idle_timers_are_worked_out_once() -> None:
    idle = frontend().idle
    assert (idle.client, idle.server, idle.client_fin, idle.server_fin) == (30, 30, 30, 30)


# Where what it lets on goes


def backend(name: str) -> Backend:
    balancer: Any = Built("b", "b", object())
    return Backend(name, [Server("a", EndpointTarget("x", None))], balancer, BackendTimers(5, 5, 9, None, None))


def test_all_goes_to_its_backend_unless_somebody_has_a_say() -> None:
    assert frontend().routing is None
    asked = frontend("P")
    assert asked.routing is not None
    assert asked.routing.target(make_facts(), asked.backend) is asked.backend


def test_a_policy_s_choice_goes_before_the_routes_and_they_before_the_default() -> None:
    app, other, third = backend("app"), backend("other"), backend("third")
    refused = Refusal("no", 404)
    routes: Routes[Backend | Refusal] = Routes(
        [(Rule(facts={"bind": "*:80"}, path=["/a"]), other), (Rule(path=["/b"]), refused)], app
    )
    routing = Routing({"app": app, "other": other, "third": third}, routes)

    def target(path: str, chosen: str | None = None) -> object:
        facts = make_facts(request=make_request(target=path))
        facts.backend = chosen
        return routing.target(facts, app)

    assert [target(path) for path in ("/a", "/b", "/c")] == [other, refused, app]
    assert target("/a", "third") is third


def test_a_host_that_no_route_names_is_refused_only_if_no_policy_has_chosen() -> None:
    app, other = backend("app"), backend("other")
    routes: Routes[Backend | Refusal] = Routes([(Rule(host=["known.example"]), other)], app)
    routing = Routing({"app": app}, routes, known_hosts_only=True)
    facts = make_facts(request=make_request())
    assert routing.target(facts, app) is UNKNOWN_HOST
    facts.backend = "app"
    assert routing.target(facts, app) is app


def test_the_idle_timers_are_those_of_the_backend_that_was_chosen() -> None:
    made = frontend()
    assert made.idle_to(made.backend) is made.idle
    assert made.idle_to(backend("other")).server == 9
