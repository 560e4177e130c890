"""The plugin host finds, checks and merges plugins, and says clearly what is wrong with one."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import pytest

from twisted_lb import hookspecs
from twisted_lb.api import ConfigError, IBalancer
from twisted_lb.config.uses import Use
from twisted_lb.plugin_host import KINDS, KindName, PluginHost, load_plugins
from twisted_lb.testing import FakeServer, make_facts, make_runtime

PRELUDE = """
from zope.interface import implementer
from twisted_lb.api import *

@implementer(IBalancer)
class Last:
    def choose(self, candidates, facts):
        return candidates[-1]
"""

LAST = (
    PRELUDE
    + """
@hookimpl
def lb_balancers():
    return {"last": Supply(lambda options: Last())}
"""
)


class Shelf:
    """A folder on ``sys.path`` in which a test puts plugin modules and installed distributions."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def module(self, name: str, source: str) -> str:
        (self.path / f"{name}.py").write_text(dedent(source))
        return name

    def distribution(self, name: str, **entry_points: str) -> None:
        info = self.path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "".join(f"{key} = {value}\n" for key, value in entry_points.items())
        (info / "entry_points.txt").write_text(f"[twisted_lb]\n{lines}")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Shelf(tmp_path)
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def problems_of(*modules: str, disabled: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_plugins(modules, disabled)
    return list(caught.value.problems)


def build_problems(host: PluginHost, kind: Any, name: str, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        host.build(kind, Use(use=name, options=options), "backends.app.balance")
    return list(caught.value.problems)


# What is loaded


def test_the_bundled_plugins_supply_what_the_documentation_names() -> None:
    host = load_plugins()
    assert {kind: list(host.supplies(kind)) for kind in KINDS} == {
        "balancers": ["first", "least_conn", "random", "round_robin"],
        "policies": [
            "answer",
            "bandwidth",
            "dnsbl",
            "geoip",
            "http_authorizer",
            "peer_credentials",
            "redirect",
            "source",
            "time_of_day",
        ],
        "validators": [
            "dns",
            "ftp",
            "http1",
            "http2",
            "imap",
            "mqtt",
            "mysql",
            "payload",
            "pop3",
            "postgresql",
            "rdp",
            "redis",
            "redis_commands",
            "smtp",
            "smtp_commands",
            "ssh",
            "tls",
        ],
        "proxy_codecs": ["v1", "v2"],
        "access_logs": ["json", "text"],
        "observers": ["trace"],
        "body_filters": ["max_body", "replace"],
        "table_stores": ["redis"],
    }


def test_every_hook_has_a_kind_and_every_kind_a_hook() -> None:
    hooks = {name for name in vars(hookspecs) if name.startswith("lb_")}
    assert hooks == {f"lb_{kind}" for kind in KINDS}
    assert set(KINDS) == set(get_args(KindName))


def test_a_plugin_named_by_its_module_is_loaded(shelf: Shelf) -> None:
    host = load_plugins([shelf.module("lb_last", LAST)])
    assert host.supplies("balancers")["last"].plugin == "lb_last"
    assert "lb_last" in host.plugins


def test_a_plugin_of_an_installed_distribution_is_loaded_under_its_entry_point_s_name(shelf: Shelf) -> None:
    shelf.module("lb_last", LAST)
    shelf.distribution("lb-last", last_server="lb_last")
    assert load_plugins().supplies("balancers")["last"].plugin == "last_server"


def test_an_entry_point_may_be_an_object(shelf: Shelf) -> None:
    source = PRELUDE + "class Plugin:\n    @hookimpl\n    def lb_balancers(self):\n        "
    shelf.module("lb_object", source + "return {'last': Supply(lambda options: Last())}\nplugin = Plugin()\n")
    shelf.distribution("lb-object", last_server="lb_object:plugin")
    assert load_plugins().supplies("balancers")["last"].plugin == "last_server"


def test_a_module_that_an_entry_point_announces_too_is_loaded_once(shelf: Shelf) -> None:
    shelf.module("lb_last", LAST)
    shelf.distribution("lb-last", last_server="lb_last")
    host = load_plugins(["lb_last", "lb_last"])
    assert host.supplies("balancers")["last"].plugin == "last_server"
    assert "lb_last" not in host.plugins


def test_a_reload_asks_again(shelf: Shelf) -> None:
    source = LAST.replace('"last":', 'f"last{len(asked)}":').replace("    return {", "    asked.append(1); return {")
    shelf.module("lb_counting", "asked = []\n" + source)
    assert "last1" in load_plugins(["lb_counting"]).supplies("balancers")
    assert "last2" in load_plugins(["lb_counting"]).supplies("balancers")


# Blocked by name


def test_a_disabled_plugin_supplies_nothing() -> None:
    host = load_plugins(disabled=["balance_first"])
    assert "first" not in host.supplies("balancers")
    assert "balance_first" not in host.plugins


def test_a_disabled_plugin_is_not_even_imported(shelf: Shelf) -> None:
    shelf.module("lb_broken", "raise RuntimeError('must not run')")
    shelf.distribution("lb-broken", broken="lb_broken")
    assert "broken" not in load_plugins(disabled=["broken"]).plugins
    assert "lb_broken" not in sys.modules


def test_both_names_of_a_plugin_disable_it(shelf: Shelf) -> None:
    shelf.module("lb_last", LAST)
    shelf.distribution("lb-last", last_server="lb_last")
    for name in ("last_server", "lb_last"):
        assert "last" not in load_plugins(["lb_last"], [name]).supplies("balancers")
    assert "last" not in load_plugins([shelf.module("lb_other", LAST)], ["lb_other", "last_server"]).supplies(
        "balancers"
    )


def test_a_disabled_plugin_that_does_not_exist_is_an_error_with_the_nearest_name() -> None:
    problems = problems_of(disabled=("balance_frist", "balance_last_conn"))
    assert problems[0] == 'disabled_plugins: there is no plugin "balance_frist"; did you mean "balance_first"?'
    assert problems[1].endswith('did you mean "balance_least_conn"?')


# Plugins that cannot be loaded


def test_a_module_that_does_not_exist_is_named() -> None:
    assert problems_of("lb_nowhere.at_all") == [
        "plugin \"lb_nowhere.at_all\" cannot be loaded: ModuleNotFoundError: No module named 'lb_nowhere'"
    ]


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import lb_missing_dependency", "ModuleNotFoundError: No module named 'lb_missing_dependency'"),
        ("\n\n1 / 0", "ZeroDivisionError: division by zero ({file}, line 3)"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines ({file}, line 1)"),
        ("raise KeyError", "KeyError ({file}, line 1)"),
        ("import sys; sys.exit(3)", "SystemExit: 3 ({file}, line 1)"),
        ("def (", "SyntaxError: invalid syntax (lb_broken.py, line 1)"),
    ],
)
def test_a_module_that_raises_is_named_with_the_cause_in_one_line(shelf: Shelf, source: str, cause: str) -> None:
    shelf.module("lb_broken", source)
    (problem,) = problems_of("lb_broken")
    assert problem.startswith('plugin "lb_broken" cannot be loaded: ' + cause.format(file=shelf.path / "lb_broken.py"))
    assert "\n" not in problem


def test_a_broken_distribution_is_an_error_and_can_be_disabled(shelf: Shelf) -> None:
    shelf.distribution("lb-gone", gone="lb_gone.module", attribute="os:no_such_thing")
    problems = problems_of()
    assert len(problems) == 2
    assert problems[0].startswith('plugin "gone" cannot be loaded: ModuleNotFoundError')
    assert problems[1].startswith('plugin "attribute" cannot be loaded: AttributeError')
    assert "first" in load_plugins(disabled=["gone", "attribute"]).supplies("balancers")


def test_two_distributions_that_announce_one_name_are_both_named(shelf: Shelf) -> None:
    shelf.distribution("lb-one", same="lb_one")
    shelf.distribution("lb-two", same="lb_two")
    shelf.module("lb_one", LAST)
    shelf.module("lb_two", LAST)
    (problem,) = problems_of()
    assert problem == (
        'plugin "same" is announced twice, by lb-one (lb_one) and lb-two (lb_two): disable it or remove one of them'
    )
    load_plugins(disabled=["same"])


def test_all_problems_are_reported_together(shelf: Shelf) -> None:
    shelf.module("lb_broken", "1 / 0")
    shelf.module("lb_misspelt", LAST.replace("lb_balancers", "lb_balancer"))
    shelf.module("lb_raising", "from twisted_lb.api import *\n@hookimpl\ndef lb_policies():\n    1 / 0\n")
    problems = problems_of("lb_broken", "lb_misspelt", "lb_raising", "lb_nowhere", disabled=("balance_frist",))
    for word in ("lb_broken", "lb_misspelt", "lb_raising", "lb_nowhere", "balance_frist"):
        assert sum(f'"{word}"' in problem for problem in problems) == 1, word
    assert len(problems) == 5


# Hooks


def test_a_misspelt_hook_is_refused_with_the_nearest_name(shelf: Shelf) -> None:
    shelf.module("lb_misspelt", LAST.replace("lb_balancers", "lb_balancer"))
    assert problems_of("lb_misspelt") == [
        'plugin "lb_misspelt": there is no hook "lb_balancer"; did you mean "lb_balancers"?'
    ]


def test_a_misspelt_hook_beside_a_good_one_is_refused_too(shelf: Shelf) -> None:
    shelf.module("lb_misspelt", LAST + "@hookimpl\ndef lb_polices():\n    return {}\n")
    assert problems_of("lb_misspelt") == [
        'plugin "lb_misspelt": there is no hook "lb_polices"; did you mean "lb_policies"?'
    ]


def test_a_plugin_without_hooks_is_refused_because_its_author_forgot_to_mark_them(shelf: Shelf) -> None:
    shelf.module("lb_unmarked", LAST.replace("@hookimpl", ""))
    (problem,) = problems_of("lb_unmarked")
    assert problem.startswith('plugin "lb_unmarked" implements no hook: mark its functions with @hookimpl')


def test_a_hook_that_takes_arguments_which_it_never_gets_is_refused(shelf: Shelf) -> None:
    shelf.module("lb_greedy", LAST.replace("lb_balancers()", "lb_balancers(config)"))
    (problem,) = problems_of("lb_greedy")
    assert problem.startswith('plugin "lb_greedy" cannot be loaded: PluginValidationError')
    assert "config" in problem


def test_a_hook_that_raises_is_named(shelf: Shelf) -> None:
    shelf.module("lb_raising", LAST.replace("    return {", "    1 / 0\n    return {"))
    (problem,) = problems_of("lb_raising")
    assert problem.startswith('plugin "lb_raising": hook "lb_balancers" failed: ZeroDivisionError: division by zero (')
    assert "lb_raising.py, line " in problem


def test_the_words_of_a_hook_s_own_config_error_are_kept(shelf: Shelf) -> None:
    shelf.module(
        "lb_raising", LAST.replace("    return {", "    raise ConfigError('no licence', 'no luck')\n    return {")
    )
    assert problems_of("lb_raising") == ['plugin "lb_raising": hook "lb_balancers" failed: no licence; no luck']


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("None", "must return a mapping of name to Supply, not None"),
        ("['last']", "must return a mapping of name to Supply, not ['last']"),
        ("{'last': Last}", "\"last\": must be a Supply, not <class 'lb_wrong.Last'>"),
        ("{7: Supply(Last)}", '"7": a name must be a string, and not empty'),
        ("{'': Supply(Last)}", '"": a name must be a string, and not empty'),
        ("{'last': Supply(Last())}", '"last": build must be callable, not <lb_wrong.Last object'),
        ("{'last': Supply(Last, dict)}", "\"last\": options must be a subclass of Options, not <class 'dict'>"),
        ("{'last': Supply(Last, mode='udp')}", '"last": mode must be "tcp", "http" or None, not \'udp\''),
        ("{'last': Supply(Last, Options())}", '"last": options must be a subclass of Options, not Options()'),
    ],
)
def test_a_hook_that_answers_nonsense_is_refused(shelf: Shelf, answer: str, fault: str) -> None:
    shelf.module("lb_wrong", f"{PRELUDE}\n@hookimpl\ndef lb_balancers():\n    return {answer}\n")
    (problem,) = problems_of("lb_wrong")
    assert problem.startswith('plugin "lb_wrong": hook "lb_balancers"')
    assert fault in problem


