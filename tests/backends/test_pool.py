"""A backend's servers: who may be chosen, what is counted, who waits."""

import socket
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from zope.interface import implementer

from twisted_lb.api import IBalancer, IServer
from twisted_lb.backends.http_connection import HttpBackend
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.backends.target import SocketTarget
from twisted_lb.config.inherit import BackendTimers
from twisted_lb.errors import PluginError
from twisted_lb.plugin_host import Built
from twisted_lb.testing import make_facts

TIMERS = BackendTimers(connect=5.0, queue=5.0, server=30.0, server_fin=None, tunnel=None)
FACTS = make_facts()


@implementer(IBalancer)
class Balancer:
    """Chooses what it is told to, and notes from what."""

    def __init__(self, choose: Callable[[Sequence[Any]], Any] = lambda candidates: candidates[0]) -> None:
        self._choose = choose
        self.asked: list[list[str]] = []

    def choose(self, candidates: Sequence[Any], facts: Any) -> Any:
        self.asked.append([server.name for server in candidates])
        return self._choose(candidates)


class Client:
    """Waits in the queue, and notes the server that it gets."""

    def __init__(self, backend: Backend, refuse: bool = False) -> None:
        self.backend = backend
        self.refuse = refuse
        self.server: Server | None = None
        backend.queue.append(self)

    def slot_free(self, server: Server) -> None:
        self.server = server
        if self.refuse:
            self.backend.give_back(server)


def server(name: str, weight: int = 1, maxconn: int = 0) -> Server:
    return Server(name, SocketTarget(socket.AF_INET, ("192.0.2.1", 80)), weight, maxconn)


def backend(*servers: Server, balancer: Balancer | None = None, before: Backend | None = None) -> Backend:
    return Backend("app", servers, Built("plugin_x", "x", balancer or Balancer()), TIMERS, before=before)


def names(servers: Sequence[Server]) -> list[str]:
    return [one.name for one in servers]


def test_a_server_is_what_balancers_see() -> None:
    assert IServer.providedBy(server("a"))
    assert repr(server("a")) == "<Server a 192.0.2.1:80>"


def test_candidates_are_the_usable_servers_in_order() -> None:
    pool = backend(server("a"), server("b", weight=0), server("c"))
    assert names(pool.candidates()) == ["a", "c"]
    assert pool.usable


def test_full_servers_are_no_candidates() -> None:
    full, free = server("full", maxconn=2), server("free", maxconn=2)
    full.connections = 2
    assert names(backend(full, free, server("unlimited")).candidates()) == ["free", "unlimited"]


def test_a_retry_avoids_the_server_that_failed_if_there_are_others() -> None:
    first, second = server("a"), server("b")
    assert names(backend(first, second).candidates(besides=first)) == ["b"]
    assert names(backend(first).candidates(besides=first)) == ["a"]
    drained = server("c", weight=0)
    assert names(backend(first, drained).candidates(besides=first)) == ["a"]


def test_choosing_takes_a_slot_and_counts_it() -> None:
    one = server("a", maxconn=1)
    pool = backend(one)
    assert pool.choose(FACTS) is one
    assert one.connections == 1
    assert pool.choose(FACTS) is None, "full, but usable"
    assert pool.usable
    pool.give_back(one)
    assert pool.choose(FACTS) is one
    assert one.connections == 1


def test_a_balancer_is_only_asked_when_there_is_somebody_to_choose() -> None:
    one = server("a", maxconn=1)
    one.connections = 1
    balancer = Balancer()
    assert backend(one, balancer=balancer).choose(FACTS) is None
    assert backend(server("b", weight=0), balancer=balancer).choose(FACTS) is None
    assert balancer.asked == []


def test_without_any_server_of_weight_it_is_not_usable() -> None:
    assert not backend(server("a", weight=0)).usable


@pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit, CancelledError])
def test_a_balancer_that_raises_is_to_blame(error: type[BaseException]) -> None:
    def fail(candidates: object) -> Any:
        raise error

    one = server("a")
    pool = backend(one, balancer=Balancer(fail))
    with pytest.raises(PluginError, match=rf"plugin_x.*{error.__name__}") as caught:
        pool.choose(FACTS)
    assert caught.value.plugin == "plugin_x"
    assert one.connections == 0


def test_an_interrupt_is_not_the_balancer_s_fault() -> None:
    def interrupt(candidates: object) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend(server("a"), balancer=Balancer(interrupt)).choose(FACTS)


@pytest.mark.parametrize("answer", [None, "a", server("stranger"), 0])
def test_a_balancer_that_answers_anything_but_a_candidate_is_to_blame(answer: object) -> None:
    with pytest.raises(PluginError, match="no candidate"):
        backend(server("a"), balancer=Balancer(lambda candidates: answer)).choose(FACTS)


