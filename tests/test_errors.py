"""Exceptions carry blame, and a message that stands on its own."""

import pytest

from twisted_lb.errors import ConfigError, LbError, PluginError, WireError, found_in, shown


def test_a_configuration_error_keeps_every_problem_and_shows_one_on_each_line() -> None:
    error = ConfigError("the first", "the second")
    assert list(error.problems) == ["the first", "the second"]
    assert str(error) == "the first\nthe second"


def test_a_wire_error_says_what_is_wrong_and_where() -> None:
    error = WireError("payload-mismatch", 3)
    assert (error.reason, error.offset) == ("payload-mismatch", 3)
    assert str(error) == "payload-mismatch at byte 3"


def test_each_problem_says_where_it_was_found() -> None:
    with pytest.raises(ConfigError) as caught, found_in("lb.toml"):
        raise ConfigError("a: odd", "b: odd")
    assert list(caught.value.problems) == ["lb.toml: a: odd", "lb.toml: b: odd"]
    with pytest.raises(ConfigError, match=r"^a: odd$"), found_in(""):
        raise ConfigError("a: odd")


def test_where_it_was_found_is_said_once() -> None:
    """Seen: "lb.toml: lb.toml: frontends.web.policies[0]: ...", for whatever a plugin had to say of its options."""
    with pytest.raises(ConfigError, match=r"^lb\.toml: a: odd$"), found_in("lb.toml"):
        raise ConfigError("lb.toml: a: odd")


def test_a_plugin_error_names_the_plugin() -> None:
    error = PluginError("policy_x", "raised ValueError()")
    assert (error.plugin, error.what) == ("policy_x", "raised ValueError()")
    assert str(error) == "plugin 'policy_x' raised ValueError()"


def test_what_a_plugin_gave_is_shown_even_if_its_repr_raises() -> None:
    class Unspeakable:
        def __repr__(self) -> str:
            raise SystemExit

    assert shown("text") == "'text'"
    assert shown(Unspeakable()) == "<Unspeakable whose repr raises>"


@pytest.mark.parametrize("error", [ConfigError("x"), WireError("x"), PluginError("x", "y")])
def test_all_of_them_can_be_caught_as_one(error: Exception) -> None:
    assert isinstance(error, LbError)
