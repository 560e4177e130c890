"""The contract suites find what is wrong with a plugin; each promise is broken once here."""

import re
import unittest
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    NEED_MORE,
    Allow,
    Deny,
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
    Redirect,
    SocketAddress,
    Stage,
    WireError,
)
from twisted_lb.testing import (
    AccessLogContract,
    BalancerContract,
    BodyFilterContract,
    FakeServer,
    ObserverContract,
    PolicyContract,
    ProxyCodecContract,
    ValidatorContract,
    make_facts,
)


def failures(contract: type, **parts: Any) -> set[str]:
    """Run a contract suite on an object and return the names of the tests that fail."""
    case = type("Case", (contract, unittest.TestCase), parts)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.testsRun > 1
    return {test.id().rpartition(".")[2] for test, _ in [*result.failures, *result.errors]}


def balancer_failures(choose: Callable[[Any, Any], Any]) -> set[str]:
    made = type("Made", (), {"choose": lambda self, candidates, facts: choose(candidates, facts)})
    return failures(BalancerContract, make_balancer=lambda self: implementer(IBalancer)(made)())


def policy_failures(decide: Callable[[Any], Any], stage: Stage = Stage.POLICY, **parts: Any) -> set[str]:
    made = type("Made", (), {"decide": lambda self, facts: decide(facts), "stage": stage})
    return failures(PolicyContract, make_policy=lambda self: implementer(IPolicy)(made)(), **parts)


def validator_failures(validate: Callable[[bytes], Any], **parts: Any) -> set[str]:
    made = type("Made", (), {"validate": lambda self, data, facts: validate(data)})
    examples = {"accepted": [b"abc"], "refused": [b"xyz", b"a--"]}
    return failures(ValidatorContract, make_validator=lambda self: implementer(IValidator)(made)(), **examples | parts)


class Letters:
    """A good codec, to break: ``#``, two letters that say who the client is, and ``;``."""

    signature = b"#"
    max_length = 4

    def decode(self, data: bytes) -> Any:
        if data[:1] not in (b"", b"#"):
            raise WireError("letters", 0)
        for place, byte in enumerate(data[1:3], 1):
            if not 97 <= byte <= 122:
                raise WireError("letters", place)
        if data[3:4] not in (b"", b";"):
            raise WireError("letters", 3)
        if len(data) < 4:
            return NeedMore(4)
        source = SocketAddress(data[1:3].decode())
        return ProxyHeader(source=source, destination=source), 4

    def encode(self, header: ProxyHeader) -> bytes:
        if header.source is None or len(header.source.host) != 2:
            raise WireError("letters")
        return f"#{header.source.host};".encode()


def codec_failures(codec: type = Letters, **parts: Any) -> set[str]:
    examples = {"headers": [b"#ab;", b"#xy;"], "refused": [b"ab", b"#a1", b"#abc"]}
    made = implementer(IProxyCodec)(codec)
    return failures(ProxyCodecContract, make_codec=lambda self: made(), **examples | parts)


def access_log_failures(format_record: Callable[[Any], Any]) -> set[str]:
    made = type("Made", (), {"format": lambda self, record: format_record(record)})
    return failures(AccessLogContract, make_access_log=lambda self: implementer(IAccessLog)(made)())


def observer_failures(**methods: Callable[..., Any]) -> set[str]:
    told = ("session_opened", "session_closed", "request_closed", "message_refused")
    quiet = dict.fromkeys(told, lambda self, *_: None)
    fixed = {
        "session_routed": lambda self, facts, backend, server: None,
        "server_state_changed": lambda self, backend, server, state, reason: None,
    }
    made = type("Made", (), quiet | fixed | methods)
    return failures(ObserverContract, make_observer=lambda self: implementer(IObserver)(made)())


# Balancers


def test_a_good_balancer_passes() -> None:
    assert balancer_failures(lambda candidates, facts: candidates[-1]) == set()


def test_a_balancer_that_finds_nobody_when_all_are_busy_is_found_out() -> None:
    idle = balancer_failures(lambda candidates, facts: next((one for one in candidates if not one.connections), None))
    assert {"test_it_chooses_a_candidate_at_equal_load", "test_it_chooses_a_candidate_at_full_load"} <= idle


def test_a_balancer_that_returns_a_copy_is_found_out() -> None:
    assert "test_it_chooses_the_only_candidate" in balancer_failures(lambda candidates, facts: FakeServer("a"))