def test_the_access_log_none_is_the_proxy_s_own(shelf: Shelf) -> None:
    shelf.module("lb_none", f"{PRELUDE}\n@hookimpl\ndef lb_access_logs():\n    return {{'none': Supply(Last)}}\n")
    assert problems_of("lb_none") == ['plugin "lb_none": hook "lb_access_logs": "none": this name is reserved']


def test_a_name_supplied_twice_names_both_plugins(shelf: Shelf) -> None:
    shelf.module("lb_mine", LAST.replace('"last"', '"first"'))
    assert problems_of("lb_mine") == [
        'balancer "first" is supplied twice, by plugin "balance_first" and plugin "lb_mine": disable one of them'
    ]
    assert load_plugins(["lb_mine"], ["balance_first"]).supplies("balancers")["first"].plugin == "lb_mine"


def test_one_name_may_be_supplied_for_two_hooks(shelf: Shelf) -> None:
    shelf.module("lb_mine", LAST.replace('"last"', '"source"'))
    host = load_plugins(["lb_mine"])
    assert host.supplies("balancers")["source"].plugin == "lb_mine"
    assert host.supplies("policies")["source"].plugin == "policy_source"


# Building


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("paths: one is missing", 'balance.paths: plugin "lb_last": one is missing'),
        ("paths[1]: is missing", 'balance.paths[1]: plugin "lb_last": is missing'),
        ("in: is too much", 'balance.in: plugin "lb_last": is too much'),
        ("within: is none of its options", 'balance: plugin "lb_last": within: is none of its options'),
        ("paths are missing", 'balance: plugin "lb_last": paths are missing'),
    ],
)
def test_what_a_plugin_says_of_an_option_stands_at_that_option(shelf: Shelf, said: str, told: str) -> None:
    source = (
        LAST
        + f"""
import msgspec

class LastOptions(Options, frozen=True):
    paths: list[str] = []
    in_: int = msgspec.field(name="in", default=0)

def build(options):
    raise ConfigError({said!r})

@hookimpl
def lb_balancers():
    return {{"last": Supply(build, LastOptions)}}
"""
    )
    assert build_problems(load_plugins([shelf.module("lb_last", source)]), "balancers", "last") == [
        f"backends.app.{told}"
    ]


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("policies", "tls", 'x: "tls" is a validator, and no policy: write it in validators'),
        ("validators", "source", 'x: "source" is a policy, and no validator: write it in policies'),
        ("policies", "deny", 'x: "deny" is no policy, but the key of a rule: write { deny = "..." }'),
    ],
)
def test_what_stands_in_the_wrong_list_is_told_with_the_right_one(kind: KindName, name: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plugins().build(kind, Use(use=name), "x")
    assert str(caught.value) == told


def test_what_is_built_knows_its_plugin_and_its_name(shelf: Shelf) -> None:
    host = load_plugins([shelf.module("lb_last", LAST)])
    built = host.build("balancers", Use(use="last"), "backends.app.balance")
    assert (built.plugin, built.name) == ("lb_last", "last")
    assert IBalancer.providedBy(built.object)
    servers = [FakeServer("a"), FakeServer("b")]
    assert built.object.choose(servers, make_facts()) is servers[1]


def test_each_use_is_built_anew() -> None:
    host = load_plugins()
    first, second = (host.build("balancers", Use(use="round_robin"), "x").object for _ in range(2))
    assert first is not second


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    assert build_problems(load_plugins(), "balancers", "leastconn") == [
        'backends.app.balance: there is no balancer "leastconn"; did you mean "least_conn"?'
        ' (known: "first", "least_conn", "random", "round_robin")'
    ]


def test_the_place_is_the_use_s_own_when_none_is_given() -> None:
    with pytest.raises(ConfigError, match=r"^lb\.toml: backends\.app\.balance: there is no balancer"):
        load_plugins().build("balancers", Use(use="nope", where="lb.toml: backends.app.balance"))


def test_every_wrong_option_is_reported_with_its_key() -> None:
    assert build_problems(load_plugins(), "balancers", "random", drws=1, draws="two") == [
        'backends.app.balance.drws: unknown key; did you mean "draws"?',
        "backends.app.balance.draws: expected an integer, got a string",
    ]


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        ("1 / 0", 'failed to build the balancer "last": ZeroDivisionError: division by zero ('),
        ("fail()", "not today"),
    ],
)
def test_a_plugin_that_cannot_build_is_named_with_the_place(shelf: Shelf, build: str, fault: str) -> None:
    source = PRELUDE + "def fail():\n    raise ConfigError('not today')\n" + LAST.removeprefix(PRELUDE)
    shelf.module("lb_last", source.replace("options: Last()", f"options: {build}"))
    (problem,) = build_problems(load_plugins(["lb_last"]), "balancers", "last")
    assert problem.startswith('backends.app.balance: plugin "lb_last"')
    assert fault in problem


