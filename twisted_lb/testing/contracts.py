"""Contract suites of what decides, chooses and writes: balancers, policies, access logs and observers."""

from collections.abc import Awaitable, Sequence
from dataclasses import astuple
from random import Random

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from twisted_lb.api import (
    Allow,
    DecideAnswer,
    Decision,
    Deny,
    Facts,
    IAccessLog,
    IBalancer,
    IObserver,
    IPolicy,
    Stage,
    Tarpit,
)
from twisted_lb.stages.answers import fault_in
from twisted_lb.testing.fakes import (
    SOURCES,
    STRANGE_REQUESTS,
    FakeServer,
    make_facts,
    make_record,
    strange_records,
)


class BalancerContract:
    """What every balancer promises: under any load, it chooses one of the candidates."""

    def make_balancer(self) -> IBalancer:
        """Make the balancer under test; each test asks for a new one."""
        raise NotImplementedError

    def test_it_satisfies_the_interface(self) -> None:
        """``IBalancer`` is declared, and ``choose`` takes what it will be given."""
        verifyObject(IBalancer, self.make_balancer())

    def test_it_chooses_the_only_candidate(self) -> None:
        """Whatever it prefers, one candidate leaves no choice."""
        balancer = self.make_balancer()
        for server in (FakeServer("a"), FakeServer("b", weight=256), FakeServer("a", connections=99, maxconn=100)):
            _choose(balancer, [server])

    def test_it_chooses_a_candidate_at_zero_load(self) -> None:
        """Nobody has any connection."""
        _choose_often(self.make_balancer(), [FakeServer(name) for name in "abc"])

    def test_it_chooses_a_candidate_at_equal_load(self) -> None:
        """Everybody has as many."""
        _choose_often(self.make_balancer(), [FakeServer(name, connections=7) for name in "abc"])

    def test_it_chooses_a_candidate_at_full_load(self) -> None:
        """Everybody has one place left; who has none is no candidate."""
        _choose_often(self.make_balancer(), [FakeServer(name, connections=9, maxconn=10) for name in "abc"])

    def test_it_chooses_a_candidate_at_any_weight(self) -> None:
        """Weights are 1 to 256."""
        _choose_often(self.make_balancer(), [FakeServer("a", weight=256), FakeServer("b"), FakeServer("c", weight=3)])

    def test_it_chooses_a_candidate_while_candidates_come_and_go(self) -> None:
        """Servers fail, fill up, and come back; the sequence is a list or a tuple, and not the same one each time."""
        chance = Random(1)
        servers = [FakeServer(name, weight=chance.randint(1, 10)) for name in "abcdef"]
        balancer = self.make_balancer()
        for turn in range(500):
            candidates = [server for server in servers if chance.random() < 0.5] or servers
            chosen = _choose(balancer, tuple(candidates) if turn % 2 else candidates)
            chosen.connections += 1
            leaver = chance.choice(servers)
            leaver.connections = max(0, leaver.connections - 1)

    def test_it_only_reads(self) -> None:
        """Counters and weights are the pool's to change."""
        servers = [FakeServer("a", 1, 2, 10), FakeServer("b", 3, 4, 10)]
        before = [astuple(server) for server in servers]
        _choose_often(self.make_balancer(), servers)
        assert [astuple(server) for server in servers] == before, "choose() changed a server"


