"""``ssh`` lets pass what begins as SSH does, on both sides."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.dialogue import CLIENT, SERVER, Outcome, Turns, outcome
from twisted_lb.api import IStreamValidator
from twisted_lb.testing import StreamValidatorContract
from twisted_lb_plugins.validation_ssh import SshOptions, SshValidator

HELLO = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n"
KEX = bytes(range(64))
LEARNT = {"protocol": "ssh", "ssh.valid": True, "ssh.version": "2.0", "ssh.software": "OpenSSH_9.2p1"}


def told(turns: Turns, **options: Any) -> Outcome:
    return outcome(SshValidator(SshOptions(**options)), turns)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``ssh`` keeps what every validator promises."""

    accepted = (HELLO, HELLO + KEX, b"SSH-1.99-x\r\n", b"SSH-2.0-JSCH-0.1.54\n")
    refused = (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"SSH-1.5-x\r\n", b"SSH-2.0-x\0\n", b"SSH-2.0-" + b"x" * 300)
    passed = ([(CLIENT, HELLO), (SERVER, b"Welcome\r\n" + HELLO), (CLIENT, KEX), (SERVER, KEX)],)
    ended = (
        [(CLIENT, HELLO), (SERVER, b"SSH-1.5-x\r\n")],
        [(CLIENT, HELLO), (SERVER, b"x" * 9000)],
        [(CLIENT, b"GET / HTTP/1.1\r\n\r\n")],  # of a client that was let on undecided
    )

    def make_validator(self) -> IStreamValidator:
        return SshValidator(SshOptions())


class TestContractOfServerFirst(StreamValidatorContract, SynchronousTestCase):
    """``ssh`` keeps what every validator promises where clients are not waited for."""

    accepted = (HELLO, HELLO[:9])
    refused = (b"GET / HTTP/1.1\r\n\r\n",)
    passed = ([(SERVER, HELLO), (CLIENT, HELLO + KEX), (SERVER, KEX)],)
    ended = ([(SERVER, HELLO), (CLIENT, b"GET / HTTP/1.1\r\n\r\n")], [(CLIENT, HELLO), (SERVER, b"SSH-1.5-x\r\n")])

    def make_validator(self) -> IStreamValidator:
        return SshValidator(SshOptions(server_first=True))


def test_both_sides_say_what_they_are_and_then_nobody_looks() -> None:
    turns = [(CLIENT, HELLO), (SERVER, b"Authorized use only\r\n" + HELLO + KEX), (CLIENT, KEX)]
    assert told(turns) == Outcome(None, LEARNT, True)


def test_a_client_that_sends_more_than_its_identification_at_once_is_read_likewise() -> None:
    assert told([(CLIENT, HELLO + KEX), (SERVER, HELLO)]) == Outcome(None, LEARNT, True)


def test_a_server_that_speaks_something_else_is_refused() -> None:
    for said in (b"SSH-1.5-x\r\n", b"x" * 9000, b"220 mail ESMTP\r\n" * 600):
        refused = told([(CLIENT, HELLO), (SERVER, said)])
        assert refused.refused is not None
        assert refused.refused.startswith("ssh-server-")
        assert refused.learnt["ssh.valid"] is False


def test_clients_may_wait_for_the_server_if_it_speaks_first() -> None:
    turns = [(SERVER, HELLO), (CLIENT, HELLO + KEX), (SERVER, KEX)]
    assert told(turns, server_first=True) == Outcome(None, LEARNT, True)


def test_clients_that_do_not_wait_are_read_too_if_the_server_speaks_first() -> None:
    assert told([(CLIENT, HELLO), (SERVER, HELLO), (CLIENT, KEX)], server_first=True) == Outcome(None, LEARNT, True)
    assert told([(CLIENT, HELLO[:9]), (SERVER, HELLO), (CLIENT, HELLO[9:] + KEX)], server_first=True).learnt == LEARNT


@pytest.mark.parametrize(
    "turns",
    [
        [(SERVER, HELLO), (CLIENT, b"GET / HTTP/1.1\r\n\r\n")],
        [(CLIENT, b"GET / HTTP/1.1\r\n\r\n"), (SERVER, HELLO)],
        [(CLIENT, b"SSH"), (SERVER, HELLO), (CLIENT, b"/ HTTP/1.1\r\n\r\n")],
    ],
)
def test_a_rude_client_is_refused_whoever_speaks_first(turns: Turns) -> None:
    assert told(turns, server_first=True).refused == "ssh-identification"


def test_what_is_wrong_passes_if_it_may_and_can_be_told() -> None:
    learnt = {**LEARNT, "ssh.valid": False}
    assert told([(CLIENT, HELLO), (SERVER, b"x" * 9000)], accept_invalid=True) == Outcome(None, learnt, True)
    assert told([(CLIENT, b"GET / "), (SERVER, b"HTTP")], accept_invalid=True).learnt == {"ssh.valid": False}


@given(st.lists(st.tuples(st.sampled_from((CLIENT, SERVER)), st.binary(min_size=1, max_size=12)), max_size=4))
def test_any_conversation_comes_out_the_same_however_it_is_cut(turns: Turns) -> None:
    told([(CLIENT, HELLO), *turns])
    told([(SERVER, HELLO), *turns], server_first=True)