def test_an_object_that_lacks_a_method_is_refused_with_plugin_interface_and_method(shelf: Shelf) -> None:
    shelf.module("lb_last", LAST.replace("def choose", "def chose"))
    assert build_problems(load_plugins(["lb_last"]), "balancers", "last") == [
        'backends.app.balance: plugin "lb_last": Last is no IBalancer: it lacks method choose(candidates, facts)'
    ]


STREAM = """
from zope.interface import implementer
from twisted_lb.api import *

@implementer(IStreamValidator)
class Guard:
    server_first = False

    def validate(self, data, facts):
        return ALLOW

    def watch(self, facts):
        return None

@hookimpl
def lb_validators():
    return {"guard": Supply(lambda options: Guard())}
"""


def test_a_validator_that_stays_on_the_stream_has_to_satisfy_that_interface(shelf: Shelf) -> None:
    shelf.module("lb_good", STREAM)
    assert load_plugins(["lb_good"]).build("validators", Use(use="guard"), "w").name == "guard"
    for broken, lacks in (("def watch", "method watch(facts)"), ("server_first", "attribute server_first")):
        name = f"lb_{lacks[:3]}"
        shelf.module(name, STREAM.replace(broken, broken + "ed"))
        with pytest.raises(ConfigError, match=f"Guard is no IStreamValidator: it lacks {re.escape(lacks)}"):
            load_plugins([name]).build("validators", Use(use="guard"), "w")