def test_a_balancer_that_clings_to_a_server_that_left_is_found_out() -> None:
    first: list[Any] = []

    def choose(candidates: Any, facts: Any) -> Any:
        first.append(candidates[0])
        return first[0]

    assert "test_it_chooses_a_candidate_while_candidates_come_and_go" in balancer_failures(choose)


def test_a_balancer_that_counts_connections_itself_is_found_out() -> None:
    def choose(candidates: Any, facts: Any) -> Any:
        candidates[0].connections += 1
        return candidates[0]

    assert balancer_failures(choose) == {"test_it_only_reads"}


def test_an_object_that_does_not_declare_its_interface_is_found_out() -> None:
    made = type("Made", (), {"choose": lambda self, candidates, facts: candidates[0]})
    assert failures(BalancerContract, make_balancer=lambda self: made()) == {"test_it_satisfies_the_interface"}


# Policies


def test_good_policies_pass_at_once_later_and_as_coroutines() -> None:
    async def decide(facts: Any) -> Allow:
        return ALLOW

    assert policy_failures(lambda facts: Deny("no")) == set()
    assert policy_failures(lambda facts: succeed(ALLOW)) == set()
    assert policy_failures(decide) == set()


def test_a_policy_that_raises_on_a_unix_client_is_found_out() -> None:
    only_ip = policy_failures(lambda facts: ALLOW if ip_address(facts.source.host) else Deny("no"))
    assert only_ip == {"test_it_answers_every_source", "test_it_answers_every_request"}


@pytest.mark.parametrize("answer", [None, True, NEED_MORE, succeed(None), fail(ValueError())])
def test_a_policy_that_answers_nonsense_is_found_out(answer: Any) -> None:
    assert policy_failures(lambda facts: answer) == {"test_it_answers_every_source", "test_it_answers_every_request"}


def test_what_a_policy_answered_is_shown() -> None:
    """Seen: "object NoneType can't be used in 'await' expression"."""
    silent: Any = type("Silent", (), {"decide": lambda self, facts: None})()
    with pytest.raises(AssertionError, match=r"^decide\(\) answered None, which is no verdict"):
        PolicyContract().decide(silent, make_facts())


def by_path(facts: Any) -> Any:
    return ALLOW if facts.http.path.decode() else Redirect("/\n")


def test_a_policy_that_answers_what_cannot_be_sent_is_found_out() -> None:
    assert policy_failures(by_path, mode="http") == {"test_it_answers_every_request"}
    assert policy_failures(lambda facts: Redirect(b"http://x" + facts.http.origin), mode="http") == set()


def test_a_policy_that_expects_a_host_is_found_out() -> None:
    def decide(facts: Any) -> Any:
        return Redirect(b"https://" + facts.http.headers.get(b"host") + facts.http.origin)

    assert policy_failures(decide, mode="http") == {"test_it_answers_every_request"}


def test_a_policy_at_a_stage_where_nobody_asks_is_found_out() -> None:
    assert policy_failures(lambda facts: ALLOW, Stage.RELAY) == {"test_it_satisfies_the_interface"}


def test_a_policy_that_answers_later_can_be_settled() -> None:
    waiting: list[Deferred[Any]] = []

    def decide(facts: Any) -> Deferred[Any]:
        waiting.append(Deferred())
        return waiting[-1]

    def settle(self: Any, answer: Deferred[Any]) -> Any:
        waiting[-1].callback(ALLOW)
        return PolicyContract.settle(self, answer)

    assert policy_failures(decide) == {"test_it_answers_every_source", "test_it_answers_every_request"}
    assert policy_failures(decide, settle=settle) == set()


# Validators


def good(data: bytes) -> Any:
    if data[:3] == b"abc":
        return ALLOW
    return NeedMore(3) if b"abc".startswith(data) else Deny("no")


def test_a_good_validator_passes() -> None:
    assert validator_failures(good) == set()
    assert validator_failures(lambda data: ALLOW if data[:1] == b"a" else Deny("no"), refused=[b"xyz"]) == set()


def test_a_validator_that_decides_too_early_is_found_out() -> None:
    hasty = validator_failures(lambda data: ALLOW if data[:3] == b"abc" else Deny("no"))
    assert {"test_it_judges_what_comes_byte_by_byte", "test_it_judges_what_comes_in_two_pieces"} == hasty


def test_a_validator_that_waits_for_what_never_comes_is_found_out() -> None:
    assert validator_failures(lambda data: NeedMore(9) if len(data) < 3 else good(data)) != set()
    assert validator_failures(lambda data: NeedMore(len(data)) if len(data) < 3 else good(data)) != set()


