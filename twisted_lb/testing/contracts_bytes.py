"""Contract suites of what judges or decodes bytes: validators, also those that stay on the stream, and PROXY codecs."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Literal, TypeAlias

from zope.interface.verify import verifyObject

from twisted_lb.api import (
    ALLOW_FINALLY,
    Allow,
    Deny,
    Facts,
    IProxyCodec,
    IStreamValidator,
    IStreamWatch,
    IValidator,
    NeedMore,
    ProxyHeader,
    Verdict,
    WireError,
)
from twisted_lb.testing.fakes import SOURCES, make_facts


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

    def test_what_it_learns_does_not_depend_on_cuts(self) -> None:
        """Cut at each place: the facts in the end are those of the whole example."""
        validator = self.make_validator()
        for data, kind in self.examples():
            if kind is not Allow:
                continue
            validator.validate(data, whole := make_facts())
            for cut in range(1, len(data)):
                answer = validator.validate(data[:cut], facts := make_facts())
                if isinstance(answer, NeedMore):
                    validator.validate(data, facts)
                    learnt = facts.learnt
                    assert learnt == whole.learnt, f"{data[:cut]!r} + {data[cut:]!r} teaches {learnt!r}"

    def test_it_never_raises(self) -> None:
        """Random bytes, and examples with a few bytes changed: always a verdict."""
        validator = self.make_validator()
        chance = Random(1)
        examples = [data for data, _ in self.examples()]
        for _ in range(2000):
            data = bytearray(
                chance.choice(examples)
                if examples and chance.random() < 0.5
                else chance.randbytes(chance.randint(1, 99))
            )
            for _ in range(chance.randint(0, 3)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            answer = validator.validate(bytes(data), make_facts())
            assert isinstance(answer, Verdict), f"{bytes(data)!r} gets {answer!r}"


Conversation: TypeAlias = Sequence[tuple[Literal["client", "server"], bytes]]
"""Who says what, in turn."""


class StreamValidatorContract(ValidatorContract):
    """What every validator promises that stays on the stream: to judge what is said, not how the network cut it."""

    passed: Sequence[Conversation] = ()
    """Examples of conversations that it must let pass."""
    ended: Sequence[Conversation] = ()
    """Examples of what it must end, each with the piece at the end of which it must have done so."""

    def make_validator(self) -> IStreamValidator:
        """Make the validator under test; each test asks for a new one."""
        raise NotImplementedError

    def examples(self) -> Iterator[tuple[bytes, type[Verdict]]]:
        """As of any validator; but it may refuse nothing so early, and where the server speaks first allow nothing."""
        assert self.accepted or self.make_validator().server_first, "give examples: accepted"
        yield from ((data, Allow) for data in self.accepted)
        yield from ((data, Deny) for data in self.refused)

    def conversations(self) -> Iterator[tuple[Conversation, bool]]:
        """Yield each example with whether it must pass."""
        assert self.passed, "give examples: passed"
        assert self.ended, "give examples: ended"
        yield from ((conversation, True) for conversation in self.passed)
        yield from ((conversation, False) for conversation in self.ended)

    def test_it_satisfies_the_interface(self) -> None:
        """``IStreamValidator`` is declared, and so is ``IStreamWatch``."""
        validator = self.make_validator()
        verifyObject(IStreamValidator, validator)
        assert isinstance(validator.server_first, bool), f"server_first is {validator.server_first!r}"
        watch = validator.watch(make_facts())
        if watch is not None:
            assert IStreamWatch.providedBy(watch), f"{watch!r} does not say that it is an IStreamWatch"
            if None not in (watch.client_said, watch.server_said):  # what is None is not asked
                verifyObject(IStreamWatch, watch)

    def test_it_judges_whole_conversations(self) -> None:
        """Each piece as it stands in the example."""
        validator = self.make_validator()
        for conversation, passes in self.conversations():
            verdict = _played(validator, conversation, [len])
            assert (verdict is None) is passes, f"{conversation!r} gets {verdict!r}"

    def test_it_judges_conversations_that_come_in_other_pieces(self) -> None:
        """Byte by byte, in twos, and at random."""
        validator, chance = self.make_validator(), Random(1)
        ways: list[Callable[[bytes], int]] = [lambda data: 1, lambda data: 2]
        ways += [lambda data: chance.randint(1, len(data))] * 5
        for conversation, passes in self.conversations():
            for way in ways:
                verdict = _played(validator, conversation, [way])
                assert (verdict is None) is passes, f"{conversation!r} in other pieces gets {verdict!r}"

    def test_it_keeps_connections_apart(self) -> None:
        """Each conversation while all others are under way."""
        validator = self.make_validator()
        examples = [conversation for conversation, _ in self.conversations()]
        for conversation, passes in self.conversations():
            for other in examples:
                _played(validator, other[: len(other) // 2], [len])
            verdict = _played(validator, conversation, [len])
            assert (verdict is None) is passes, f"{conversation!r} gets {verdict!r} beside others"

    def test_its_watches_never_raise(self) -> None:
        """Random bytes, and conversations with a few bytes changed: always Allow or Deny."""
        validator, chance = self.make_validator(), Random(1)
        examples = [conversation for conversation, _ in self.conversations()]
        for _ in range(500):
            changed: list[tuple[Literal["client", "server"], bytes]] = []
            for side, data in chance.choice(examples):
                piece = bytearray(data if chance.random() < 0.7 else chance.randbytes(chance.randint(1, 99)))
                for _ in range(chance.randint(0, 3)):
                    piece[chance.randrange(len(piece))] = chance.randrange(256)
                changed.append((side, bytes(piece)))
            _played(validator, changed, [lambda data: chance.randint(1, len(data))])
            # A client may be let on undecided, and then its watch sees what ``validate`` has not.
            _watched(validator.watch(make_facts()), list(_cut(changed, lambda data: chance.randint(1, len(data)))))


def _played(
    validator: IStreamValidator, conversation: Conversation, way: Sequence[Callable[[bytes], int]]
) -> Deny | None:
    """Let a validator and its watch hear a conversation, as the proxy would; returns what it ended with.

    Where the client speaks first, ``validate`` is asked about what it says until it has decided. ``way``: how long a
    piece is.
    """
    facts = make_facts()
    pieces = list(_cut(conversation, *way))
    if not validator.server_first:
        denied = _opened(validator, pieces, facts)
        if denied is not None:
            return denied
    return _watched(validator.watch(facts), pieces)


def _cut(conversation: Conversation, length: Callable[[bytes], int]) -> Iterator[tuple[str, bytes]]:
    for side, data in conversation:
        rest = data
        while rest:
            size = length(rest)
            yield side, rest[:size]
            rest = rest[size:]


def _opened(validator: IStreamValidator, pieces: Sequence[tuple[str, bytes]], facts: Facts) -> Deny | None:
    """Ask ``validate`` until it has decided, or the server speaks: a client may be let on undecided."""
    said = b""
    for side, data in pieces:
        if side != "client":
            break
        said += data
        verdict = validator.validate(said, facts)
        assert isinstance(verdict, Verdict), f"{said!r} gets {verdict!r}"
        if isinstance(verdict, Deny):
            return verdict
        if isinstance(verdict, Allow):
            break
    return None


def _watched(watch: Any, pieces: Sequence[tuple[str, bytes]]) -> Deny | None:
    if watch is None:
        return None
    content: set[str] = set()
    for side, data in pieces:
        if side in content:
            continue
        judge = watch.client_said if side == "client" else watch.server_said
        verdict = ALLOW_FINALLY if judge is None else judge(data)
        assert isinstance(verdict, Allow | Deny), f"{side} {data!r} gets {verdict!r}"
        if isinstance(verdict, Deny):
            return verdict
        if verdict.final:
            content.add(side)
    return None


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
