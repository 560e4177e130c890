"""What is wrong with a configuration is told in one round: what the file says, what plugins say, what rules say."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor

from twisted_lb.config.load import load_dict
from twisted_lb.errors import ConfigError
from twisted_lb.process import Process
from twisted_lb.second_look import all_told

TYPO: Any = {"bind": "127.0.0.1:0", "backend": "app", "mxaconn": 5}
HINT = 'frontends.typo.mxaconn: unknown key; did you mean "maxconn"?'


def told(*, typo: bool = True, **sections: Any) -> list[str]:
    """Return what is told of a configuration with something misspelt in a frontend of its own; without that."""
    config = {"backends": {"app": {"servers": {"a": "127.0.0.1:1"}}}, "frontends": {}, **sections}
    if typo:
        config["frontends"] = {**config["frontends"], "typo": TYPO}
    with pytest.raises(ConfigError) as caught, all_told("lb.toml", lambda: Process(MemoryReactor(), Clock(), None)):
        load_dict(config, "lb.toml")
    assert all(problem.startswith("lb.toml: ") for problem in caught.value.problems)
    problems = [problem.removeprefix("lb.toml: ").split("\n")[0] for problem in caught.value.problems]
    if typo:
        assert problems[0] == HINT
    return problems[typo:]


def of_web(typo: bool = True, **frontend: Any) -> list[str]:
    settings = {"bind": "127.0.0.1:0", "backend": "app", **frontend}
    return [one.removeprefix("frontends.web.") for one in told(typo=typo, frontends={"web": settings})]


def test_what_plugins_say_of_their_options_is_told_with_the_rest() -> None:
    assert of_web(
        validators=[{"use": "payload", "starts_with_hex": "xx"}],
        policies=[{"use": "source", "deny": ["10.0.0.1/8"]}, {"use": "time_of_day", "days": ["moon"]}],
        observers=["trase"],
        access_log="jsn",
    ) == [
        'validators[0].starts_with_hex: plugin "validation_payload": "xx" is not in hexadecimal digits',
        'policies[0].deny: plugin "policy_source": "10.0.0.1/8" is no network: 10.0.0.1/8 has host bits set',
        'policies[1].days[0]: "moon" is not possible here; did you mean "mon"?',
        'observers[0]: there is no observer "trase"; did you mean "trace"? (known: "trace")',
        'access_log: there is no access log "jsn"; did you mean "json"? (known: "json", "text")',
    ]


def test_what_is_wrong_in_rules_is_told_with_the_rest() -> None:
    assert of_web(validators=["tls"], policies=[{"deny": "tls.snl == 'x'"}, {"allow": "true"}, {"deny": "true"}]) == [
        'policies[0].deny: there is no fact "tls.snl"; did you mean "tls.sni"?',
        'policies[2]: is never reached: policies[1], allow = "true", decides about everything: put it before that, or'
        " leave it out",
    ]


def test_what_is_wrong_elsewhere_is_told_with_the_rest(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.txt")
    assert told(
        lists={"bad": missing},
        tables={"t": {"key": "sorce"}},
        defaults={"balance": "least_con"},
        frontends={"web": {"bind": "127.0.0.1:0", "backend": "app", "policies": [{"deny": "source in @bad"}]}},
    ) == [
        'tables.t.key: there is no fact "sorce"; did you mean "source"?',
        'defaults.balance: there is no balancer "least_con"; did you mean "least_conn"?'
        ' (known: "first", "least_conn", "random", "round_robin")',
        f"lists.bad: {missing}: cannot be read: No such file or directory",
    ]
    assert told(plugins=["lb_nowhere"])[0].startswith('plugin "lb_nowhere" cannot be loaded')


@pytest.mark.parametrize(
    "frontend",
    [
        {"validators": [{"use": "tls", "min_version": 5}, {}], "policies": [{"deny": "tls.sni == 'x'"}]},
        {"validators": [{"uses": "tls"}], "policies": [{"deny": "tls.sni == 'x'"}]},
        {"validators": "tls", "policies": [{"deny": "tls.sni == 'x'"}]},
        {"policies": [{"uses": "geoip"}, {"deny": "geo.country == 'XX'"}]},
        {"mode": "htpp", "policies": [{"deny": "http.method == 'GET'"}]},
        {"accept_proxi": True, "accept_proxy": 5, "policies": [{"deny": "proxy.netns == 'x'"}]},
        {"policies": [{"deny": "true", "allow": "true"}, {"allow": "source == '::1'"}]},
        {"bind": 5, "policies": [{"deny": "tcp.saved_syn == 'x'"}]},
    ],
)
def test_nothing_is_told_that_would_not_be_there_if_the_rest_were_repaired(frontend: dict[str, Any]) -> None:
    problems = of_web(typo=False, **frontend)
    assert problems
    assert not any("learn" in problem or "known only" in problem or "reached" in problem for problem in problems)


def test_rules_with_lists_or_tables_that_are_wrong_are_not_blamed() -> None:
    rules = [{"deny": "source in @bad"}, {"deny": "tables.t.gpc0 > 1"}]
    frontends = {"web": {"bind": "127.0.0.1:0", "backend": "app", "policies": rules}}
    problems = told(frontends=frontends, lists={"bad": 5}, tables={"t": {"key": "source", "sise": 5}}, typo=False)
    assert [problem.split(":")[0] for problem in problems] == ["lists.bad", "tables.t.sise"]


def test_each_problem_is_told_once() -> None:
    entry = {"use": "source", "denny": []}
    told_of_both = of_web(policies=[entry, entry])
    assert told_of_both == [f'policies[{number}].denny: unknown key; did you mean "deny"?' for number in (0, 1)]
    settings = {"bind": "127.0.0.1:0", "backend": "app", "access_log": "none"}
    assert told(frontends={"web": settings}, defaults={"access_log": "none"}) == []


@pytest.mark.parametrize("wrong", [{"frontends": 5}, {"backends": 5, "frontends": {}}, {"plugins": 5}, {"process": 5}])
def test_a_file_of_which_little_can_be_read_is_told_as_far_as_it_can(wrong: dict[str, Any]) -> None:
    assert told(typo=False, **wrong)


def test_a_second_look_that_fails_hides_nothing() -> None:
    def fails() -> Process:
        raise OSError("no epoll")

    with pytest.raises(ConfigError) as caught, all_told("lb.toml", fails):
        load_dict({"frontends": {"typo": TYPO}, "backends": {"app": {"servers": {"a": "127.0.0.1:1"}}}}, "lb.toml")
    assert caught.value.problems == (f"lb.toml: {HINT}",)
