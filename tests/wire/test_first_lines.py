"""The first exchange of a protocol of lines: a greeting, and then a command of the protocol."""

import pytest

from twisted_lb.errors import WireError
from twisted_lb.wire.first_lines import MAX_GREETING_BYTES, FirstLines, LineProtocol


def ends_greeting(line: bytes, before: bytes) -> bytes | None:
    if line == b"wrong":
        raise WireError("test-greeting")
    return None if line == b"ready" else before + b"."


def check(verb: bytes, arguments: bytes) -> dict[str, str]:
    if arguments == b"no":
        raise WireError("test-arguments")
    return {"test.arguments": arguments.decode()}


def protocol(*, tagged: bool = False) -> LineProtocol:
    return LineProtocol("test", ends_greeting, frozenset((b"HELLO", b"BYE")), 100, b"", tagged, check)


def told(said: bytes, *, greeting: bytes = b"wait\r\nready\r\n", tagged: bool = False, step: int = 0) -> object:
    """What a client's first words come to: facts, ``None`` or the reason of the refusal."""
    first = FirstLines(protocol(tagged=tagged))
    try:
        for at in range(0, len(greeting), step or 1000):
            first.server_said(greeting[at : at + (step or 1000)])
        for at in range(0, len(said), step or 1000):
            found = first.client_said(said[at : at + (step or 1000)])
            if found is not None:
                return found
    except WireError as error:
        return error.reason
    return None


@pytest.mark.parametrize("step", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"hello you\r\nanything", {"test.command": "HELLO", "test.arguments": "you"}),
        (b"BYE\r\n", {"test.command": "BYE", "test.arguments": ""}),
        (b"HELLO", None),
        (b"HELLO no\r\n", "test-arguments"),
        (b"HELLOO\r\n", "test-command"),
        (b"GET / HTTP/1.1\r\n", "test-command"),
        (b" BYE\r\n", "test-command"),
        (b"\r\n", "test-command"),
        (b"BY\r\n", "test-command"),
        (b"BYE\n", "test-line-end"),
        (b"HELLO a\0\r\n", "test-line-nul"),
        (b"HELLO " + b"a" * 92 + b"\r\n", {"test.command": "HELLO", "test.arguments": "a" * 92}),
        (b"HELLO " + b"a" * 93 + b"\r\n", "test-line-long"),
        (b"x" * 200, "test-command"),
    ],
)
def test_the_first_line_must_be_a_command(said: bytes, expected: object, step: int) -> None:
    assert told(said, step=step) == expected


@pytest.mark.parametrize("step", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"a1 hello you\r\n", {"test.command": "HELLO", "test.arguments": "you"}),
        (b"x" * 64 + b" BYE\r\n", {"test.command": "BYE", "test.arguments": ""}),
        (b"x" * 65 + b" BYE\r\n", "test-tag"),
        (b" BYE\r\n", "test-tag"),
        (b"BYE\r\n", "test-tag"),
        (b"a* BYE\r\n", "test-tag"),
        (b"a+ BYE\r\n", "test-tag"),
        (b"a1 bye2\r\n", "test-command"),
        (b"a1  BYE\r\n", "test-command"),
        (b"GET / HTTP/1.1\r\n", "test-command"),
    ],
)
def test_a_tag_may_be_before_the_command(said: bytes, expected: object, step: int) -> None:
    assert told(said, tagged=True, step=step) == expected


def test_a_wrong_command_is_refused_at_its_first_byte() -> None:
    assert told(b"HEL") is None
    assert told(b"HEX") == "test-command"
    assert told(b"a1 HEX", tagged=True) == "test-command"


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"", "test-before-greeting"),
        (b"ready", "test-before-greeting"),
        (b"wait\r\n", "test-before-greeting"),
        (b"wrong\r\n", "test-greeting"),
        (b"a\0b\r\n", "test-greeting-line-nul"),
        (b"x" * MAX_GREETING_BYTES, "test-greeting-line-long"),
        (b"wait\r\n" * 3000, "test-greeting-long"),
    ],
)
def test_there_must_be_a_whole_greeting_before_it(greeting: bytes, reason: str, step: int) -> None:
    assert told(b"BYE\r\n", greeting=greeting, step=step) == reason


def test_a_greeting_may_end_with_a_line_feed_alone() -> None:
    assert told(b"BYE\r\n", greeting=b"wait\nready\n") == {"test.command": "BYE", "test.arguments": ""}
