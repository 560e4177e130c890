"""``postgresql``: the first exchange between client and server, encrypted or not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome, talk
from twisted_lb.api import ALLOW_FINALLY, ConfigError, Deny, IStreamValidator
from twisted_lb.testing import StreamValidatorContract, make_facts
from twisted_lb_plugins.validation_postgresql import PostgresqlOptions, PostgresqlValidator

SSL = b"\0\0\0\x08\x04\xd2\x16\x2f"
GSS = b"\0\0\0\x08\x04\xd2\x16\x30"
CANCEL = b"\0\0\0\x10\x04\xd2\x16\x2e\x00\x00\x30\x39\xde\xad\xbe\xef"
STARTUP = b"\0\0\0\x22\0\x03\0\0user\0alice\0database\0shop\0\0"
AUTHENTICATION_OK = b"R\0\0\0\x08\0\0\0\0"
PASSWORD = b"p\0\0\0\x0bsecret\0"
HELLO = b"\x16\x03\x01\x00\x05hello"
VALID = {"protocol": "postgresql", "postgresql.valid": True}
ALICE = {
    "postgresql.user": "alice",
    "postgresql.database": "shop",
    "postgresql.replication": False,
}


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(PostgresqlValidator(PostgresqlOptions(**options)), turns)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``postgresql`` keeps what every validator promises."""

    accepted = (STARTUP, STARTUP + PASSWORD, SSL, GSS, CANCEL)
    refused = (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", SSL[:7] + b"\x00", b"\0\0\0\x09\0\x03\0\0\0")

    passed = (
        [(CLIENT, STARTUP), (SERVER, AUTHENTICATION_OK), (CLIENT, PASSWORD), (SERVER, b"whatever")],
        [(CLIENT, SSL), (SERVER, b"S"), (CLIENT, HELLO), (SERVER, HELLO)],
        [(CLIENT, GSS), (SERVER, b"N"), (CLIENT, SSL), (SERVER, b"N"), (CLIENT, STARTUP), (SERVER, b"R")],
        [(CLIENT, CANCEL)],
    )
    ended = (
        [(CLIENT, STARTUP), (SERVER, b"HTTP/1.1 400 Bad Request\r\n")],
        [(CLIENT, SSL + HELLO)],
        [(CLIENT, SSL), (SERVER, b"Sx")],
        [(CLIENT, SSL), (SERVER, b"N"), (CLIENT, b"GET / HTTP/1.1\r\n")],
        [(CLIENT, STARTUP[:9]), (SERVER, AUTHENTICATION_OK)],
    )

    def make_validator(self) -> IStreamValidator:
        return PostgresqlValidator(PostgresqlOptions())


def test_who_was_let_on_undecided_is_judged_likewise() -> None:
    for said, reason in ((STARTUP, "postgresql-user-denied"), (b"GET / HTTP/1.1\r\n", "postgresql-length")):
        watch = PostgresqlValidator(PostgresqlOptions(allowed_users=("bob",))).watch(make_facts())
        assert watch is not None
        denied = watch.client_said(said)
        assert isinstance(denied, Deny)
        assert denied.reason == reason


def test_who_was_let_on_undecided_is_learnt_from_too() -> None:
    watch = PostgresqlValidator(PostgresqlOptions()).watch(facts := make_facts())
    assert watch is not None
    assert watch.client_said(STARTUP) is ALLOW_FINALLY
    assert facts.learnt == {**VALID, "postgresql.request": "startup", **ALICE}


def test_nobody_watches_what_was_let_pass_although_it_breaks_a_rule() -> None:
    assert told([(CLIENT, b"GET / HTTP/1.1\r\n")], accept_invalid=True) == Outcome(
        None, {"postgresql.valid": False}, True
    )


def test_a_startup_message_is_learnt_from_and_its_answer_ends_the_watch() -> None:
    turns = [(CLIENT, STARTUP), (SERVER, AUTHENTICATION_OK), (CLIENT, PASSWORD)]
    assert told(turns) == Outcome(None, {**VALID, "postgresql.request": "startup", **ALICE}, True)


@pytest.mark.parametrize("answer", [b"E\0\0\0\x05\0", b"v\0\0\0\x0c\0\0\0\0\0\0\0\0", b"N\0\0\0\x05\0"])
def test_a_server_may_answer_otherwise(answer: bytes) -> None:
    assert told([(CLIENT, STARTUP), (SERVER, answer)]).passed


def test_behind_a_yes_to_encryption_tls_ends_the_watch() -> None:
    turns = [(CLIENT, SSL), (SERVER, b"S"), (CLIENT, HELLO), (SERVER, HELLO)]
    assert told(turns) == Outcome(None, {**VALID, "postgresql.request": "ssl"}, True)


def test_behind_a_no_to_encryption_the_startup_message_is_judged() -> None:
    turns = [(CLIENT, GSS), (SERVER, b"N"), (CLIENT, SSL), (SERVER, b"N"), (CLIENT, STARTUP), (SERVER, b"R")]
    assert told(turns) == Outcome(None, {**VALID, "postgresql.request": "gss", **ALICE}, True)
    turns[4] = (CLIENT, b"\0\0\0\x09\0\x03\0\0\0")
    assert told(turns).refused == "postgresql-user"


def test_gssapi_ends_the_watch() -> None:
    assert told([(CLIENT, GSS), (SERVER, b"G"), (CLIENT, b"\0\0\0\x02ab"), (SERVER, b"x")]).passed


def test_a_cancel_request_has_no_answer() -> None:
    learnt = {**VALID, "postgresql.request": "cancel"}
    assert told([(CLIENT, CANCEL)]) == Outcome(None, learnt, False)
    assert told([(CLIENT, CANCEL), (SERVER, b"R")]).refused == "postgresql-answer"
    assert told([(CLIENT, CANCEL + b"x")]).refused == "postgresql-early"


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([(CLIENT, SSL + STARTUP)], "postgresql-early"),
        ([(CLIENT, SSL), (CLIENT, STARTUP)], "postgresql-early"),
        ([(CLIENT, SSL), (CLIENT, HELLO)], "postgresql-early"),
        ([(CLIENT, SSL), (SERVER, b"S"), (CLIENT, STARTUP)], "postgresql-no-tls"),
        ([(CLIENT, SSL), (SERVER, b"N"), (CLIENT, SSL)], "postgresql-asked-twice"),
        ([(CLIENT, SSL), (SERVER, b"N"), (CLIENT, HELLO)], "postgresql-length"),
        ([(CLIENT, SSL), (SERVER, b"E\0\0\0\x05\0"), (CLIENT, STARTUP)], "postgresql-early"),
        ([(CLIENT, SSL), (SERVER, b"G")], "postgresql-answer"),
        ([(CLIENT, SSL), (SERVER, b"Sx")], "postgresql-answer"),
        ([(CLIENT, SSL), (SERVER, b"S"), (SERVER, b"x")], "postgresql-answer"),
        ([(CLIENT, STARTUP), (SERVER, b"220 mail\r\n")], "postgresql-answer"),
    ],
)
def test_what_breaks_a_rule_is_refused(turns: Turns, reason: str) -> None:
    refused = told(turns)
    assert refused.refused == reason
    assert refused.learnt["postgresql.valid"] is False
    understands = reason not in ("postgresql-length", "postgresql-no-tls")
    assert (b"C08P01" in refused.farewell) == understands


