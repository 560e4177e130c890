"""``redis_commands`` lets no command pass that it must not, however it is written and cut."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome, talk
from twisted_lb.api import ConfigError, Deny, IStreamValidator
from twisted_lb.testing import StreamValidatorContract, make_facts
from twisted_lb_plugins.validation_redis_commands import RedisCommandsOptions, RedisCommandsValidator

DENY = ("FLUSHALL", "config set", "EVAL")


def array(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


PING, SET, FLUSHALL = array(b"PING"), array(b"SET", b"k", FLUSH := b"*1\r\n$8\r\nFLUSHALL\r\n"), array(b"FLUSHALL")


def make(**options: Any) -> RedisCommandsValidator:
    return RedisCommandsValidator(RedisCommandsOptions(**options))


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(make(**(options or {"deny": DENY})), turns)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``redis_commands`` keeps what every validator promises."""

    accepted = (PING, SET, b"PING\r\n", array(b"CONFIG", b"GET", b"x"))
    refused = (FLUSHALL, array(b"config", b"Set", b"x", b"y"), b"flushall\r\n", b'"\\x46LUSHALL"\n', b"\x16\x03\x01")

    passed = ([(CLIENT, PING), (SERVER, b"+PONG\r\n"), (CLIENT, SET + b"get k\r\n"), (SERVER, b"+OK\r\n")],)
    ended = (
        [(CLIENT, PING), (SERVER, b"+PONG\r\n"), (CLIENT, FLUSHALL)],
        [(CLIENT, PING + SET + b"FLUSHALL\r\n")],
        [(CLIENT, PING), (CLIENT, b"*1\r\n$4\r\nPINGx")],
    )

    def make_validator(self) -> IStreamValidator:
        return make(deny=DENY)


@pytest.mark.parametrize(
    "said",
    [
        FLUSHALL,
        PING * 3 + SET + FLUSHALL + PING,
        array(b"MULTI") + SET + array(b"flushAll", b"ASYNC") + array(b"EXEC"),
        PING + b"\r\n FLUSHALL\n",
        PING + b"'FLUSHALL'\r\n",
        PING + b'fl"ush"all ASYNC\r\n'.replace(b'h"all', b'hall"'),
        array(b"CONFIG", b"SET", b"dir", b"/tmp"),
        b"Config  SET dir /tmp\r\n",
        array(b"EVAL", b"return redis.call('FLUSHALL')", b"0"),
        array(b"EVAL", b"x" * 100_000, b"0")[:200],
    ],
)
def test_a_denied_command_is_refused_wherever_it_stands(said: bytes) -> None:
    refused = told([(CLIENT, PING), (SERVER, b"+PONG\r\n"), (CLIENT, said)])
    assert refused.refused in (
        "redis-command-denied FLUSHALL",
        "redis-command-denied CONFIG",
        "redis-command-denied EVAL",
    )
    assert refused.farewell.startswith(b"-NOPERM ")
    assert refused.farewell.endswith(b"\r\n")


def test_what_only_looks_like_a_denied_command_passes() -> None:
    said = (
        SET + array(b"GET", b"FLUSHALL") + array(b"CONFIG", b"GET", b"SET") + array(b"CONFIG") + b"SET FLUSHALL 1\r\n"
    )
    assert told([(CLIENT, said), (SERVER, b"-ERR FLUSHALL\r\n")]) == Outcome(None, {"protocol": "redis"}, False)


def test_only_the_client_is_watched_and_that_to_the_end() -> None:
    validator = make(deny=DENY)
    watch = validator.watch(make_facts())
    assert watch.server_said(b"x").final
    for _ in range(3):
        assert not watch.client_said(PING).final
    assert isinstance(watch.client_said(FLUSHALL), Deny)


