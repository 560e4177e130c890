"""``bandwidth`` gives each connection, or all that share a key, buckets of tokens, and remembers a bounded number."""

import gc
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import ALLOW, ConfigError, Facts, IPolicy, Runtime, Size, Stage, TokenBucket
from twisted_lb.assembly import Assembly, assemble
from twisted_lb.config.load import load_dict
from twisted_lb.process import Process
from twisted_lb.testing import PolicyContract, fact_finder, make_facts
from twisted_lb_plugins.policy_bandwidth import BandwidthOptions, BandwidthPolicy, Buckets, build

MIB = 1 << 20
REQUEST = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n"


def policy(clock: Any = None, mode: Any = "tcp", **options: Any) -> BandwidthPolicy:
    made = build(BandwidthOptions(**{"in_": Size(MIB), **options}), Runtime(None, clock or Clock()))

    made.use_facts(fact_finder(mode))
    return made


def shaped(judge: BandwidthPolicy, facts: Facts | None = None, **about: Any) -> Any:
    """Ask about a connection; returns its shaping."""
    facts = make_facts(**about) if facts is None else facts
    assert judge.decide(facts) is ALLOW
    return facts.shaping


class TestContractPerConnection(PolicyContract, SynchronousTestCase):
    """``bandwidth`` per connection keeps what every policy promises."""

    def make_policy(self) -> IPolicy:
        return policy()


class TestContractPerHost(PolicyContract, SynchronousTestCase):
    """``bandwidth`` per host keeps what every policy promises."""

    def make_policy(self) -> IPolicy:
        return policy(mode="http", per="http.host")


