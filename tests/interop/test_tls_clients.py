"""The ClientHellos of real clients: sound, and the same however they are cut; ``hello_clients`` says whose."""

from collections.abc import Callable
from functools import cache
from random import Random

import pytest

from tests.interop.hello_clients import CLIENTS, NAME, captured
from tests.plugins.test_validation_tls import known
from tests.wire.hellos import in_records, record, unrecorded
from tests.wire.test_client_hello import content, outcome, outcome_when_asked_as_told
from tests.wire.test_client_hello_fingerprints import simple
from twisted_lb.api import ALLOW, Facts, NeedMore
from twisted_lb.testing import make_facts
from twisted_lb.wire.client_hello import ClientHello
from twisted_lb.wire.tls_rules import RULES
from twisted_lb_plugins.validation_tls import TlsOptions, TlsValidator

EVERY_CLIENT = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.daemon(client.program)) for name, client in CLIENTS.items()]
)
hello_of: Callable[[str], bytes] = cache(lambda name: captured(CLIENTS[name]))


def learnt(data: bytes) -> Facts:
    facts = make_facts()
    assert TlsValidator(TlsOptions(min_version="1.0")).validate(data, facts) is ALLOW
    return facts


@EVERY_CLIENT
def test_what_a_client_says_is_learnt(name: str) -> None:
    client, data = CLIENTS[name], hello_of(name)
    found = known(learnt(data))
    assert found["tls.valid"] is True
    assert found["tls.version"] == client.version
    assert found["tls.version"] in found["tls.versions"]
    assert found.get("tls.alpn", ()) == client.alpn
    if client.names:
        assert found["tls.sni"] == NAME
    assert (found["tls.ja3"], found["tls.ja4"]) == simple(record(unrecorded(data)))
    assert not [suite for suite in found["tls.cipher_suites"] if suite.startswith("0x")]
    assert not [group for group in found["tls.groups"] if group.startswith("0x")]
    assert not [algorithm for algorithm in found["tls.signature_algorithms"] if algorithm.startswith("0x")]


@EVERY_CLIENT
def test_a_hello_is_the_same_cut_at_every_byte(name: str) -> None:
    data = hello_of(name)
    facts = known(learnt(data))
    validator = TlsValidator(TlsOptions(min_version="1.0"))
    for end in range(1, len(data)):
        again = make_facts()
        assert isinstance(validator.validate(data[:end], again), NeedMore)
        assert validator.validate(data, again) is ALLOW
    assert known(again) == facts
    found, asked = outcome_when_asked_as_told(data)
    assert isinstance(found, ClientHello)
    assert asked <= 4


@EVERY_CLIENT
def test_a_hello_is_the_same_cut_into_records_at_every_byte(name: str) -> None:
    data = hello_of(name)
    want, whole = outcome(data), unrecorded(data)
    facts = known(learnt(data))
    for cut in range(1, len(whole)):
        again = in_records(whole, cut)
        assert content(outcome(again)) == content(want)
        assert outcome_when_asked_as_told(again)[0] == outcome(again)
    assert known(learnt(in_records(whole, *range(1, len(whole))))) == facts


@EVERY_CLIENT
def test_a_mutated_hello_has_one_outcome_whatever_the_cuts(name: str) -> None:
    data = hello_of(name)
    chance = Random(name)
    for _ in range(500):
        mutated = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(mutated))
            if chance.random() < 0.7:
                mutated[place] = chance.randrange(256)
            elif chance.random() < 0.5:
                del mutated[place : place + chance.randint(1, 4)]
            else:
                mutated[place:place] = chance.randbytes(chance.randint(1, 4))
        want = outcome(bytes(mutated))
        assert isinstance(want, ClientHello | NeedMore) or want in RULES
        if not isinstance(want, NeedMore):
            assert outcome_when_asked_as_told(bytes(mutated) + bytes(1 << 16))[0] == want


@pytest.mark.daemon("gnutls-cli")
def test_a_client_that_spreads_its_hello_over_two_records_is_understood() -> None:
    data = hello_of("gnutls-secure")
    assert len(data) == 5 + 1024 + 5 + int.from_bytes(data[1032:1034], "big")
    assert known(learnt(data))["tls.sni"] == NAME


@pytest.mark.daemon("chromium")
def test_a_browsers_hello_has_grease_a_post_quantum_key_share_and_the_looks_of_ech() -> None:
    data = hello_of("chromium")
    found = known(learnt(data))
    assert len(data) > 1500
    assert found["tls.groups"][0] == "X25519MLKEM768"
    assert found["tls.ech"] is True
    grease = [kind for kind in learnt(data).learnt["tls.client_hello"].extensions if kind & 0x0F0F == 0x0A0A]
    assert len(grease) == 2