def test_an_object_whose_method_takes_too_little_is_refused(shelf: Shelf) -> None:
    shelf.module("lb_last", LAST.replace("choose(self, candidates, facts)", "choose(self, candidates)"))
    (problem,) = build_problems(load_plugins(["lb_last"]), "balancers", "last")
    assert problem.endswith("its method choose(candidates, facts) doesn't allow enough arguments")


def test_an_object_that_does_not_declare_its_interface_is_refused(shelf: Shelf) -> None:
    shelf.module("lb_last", LAST.replace("@implementer(IBalancer)", ""))
    (problem,) = build_problems(load_plugins(["lb_last"]), "balancers", "last")
    assert problem.endswith("its class is not marked @implementer(IBalancer)")


def test_every_fault_of_an_object_is_reported(shelf: Shelf) -> None:
    shelf.module("lb_last", LAST.replace("@implementer(IBalancer)", "").replace("def choose", "def chose"))
    assert len(build_problems(load_plugins(["lb_last"]), "balancers", "last")) == 2


@pytest.mark.parametrize(
    ("stage", "fault"),
    [
        ("", "Never is no IPolicy: it lacks attribute stage"),
        ("stage = Stage.RELAY", "Never is no IPolicy: its attribute stage must be Stage.ADMISSION or Stage.POLICY"),
    ],
)
def test_a_policy_without_a_stage_of_its_own_is_refused(shelf: Shelf, stage: str, fault: str) -> None:
    source = f"""
from zope.interface import implementer
from twisted_lb.api import *

@implementer(IPolicy)
class Never:
    {stage}
    def decide(self, facts):
        return Deny("never")

@hookimpl
def lb_policies():
    return {{"never": Supply(lambda options: Never())}}
"""
    (problem,) = build_problems(load_plugins([shelf.module("lb_never", source)]), "policies", "never")
    assert problem.endswith(fault)


