"""Uses of supplies, as the file spells them."""

from typing import Any

import pytest

from twisted_lb.config.load import load_dict
from twisted_lb.config.model import Config
from twisted_lb.config.uses import AccessLogUse, AnyOf, Use
from twisted_lb.errors import ConfigError


def loaded(**settings: Any) -> Config:
    frontend = {"bind": "127.0.0.1:1", "backend": "app", **settings}
    return load_dict(
        {"frontends": {"web": frontend}, "backends": {"app": {"servers": {"a": "127.0.0.1:2"}}}}, "lb.toml", "/etc"
    )


def test_a_name_alone_is_a_use_without_options() -> None:
    (use,) = loaded(observers=["trace"]).frontends["web"].observers
    assert use == Use(use="trace", where="lb.toml: frontends.web.observers[0]", folder="/etc")


def test_options_stand_beside_the_name_and_are_not_looked_at_yet() -> None:
    (use,) = loaded(observers=[{"use": "trace", "such": ["as", 1]}]).frontends["web"].observers
    assert use.options == {"such": ["as", 1]}


def test_the_path_of_an_access_log_is_no_option_of_the_plugins() -> None:
    use = loaded(access_log={"use": "text", "path": "/tmp/log", "x": 1}).frontends["web"].access_log
    assert isinstance(use, AccessLogUse)
    assert (use.path, use.options) == ("/tmp/log", {"x": 1})


def test_several_validators_in_one_entry_are_told_by_their_key() -> None:
    (entry,) = loaded(validators=[{"any_of": ["ssh", {"use": "tls"}]}]).frontends["web"].validators
    assert isinstance(entry, AnyOf)
    assert [use.use for use in entry.any_of] == ["ssh", "tls"]


def test_one_of_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="any_of"):
        loaded(validators=[{"any_of": []}])