def test_a_validator_that_remembers_is_found_out() -> None:
    begun: list[bytes] = []

    def validate(data: bytes) -> Any:
        answer = good(begun.pop() if begun else data)
        if isinstance(answer, NeedMore):
            begun.append(data)
        return answer

    assert "test_it_judges_what_comes_in_two_pieces" in validator_failures(validate)


def test_a_validator_that_raises_on_strange_bytes_is_found_out() -> None:
    assert validator_failures(lambda data: data.decode() and good(data)) == {"test_it_never_raises"}


def test_a_validator_without_examples_is_found_out() -> None:
    assert "test_it_judges_what_comes_whole" in validator_failures(good, accepted=[])
    assert "test_it_judges_what_comes_whole" in validator_failures(good, refused=[])


# PROXY codecs


def test_a_good_codec_passes() -> None:
    assert codec_failures() == set()


def test_a_codec_that_swallows_payload_is_found_out() -> None:
    class Greedy(Letters):
        def decode(self, data: bytes) -> Any:
            answer = super().decode(data)
            return answer if isinstance(answer, NeedMore) else (answer[0], len(data))

    assert "test_it_decodes_a_header_and_leaves_what_follows_alone" in codec_failures(Greedy)


def test_a_codec_that_waits_for_a_byte_that_never_comes_is_found_out() -> None:
    class Patient(Letters):
        def decode(self, data: bytes) -> Any:
            answer = super().decode(data)
            return NeedMore(5) if isinstance(answer, NeedMore) else answer

    assert codec_failures(Patient) == {"test_it_waits_for_what_is_missing_and_not_for_more"}


def test_a_codec_that_acts_on_a_part_of_a_header_is_found_out() -> None:
    class Hasty(Letters):
        def decode(self, data: bytes) -> Any:
            return super().decode(data if len(data) != 3 else data + b";")

    assert "test_it_waits_for_what_is_missing_and_not_for_more" in codec_failures(Hasty)


def test_a_codec_that_remembers_is_found_out() -> None:
    class Remembering(Letters):
        def __init__(self) -> None:
            self.first = b""

        def decode(self, data: bytes) -> Any:
            self.first = self.first or data[:2]
            return super().decode(self.first + data[2:])

    assert "test_it_keeps_nothing_from_one_call_to_the_next" in codec_failures(Remembering)


def test_a_codec_whose_refusals_depend_on_the_cut_is_found_out() -> None:
    class Late(Letters):
        def decode(self, data: bytes) -> Any:
            if len(data) > 3 and not data[1:3].isalpha():
                raise WireError("letters", 1)
            return super().decode(data)

    found = codec_failures(Late, refused=[b"#a1;"])
    assert found == {"test_it_refuses_what_is_wrong_however_it_is_cut"}


def test_a_codec_that_raises_something_else_is_found_out() -> None:
    class Careless(Letters):
        def decode(self, data: bytes) -> Any:
            data.decode()
            return super().decode(data)

    found = codec_failures(Careless)
    assert {"test_nothing_but_a_header_need_more_or_a_wire_error_ever_comes_out"} <= found


def test_a_codec_that_writes_something_else_than_it_read_is_found_out() -> None:
    class Forgetful(Letters):
        def encode(self, header: ProxyHeader) -> bytes:
            return b"#no;"

    assert codec_failures(Forgetful) == {"test_it_encodes_what_it_decodes"}


def test_a_codec_that_writes_what_it_cannot_read_is_found_out() -> None:
    class Bold(Letters):
        def encode(self, header: ProxyHeader) -> bytes:
            return super().encode(header) if header.source and len(header.source.host) == 2 else b"#"

    assert codec_failures(Bold) == {"test_it_encodes_every_kind_of_connection_or_says_that_it_cannot"}


def test_a_codec_without_signature_or_examples_is_found_out() -> None:
    nothing = type("Nothing", (Letters,), {"signature": b""})
    assert codec_failures(nothing) == {"test_it_satisfies_the_interface"}
    assert "test_it_satisfies_the_interface" in codec_failures(headers=[])
    assert "test_it_satisfies_the_interface" in codec_failures(refused=[])


# Access logs


def test_a_good_access_log_passes() -> None:
    assert access_log_failures(lambda record: ascii(record).encode()) == set()


