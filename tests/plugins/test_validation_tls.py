"""``tls`` lets pass what begins and goes on as TLS does, learns what the hello says, and refuses with an alert."""

from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.plugins.dialogue import CLIENT, SERVER
from tests.wire.hellos import (
    alpn,
    hello,
    message,
    name_extension,
    python_hello,
    record,
    replaced,
    unrecorded,
    usual,
    versions,
)
from tests.wire.malformed_hellos import MALFORMED
from tests.wire.test_server_hello import BROKEN, SOUND
from twisted_lb.api import (
    ALLOW,
    ALLOW_FINALLY,
    TLS_RULES,
    ConfigError,
    Deny,
    Facts,
    FactType,
    IStreamValidator,
    IStreamWatch,
    Verdict,
    ja3,
    ja4,
    tls_alert,
)
from twisted_lb.testing import StreamValidatorContract, make_facts
from twisted_lb.wire.server_hello import RETRY_RANDOM
from twisted_lb_plugins.validation_tls import FACTS, TlsOptions, TlsValidator, lb_validators


def validate(data: bytes, facts: Facts | None = None, **options: Any) -> Verdict:
    return TlsValidator(TlsOptions(**options)).validate(data, facts or make_facts())


def refused(rule: str, version: int = 0x0303, more: str = "") -> Deny:
    alert = TLS_RULES[rule].alert
    return Deny(rule + more, farewell=b"" if alert is None else tls_alert(alert, version))


def known(facts: Facts) -> dict[str, Any]:
    """Every fact that the plugin declares and that is known, as rules see it."""
    found = {name: fact.get(facts) if fact.get else facts.learnt.get(name) for name, fact in FACTS.items()}
    return {name: value for name, value in found.items() if value is not None}


RETRY = SOUND["1.3"].replace(unrecorded(SOUND["1.3"])[6:38], RETRY_RANDOM)


class TestContract(StreamValidatorContract, SynchronousTestCase):
    """``tls`` keeps what every validator promises."""

    accepted = (hello(), python_hello(), record(message(None)), hello() + b"more")
    refused = (
        b"GET / HTTP/1.1\r\n\r\n",
        hello(version=0x0300),
        hello([*usual(), usual()[0]]),
        hello(usual(b"192.0.2.1")),
    )
    passed = (
        [(CLIENT, hello()), (SERVER, SOUND["1.2"] + b"more"), (CLIENT, record(bytes(9), 23)), (SERVER, b"whatever")],
        [(CLIENT, hello() + b"early"), (SERVER, SOUND["1.2"])],
        [(CLIENT, hello()), (SERVER, SOUND["fatal"])],
    )
    ended = (
        [(CLIENT, hello()), (SERVER, b"HTTP/1.1 400 Bad Request\r\n")],
        [(CLIENT, hello()), (SERVER, SOUND["1.0"])],
        [(CLIENT, b"GET / HTTP/1.1\r\n\r\n"), (SERVER, SOUND["1.2"])],
        [(CLIENT, hello()), (SERVER, RETRY), (CLIENT, hello(usual(b"other.example")))],
    )

    def make_validator(self) -> IStreamValidator:
        return TlsValidator(TlsOptions())


def test_validator_and_watch_satisfy_their_interfaces() -> None:
    validator = TlsValidator(TlsOptions())
    facts = make_facts()
    verifyObject(IStreamValidator, validator)
    assert validator.validate(hello(), facts) is ALLOW
    assert IStreamWatch.providedBy(validator.watch(facts))


# Facts


def test_what_the_hello_says_is_learnt() -> None:
    facts = make_facts()
    data = hello([*usual(b"WWW.Example.org"), alpn(b"h2", b"\xff"), (0xFE0D, b"\x01")], suites=(0x1301, 0x2A2A, 0xABCD))
    assert validate(data, facts) is ALLOW
    assert known(facts) == {
        "protocol": "tls",
        "tls.valid": True,
        "tls.sni": "www.example.org",
        "tls.alpn": ("h2", "\\xff"),
        "tls.version": "1.3",
        "tls.ech": True,
        "tls.versions": ("1.3", "1.2"),
        "tls.cipher_suites": ("TLS_AES_128_GCM_SHA256", "0xABCD"),
        "tls.groups": ("x25519", "secp256r1"),
        "tls.signature_algorithms": ("ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256", "rsa_pkcs1_sha256"),
        "tls.ja3": ja3(facts.learnt["tls.client_hello"]),
        "tls.ja4": ja4(facts.learnt["tls.client_hello"]),
    }


def test_what_nobody_asks_for_is_not_worked_out_and_what_was_asked_for_is_kept() -> None:
    facts = make_facts()
    validate(hello(), facts)
    assert "tls.ja4" not in facts.learnt
    assert FACTS["tls.ja4"].get
    first = FACTS["tls.ja4"].get(facts)
    assert facts.learnt["tls.ja4"] is first
    assert FACTS["tls.ja4"].get(facts) is first


