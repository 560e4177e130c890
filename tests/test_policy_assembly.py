"""Rules and plugins' policies in one list: each rule may use what is known before it, and nothing else."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from zope.interface import implementer

from twisted_lb.api import ALLOW, Decision, Fact, Facts, FactType, IFactPolicy, IPolicy, Options, Stage, Supply
from twisted_lb.assembly import Assembly, assemble
from twisted_lb.config.load import load_dict
from twisted_lb.config.model import Bind, Frontend
from twisted_lb.config.policies import Rule
from twisted_lb.config.tcp import ListenTcp
from twisted_lb.config.uses import AnyOf, Use
from twisted_lb.counting.tables import Tables
from twisted_lb.errors import ConfigError
from twisted_lb.plugin_host import KINDS, Built, PluginHost, Supplied, load_plugins
from twisted_lb.policy_assembly import PolicyAssembly, described
from twisted_lb.process import Process
from twisted_lb.rules.scope import NoLists
from twisted_lb.testing import make_facts


def build(**settings: Any) -> Assembly:
    frontend = {"bind": "127.0.0.1:0", "backend": "app", **settings}
    lists = {"lists": frontend.pop("lists")} if "lists" in frontend else {}
    config = {"frontends": {"web": frontend}, "backends": {"app": {"servers": {"a": "127.0.0.1:1"}}}, **lists}
    return assemble(load_dict(config, "lb.toml"), Process(MemoryReactor(), Clock(), None))


def problems(**settings: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build(**settings)
    return [problem.split("\n")[0] for problem in caught.value.problems]


def test_rules_and_plugins_are_asked_in_their_order() -> None:
    frontend = build(
        validators=["tls"],
        policies=[
            {"deny": "source in '192.0.2.0/24'"},
            {"use": "source", "deny": ["203.0.113.0/24"]},
            {"allow": "tls.sni == 'a.example'"},
            {"deny": "true"},
        ],
    ).frontends["web"]
    assert [(entry.plugin, entry.number) for entry in frontend.policies] == [
        ("rules", 1),
        ("policy_source", 2),
        ("rules", 3),
        ("rules", 4),
    ]
    assert frontend.at_admission == 2


def test_every_mistake_in_every_rule_is_told_with_its_place() -> None:
    assert problems(
        validators=["tls"],
        policies=[{"deny": "tls.snl == 'x' or sorce == peer"}, {"use": "sauce"}, {"allow": "http.path == '/'"}],
    ) == [
        'lb.toml: frontends.web.policies[1]: there is no policy "sauce"; did you mean "source"?'
        f" (known: {', '.join(f'{chr(34)}{name}{chr(34)}' for name in load_plugins().supplies('policies'))})",
        'frontends.web.policies[0].deny: there is no fact "tls.snl"; did you mean "tls.sni"?',
        'frontends.web.policies[0].deny: there is no fact "sorce"; did you mean "source"?',
        'frontends.web.policies[2].allow: http.path is known only in mode = "http"',
    ]


def test_a_fact_that_nobody_in_this_frontend_learns_is_told_with_who_would() -> None:
    (problem,) = problems(policies=[{"deny": "tls.sni == 'x'"}])
    assert problem == 'frontends.web.policies[0].deny: nobody here learns tls.sni: a validator does: "tls"'


def test_a_fact_that_only_the_other_mode_has_is_told_with_it() -> None:
    (problem,) = problems(mode="http", policies=[{"deny": "tls.sni == 'x'"}])
    assert problem == 'frontends.web.policies[0].deny: nobody here learns tls.sni: only in mode = "tcp"'


def test_a_validator_among_several_learns_too() -> None:
    assert build(validators=[{"any_of": ["tls", "ssh"]}], policies=[{"deny": "tls.sni == 'x' or ssh.version == '1.0'"}])


def third_parties(facts: dict[str, Fact], policy: Rule) -> PolicyAssembly:
    """Two validators of somebody else's, one of which recognises a client."""
    settings = Frontend(
        bind=[Bind(address="*:80")],
        backend="app",
        validators=[AnyOf(any_of=[Use(use=name) for name in ("a", "b")])],
        policies=[policy],
    )
    supplied = {
        name: Supplied("theirs", name, Supply(lambda options: None, Options, facts=facts)) for name in ("a", "b")
    }
    host = PluginHost({kind: supplied if kind == "validators" else {} for kind in KINDS})
    return PolicyAssembly(host, "web", settings, NoLists(), Tables(Clock()))