@pytest.mark.parametrize(
    "format_record",
    [
        lambda record: f"{record.source}".encode("utf-8", "replace"),  # a line end in a client's path
        lambda record: record.source.encode(),  # a path that is not UTF-8
        lambda record: ascii(record),  # not bytes
        lambda record: b"",
    ],
)
def test_an_access_log_that_does_not_write_one_line_is_found_out(format_record: Callable[[Any], Any]) -> None:
    assert "test_it_writes_one_line_for_each_record" in access_log_failures(format_record)


def test_an_access_log_that_caches_too_long_is_found_out() -> None:
    lines: list[bytes] = []

    def format_record(record: Any) -> bytes:
        lines.append(ascii(record).encode())
        return lines[len(lines) // 2]

    assert access_log_failures(format_record) == {"test_a_line_depends_on_its_record_alone"}


# Observers


def test_a_good_observer_passes() -> None:
    assert observer_failures() == set()


def test_an_observer_that_expects_every_connection_to_be_routed_is_found_out() -> None:
    routed: list[Any] = []
    found = observer_failures(
        session_routed=lambda self, facts, backend, server: routed.append(facts),
        session_closed=lambda self, facts, record: routed.remove(facts),
    )
    assert found == {"test_it_watches_a_connection_that_was_never_routed"}


def test_an_observer_that_expects_a_connection_to_every_server_is_found_out() -> None:
    found = observer_failures(server_state_changed=lambda self, backend, server, state, reason: {}[server.name])
    assert found == {"test_it_hears_of_servers_that_no_connection_went_to"}


# Body filters


@implementer(IBodyStream)
class Passing:
    """Lets a body pass; what a test changes is wrong."""

    keeps_length: Any = True

    def __init__(self) -> None:
        self.count = 0

    def feed(self, data: bytes) -> Any:
        self.count += 1
        return data

    def end(self) -> Any:
        return b""


def filter_failures(stream: Any, request: Any = None, shared: bool = False) -> set[str]:
    """Run the contract on a filter that gives responses streams of this class, or one stream to all of them."""
    one = stream() if shared else None
    methods = {
        "filter_request": lambda self, facts: request,
        "filter_response": lambda self, facts, response: one or stream(),
    }
    made = type("Made", (), methods)
    return failures(BodyFilterContract, make_filter=lambda self: implementer(IBodyFilter)(made)())


def stream_that(**changes: Any) -> Any:
    return type("Changed", (Passing,), changes)


def test_a_good_body_filter_passes() -> None:
    assert filter_failures(Passing) == set()
    assert filter_failures(Passing, Deny("no")) == set()
    assert filter_failures(stream_that(feed=lambda self, data: [data, b"!"] if not data else [data])) == set()


@pytest.mark.parametrize("answer", [0, b"", Allow(), object()])
def test_a_body_filter_that_answers_nonsense_is_found_out(answer: Any) -> None:
    assert "test_it_answers_every_head" in filter_failures(Passing, answer)


@pytest.mark.parametrize(("answer", "shown"), [(None, "None"), ("text", "'text'"), (["a"], "['a']")])
def test_what_a_body_filter_answered_is_shown(answer: Any, shown: str) -> None:
    """Seen: "can only join an iterable"."""
    stream = stream_that(feed=lambda self, data: answer)
    case = type(
        "Case",
        (BodyFilterContract,),
        {"streams": lambda self, made: iter([stream()]), "make_filter": lambda self: None},
    )
    with pytest.raises(AssertionError, match=re.escape(f"feed() answered {shown}, which is neither")):
        case().test_cuts_do_not_matter()


def test_a_body_filter_without_a_stream_to_test_is_found_out() -> None:
    assert filter_failures(lambda: None) == {"test_it_answers_every_head"}


def test_a_stream_that_depends_on_cuts_is_found_out() -> None:
    assert "test_cuts_do_not_matter" in filter_failures(stream_that(keeps_length=False, feed=lambda self, data: b"x"))


def test_a_stream_that_several_bodies_share_is_found_out() -> None:
    def feed(self: Any, data: bytes) -> bytes:
        self.count += 1
        return data if self.count % 3 else data.upper()

    assert "test_cuts_do_not_matter" in filter_failures(stream_that(feed=feed), shared=True)


def test_a_stream_that_breaks_its_promise_of_length_is_found_out() -> None:
    assert "test_it_keeps_the_length_if_it_says_so" in filter_failures(stream_that(feed=lambda self, data: data * 2))


def test_a_stream_that_needs_a_body_is_found_out() -> None:
    broken = stream_that(end=lambda self: b"" if self.count else None)
    assert "test_a_body_may_be_empty_or_never_end" in filter_failures(broken)