def test_what_a_hello_does_not_say_is_no_fact() -> None:
    facts = make_facts()
    assert validate(record(message(None)), facts) is ALLOW
    assert {"tls.sni", "tls.alpn"}.isdisjoint(known(facts))
    assert known(facts)["tls.groups"] == ()
    assert known(make_facts()) == {}


def test_facts_have_the_types_that_are_declared() -> None:
    facts = make_facts()
    validate(python_hello(), facts)
    types = {FactType.STRING: str, FactType.BOOLEAN: bool, FactType.STRINGS: tuple}
    assert set(known(facts)) == set(FACTS)
    for name, value in known(facts).items():
        assert type(value) is types[FACTS[name].type]


def test_the_supply_declares_its_facts_and_its_mode() -> None:
    supply = lb_validators()["tls"]
    assert (supply.mode, supply.facts) == ("tcp", FACTS)


# Options


@pytest.mark.parametrize(
    ("offered", "lowest", "passes"),
    [
        (0x0301, "1.0", True),
        (0x0302, "1.1", True),
        (0x0301, "1.1", False),
        (0x0302, "1.2", False),
        (0x0303, "1.2", True),
        (0x0303, "1.3", False),
        (0x0304, "1.3", True),
    ],
)
def test_who_offers_only_old_versions_is_refused(offered: int, lowest: str, passes: bool) -> None:
    data = hello(
        replaced(43, versions(0x0304, 0x0303)) if offered == 0x0304 else replaced(43), version=min(offered, 0x0303)
    )
    want = ALLOW if passes else refused("tls-min-version", min(offered, 0x0303))
    assert validate(data, min_version=lowest) == want


def test_who_offers_an_old_version_beside_a_new_one_passes_and_the_server_has_to_choose_the_new_one() -> None:
    validator = TlsValidator(TlsOptions(min_version="1.2"))
    facts = make_facts()
    assert validator.validate(hello(replaced(43, versions(0x0301, 0x0303))), facts) is ALLOW
    watch = validator.watch(facts)
    assert watch is not None
    assert watch.server_said(SOUND["1.0"]) == refused("tls-server-version")


def test_by_default_tls_1_0_and_1_1_are_refused() -> None:
    assert validate(hello(replaced(43), version=0x0302)) == refused("tls-min-version", 0x0302)


def test_a_name_can_be_required() -> None:
    assert validate(hello(usual(None))) is ALLOW
    assert validate(hello(usual(None)), require_sni=True) == refused("tls-sni-missing")
    assert validate(hello(), require_sni=True) is ALLOW


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        (b"example.org", True),
        (b"EXAMPLE.org", True),
        (b"www.example.org", False),
        (b"a.site.example", True),
        (b"a.b.Site.example", True),
        (b"site.example", False),
        (b"asite.example", False),
        (b"example", False),
    ],
)
def test_names_can_be_listed(name: bytes, passes: bool) -> None:
    want = ALLOW if passes else refused("tls-sni-not-allowed", more=f": {name.decode().lower()}")
    assert validate(hello(usual(name)), allowed_sni=("Example.ORG", "*.site.example")) == want


def test_where_names_are_listed_there_has_to_be_one_unless_told_otherwise() -> None:
    nameless = hello(usual(None))
    assert validate(nameless, allowed_sni=("a.example",)) == refused("tls-sni-missing")
    assert validate(nameless, allowed_sni=("a.example",), require_sni=False) is ALLOW


@pytest.mark.parametrize("entry", ["", "*", "*.", "a.*.example", "192.0.2.1", "a.example.", "bücher.example", "a:443"])
def test_what_is_no_name_cannot_be_listed(entry: str) -> None:
    with pytest.raises(ConfigError, match="allowed_sni: neither a host name nor"):
        TlsValidator(TlsOptions(allowed_sni=("a.example", entry)))


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case[0])
def test_what_is_broken_passes_only_if_told_so_and_then_nothing_of_it_is_believed(case: tuple[str, str, bytes]) -> None:
    _, rule, data = case
    verdict = validate(data)
    assert isinstance(verdict, Deny)
    assert verdict.reason == rule
    assert bool(verdict.farewell) == (TLS_RULES[rule].alert is not None)
    assert verdict.how is None
    facts = make_facts()
    assert validate(data, facts, accept_invalid=True) is ALLOW
    spoken = {} if TLS_RULES[rule].alert is None else {"protocol": "tls"}
    assert known(facts) == {"tls.valid": False, **spoken}