def test_what_an_any_of_recognises_is_known_though_none_of_its_validators_declares_it() -> None:
    made = third_parties({}, Rule(deny="protocol == 'a'"))
    (policy,) = made.build(lambda use: [])
    assert not made.problems
    facts = make_facts()
    assert policy.object.decide(facts) is ALLOW
    facts.learnt["protocol"] = "a"
    assert policy.object.decide(facts) is not ALLOW


def test_what_it_recognises_is_text_and_a_validator_of_it_cannot_declare_something_else() -> None:
    made = third_parties({"protocol": Fact(FactType.INTEGER, "a number")}, Rule(deny="true"))
    assert made.problems[0].startswith("frontends.web.validators: protocol is a whole number of a")


@pytest.mark.parametrize(
    ("validators", "text", "fault"),
    [
        (["tls"], "protocol == 'tls'", ""),
        (["tls"], "protocol == 'tsl'", "here it is tls"),
        (["tls"], "protocol == 'ssh'", "here it is tls"),
        ([{"any_of": ["tls", "ssh"]}], "protocol == 'ssh' or protocol in ['tls'] or protocol.startswith('s')", ""),
        ([{"any_of": ["tls", "ssh"]}], "protocol != 'shs'", 'here it is tls or ssh; did you mean "ssh"?'),
        ([{"any_of": ["tls", "ssh"]}], "protocol in ['tls', 'http1']", "here it is tls or ssh"),
        ([{"any_of": ["tls", "ssh"]}], "protocol.endswith('x')", "here it is tls or ssh"),
        ([{"any_of": ["tls", {"use": "payload", "starts_with": "x", "protocol": "odd"}]}], "protocol == 'odd'", ""),
    ],
)
def test_a_protocol_that_nobody_here_recognises_is_a_mistake(validators: Any, text: str, fault: str) -> None:
    """Seen: ``deny = "protocol != 'tsl'"`` was valid."""
    policies = [{"deny": text}]
    if not fault:
        assert build(validators=validators, policies=policies)
        return
    (problem,) = problems(validators=validators, policies=policies)
    assert problem.partition("\n")[0].endswith(f": {fault}") or f": {fault}; did you mean" in problem


def test_a_route_by_a_protocol_that_nobody_here_recognises_is_a_mistake() -> None:
    any_of = [{"any_of": ["tls", "ssh"]}]
    routes = [{"backend": "app", "facts": {"protocol": one}} for one in ("ssh", "sssh", "*")]
    assert problems(validators=any_of, routes=routes) == [
        "frontends.web.routes[1].facts.protocol: protocol is never 'sssh': here it is tls or ssh; did you mean \"ssh\"?"
    ]


def test_what_a_proxy_header_says_is_known_where_one_is_taken() -> None:
    policies = [{"deny": "proxy.authority == 'x' and proxy.ssl.verify != 0"}]
    assert build(policies=policies, accept_proxy=True)
    assert build(policies=policies, bind={"address": "127.0.0.1:0", "accept_proxy": True})
    assert "there is no fact" in problems(policies=policies)[0]