def test_each_direction_that_has_a_rate_gets_a_bucket() -> None:
    one = shaped(policy(in_=Size(MIB), out=Size(2 * MIB)))
    assert [(bucket.rate, bucket.burst) for bucket in (*one.in_, *one.out)] == [
        (MIB, MIB // 10 + 1),
        (2 * MIB, MIB // 5 + 1),
    ]
    other = shaped(policy(in_=None, out=Size(1000)))
    assert other.in_ == ()
    assert [(bucket.rate, bucket.burst) for bucket in other.out] == [(1000, 4096)]
    assert shaped(policy(in_=Size(1000), burst=Size(500))).in_[0].burst == 500


def test_each_connection_has_its_own() -> None:
    judge = policy()
    assert shaped(judge).in_[0] is not shaped(judge).in_[0]


def test_all_requests_of_a_connection_have_the_same() -> None:
    judge = policy()
    facts = make_facts()
    first = shaped(judge, facts).in_[0]
    facts.shaping = None
    assert shaped(judge, facts).in_[0] is first


def test_a_key_is_shared_by_all_that_have_its_value() -> None:
    judge = policy(per="source")
    one = shaped(judge, source="192.0.2.1").in_[0]
    assert shaped(judge, source="192.0.2.1", source_port=2).in_[0] is one
    assert shaped(judge, source="::ffff:192.0.2.1").in_[0] is one
    assert shaped(judge, source="192.0.2.2").in_[0] is not one


def test_a_key_can_be_a_network() -> None:
    judge = policy(per="source/24/48")
    one = shaped(judge, source="192.0.2.1").in_[0]
    assert shaped(judge, source="192.0.2.254").in_[0] is one
    assert shaped(judge, source="192.0.3.1").in_[0] is not one
    six = shaped(judge, source="2001:db8:0:1::1").in_[0]
    assert shaped(judge, source="2001:db8:0:2::1").in_[0] is six


def test_a_key_can_be_of_each_request() -> None:
    judge = policy(mode="http", per="http.host")
    assert judge.stage is Stage.POLICY
    one = shaped(judge, request=REQUEST % b"a.example").in_[0]
    assert shaped(judge, request=REQUEST % b"A.example.").in_[0] is one
    assert shaped(judge, request=REQUEST % b"b.example").in_[0] is not one


def test_what_has_no_such_fact_shares_one_bucket_and_is_not_free() -> None:
    judge = policy(per="source")
    one = shaped(judge, source="unix:").in_[0]
    assert shaped(judge, source="unix:@other").in_[0] is one


def test_it_is_asked_at_admission_if_the_key_is_known_there() -> None:
    assert policy().stage is Stage.ADMISSION
    assert policy(per="source/24").stage is Stage.ADMISSION


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"in_": None}, '"in", "out" or both'),
        ({"burst": Size(MIB // 10)}, '"104858B", which come in 100ms'),
        ({"per": "sorce"}, 'did you mean "source"'),
        ({"per": "source/33"}, "1 to 32 bits"),
        ({"per": "bind/24"}, "only an address"),
        ({"per": "http.host"}, 'mode = "http"'),
    ],
)
def test_what_cannot_be_is_an_error_at_the_start(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        policy(**options)


def assembled(**entry: Any) -> Assembly:
    config = {
        "frontends": {
            "web": {
                "bind": "127.0.0.1:0",
                "backend": "app",
                "mode": "http",
                "policies": [{"use": "source", "deny": ["10.0.0.0/8"]}, {"use": "bandwidth", **entry}],
            }
        },
        "backends": {"app": {"servers": {"a": "127.0.0.1:9001"}}},
    }
    return assemble(load_dict(config, "lb.toml"), Process(None, Clock(), None))


def test_a_configuration_names_it_and_its_key() -> None:
    frontend = assembled(**{"in": "1MiB", "out": "10MiB", "per": "source/24"}).frontends["web"]
    assert frontend.at_admission == 2
    assert assembled(out="10MiB", per="http.host").frontends["web"].at_admission == 1


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"in": "1MiB", "per": "sorce"}, 'policies[1].per: there is no fact "sorce"; did you mean "source"?'),
        ({"in": "0B"}, "policies[1].in: "),
        ({"out": 5}, "policies[1].out: "),
        ({"inn": "1MiB"}, "policies[1].inn: "),
    ],
)
def test_what_is_wrong_in_a_configuration_is_told_with_its_key(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        assembled(**entry)
    assert problem in str(caught.value)


# The table


def make_bucket() -> TokenBucket:
    return TokenBucket(1000, 1000)


def use(bucket: TokenBucket, clock: Clock) -> None:
    bucket.room(clock.seconds())
    bucket.take(1000)


def test_the_table_is_bounded_and_what_a_connection_uses_is_found_even_when_it_was_dropped() -> None:
    clock = Clock()
    buckets = Buckets(make_bucket, 3, clock)
    used = buckets.of(b"used")
    for number in range(1000):
        use(buckets.of(b"%d" % number), clock)
    assert len(buckets) == 3
    assert buckets.of(b"used") is used


def test_a_bucket_is_remembered_until_it_is_full_again() -> None:
    clock = Clock()
    clock.advance(1000)
    buckets = Buckets(lambda: TokenBucket(100, 10_000), 100, clock)
    use(buckets.of(b"a"), clock)
    clock.advance(60)
    buckets.of(b"b")
    assert buckets.of(b"a").used_at == 1000
    clock.advance(101)
    buckets.of(b"c")
    buckets.of(b"d")
    gc.collect()
    assert buckets.of(b"a").used_at is None, "a new one"


def test_one_that_is_used_all_the_time_is_not_dropped_for_its_age() -> None:
    clock = Clock()
    buckets = Buckets(make_bucket, 100, clock)
    use(buckets.of(b"a"), clock)
    for number in range(100):
        clock.advance(1)
        held = buckets._kept[b"a"].bucket
        use(held, clock)
        del held
        buckets.of(b"%d" % number)
    assert buckets._kept[b"a"].bucket.room(clock.seconds()) < 1000


def test_what_is_not_used_any_more_goes_with_its_time() -> None:
    clock = Clock()
    buckets = Buckets(make_bucket, 1000, clock)
    for number in range(500):
        buckets.of(b"%d" % number)
    clock.advance(60)
    for number in range(300):
        buckets.of(b"new %d" % number)
    assert len(buckets) == 300