RUNTIME = (
    PRELUDE
    + """
def build(options, runtime):
    made = Last()
    made.runtime = runtime
    return made

@hookimpl
def lb_balancers():
    return {"last": Supply(build, runtime=True)}
"""
)


def test_a_supply_that_asks_for_it_is_built_with_the_runtime(shelf: Shelf) -> None:
    runtime = make_runtime()
    host = load_plugins([shelf.module("of_a_process", RUNTIME)], runtime=runtime)
    assert host.build("balancers", Use(use="last"), "here").object.runtime is runtime  # type: ignore[attr-defined]


def test_without_a_process_such_a_supply_cannot_be_built(shelf: Shelf) -> None:
    host = load_plugins([shelf.module("of_no_process", RUNTIME)])
    with pytest.raises(ConfigError, match='here: plugin "of_no_process": it can only be built in a process'):
        host.build("balancers", Use(use="last"), "here")


def test_files_among_the_options_start_from_the_configuration_s_folder(shelf: Shelf) -> None:
    source = """
    class FileOptions(Options, frozen=True):
        one: FilePath
        more: list[FilePath]

    def build(options):
        made = Last()
        made.paths = [options.one, *options.more]
        return made

    @hookimpl
    def lb_balancers():
        return {"last": Supply(build, FileOptions)}
    """
    host = load_plugins([shelf.module("with_files", PRELUDE + dedent(source))])
    use = Use(use="last", options={"one": "a", "more": ["b/c", "/d"]}, folder="/etc/lb")
    assert host.build("balancers", use, "x").object.paths == ["/etc/lb/a", "/etc/lb/b/c", "/d"]  # type: ignore[attr-defined]