def test_what_the_syn_says_is_known_where_it_is_saved() -> None:
    bind = Bind(address="*:80", tcp=ListenTcp(save_syn=True))
    settings = Frontend(bind=[bind], backend="app", policies=[Rule(deny="tcp.saved_syn.startswith('45')")])
    made = PolicyAssembly(load_plugins(), "web", settings, NoLists(), Tables(Clock()))
    (policy,) = made.build(lambda use: [])
    facts = make_facts()
    assert policy.object.decide(facts) is ALLOW
    facts.learnt["tcp.saved_syn"] = b"E\0"
    assert policy.object.decide(facts) is not ALLOW


def test_lists_that_rules_use_are_read_at_the_start(tmp_path: Any) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("10.0.0.0/8\n10.0.0.1/8\n")
    (problem,) = problems(policies=[{"deny": "source in @bad"}], lists={"bad": str(path)})
    assert problem.startswith(f'lists.bad: {path}:2: "10.0.0.1/8" is no network: ')


# Routes


def test_a_route_by_a_fact_that_nobody_learns_is_a_mistake() -> None:
    """Seen: it was valid, and no connection ever took it."""
    routes = [{"backend": "app", "facts": {"tls.snl": "a"}}, {"backend": "app", "facts": {"tls.sni": "b.example"}}]
    assert problems(validators=["tls"], routes=routes) == [
        'frontends.web.routes[0].facts."tls.snl": there is no fact "tls.snl"; did you mean "tls.sni"?'
    ]
    nobody = 'frontends.web.routes[0].facts."tls.sni": nobody here learns tls.sni: a validator does: "tls"'
    assert problems(routes=routes[1:]) == [nobody]
    assert build(validators=["tls"], routes=routes[1:]).frontends["web"].routing is not None


def test_a_route_may_go_by_tlvs_of_any_type() -> None:
    routes = [{"backend": "app", "facts": {"proxy.0xE4": "x", "proxy.ssl.0xE5": "y", "proxy.unique_id": "z"}}]
    assert build(routes=routes, accept_proxy=True)
    assert len(problems(routes=routes)) == 3


def test_a_route_has_settings_of_its_own_for_requests() -> None:
    (problem,) = problems(mode="http", routes=[{"backend": "app", "facts": {"http.path": "/"}}])
    assert problem.endswith("a route has settings of its own for what a request says")


# What policies learn


