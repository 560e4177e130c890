"""The contract suites of what judges or decodes bytes find what is wrong; each promise is broken once here."""

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from tests.testing.suites import failures
from twisted_lb.api import (
    ALLOW,
    Deny,
    IProxyCodec,
    IStreamValidator,
    IStreamWatch,
    IValidator,
    NeedMore,
    ProxyHeader,
    SocketAddress,
    WireError,
)
from twisted_lb.testing import ProxyCodecContract, StreamValidatorContract, ValidatorContract


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


# Validators that stay on the stream


class Echo:
    """A good one, to break: each side may say letters only, and the server has to say one first."""

    server_first = True

    def validate(self, data: bytes, facts: Any) -> Any:
        return Deny("too early")

    def watch(self, facts: Any) -> Any:
        return implementer(IStreamWatch)(type("Watch", (EchoWatch,), {}))()


class EchoWatch:
    """One connection of ``Echo``."""

    def __init__(self) -> None:
        self.greeted = False

    def server_said(self, data: bytes) -> Any:
        self.greeted = True
        return ALLOW if data.isalpha() else Deny("letters only")

    def client_said(self, data: bytes) -> Any:
        if not self.greeted:
            return Deny("too early")
        return ALLOW if data.isalpha() else Deny("letters only")


def stream_failures(made: type = Echo, **parts: Any) -> set[str]:
    examples = {
        "refused": [b"abc"],
        "passed": [[("server", b"hello"), ("client", b"thanks")]],
        "ended": [[("client", b"abc")], [("server", b"hi"), ("client", b"ab1")], [("server", b"a b")]],
    }
    declared = implementer(IStreamValidator)(made)
    return failures(StreamValidatorContract, make_validator=lambda self: declared(), **examples | parts)


def test_a_good_stream_validator_passes() -> None:
    assert stream_failures() == set()


def test_a_stream_validator_without_conversations_is_found_out() -> None:
    assert "test_it_judges_whole_conversations" in stream_failures(passed=[])
    assert "test_it_judges_whole_conversations" in stream_failures(ended=[])


def test_a_stream_validator_that_must_allow_something_first_needs_examples_of_that() -> None:
    assert "test_it_judges_what_comes_whole" in stream_failures(type("Second", (Echo,), {"server_first": False}))
    assert stream_failures(refused=[]) == set()


def watched(**methods: Any) -> type:
    watch = type("Watch", (EchoWatch,), methods)
    return type("Made", (Echo,), {"watch": lambda self, facts: implementer(IStreamWatch)(watch)()})


def test_a_watch_that_depends_on_cuts_is_found_out() -> None:
    def client_said(self: Any, data: bytes) -> Any:
        return ALLOW if data == b"thanks" and self.greeted else Deny("no")

    assert stream_failures(watched(client_said=client_said)) == {
        "test_it_judges_conversations_that_come_in_other_pieces"
    }


def test_a_watch_that_all_connections_share_is_found_out() -> None:
    shared = implementer(IStreamWatch)(EchoWatch)()
    failed = stream_failures(type("Made", (Echo,), {"watch": lambda self, facts: shared}))
    assert "test_it_keeps_connections_apart" in failed


def test_a_watch_that_raises_or_answers_nonsense_is_found_out() -> None:
    for bad in (lambda self, data: None, lambda self, data: data.decode("ascii").isalpha() and ALLOW):
        assert "test_its_watches_never_raise" in stream_failures(watched(client_said=bad))


def test_a_watch_that_lacks_a_method_is_found_out() -> None:
    assert "test_it_satisfies_the_interface" in stream_failures(watched(client_said=1))


def test_a_watch_need_not_look_both_ways() -> None:
    assert "test_it_satisfies_the_interface" not in stream_failures(watched(client_said=None))


def test_a_validator_that_learns_other_things_when_bytes_come_in_pieces_is_found_out() -> None:
    def validate(self: Any, data: bytes, facts: Any) -> Any:
        facts.learnt.setdefault("first", data[:2])
        return NeedMore(3) if len(data) < 3 else ALLOW if data == b"abc" else Deny("no")

    made = implementer(IValidator)(type("Made", (), {"validate": validate}))
    examples = {"accepted": [b"abc"], "refused": [b"xyz"]}
    failed = failures(ValidatorContract, make_validator=lambda self: made(), **examples)
    assert failed == {"test_what_it_learns_does_not_depend_on_cuts"}


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
