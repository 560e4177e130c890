"""Contract suites: what each kind of supply promises, as mixins for a plugin's own tests."""

from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import astuple
from random import Random
from typing import Any

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
    IBodyFilter,
    IBodyStream,
    IObserver,
    IPolicy,
    IProxyCodec,
    IValidator,
    NeedMore,
    ProxyHeader,
    Stage,
    Verdict,
    WireError,
)
from twisted_lb.stages.answers import fault_in
from twisted_lb.testing.fakes import (
    SOURCES,
    STRANGE_REQUESTS,
    FakeServer,
    make_facts,
    make_record,
    make_request,
    make_response,
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
        """IPv4, IPv6 and Unix clients all get Allow or Deny, the second time too."""
        if self.mode == "http":
            return
        policy = self.make_policy()
        for source in (*SOURCES, *SOURCES):
            answer = self.decide(policy, make_facts(source.host, source.port))
            assert isinstance(answer, Allow | Deny), f"the answer to {source} is {answer!r}"

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


class ValidatorContract:
    """What every validator promises: a verdict that depends on the bytes alone, not on how the network cut them."""

    accepted: Sequence[bytes] = ()
    """Examples of what it must allow; each at least as long as the decision needs."""
    refused: Sequence[bytes] = ()
    """Examples of what it must deny; likewise."""

    def make_validator(self) -> IValidator:
        """Make the validator under test; each test asks for a new one."""
        raise NotImplementedError

    def examples(self) -> Iterator[tuple[bytes, type[Verdict]]]:
        """Yield each example with the kind of verdict that it must get."""
        assert self.accepted, "give examples: accepted"
        assert self.refused, "give examples: refused"
        yield from ((data, Allow) for data in self.accepted)
        yield from ((data, Deny) for data in self.refused)

    def test_it_satisfies_the_interface(self) -> None:
        """``IValidator`` is declared, and ``validate`` takes what it will be given."""
        verifyObject(IValidator, self.make_validator())

    def test_it_judges_what_comes_whole(self) -> None:
        """Each example in one piece."""
        validator = self.make_validator()
        for data, kind in self.examples():
            answer = validator.validate(data, make_facts())
            assert isinstance(answer, kind), f"{data!r} gets {answer!r}"

    def test_it_judges_what_comes_byte_by_byte(self) -> None:
        """NeedMore until it is decided, and then what the whole example gets."""
        validator = self.make_validator()
        for data, kind in self.examples():
            facts = make_facts()
            for end in range(1, len(data) + 1):
                answer = validator.validate(data[:end], facts)
                if not isinstance(answer, NeedMore):
                    break
                bound = answer.at_least == 0 or end < answer.at_least <= len(data)
                assert bound, f"{data[:end]!r} gets {answer!r}, but {len(data)} bytes are enough"
            assert isinstance(answer, kind), f"{data!r} byte by byte gets {answer!r} after {end} bytes"

    def test_it_judges_what_comes_in_two_pieces(self) -> None:
        """Cut at each place, another connection in between: nothing may be kept from one call to the next."""
        validator = self.make_validator()
        others = [data for data, _ in self.examples()]
        for data, kind in self.examples():
            for cut in range(1, len(data)):
                answer = validator.validate(data[:cut], facts := make_facts())
                validator.validate(others[cut % len(others)], make_facts())
                if isinstance(answer, NeedMore):
                    answer = validator.validate(data, facts)
                assert isinstance(answer, kind), f"{data[:cut]!r} + {data[cut:]!r} gets {answer!r}"

    def test_it_never_raises(self) -> None:
        """Random bytes, and examples with a few bytes changed: always a verdict."""
        validator = self.make_validator()
        chance = Random(1)
        examples = [data for data, _ in self.examples()]
        for _ in range(2000):
            data = bytearray(
                chance.choice(examples) if chance.random() < 0.5 else chance.randbytes(chance.randint(1, 99))
            )
            for _ in range(chance.randint(0, 3)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            answer = validator.validate(bytes(data), make_facts())
            assert isinstance(answer, Verdict), f"{bytes(data)!r} gets {answer!r}"


class ProxyCodecContract:
    """What every PROXY codec promises: an answer that depends on the bytes alone, and the same addresses both ways."""

    headers: Sequence[bytes] = ()
    """Examples of whole headers, with nothing behind them."""
    refused: Sequence[bytes] = ()
    """Examples of what it must refuse; each at least as long as the decision needs."""

    def make_codec(self) -> IProxyCodec:
        """Make the codec under test; each test asks for a new one."""
        raise NotImplementedError

    def test_it_satisfies_the_interface(self) -> None:
        """``IProxyCodec`` is declared, the signature can be recognised, and no example exceeds ``max_length``."""
        assert self.headers, "give examples: headers"
        assert self.refused, "give examples: refused"
        codec = self.make_codec()
        verifyObject(IProxyCodec, codec)
        assert isinstance(codec.signature, bytes), f"signature is {codec.signature!r}"
        assert codec.signature, "the signature is empty: no byte tells this header from others"
        for data in self.headers:
            assert data.startswith(codec.signature), f"{data!r} does not begin with the signature"
            assert len(data) <= codec.max_length, f"{data!r} is longer than max_length"

    def test_it_decodes_a_header_and_leaves_what_follows_alone(self) -> None:
        """Whatever is glued to it, another header included: the header is the same and ends in the same place."""
        codec = self.make_codec()
        for data in self.headers:
            header, used = _decoded(codec, data)
            assert used == len(data), f"{data!r}: {used} bytes were used"
            for payload in (b"\0", b"\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 300, data):
                assert _decoded(codec, data + payload) == (header, used), f"{payload!r} after {data!r} matters"

    def test_it_waits_for_what_is_missing_and_not_for_more(self) -> None:
        """NeedMore until the last byte has come, and never for more than the header has."""
        codec = self.make_codec()
        for data in self.headers:
            for end in range(len(data)):
                answer = codec.decode(data[:end])
                assert isinstance(answer, NeedMore), f"{data[:end]!r} gets {answer!r}, but it is not whole"
                bound = answer.at_least == 0 or end < answer.at_least <= len(data)
                assert bound, f"{data[:end]!r} gets {answer!r}, but {len(data)} bytes are enough"

    def test_it_keeps_nothing_from_one_call_to_the_next(self) -> None:
        """Cut at each place, another connection in between."""
        codec = self.make_codec()
        for data in self.headers:
            expected = _decoded(self.make_codec(), data)
            for cut in range(len(data)):
                for other in self.headers:
                    codec.decode(data[:cut])
                    _decoded(codec, other)
                    assert _decoded(codec, data) == expected, f"{data!r} cut at {cut} gets something else"

    def test_it_refuses_what_is_wrong_however_it_is_cut(self) -> None:
        """WireError, with the same reason and place whole and byte by byte."""
        codec = self.make_codec()
        for data in self.refused:
            whole = _outcome(codec, data)
            assert isinstance(whole, tuple), f"{data!r} gets {whole!r}"
            pieces = (_outcome(codec, data[:end]) for end in range(len(data) + 1))
            first = next(outcome for outcome in pieces if not isinstance(outcome, NeedMore))
            assert first == whole, f"{data!r} gets {whole!r}, but byte by byte {first!r}"

    def test_nothing_but_a_header_need_more_or_a_wire_error_ever_comes_out(self) -> None:
        """Two thousand damaged examples."""
        codec = self.make_codec()
        chance = Random(1)
        for _ in range(2000):
            data = bytearray(chance.choice([*self.headers, *self.refused]))
            for _ in range(chance.randint(1, 3)):
                place = chance.randrange(len(data) + 1)
                data[place : place + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
            outcome = _outcome(codec, bytes(data))
            if isinstance(outcome, ProxyHeader):
                both = (outcome.source is None) == (outcome.destination is None)
                assert both, f"{bytes(data)!r} gives one address: {outcome!r}"

    def test_it_encodes_what_it_decodes(self) -> None:
        """The same addresses and the same kind of connection come out again."""
        codec = self.make_codec()
        for data in self.headers:
            header, _ = _decoded(codec, data)
            again = codec.encode(header)
            back, used = _decoded(codec, again)
            assert used == len(again), f"{again!r}: {used} bytes were used"
            assert (back.source, back.destination) == (header.source, header.destination), f"{data!r} became {again!r}"

    def test_it_encodes_every_kind_of_connection_or_says_that_it_cannot(self) -> None:
        """IPv4, IPv6 and Unix sockets in every combination, LOCAL, and no addresses at all."""
        codec = self.make_codec()
        pairs = [(source, destination) for source in SOURCES for destination in SOURCES]
        headers = [ProxyHeader(source=source, destination=destination) for source, destination in pairs]
        for header in (*headers, ProxyHeader(), ProxyHeader(local=True)):
            try:
                data = codec.encode(header)
            except WireError:
                continue
            _, used = _decoded(codec, data)
            assert used == len(data), f"{header!r} became {data!r}, of which {used} bytes were used"


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


class BodyFilterContract:
    """What every body filter promises: an answer to any head, and a body that does not depend on how it was cut."""

    bodies: Sequence[bytes] = (b"a", b"<html><body>Hello</body></html>\n", bytes(range(256)) * 4)
    """Bodies to filter; add those in which there is something to do."""

    def make_filter(self) -> IBodyFilter:
        """Make the filter under test; each test asks for a new one."""
        raise NotImplementedError

    def heads(self) -> list[tuple[Any, Any]]:
        """Return requests with their responses; add those that the filter looks for."""
        html, chunked = ("Content-Type", "text/html; charset=utf-8"), ("Transfer-Encoding", "chunked")
        get, put = make_request(), make_request("PUT", "/a?b", [("Content-Length", "1024"), html])
        head, post = make_request("HEAD"), make_request("POST", "/", [chunked, ("Content-Encoding", "gzip")])
        old = make_request("POST", "/", [("Content-Length", "5")], "1.0")
        return [
            (get, make_response(200, [("Content-Length", "1024"), html, ("ETag", '"x"')], get)),
            (head, make_response(200, [("Content-Length", "1024"), html], head)),
            (put, make_response(204, (), put)),
            (post, make_response(500, [chunked, ("Content-Encoding", "gzip"), html], post)),
            (old, make_response(206, [html, ("Content-Range", "bytes 0-9/100")], old)),
        ]

    def streams(self, made: IBodyFilter) -> Iterator[Any]:
        """Yield each stream that the heads get."""
        for request, response in self.heads():
            facts = make_facts()
            facts.http = request
            for answer in (made.filter_request(facts), made.filter_response(facts, response)):
                if answer is not None and not isinstance(answer, Deny):
                    yield answer

    def test_it_satisfies_the_interface(self) -> None:
        """``IBodyFilter`` is declared, and its methods take what they will be given."""
        verifyObject(IBodyFilter, self.make_filter())

    def test_it_answers_every_head(self) -> None:
        """``None``, ``Deny`` or a stream; and there is a head that gets a stream."""
        streams = list(self.streams(self.make_filter()))
        assert streams, "no head gets a stream: override heads()"
        for stream in streams:
            verifyObject(IBodyStream, stream)
            assert isinstance(stream.keeps_length, bool), f"keeps_length is {stream.keeps_length!r}"

    def test_cuts_do_not_matter(self) -> None:
        """Whole, byte by byte, and in two pieces, with another body in between."""
        for body in self.bodies:
            cuts = [[body], [body[at : at + 1] for at in range(len(body))]]
            cuts += [[body[:at], body[at:]] for at in range(1, len(body))]
            whole = [_filtered(stream, [body]) for stream in self.streams(self.make_filter())]
            for pieces in cuts:
                made = self.make_filter()
                others = list(self.streams(made))
                for stream, other, expected in zip(self.streams(made), others, whole, strict=True):
                    other.feed(b"x")
                    got = _filtered(stream, pieces)
                    assert got == expected, f"{pieces!r} becomes {got!r}, and in one piece {expected!r}"

    def test_it_keeps_the_length_if_it_says_so(self) -> None:
        """And never gives more than it got so far."""
        for stream in self.streams(self.make_filter()):
            body, got = self.bodies[-1], 0
            for at in range(len(body)):
                out = stream.feed(body[at : at + 1])
                if isinstance(out, Deny):
                    break
                got += len(_joined(out, "feed"))
                assert got <= at + 1 or not stream.keeps_length, f"{got} bytes out of {at + 1}"

    def test_a_body_may_be_empty_or_never_end(self) -> None:
        """The end without a byte, and a byte without an end."""
        made = self.make_filter()
        for stream in self.streams(made):
            assert isinstance(_filtered(stream, []), bytes | Deny)
        for stream in self.streams(made):
            stream.feed(b"x")


def _filtered(stream: Any, pieces: Sequence[bytes]) -> bytes | Deny:
    """Return what a body becomes."""
    made = b""
    for piece in [*filter(None, pieces), None]:
        out = stream.end() if piece is None else stream.feed(piece)
        if isinstance(out, Deny):
            return out
        made += _joined(out, "end" if piece is None else "feed")
    return made


def _joined(out: Any, method: str) -> bytes:
    """Return the bytes that a stream answered."""
    if isinstance(out, bytes):
        return out
    pieces = out if isinstance(out, list | tuple) else [out]
    right = all(isinstance(piece, bytes) for piece in pieces)
    assert right, f"{method}() answered {out!r}, which is neither bytes, nor a list or tuple of them, nor Deny"
    return b"".join(pieces)


def _decoded(codec: IProxyCodec, data: bytes) -> tuple[ProxyHeader, int]:
    answer = codec.decode(data)
    assert isinstance(answer, tuple), f"{data!r} gets {answer!r}"
    header, used = answer
    assert isinstance(header, ProxyHeader), f"{data!r} gets {answer!r}"
    assert type(used) is int, f"{data!r} gets {answer!r}"
    return header, used


def _outcome(codec: IProxyCodec, data: bytes) -> ProxyHeader | NeedMore | tuple[str, int]:
    """Return what becomes of ``data``; of a WireError its reason and offset."""
    try:
        answer = codec.decode(data)
    except WireError as error:
        return error.reason, error.offset
    return answer if isinstance(answer, NeedMore) else _decoded(codec, data)[0]


async def _wait_for(answer: Awaitable[Decision]) -> Decision:
    return await answer


def _choose(balancer: IBalancer, candidates: Sequence[FakeServer]) -> FakeServer:
    chosen: FakeServer = balancer.choose(candidates, make_facts())
    assert any(candidate is chosen for candidate in candidates), f"{chosen!r} is none of {candidates!r}"
    return chosen


def _choose_often(balancer: IBalancer, candidates: Sequence[FakeServer]) -> None:
    for _ in range(50):
        _choose(balancer, candidates)