@implementer(IPolicy)
class Learns:
    """Learns ``geo.country``."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def decide(self, facts: Facts) -> Decision:
        """See ``IPolicy``."""
        return ALLOW


def assembly(*policies: Rule | Use, validators: tuple[str, ...] = ()) -> PolicyAssembly:
    """Policies of a frontend where the policy "geo" and the validator "other" learn ``geo.country``."""
    country = Fact(FactType.STRING, "", Stage.ADMISSION)
    supplies: Any = {kind: {} for kind in KINDS}
    supplies["policies"] = {"geo": Supplied("p", "geo", Supply(Learns, Options, facts={"geo.country": country}))}
    number = Fact(FactType.INTEGER, "")
    supplies["validators"] = {"other": Supplied("v", "other", Supply(Learns, Options, facts={"geo.country": number}))}
    settings = Frontend(
        bind=[], backend="app", policies=list(policies), validators=[Use(use=name) for name in validators]
    )
    return PolicyAssembly(PluginHost(supplies), "web", settings, NoLists(), Tables(Clock()))


@pytest.mark.parametrize("stage", [Stage.ADMISSION, Stage.POLICY])
def test_a_rule_is_asked_no_earlier_than_the_policy_that_learns_its_fact(stage: Stage) -> None:
    made = assembly(Use(use="geo"), Rule(deny="geo.country == 'X'"))
    _, rule = made.build(lambda use: [Built("p", "geo", Learns(stage))])
    assert rule.object.stage is stage
    assert made.problems == []
    assert "geo.country" in made.scope().facts


def test_a_rule_before_the_policy_that_learns_its_fact_is_a_mistake() -> None:
    made = assembly(Rule(deny="geo.country == 'X'"), Use(use="geo"))
    made.build(lambda use: [Built("p", "geo", Learns(Stage.ADMISSION))])
    (problem,) = made.problems
    assert "frontends.web.policies[0].deny: nobody here learns geo.country: " in problem
    assert 'a policy before this entry would: "geo"' in problem or 'a validator does: "other"' in problem


def test_a_fact_that_two_learn_in_two_types_is_a_mistake() -> None:
    made = assembly(Use(use="geo"), validators=("other",))
    made.build(lambda use: [Built("p", "geo", Learns(Stage.ADMISSION))])
    (problem,) = made.problems
    assert problem == (
        "frontends.web.policies: geo.country is a string of geo, and a whole number of another one:"
        " they cannot be used together"
    )


def test_a_policy_that_asks_for_facts_and_fails_is_named() -> None:
    @implementer(IFactPolicy)
    class Failing:
        """A policy of which nothing is known but that it asks."""

        stage = Stage.POLICY

        def use_facts(self, find: Any) -> None:
            find("source")
            raise RuntimeError("a defect")

        def decide(self, facts: Facts) -> Decision:
            return ALLOW

    use = Use(use="failing", where="frontends.web.policies[0]")
    settings = Frontend(bind=[Bind(address="127.0.0.1:0")], backend="app", policies=[use])
    assembly = PolicyAssembly(load_plugins(), "web", settings, NoLists(), Tables(Clock()))
    assembly.build(lambda entry: [Built("policy_failing", "failing", Failing())])
    (problem,) = assembly.problems
    assert problem.startswith('frontends.web.policies[0]: plugin "policy_failing" raised RuntimeError')


@pytest.mark.parametrize(
    ("first", "spelt"),
    [
        ({"allow": "true"}, 'allow = "true"'),
        ({"deny": "true"}, 'deny = "true"'),
        ({"reject": "not false"}, 'reject = "not false"'),
        ({"drop": "source == '::1' or true"}, "drop = \"source == '::1' or true\""),
        ({"tarpit": "true"}, 'tarpit = "true"'),
        ({"redirect": "true", "location": "/"}, 'redirect = "true"'),
        ({"answer": "true"}, 'answer = "true"'),
        ({"deny": "true", "status": 503}, 'deny = "true"'),
        ({"use": "answer", "status": 503}, 'use = "answer"'),
    ],
)
def test_what_stands_behind_an_entry_that_always_decides_is_never_reached(first: dict[str, Any], spelt: str) -> None:
    """Seen: a limit that somebody had added behind the final deny, and that nobody was ever asked about."""
    hidden = [{"deny": "source == '192.0.2.1'"}, {"use": "source", "deny": ["192.0.2.2"]}]
    told = problems(mode="http", policies=[{"deny": "source == '192.0.2.9'"}, first, *hidden])
    assert told == [
        f"frontends.web.policies[{number}]: is never reached: policies[1], {spelt}, decides about everything:"
        " put it before that, or leave it out"
        for number in (2, 3)
    ]


@pytest.mark.parametrize(
    "policies",
    [
        [{"allow": "source == '::1'"}, {"deny": "true"}],
        [{"deny": "false"}, {"allow": "true"}],
        [{"allow": "source == '::1' and true"}, {"deny": "not false"}],
        [{"use": "answer", "path": ["/x"]}, {"use": "answer"}],
        [{"use": "source", "allow": []}, {"deny": "source == '::1'"}],
    ],
)
def test_the_last_entry_may_decide_about_everything(policies: list[dict[str, Any]]) -> None:
    assert len(build(mode="http", policies=policies).frontends["web"].policies) == 2


def test_an_entry_is_spelt_in_a_line() -> None:
    policies = build(policies=[{"deny": "\n source == '::1'\n  or false\n"}]).config.frontends["web"].policies
    assert described(policies[0]) == "deny = \"source == '::1' or false\""
    assert described(policies[0], 9) == 'deny = "source ==..."'
