"""Routes: the first whose conditions all hold, and no way around them by spelling a path otherwise."""

import time
from typing import Any

import pytest

from twisted_lb.declared import OWN_FACTS
from twisted_lb.errors import ConfigError, WireError
from twisted_lb.facts import Credentials, Facts
from twisted_lb.routing import Routes, Rule
from twisted_lb.testing import make_facts
from twisted_lb.wire.http1 import RequestHead, parse_request


def asked(target: str = "/", host: str = "example.org", method: str = "GET", **fields: str) -> Facts:
    """The facts of a request."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    head = parse_request(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode())
    assert isinstance(head, RequestHead)
    facts = make_facts()
    facts.http = head
    return facts


def routes(*rules: Rule, http: bool = True) -> Routes[str]:
    """Routes to "0", "1" and so on; "default" for the rest."""
    return Routes([(rule, str(number)) for number, rule in enumerate(rules)], "default", http)


# Hosts


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("example.org", "0"),
        ("EXAMPLE.org", "0"),
        ("example.org:8080", "0"),
        ("example.org.", "0"),
        ("www.example.org", "1"),
        ("a.b.example.org", "1"),
        ("api.example.org", "2"),
        ("x.api.example.org", "1"),
        ("notexample.org", "default"),
        ("org", "default"),
        (".example.org", "1"),
        ("[2001:db8::1]:80", "3"),
        ("192.0.2.1", "3"),
    ],
)
def test_a_host_is_matched_whatever_its_case_and_port(host: str, found: str) -> None:
    made = routes(
        Rule(host=["example.org"]),
        Rule(host=["*.example.org"], path_prefix=["/"], headers={"X-Not-Api": "*"}),
        Rule(host=["api.example.org"]),
        Rule(host=["[2001:DB8::1]", "192.0.2.1"]),
    )
    assert made.find(asked(host=host, **({} if host == "api.example.org" else {"X_Not_Api": "1"}))) == found


def test_the_first_route_that_matches_wins_whether_it_names_a_host_or_not() -> None:
    made = routes(
        Rule(path_prefix=["/static"]), Rule(host=["*.example.org"], path=["/x"]), Rule(host=["a.example.org"])
    )
    assert made.find(asked("/static/a", "a.example.org")) == "0"
    assert made.find(asked("/x", "a.example.org")) == "1"
    assert made.find(asked("/y", "a.example.org")) == "2"
    assert made.find(asked("/x", "b.example.org")) == "1"
    assert made.find(asked("/y", "b.example.org")) == "default"


def test_which_hosts_are_known() -> None:
    made = routes(Rule(host=["example.org", "*.example.net"], path=["/x"]), Rule(path=["/y"]))
    known = [b"example.org", b"www.example.net", b"a.b.example.net"]
    assert [made.knows(host) for host in known] == [True] * 3
    assert [made.knows(host) for host in (b"", b"example.net", b"www.example.org", b".example.org")] == [False] * 4


def test_a_host_that_policies_have_set_counts() -> None:
    facts = asked(host="example.org")
    assert facts.http is not None
    facts.http.headers.set(b"Host", b"other.example:81")
    assert routes(Rule(host=["example.org"]), Rule(host=["other.example"])).find(facts) == "1"


def test_a_thousand_hosts_cost_as_much_as_ten() -> None:
    def cost(hosts: int) -> float:
        made = routes(*(Rule(host=[f"host{number}.example"], path_prefix=["/"]) for number in range(hosts)))
        facts = asked(host=f"host{hosts - 1}.example")
        times = []
        for _ in range(5):
            began = time.thread_time()
            for _ in range(300):
                made.find(facts)
            times.append(time.thread_time() - began)
        return min(times)

    assert cost(1000) < 5 * cost(10)


def test_a_host_of_many_labels_is_not_looked_up_under_each_of_them() -> None:
    made = routes(Rule(host=["*.example.org"]))
    began = time.process_time()
    for _ in range(100):
        assert not made.knows(b"a." * 8000 + b"example.org")
    assert time.process_time() - began < 0.5


# Paths


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/api", "0"),
        ("/api/", "0"),
        ("/api/x/y?z=/static", "0"),
        ("/apix", "default"),
        ("/API", "default"),
        ("/static/a", "1"),
        ("/static", "default"),
        ("/robots.txt", "2"),
        ("/robots.txt?a=b", "2"),
        ("/robots.txt/", "default"),
        ("/v12/users", "3"),
        ("/v12/users/", "default"),
        ("/xv12/users", "default"),
        ("/a%20b", "4"),
        ("/%61pi", "0"),
    ],
)
def test_paths(target: str, found: str) -> None:
    made = routes(
        Rule(path_prefix=["/api"]),
        Rule(path_prefix=["/static/"]),
        Rule(path=["/robots.txt"]),
        Rule(path_regex="/v[0-9]+/[a-z]+"),
        Rule(path=["/a b"]),
    )
    assert made.find(asked(target)) == found


@pytest.mark.parametrize(
    "target",
    [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/%252e%252e/admin",
        "/public/..%2fadmin",
        "/public/..;/admin",
        "/public\\..\\admin",
        "/./admin",
        "//admin",
        "/x//../admin",
        "/admin;jsessionid=1",
        "/%2561dmin",
        "/admin%2fx",
        "/admin%5cx",
        "/%u0061dmin",
        "/admin%00",
        "/admin%3Fx",
        "/%c0%aeadmin/../admin",
    ],
)
def test_a_path_that_some_server_takes_for_a_guarded_one_is_not_let_past_the_guard(target: str) -> None:
    made = routes(Rule(path_prefix=["/admin"]), Rule(path_prefix=["/public"]))
    with pytest.raises(WireError, match="path-"):
        made.find(asked(target))


@pytest.mark.parametrize(
    ("target", "found"),
    [("/api/a%2Fb", "0"), ("/api/a;v=1/b", "0"), ("/api//x", "0"), ("/api/x/../y", "0"), ("/x/a%2Fb", "default")],
)
def test_an_odd_path_whose_every_reading_takes_the_same_route_is_let_on(target: str, found: str) -> None:
    assert routes(Rule(path_prefix=["/api"])).find(asked(target)) == found


def test_paths_that_no_route_of_the_host_looks_at_are_nobody_s_business() -> None:
    made = routes(Rule(host=["a.example"]), Rule(host=["b.example"], path=["/x"]))
    assert made.find(asked("/%zz/../../..", "a.example")) == "0"


def test_a_request_without_a_path_takes_no_route_that_asks_for_one() -> None:
    made = routes(Rule(path_prefix=["/"]), Rule(method=["OPTIONS", "CONNECT"]))
    assert made.find(asked("*", method="OPTIONS")) == "1"
    assert made.find(asked("example.org:443", "example.org:443", method="CONNECT")) == "1"


# Methods, fields, facts


def test_methods_and_fields() -> None:
    made = routes(
        Rule(method=["POST", "PUT"], headers={"Content-Type": "application/json"}),
        Rule(method=["POST"]),
        Rule(headers={"X-Canary": "*"}),
    )
    assert made.find(asked(method="PUT", Content_Type="application/json")) == "0"
    assert made.find(asked(method="POST", content_type="text/plain")) == "1"
    assert made.find(asked(x_canary="1")) == "2"
    assert made.find(asked(method="PUT")) == "default"


@pytest.mark.parametrize(
    ("sni", "found"),
    [
        ("www.example.org", "0"),
        ("WWW.example.org.", "0"),
        ("mail.example.org", "1"),
        ("example.org", "2"),
        (None, "default"),
        (b"www.example.org", "0"),
    ],
)
def test_tcp_mode_goes_by_the_facts(sni: Any, found: str) -> None:
    made = routes(
        Rule(facts={"tls.sni": "www.example.org"}),
        Rule(facts={"tls.sni": "*.Example.org", "tls.alpn": "imap"}),
        Rule(facts={"tls.sni": "*"}),
        http=False,
    )
    learnt = {} if sni is None else {"tls.sni": sni, "tls.alpn": ("h2", "imap")}
    assert made.find(make_facts(learnt=learnt)) == found


@pytest.mark.parametrize("name", OWN_FACTS)
def test_what_is_known_without_learning_can_be_asked_for(name: str) -> None:
    facts = make_facts()
    facts.namespace = "blue"
    facts.credentials = Credentials(7, 8, 9)
    get = OWN_FACTS[name].get
    assert get is not None
    wanted = str(get(facts))
    made = routes(Rule(facts={name: wanted}), http=False)
    assert made.find(facts) == "0"
    assert routes(Rule(facts={name: "x" + wanted}), http=False).find(facts) == "default"


def test_in_http_mode_the_name_in_tls_is_a_fact_among_others() -> None:
    facts = asked()
    facts.learnt["tls.sni"] = "a.example.org"
    assert routes(Rule(host=["example.org"], facts={"tls.sni": "*.example.org"})).find(facts) == "0"
    assert routes(Rule(facts={"tls.sni": "b.example.org"})).find(facts) == "default"


# Mistakes


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (Rule(host=["exa mple.org"]), 'routes[0].host: neither a host nor "*." and a host: "exa mple.org"'),
        (Rule(host=["*"]), "routes[0].host: neither a host"),
        (Rule(host=["a.*.org"]), "routes[0].host: neither a host"),
        (Rule(host=["a.org:80"]), "routes[0].host: the port does not matter"),
        (Rule(path=["x"]), 'routes[0].path: a path begins with a slash: "x"'),
        (Rule(path_prefix=["/a/../b"]), "routes[0].path_prefix: can be read in several ways"),
        (Rule(path_regex="/a(b"), "at position 2"),
        (Rule(method=["get"]), 'routes[0].method: methods are written in capitals: "GET"'),
        (Rule(method=["G T"]), 'routes[0].method: no method: "G T"'),
        (Rule(facts={"protocols": "ssh"}), 'routes[0].facts: there is no fact "protocols"'),
        (Rule(facts={"sni": "x"}), 'routes[0].facts: there is no fact "sni"'),
        (
            Rule(facts={"source.prot": "80"}),
            'routes[0].facts: there is no fact "source.prot"; did you mean "source.port"?',
        ),
        (Rule(path=["/a"], path_regex="/b"), "routes[0].path_regex: not together with path"),
    ],
)
def test_a_mistake_is_told_with_its_place(rule: Rule, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        routes(rule)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "rules",
    [
        (Rule(), Rule(host=["a.org"])),
        (Rule(host=["a.org"]), Rule(host=["A.org"], path=["/x"])),
        (Rule(host=["*.a.org"]), Rule(host=["b.a.org", "*.c.a.org"])),
    ],
)
def test_a_route_that_is_never_reached_is_an_error(rules: tuple[Rule, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^routes\[1\]: is never reached: routes\[0\]"):
        routes(*rules)


@pytest.mark.parametrize(
    "rules",
    [
        (Rule(host=["a.org"]), Rule(host=["a.org", "b.org"])),
        (Rule(host=["*.a.org"]), Rule(host=["a.org"])),
        (Rule(host=["a.org"], path=["/x"]), Rule(host=["a.org"])),
    ],
)
def test_a_route_that_is_sometimes_reached_is_none(rules: tuple[Rule, ...]) -> None:
    assert isinstance(routes(*rules), Routes)


def test_what_a_connection_speaks_is_a_fact_without_a_dot() -> None:
    routes = Routes([(Rule(facts={"protocol": "ssh"}), "ssh")], "rest", http=False)
    facts = make_facts()
    assert routes.find(facts) == "rest"
    facts.learnt["protocol"] = "ssh"
    assert routes.find(facts) == "ssh"