class PolicyContract:
    """What every policy promises: a verdict, whoever the client is and whatever it asks for."""

    mode: str = "both"
    """``"tcp"`` or ``"http"`` for one that is made for that mode alone."""

    def make_policy(self) -> IPolicy:
        """Make the policy under test; each test asks for a new one."""
        raise NotImplementedError

    def settle(self, answer: Deferred[Decision]) -> Decision:
        """Return the verdict that ``answer`` has by now; override to make time or a server go on until it has."""
        settled: list[Decision] = []
        failed: list[Failure] = []
        answer.addCallbacks(settled.append, failed.append)
        for failure in failed:
            failure.raiseException()
        assert settled, "decide() has not answered yet: override settle()"
        return settled[0]

    def decide(self, policy: IPolicy, facts: Facts) -> Decision:
        """Ask, and wait for the verdict."""
        answer: DecideAnswer = policy.decide(facts)
        if isinstance(answer, Decision):
            return answer
        assert isinstance(answer, Awaitable), f"decide() answered {answer!r}, which is no verdict"
        return self.settle(Deferred.fromCoroutine(_wait_for(answer)))

    def test_it_satisfies_the_interface(self) -> None:
        """``IPolicy`` is declared, and ``stage`` is one in which policies are asked."""
        policy = self.make_policy()
        verifyObject(IPolicy, policy)
        assert policy.stage in (Stage.ADMISSION, Stage.POLICY), f"stage is {policy.stage!r}"

    def test_it_answers_every_source(self) -> None:
        """IPv4, IPv6 and Unix clients all get Allow, Deny or Tarpit, the second time too."""
        if self.mode == "http":
            return
        policy = self.make_policy()
        for source in (*SOURCES, *SOURCES):
            answer = self.decide(policy, make_facts(source.host, source.port))
            assert isinstance(answer, Allow | Deny | Tarpit), f"the answer to {source} is {answer!r}"

    def test_it_answers_every_request(self) -> None:
        """Of every client, with every form of target: what it answers can be sent, and the edited head too."""
        policy = self.make_policy()
        if self.mode == "tcp" or policy.stage is not Stage.POLICY:
            return
        for source in SOURCES:
            for raw in STRANGE_REQUESTS:
                facts = make_facts(source.host, source.port, request=raw)
                answer = self.decide(policy, facts)
                assert isinstance(answer, Decision), f"the answer to {raw!r} is {answer!r}"
                fault = "" if isinstance(answer, Allow) else fault_in(answer)
                assert not fault, f"the answer to {raw!r} is {answer!r}: {fault}"
                assert facts.backend is None or isinstance(facts.backend, str), f"backend is {facts.backend!r}"


class AccessLogContract:
    """What every access log promises: one line for one record, whatever stands in it."""

    def make_access_log(self) -> IAccessLog:
        """Make the access log under test; each test asks for a new one."""
        raise NotImplementedError

    def test_it_satisfies_the_interface(self) -> None:
        """``IAccessLog`` is declared, and ``format`` takes what it will be given."""
        verifyObject(IAccessLog, self.make_access_log())

    def test_it_writes_one_line_for_each_record(self) -> None:
        """Bytes, not empty, without a line end, even if a client chose a path with one."""
        access_log = self.make_access_log()
        for record in strange_records():
            line = access_log.format(record)
            assert isinstance(line, bytes), f"{record} gives {line!r}"
            assert line, f"{record} gives nothing"
            assert b"\n" not in line, f"{record} gives more than one line: {line!r}"
            assert b"\r" not in line, f"{record} gives a carriage return: {line!r}"

    def test_a_line_depends_on_its_record_alone(self) -> None:
        """What was formatted before, and in which order, makes no difference."""
        access_log = self.make_access_log()
        records = [*strange_records(), *reversed(strange_records())]
        lines = [access_log.format(record) for record in records]
        assert lines == lines[::-1], "the same record gave two different lines"


class ObserverContract:
    """What every observer promises: to bear any order of events that can happen."""

    def make_observer(self) -> IObserver:
        """Make the observer under test; each test asks for a new one."""
        raise NotImplementedError

    def test_it_satisfies_the_interface(self) -> None:
        """``IObserver`` is declared, and its methods take what they will be given."""
        verifyObject(IObserver, self.make_observer())

    def test_it_watches_connections_that_overlap(self) -> None:
        """All are opened, then routed, then closed."""
        observer = self.make_observer()
        connections = [make_facts(source.host, source.port) for source in SOURCES]
        for facts in connections:
            observer.session_opened(facts)
        for facts in connections:
            observer.session_routed(facts, "app", FakeServer("a"))
        for facts, record in zip(connections, strange_records(), strict=False):
            observer.session_closed(facts, record)

    def test_it_watches_a_connection_that_was_never_routed(self) -> None:
        """Denied, or the client left, or no server answered."""
        observer = self.make_observer()
        observer.session_opened(facts := make_facts())
        observer.session_closed(facts, make_record(backend="app", server="<NOSRV>", ending="PR", stage="policy"))

    def test_it_hears_of_servers_that_no_connection_went_to(self) -> None:
        """One that goes down before anybody came, and one that says twice that it is up."""
        observer, server = self.make_observer(), FakeServer("a")
        for state in ("down", "up", "up"):
            observer.server_state_changed("app", server, state, "3 checks in a row failed, the last: {refused}")


async def _wait_for(answer: Awaitable[Decision]) -> Decision:
    return await answer


def _choose(balancer: IBalancer, candidates: Sequence[FakeServer]) -> FakeServer:
    chosen: FakeServer = balancer.choose(candidates, make_facts())
    assert any(candidate is chosen for candidate in candidates), f"{chosen!r} is none of {candidates!r}"
    return chosen


def _choose_often(balancer: IBalancer, candidates: Sequence[FakeServer]) -> None:
    for _ in range(50):
        _choose(balancer, candidates)