def test_encryption_can_be_required() -> None:
    refused = told([(CLIENT, STARTUP)], require_ssl=True)
    assert (refused.refused, b"C28000" in refused.farewell) == ("postgresql-unencrypted", True)
    refused = told([(CLIENT, SSL), (SERVER, b"N"), (CLIENT, STARTUP)], require_ssl=True)
    assert refused.refused == "postgresql-unencrypted"
    assert told([(CLIENT, SSL), (SERVER, b"S"), (CLIENT, HELLO), (SERVER, HELLO)], require_ssl=True).passed


@pytest.mark.parametrize("before", [[], [(CLIENT, SSL), (SERVER, b"N")]])
def test_users_and_databases_can_be_listed_and_no_detour_leads_around_that(before: list[tuple[str, bytes]]) -> None:
    turns = [*before, (CLIENT, STARTUP), (SERVER, b"R")]
    assert told(turns, allowed_users=("alice",), allowed_databases=("shop",)).passed
    assert told(turns, allowed_users=("bob",)).refused == "postgresql-user-denied"
    assert told(turns, allowed_databases=("alice",)).refused == "postgresql-database-denied"
    hidden = [(CLIENT, SSL), (SERVER, b"S"), (CLIENT, HELLO)]
    assert told(hidden, allowed_users=("alice",)).refused == "postgresql-encrypted"


def test_what_breaks_a_rule_passes_if_it_may_and_can_be_told() -> None:
    assert told([(CLIENT, b"GET / HTTP/1.1\r\n\r\n")], accept_invalid=True).learnt == {"postgresql.valid": False}
    turns = [(CLIENT, SSL), (CLIENT, STARTUP), (SERVER, b"whatever"), (CLIENT, b"x")]
    passed = told(turns, accept_invalid=True)
    assert (passed.refused, passed.learnt["postgresql.valid"], passed.passed) == (None, False, True)


SAID = st.sampled_from([SSL, GSS, STARTUP, CANCEL, HELLO, b"S", b"N", b"R", b"E"])


@given(st.lists(st.tuples(st.sampled_from((CLIENT, SERVER)), SAID), max_size=5), st.sampled_from((SSL, STARTUP, GSS)))
def test_any_conversation_is_refused_or_not_however_it_is_cut(turns: Turns, first: bytes) -> None:
    validator = PostgresqlValidator(PostgresqlOptions())
    whole = talk(validator, [(CLIENT, first), *turns])
    bytewise = [(who, said[at : at + 1]) for who, said in [(CLIENT, first), *turns] for at in range(len(said))]
    assert talk(validator, bytewise)[:2] == whole[:2]


def test_options_that_would_leave_nobody_are_an_error() -> None:
    with pytest.raises(ConfigError, match="so nobody could connect"):
        PostgresqlValidator(PostgresqlOptions(require_ssl=True, allowed_users=("alice",)))