def test_a_balancer_s_answer_is_not_asked_whether_it_is_equal_to_a_candidate() -> None:
    """Seen: an answer that says it is equal to everything was taken for a server."""

    class Equal:
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 0

    with pytest.raises(PluginError, match="no candidate"):
        backend(server("a"), balancer=Balancer(lambda candidates: Equal())).choose(FACTS)


def test_a_balancer_may_not_choose_a_full_server() -> None:
    full = server("full", maxconn=1)
    full.connections = 1
    with pytest.raises(PluginError, match="no candidate"):
        backend(full, server("free"), balancer=Balancer(lambda candidates: full)).choose(FACTS)


def test_who_waited_longest_gets_the_slot_that_is_given_back() -> None:
    one = server("a", maxconn=1)
    pool = backend(one)
    pool.choose(FACTS)
    first, second = Client(pool), Client(pool)
    pool.give_back(one)
    assert (first.server, second.server) == (one, None)
    assert one.connections == 1
    pool.give_back(one)
    assert second.server is one
    pool.give_back(one)
    assert one.connections == 0


def test_a_slot_that_is_given_back_at_once_goes_to_the_next_without_recursion() -> None:
    one = server("a", maxconn=1)
    pool = backend(one)
    pool.choose(FACTS)
    clients = [Client(pool, refuse=True) for _ in range(5000)]
    pool.give_back(one)
    assert all(client.server is one for client in clients)
    assert one.connections == 0
    assert not pool.queue


def test_one_that_cannot_use_its_slot_keeps_nobody_else_from_theirs(logged: list[LogEvent]) -> None:
    class Broken(Client):
        def slot_free(self, server: Server) -> None:
            raise ValueError("boom")

    one = server("a", maxconn=1)
    pool = backend(one)
    pool.choose(FACTS)
    Broken(pool)
    waiting = Client(pool)
    one.maxconn = 3
    pool.take_over()
    assert waiting.server is one
    assert [event["log_failure"].type for event in logged] == [ValueError]


def test_weights_and_limits_count_once_they_are_settled() -> None:
    one = server("a", maxconn=1)
    pool = backend(one)
    pool.choose(FACTS)
    waiting = Client(pool)
    one.maxconn = 2
    pool.take_over()
    assert waiting.server is one
    one.weight = 0
    pool.settle()
    assert not pool.usable


def test_who_waits_gets_the_servers_of_the_backend_that_took_over() -> None:
    old_server, new_server = server("old", maxconn=1), server("new", maxconn=1)
    old = backend(old_server)
    old.choose(FACTS)
    waiting = [Client(old), Client(old)]
    new = backend(new_server, before=old)
    assert new.queue is old.queue
    assert waiting[0].server is None, "nothing changes before the new one takes over"
    new.take_over()
    assert [client.server for client in waiting] == [new_server, None]
    old.give_back(old_server)
    assert waiting[1].server is None, "the old server is no longer one of them"
    new.give_back(new_server)
    assert waiting[1].server is new_server


# Waiting, and connections that wait


def test_the_queue_is_full_when_maxqueue_wait() -> None:
    one = server("a", maxconn=1)
    pool = Backend("app", [one], Built("plugin_x", "x", Balancer()), TIMERS, maxqueue=2)
    assert not pool.queue_full
    for _ in range(2):
        pool.queue.append(Client(pool))
    assert pool.queue_full
    assert not Backend("app", [one], Built("plugin_x", "x", Balancer()), TIMERS, before=pool).queue_full


def test_a_server_may_be_insisted_on_as_long_as_it_could_be_chosen() -> None:
    one, drained = server("a", maxconn=1), server("b", weight=0)
    balancer = Balancer()
    pool = backend(one, drained, balancer=balancer)
    assert pool.choose_this(one)
    assert one.connections == 1
    assert not pool.choose_this(one), "it is full"
    assert not pool.choose_this(drained)
    assert not pool.choose_this(server("a")), "it is another backend's"
    assert balancer.asked == []


def test_a_server_that_is_not_in_use_pools_nothing() -> None:
    one = server("a")
    pool = backend(one)
    one.pool(Clock(), HttpBackend())
    assert one.idle is not None
    for attribute, value in (("up", False), ("weight", 0)):
        before = getattr(one, attribute)
        setattr(one, attribute, value)
        pool.settle()
        assert not one.idle.open
        setattr(one, attribute, before)
        pool.settle()
        assert one.idle.open


@pytest.mark.parametrize(("reuse", "private"), [("safe", False), ("always", False), ("never", True)])
def test_who_may_use_its_connections_follows_from_its_settings(reuse: Any, private: bool) -> None:
    one = server("a")
    one.pool(Clock(), HttpBackend(reuse=reuse, maximum=7, idle_s=3.0))
    assert one.idle is not None
    assert (one.idle.private, one.idle.maximum, one.idle.idle_s) == (private, 7, 3.0)
    one.sender = SimpleNamespace(preface=lambda facts: b"PROXY")
    one.pool(Clock(), HttpBackend())
    assert one.idle.private, "what a PROXY header says of a connection is true of one client only"
