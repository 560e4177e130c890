"""``dnsbl`` asks real DNS servers, which answer, say nothing, or nonsense; dnsmasq is asked in tests/interop."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import LogEvent, formatEvent
from twisted.names import dns

from tests.turning import Turning, turning
from twisted_lb.api import ALLOW, ConfigError, Deny, Duration, IPolicy, Stage
from twisted_lb.config.uses import Use
from twisted_lb.plugin_host import load_plugins
from twisted_lb.testing import PolicyContract, make_facts, make_runtime
from twisted_lb_plugins import policy_dnsbl
from twisted_lb_plugins.policy_dnsbl import FACTS, DnsblOptions, build

__all__ = ["turning"]


class Server(DatagramProtocol):
    """A name server. ``names``: their addresses; ``ttl``: of all that it says. ``asked``: the names that it was asked.

    ``silent``: it hears and does not answer. ``code``: of its answers. ``forge``: makes something else of an answer.
    """

    noisy = False

    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names
        self.ttl = 300
        self.asked: list[str] = []
        self.silent = False
        self.code: int | None = None
        self.forge: Any = None

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        message = dns.Message()
        message.fromStr(datagram)
        name = message.queries[0].name.name.decode()
        self.asked.append(name)
        if self.silent:
            return
        found = self.names.get(name)
        answer = dns.Message(message.id, answer=1, rCode=dns.OK if found is not None else dns.ENAME)
        answer.rCode = answer.rCode if self.code is None else self.code
        answer.queries = message.queries
        answer.answers = [dns.RRHeader(name, ttl=self.ttl, payload=dns.Record_A(one, self.ttl)) for one in found or []]
        if found is None:
            soa = dns.Record_SOA("ns.example", "admin.example", minimum=self.ttl, ttl=7200)
            answer.authority = [dns.RRHeader("bl.example", dns.SOA, ttl=7200, payload=soa)]
        for reply in [answer.toStr()] if self.forge is None else self.forge(answer):
            self.transport.write(reply, addr)  # type: ignore[union-attr]

    @property
    def resolver(self) -> str:
        """What the option ``resolvers`` takes."""
        return f"127.0.0.1:{self.transport.getHost().port}"  # type: ignore[union-attr]


LISTED = {"2.2.0.192.bl.example": ["127.0.0.2"], "9.2.0.192.two.example": ["127.0.0.4", "127.0.0.10"]}


@pytest.fixture
def server(turning: Turning) -> Iterator[Server]:
    made = Server(dict(LISTED))
    turning.reactor.listenUDP(0, made, "127.0.0.1")
    yield made
    if made.transport is not None:
        made.transport.stopListening()
    turning.settle()


class Asking:
    """A policy and what it is asked with."""

    def __init__(self, turning: Turning, **options: Any) -> None:
        self.turning = turning
        self.policy = build(DnsblOptions(**{"zones": ["bl.example"], **options}), turning.runtime)
        self.learnt: dict[str, Any] = {}

    def __call__(self, source: str) -> str:
        """Why a client is denied; empty if it is not."""
        facts = make_facts(source)
        verdict = self.turning.result(self.policy.decide(facts))
        self.turning.settle()
        self.learnt = facts.learnt
        assert verdict is ALLOW or isinstance(verdict, Deny)
        return verdict.reason if isinstance(verdict, Deny) else ""


class TestContract(PolicyContract):
    """What every policy promises."""

    @pytest.fixture(autouse=True)
    def _around(self, turning: Turning, server: Server) -> None:
        self.turning, self.server = turning, server

    def make_policy(self) -> IPolicy:
        return build(DnsblOptions(zones=["bl.example"], resolvers=[self.server.resolver]), self.turning.runtime)

    def settle(self, answer: Deferred[Any]) -> Any:
        return self.turning.result(answer)


def test_who_is_listed_is_denied_and_who_is_not_is_not(turning: Turning, server: Server) -> None:
    ask = Asking(turning, resolvers=[server.resolver])
    assert ask("192.0.2.2") == "listed by bl.example as 127.0.0.2"
    assert ask.learnt == {"dnsbl.zone": "bl.example", "dnsbl.code": "127.0.0.2"}
    assert ask("192.0.2.3") == ""
    assert ask.learnt == {}


def test_it_may_only_let_those_behind_know(turning: Turning, server: Server) -> None:
    ask = Asking(turning, resolvers=[server.resolver], listed="allow")
    assert ask("192.0.2.2") == ""
    assert ask.learnt == {"dnsbl.zone": "bl.example", "dnsbl.code": "127.0.0.2"}
    assert set(ask.learnt) == set(FACTS)


def test_every_zone_is_asked(turning: Turning, server: Server) -> None:
    ask = Asking(turning, zones=["bl.example", "Two.example."], resolvers=[server.resolver])
    assert ask("192.0.2.9") == "listed by two.example as 127.0.0.4"
    assert ask("192.0.2.2") == "listed by bl.example as 127.0.0.2"
    assert server.asked[:2] == ["9.2.0.192.bl.example", "9.2.0.192.two.example"]


def test_only_some_codes_may_count(turning: Turning, server: Server) -> None:
    ask = Asking(turning, zones=["two.example"], resolvers=[server.resolver], return_codes=["127.0.0.10"])
    assert ask("192.0.2.9") == "listed by two.example as 127.0.0.10"
    ask = Asking(turning, zones=["two.example"], resolvers=[server.resolver], return_codes=["127.0.1.0/24"])
    assert ask("192.0.2.9") == ""


def test_ipv6_is_asked_about_nibble_by_nibble(turning: Turning, server: Server) -> None:
    server.names["1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example"] = ["127.0.0.3"]
    ask = Asking(turning, resolvers=[server.resolver])
    assert ask("2001:db8::1") == "listed by bl.example as 127.0.0.3"
    assert ask("fe80::1%eth0") == ""
    assert ask("::ffff:192.0.2.2") == "listed by bl.example as 127.0.0.2"


def test_who_has_no_address_is_not_asked_about(turning: Turning, server: Server) -> None:
    ask = Asking(turning, resolvers=[server.resolver])
    assert ask("unix:/run/x") == ""
    assert ask("unknown:HostnameAddress") == "source is no IP address"
    assert server.asked == []


def test_answers_are_remembered_as_long_as_they_say_but_no_longer_than_told(turning: Turning, server: Server) -> None:
    ask = Asking(turning, resolvers=[server.resolver])
    for source in ("192.0.2.2", "192.0.2.3"):
        assert ask(source) == ask(source)
    assert server.asked == ["2.2.0.192.bl.example", "3.2.0.192.bl.example"]
    ask = Asking(turning, resolvers=[server.resolver], max_ttl=Duration(0))
    ask("192.0.2.2"), ask("192.0.2.2")
    assert len(server.asked) == 4
    server.ttl = 0
    ask = Asking(turning, resolvers=[server.resolver])
    ask("192.0.2.2"), ask("192.0.2.2"), ask("192.0.2.3"), ask("192.0.2.3")
    assert len(server.asked) == 8


def test_an_answer_that_is_known_needs_no_waiting(turning: Turning, server: Server) -> None:
    ask = Asking(turning, resolvers=[server.resolver])
    ask("192.0.2.2")
    assert isinstance(ask.policy.decide(make_facts("192.0.2.2")), Deny)


def test_clients_of_one_address_ask_once(turning: Turning, server: Server) -> None:
    ask = Asking(turning, resolvers=[server.resolver])
    answers = [ask.policy.decide(make_facts("192.0.2.2")) for _ in range(5)]
    assert all(isinstance(turning.result(answer), Deny) for answer in answers)
    assert len(server.asked) == 1


def test_a_server_that_is_dead_is_a_failure_at_once(turning: Turning) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ask = Asking(turning, resolvers=[f"127.0.0.1:{port}"], timeout=Duration(60))
    assert ask("192.0.2.2") == f"bl.example cannot be asked: nobody answers at 127.0.0.1:{port}"
    assert Asking(turning, resolvers=[f"127.0.0.1:{port}"], on_failure="allow")("192.0.2.2") == ""


def test_a_failure_is_answered_with_503_in_http(turning: Turning, server: Server) -> None:
    server.code = dns.ESERVER
    policy = Asking(turning, resolvers=[server.resolver]).policy
    assert turning.result(policy.decide(make_facts("192.0.2.2"))).status == 503
    turning.settle()


@pytest.mark.parametrize(("on_failure", "denied"), [("deny", True), ("allow", False)])
def test_a_server_that_says_nothing_is_waited_for_no_longer_than_told(
    turning: Turning, server: Server, on_failure: str, denied: bool
) -> None:
    server.silent = True
    ask = Asking(turning, resolvers=[server.resolver], timeout=Duration(0.1), on_failure=on_failure)
    assert ("cannot be asked: no answer" in ask("192.0.2.2")) is denied
    assert server.asked == ["2.2.0.192.bl.example"] * 2  # a datagram may be lost


def test_another_resolver_is_asked_when_one_fails(turning: Turning, server: Server) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        others = f"127.0.0.1:{silent.getsockname()[1]}"
        ask = Asking(turning, resolvers=[others, server.resolver], timeout=Duration(1))
        assert ask("192.0.2.2") == "listed by bl.example as 127.0.0.2"


@pytest.mark.parametrize("code", [dns.ESERVER, dns.EREFUSED])
def test_a_server_that_will_not_answer_is_a_failure(turning: Turning, server: Server, code: int) -> None:
    server.code = code
    ask = Asking(turning, resolvers=[server.resolver])
    assert ask("192.0.2.2") == f"bl.example cannot be asked: answer {code} of {server.resolver}"


@pytest.mark.parametrize("answer", ["127.255.255.254", "203.0.113.80"])
def test_an_answer_that_is_no_listing_is_a_failure(turning: Turning, server: Server, answer: str) -> None:
    # The first is how blocklists say that one may not ask them, the second how providers answer for names that are not.
    server.names["2.2.0.192.bl.example"] = [answer]
    ask = Asking(turning, resolvers=[server.resolver])
    assert ask("192.0.2.2") == f"bl.example cannot be asked: it answers {answer}"


def test_a_listing_counts_although_another_zone_fails(turning: Turning, server: Server) -> None:
    server.names["2.2.0.192.two.example"] = ["127.255.255.254"]
    ask = Asking(turning, zones=["two.example", "bl.example"], resolvers=[server.resolver])
    assert ask("192.0.2.2") == "listed by bl.example as 127.0.0.2"


def wrong_id(answer: dns.Message) -> list[bytes]:
    return [dns.Message(answer.id ^ 1, answer=1, rCode=dns.ENAME).toStr(), answer.toStr()]


def wrong_question(answer: dns.Message) -> list[bytes]:
    other = dns.Message(answer.id, answer=1, rCode=dns.ENAME)
    other.queries = [dns.Query(b"2.2.0.192.other.example", dns.A)]
    return [other.toStr(), answer.toStr()]


def garbage(answer: dns.Message) -> list[bytes]:
    whole = answer.toStr()
    return [b"", b"\0", whole[:-3], whole[:12] + b"\xc0\x0c" + whole[14:], b"\xff" * 500, whole]


@pytest.mark.parametrize("forge", [wrong_id, wrong_question, garbage])
def test_what_is_not_the_answer_is_not_heard(turning: Turning, server: Server, forge: Any) -> None:
    server.forge = forge
    assert Asking(turning, resolvers=[server.resolver])("192.0.2.2") == "listed by bl.example as 127.0.0.2"


def queries(turning: Turning) -> list[Any]:
    """The questions that are under way."""
    return [one for one in turning.reactor.getReaders() if isinstance(one, policy_dnsbl.Query)]


def test_strangers_are_not_heard(turning: Turning, server: Server) -> None:
    said: list[Any] = []

    def forge(answer: dns.Message) -> list[bytes]:
        said.append(answer)
        return []

    server.forge = forge
    ask = Asking(turning, resolvers=[server.resolver], timeout=Duration(0.3))
    answer = ask.policy.decide(make_facts("192.0.2.3"))
    turning.until(lambda: said, "the question")
    (query,) = queries(turning)
    forged = dns.Message(said[0].id, answer=1, rCode=dns.ENAME)
    forged.queries = said[0].queries
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(forged.toStr(), query._socket.getsockname())
    assert isinstance(turning.result(answer), Deny)


def test_when_the_client_leaves_the_question_is_given_up(turning: Turning, server: Server) -> None:
    server.silent = True
    ask = Asking(turning, zones=["bl.example", "two.example"], resolvers=[server.resolver], timeout=Duration(60))
    answer = ask.policy.decide(make_facts("192.0.2.2"))
    assert isinstance(answer, Deferred)
    turning.until(lambda: len(server.asked) == 2, "the questions")
    answer.addBoth(lambda _: None)
    answer.cancel()
    turning.settle()
    assert not turning.reactor.getDelayedCalls()
    assert queries(turning) == []


def test_that_a_client_leaves_is_not_logged_as_one_that_is_let_in(
    turning: Turning, server: Server, logged: list[LogEvent]
) -> None:
    server.silent = True
    answer = Asking(turning, resolvers=[server.resolver], on_failure="allow").policy.decide(make_facts("192.0.2.2"))
    assert isinstance(answer, Deferred)
    said: list[Any] = []
    answer.addBoth(said.append)
    answer.cancel()
    assert isinstance(said[0], Deny)
    assert not any("let in" in formatEvent(event) for event in logged)


def test_no_more_questions_are_under_way_than_told(turning: Turning, server: Server) -> None:
    server.silent = True
    ask = Asking(turning, resolvers=[server.resolver], timeout=Duration(0.4), max_queries=3, on_failure="allow")
    answers = [ask.policy.decide(make_facts(f"192.0.2.{number}")) for number in range(10)]
    turning.settle()
    assert len(server.asked) == 3
    assert all(turning.result(answer) is ALLOW for answer in answers)


def test_it_is_asked_before_a_byte_is_read(turning: Turning) -> None:
    assert Asking(turning, resolvers=["127.0.0.1"]).policy.stage is Stage.ADMISSION


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
        ("[2001:db8::53]", ("2001:db8::53", 53)),
    ],
)
def test_resolvers_are_addresses_perhaps_with_a_port(text: str, expected: tuple[str, int]) -> None:
    assert policy_dnsbl._resolver(text) == expected


@pytest.mark.parametrize("text", ["", "localhost", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "[::1", "::1:x"])
def test_what_is_no_resolver_is_an_error_with_its_place(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^resolvers\[1\]: expected an address"):
        build(DnsblOptions(zones=["bl.example"], resolvers=["192.0.2.53", text]), make_runtime())


def test_without_resolvers_those_of_the_system_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# ours\nsearch example.org\nnameserver 192.0.2.53\nnameserver\nnameserver fe80::1%eth0\nnameserver ::1\n"
    )
    assert policy_dnsbl._system_resolvers(str(path)) == ["192.0.2.53", "::1"]
    monkeypatch.setattr(policy_dnsbl, "_system_resolvers", list)
    with pytest.raises(ConfigError, match=r"none is given, and /etc/resolv.conf names none"):
        build(DnsblOptions(zones=["bl.example"]), make_runtime())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "x.zones: is missing"),
        ({"zones": []}, "x.zones: is empty"),
        ({"zones": "bl..example"}, "x.zones[0]: expected the name of a DNS zone"),
        ({"zones": "bl.example", "max_queries": 0}, "x.max_queries: expected"),
        ({"zones": "bl.example", "return_codes": ["listed"]}, 'x.return_codes: plugin "policy_dnsbl": "listed"'),
        ({"zones": "bl.example", "timeout": "0s"}, 'x.timeout: plugin "policy_dnsbl": must be more than nothing'),
    ],
)
def test_what_makes_no_sense_is_an_error(options: dict[str, Any], told: str) -> None:
    host, use = load_plugins(runtime=make_runtime()), Use(use="dnsbl", options={"resolvers": "127.0.0.1", **options})
    with pytest.raises(ConfigError) as caught:
        host.build("policies", use, "x")
    assert str(caught.value).startswith(told)