def test_breaking_a_rule_is_no_way_around_the_list_of_names() -> None:
    for options in ({"allowed_sni": ("a.example",)}, {"require_sni": True}):
        with pytest.raises(ConfigError, match="accept_invalid: without effect"):
            TlsValidator(TlsOptions(accept_invalid=True, **options))
    twice = hello([*usual(b"a.example"), name_extension(b"evil.example")])
    facts = make_facts()
    assert validate(twice, facts, accept_invalid=True, allowed_sni=("a.example",), require_sni=False) is ALLOW
    assert "tls.sni" not in facts.learnt


# Alerts


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (hello(replaced(43), version=0x0301), 0x0301),
        (hello(usual(None)), 0x0303),
        (hello(usual(None), version=0x0304), 0x0303),
    ],
)
def test_the_alert_has_the_version_of_the_hello(data: bytes, version: int) -> None:
    verdict = validate(data, require_sni=True, min_version="1.3")
    assert isinstance(verdict, Deny)
    assert verdict.farewell[:5] == bytes((21, 3, version & 0xFF, 0, 2))


def test_where_the_version_cannot_be_seen_the_alert_has_the_oldest() -> None:
    verdict = validate(b"\x16\x03\x03\x00\x01\x02")
    assert verdict == refused("tls-no-client-hello", 0x0301)


# The server's side


OLDER = hello(replaced(43))
"""It does not offer TLS 1.3."""


def watch_of(first: bytes = OLDER, **options: Any) -> Any:
    validator = TlsValidator(TlsOptions(**options))
    facts = make_facts()
    assert validator.validate(first, facts) is ALLOW
    return validator.watch(facts)


def test_a_client_that_does_not_offer_tls_1_3_is_not_watched_any_more() -> None:
    assert watch_of().client_said is None


@pytest.mark.parametrize("options", [{}, {"check_server": False}, {"accept_invalid": True}])
def test_a_second_hello_has_to_ask_for_the_same_name(options: dict[str, Any]) -> None:
    for second, expected in (
        (hello(), ALLOW_FINALLY),
        (hello(usual(b"other.example")), refused("tls-second-hello")),
        (hello(usual(None)), refused("tls-second-hello")),
    ):
        watch = watch_of(hello(), **options)
        assert watch.client_said(hello()) is ALLOW
        assert watch.server_said(RETRY) is ALLOW_FINALLY
        assert watch.client_said(second) == expected


def test_nobody_watches_the_client_once_it_speaks_encrypted() -> None:
    for said in (record(b"\x01", 20) + record(bytes(40), 23), record(b"\x10\0\0\x01x")):
        watch = watch_of(hello())
        assert watch.client_said(hello()) is ALLOW
        assert watch.client_said(said) is ALLOW_FINALLY


def test_early_data_is_passed_over_where_it_is_offered_until_the_server_has_answered() -> None:
    first = hello(usual(b"www.example.org", (42, b"")))
    watch = watch_of(first)
    assert watch.client_said(first + record(bytes(40), 23)) is ALLOW
    watch.server_said(SOUND["1.3"])
    assert watch.client_said(record(bytes(40), 23)) is ALLOW_FINALLY
    watch = watch_of(first)
    assert watch.client_said(first + record(bytes(40), 23)) is ALLOW
    watch.server_said(RETRY)
    assert watch.client_said(hello(usual(b"other.example"))) == refused("tls-second-hello")


@pytest.mark.parametrize("data", SOUND.values(), ids=SOUND)
def test_a_sound_answer_ends_the_watch(data: bytes) -> None:
    assert watch_of(min_version="1.0").server_said(data) is ALLOW_FINALLY
    watch = watch_of(min_version="1.0")
    verdicts = [watch.server_said(data[at : at + 1]) for at in range(len(data))]
    end = verdicts.index(ALLOW_FINALLY)
    assert all(verdict is ALLOW for verdict in verdicts[:end])


@pytest.mark.parametrize(("rule", "data"), BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_refused_with_an_alert_that_is_not_put_behind_half_a_record(rule: str, data: bytes) -> None:
    assert watch_of().server_said(data) == refused(rule)
    watch = watch_of()
    verdicts = [watch.server_said(data[at : at + 1]) for at in range(len(data))]
    first = next(verdict for verdict in verdicts if verdict is not ALLOW)
    assert first == (refused(rule) if verdicts[0] is first else Deny(rule))


def test_the_server_is_not_watched_if_told_so_or_if_the_client_speaks_something_else() -> None:
    assert watch_of(check_server=False) is None
    validator = TlsValidator(TlsOptions(accept_invalid=True))
    facts = make_facts()
    assert validator.validate(b"SSH-2.0-x\r\n", facts) is ALLOW
    assert validator.watch(facts) is None
    facts.learnt["protocol"] = "ssh"
    assert validator.watch(facts) is None
