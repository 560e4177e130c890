"""Validators of one frontend, and what is wrong in how they stand together."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor

from tests.assembling import build
from twisted_lb.errors import ConfigError
from twisted_lb.process import Process
from twisted_lb.testing import make_facts
from twisted_lb.verdicts import Deny


@pytest.fixture
def process() -> Process:
    return Process(MemoryReactor(), Clock(), None)


def problems(process: Process, validators: list[Any], **settings: Any) -> list[str]:
    frontend = {"bind": "127.0.0.1:0", "backend": "app", "validators": validators, **settings}
    try:
        build(process, frontends={"web": frontend})
    except ConfigError as error:
        return [problem.removeprefix("lb.toml: ").removeprefix("frontends.web.") for problem in error.problems]
    return []


@pytest.mark.parametrize("member", ["tls", "ssh", "smtp", {"use": "redis_commands", "deny": ["FLUSHALL"]}])
def test_who_stays_undecided_does_not_get_past_those_that_would_watch(process: Process, member: Any) -> None:
    """Seen: a client that said one byte, waited, and then gave commands that a guard was there to refuse."""
    name = member if isinstance(member, str) else member["use"]
    anything = {"use": "payload", "min_length": 1}
    (problem,) = problems(process, [anything, {"any_of": ["http2", member]}], inspect_expired="pass")
    assert problem.startswith(
        'inspect_expired: with "pass", who says too little in time gets past validators[1].any_of'
    )
    assert f'nobody watches what it says then, though "{name}" would: write "refuse"' in problem


def test_who_stays_undecided_may_pass_where_nobody_would_watch_or_all_still_do(process: Process) -> None:
    assert problems(process, [{"any_of": ["http1", "http2"]}], inspect_expired="pass") == []
    guard = {"use": "redis_commands", "deny": ["FLUSHALL"]}
    assert problems(process, ["tls"], inspect_expired="pass") == []
    assert problems(process, [{"any_of": ["redis", "http1"]}, guard], inspect_expired="pass") == []
    assert problems(process, [{"any_of": ["tls", "http1"]}]) == []


@pytest.mark.parametrize(
    ("any_of", "problem"),
    [
        (["tls", "tls"], 'validators[0].any_of[1]: is the same "tls" as any_of[0]'),
        (["tls", "http1", {"use": "tls"}], 'validators[0].any_of[2]: is the same "tls" as any_of[0]'),
        (["tls", {"use": "tls", "min_version": "1.2"}], 'validators[0].any_of[1]: is the same "tls" as any_of[0]'),
    ],
)
def test_a_validator_that_stands_twice_in_an_any_of_is_told(process: Process, any_of: list[Any], problem: str) -> None:
    (told,) = problems(process, [{"any_of": any_of}])
    assert told == f"{problem}: it would deny what that has denied, so leave it out"


def test_a_validator_that_is_asked_twice_is_told(process: Process) -> None:
    (told,) = problems(process, ["tls", {"any_of": ["tls", "ssh"]}, {"use": "tls", "allowed_sni": []}])
    assert told == 'validators[2]: is the same "tls" as validators[0]: it is asked already, so leave it out'


def test_the_same_validator_with_other_options_may_stand_beside_itself(process: Process) -> None:
    two = [{"use": "payload", "starts_with": text, "protocol": text} for text in ("GAME", "CHAT")]
    assert problems(process, [{"any_of": two}]) == []
    assert problems(process, [{"use": "payload", "starts_with": "G"}, {"use": "payload", "matches": "x"}]) == []


LENIENT = [
    {"use": name, "accept_invalid": True}
    for name in (
        "dns",
        "ftp",
        "http1",
        "http2",
        "imap",
        "mqtt",
        "mysql",
        "pop3",
        "postgresql",
        "rdp",
        "redis",
        "smtp",
        "ssh",
    )
]


@pytest.mark.parametrize("lenient", [*LENIENT, {"use": "payload", "min_length": 4}], ids=lambda one: str(one["use"]))
def test_who_takes_whatever_comes_is_the_last_of_an_any_of(process: Process, lenient: dict[str, Any]) -> None:
    name = lenient["use"]
    (told,) = problems(process, [{"any_of": [{"use": "payload", "starts_with": "x"}, lenient, "tls"]}])
    assert told == (
        f'validators[0].any_of[2]: is never reached: any_of[1], "{name}", takes whatever comes: let that be the last'
    )
    assert problems(process, [{"any_of": ["tls", lenient]}]) == []
    made = build(
        process, frontends={"web": {"bind": "127.0.0.1:0", "backend": "app", "validators": [lenient]}}
    ).frontends["web"]
    (entry,) = made.validators
    for said in (b"\x16\x03\x01\x00\x05\x02\0\0\0\0" * 9, b"GET / HTTP/1.1\r\n\r\n" * 9, b"\xff\xfe\xfd\0" * 64):
        assert not isinstance(entry.object.validate(said, make_facts()), Deny)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("validators", "where", "first", "other"),
    [
        (["tls", "ssh"], 1, "ssh", "validators[0] only tls"),
        (["smtp", "payload-x", "tls"], 2, "tls", "validators[0] only smtp"),
        (
            [{"any_of": ["tls", "ssh"]}, {"any_of": ["http1", "http2"]}],
            1,
            "http1 and http2",
            "validators[0] only ssh and tls",
        ),
    ],
)
def test_entries_that_nobody_gets_past_together_are_told(
    process: Process, validators: list[Any], where: int, first: str, other: str
) -> None:
    """Seen: a list that was meant as one of alternatives, and that refused everybody."""
    validators = [{"use": "payload", "starts_with": "x"} if one == "payload-x" else one for one in validators]
    (told,) = problems(process, validators)
    assert told == (
        f"validators[{where}]: lets only {first} pass, and {other}, so nobody gets past both:"
        " for either write any_of = [...]"
    )


def test_entries_that_somebody_gets_past_together_are_taken(process: Process) -> None:
    commands = {"use": "redis_commands", "deny": ["FLUSHALL"]}
    assert problems(process, ["redis", commands]) == []
    assert problems(process, [{"any_of": ["redis", "tls"]}, commands]) == []
    assert problems(process, [{"use": "ssh", "accept_invalid": True}, "tls"]) == []
    assert problems(process, ["tls", {"any_of": ["ssh", {"use": "payload", "starts_with": "x"}]}]) == []


def test_all_problems_of_all_validators_are_told(process: Process) -> None:
    told = problems(process, [{"any_of": ["tls", "tsl", {"use": "payload", "starts_with_hex": "x"}, "tls"]}])
    assert [problem.split(":")[0] for problem in told] == [
        "validators[0].any_of[1]",
        "validators[0].any_of[2].starts_with_hex",
        "validators[0].any_of[3]",
    ]