def test_a_list_of_what_is_allowed_denies_all_else() -> None:
    allow = ("ping", "CONFIG GET", "SET")
    assert told([(CLIENT, PING + SET + array(b"config", b"get", b"x"))], allow=allow).refused is None
    for said in (
        FLUSHALL,
        array(b"CONFIG", b"SET"),
        array(b"CONFIG"),
        array(b"CONFIG", b"GETX"),
        array(b"CONFIG", b"GET\0"),
    ):
        assert (told([(CLIENT, said)], allow=allow).refused or "").startswith("redis-command-denied ")
    config = {"allow": ("CONFIG",), "deny": ("CONFIG SET",)}
    assert told([(CLIENT, array(b"CONFIG", b"SET"))], **config).refused == "redis-command-denied CONFIG"
    assert told([(CLIENT, array(b"CONFIG", b"GET"))], **config).refused is None
    assert told([(CLIENT, PING)], allow=()).refused == "redis-command-denied PING"


def test_a_zero_byte_hides_nothing() -> None:
    # Servers compare names up to a zero byte, in tables whose place for a name depends on all of its bytes.
    assert told([(CLIENT, array(b"FLUSHALL\0x"))]).refused == "redis-name"
    assert told([(CLIENT, array(b"CONFIG", b"SET\0x", b"dir", b"/"))]).refused == "redis-command-denied CONFIG"
    assert told([(CLIENT, array(b"GET", b"SET\0x"))]).refused is None


def test_what_cannot_be_read_is_refused() -> None:
    refused = told([(CLIENT, PING), (CLIENT, b"*1\r\n+FLUSHALL\r\n")])
    assert (refused.refused, refused.farewell) == ("redis-word", b"-ERR Protocol error: redis-word\r\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, 'it needs "deny", "allow" or both'),
        ({"deny": ("FLUSH ALL NOW",)}, 'deny: "FLUSH ALL NOW" is no command'),
        ({"allow": ("",)}, 'allow: "" is no command'),
        ({"allow": ("x" * 65,)}, "is no command"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


WORDS = st.lists(
    st.sampled_from(
        [b"PING", b"FLUSHALL", b"flushall", b"CONFIG", b"SET", b"GET", b"EVAL", b"\r\n", FLUSHALL, b"x" * 70]
    ),
    min_size=1,
    max_size=4,
)


def naively_denied(words: list[bytes]) -> bool:
    upper = [word.upper() for word in words]
    return upper[0] in (b"FLUSHALL", b"EVAL") or upper[:2] == [b"CONFIG", b"SET"]


def as_bytes(words: list[bytes], inline: bool) -> bytes:
    if not inline:
        return array(*words)
    return b" ".join(b'"' + b"".join(b"\\x%02x" % byte for byte in word) + b'"' for word in words) + b"\r\n"


@given(st.lists(st.tuples(WORDS, st.booleans()), min_size=1, max_size=6), st.lists(st.integers(0, 2000), max_size=6))
def test_no_forbidden_command_is_ever_whole_behind_the_guard(
    commands: list[tuple[list[bytes], bool]], places: list[int]
) -> None:
    commands = [(words, inline) for words, inline in commands if words[0].isalpha() and len(words[0]) < 64]
    # A second word of CONFIG that is not printable is denied too.
    commands = [
        (words, inline) for words, inline in commands if words[0] != b"CONFIG" or b"\r" not in b"".join(words[1:2])
    ]
    said, forbidden = b"", False
    for words, inline in commands:
        said += as_bytes(words, inline)
        if naively_denied(words):
            forbidden = True
            break
    said += PING
    watch = make(deny=DENY).watch(make_facts())
    bounds = [0, *sorted(min(place, len(said)) for place in places), len(said)]
    passed = 0
    for start, end in itertools.pairwise(bounds):
        if start == end:
            continue
        if isinstance(watch.client_said(said[start:end]), Deny):
            break
        passed = end
    if forbidden:
        assert passed < len(said) - len(PING), "the whole forbidden command has passed"
    else:
        assert passed == len(said)


@given(st.binary(max_size=60).map(lambda said: PING + said))
def test_any_bytes_are_refused_or_not_however_they_are_cut(said: bytes) -> None:
    whole = talk(make(deny=DENY), [(CLIENT, said)])
    cut = talk(make(deny=DENY), [(CLIENT, said[at : at + 1]) for at in range(len(said))])
    assert (cut.refused, cut.farewell) == (whole.refused, whole.farewell)
