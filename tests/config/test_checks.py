"""What spans several settings: addresses that clash, and names that lead nowhere."""

import pytest

from twisted_lb.config.checks import problems_in
from twisted_lb.config.model import Backend, Bind, Config, Frontend, Server


def clashes(first: str, *others: str) -> list[str]:
    """The problems of a frontend ``a`` with the first address and a frontend ``b`` with the others."""
    return list(
        problems_in(
            Config(
                frontends={
                    "a": Frontend(bind=[Bind(address=first)], backend="app"),
                    "b": Frontend(bind=[Bind(address=other) for other in others], backend="app"),
                },
                backends={"app": Backend(servers={"s": Server(address="localhost")})},
            )
        )
    )


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", "port 80 of 127.0.0.1 is in frontends.a.bind[0] too"),
        ("*:80", "0.0.0.0:80", "port 80 of 0.0.0.0 is in frontends.a.bind[0] too"),
        ("[::1]:80", "[0::1]:80", "port 80 of ::1 is in frontends.a.bind[0] too"),
        ("127.0.0.1:70-79", "127.0.0.1:79-99", "port 79 of 127.0.0.1 is in frontends.a.bind[0] too"),
        ("unix:/run/a", "unix:/run/a", "the same address is in frontends.a.bind[0]"),
        ("unix:@a", "unix:@a", "the same address is in frontends.a.bind[0]"),
        ("fd:3", "fd:3", "the same address is in frontends.a.bind[0]"),
        ("tcp:80", "tcp:80", "the same address is in frontends.a.bind[0]"),
    ],
)
def test_the_same_address_twice_names_both_places(first: str, second: str, what: str) -> None:
    assert clashes(first, second) == [f"frontends.b.bind[0]: {what}"]


def test_a_clash_within_one_frontend_is_found_too() -> None:
    assert clashes("*:1", "*:2", "*:2") == ["frontends.b.bind[1]: port 2 of 0.0.0.0 is in frontends.b.bind[0] too"]


def test_a_port_inside_an_earlier_wide_range_is_found() -> None:
    assert clashes("*:1-100", "*:5-9", "*:50") == [
        "frontends.b.bind[0]: port 5 of 0.0.0.0 is in frontends.a.bind[0] too",
        "frontends.b.bind[1]: port 50 of 0.0.0.0 is in frontends.a.bind[0] too",
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("127.0.0.1:80", "[::1]:80"),
        ("*:0", "*:0"),
        ("*:1-9", "*:10-19"),
        ("unix:/run/a", "unix:@/run/a"),
    ],
)
def test_different_addresses_go_together(first: str, second: str) -> None:
    assert clashes(first, second) == []
