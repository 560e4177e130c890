"""Problems, collected."""

import pytest

from twisted_lb.errors import ConfigError
from twisted_lb.problems import Problems


def test_work_goes_on_behind_what_is_wrong_and_nothing_is_told_twice() -> None:
    problems = Problems()
    for _ in range(2):
        with problems.collected("backends.app"):
            raise ConfigError("balance: is missing", "servers: is empty")
    with problems.collected():
        raise ConfigError("frontends: is missing")
    assert problems == ["backends.app: balance: is missing", "backends.app: servers: is empty", "frontends: is missing"]


def test_problems_may_begin_with_the_rest_of_their_key() -> None:
    problems = Problems()
    with problems.collected("tables.t."):
        raise ConfigError("key: is missing")
    assert problems == ["tables.t.key: is missing"]


def test_only_what_is_wrong_with_the_configuration_is_collected() -> None:
    problems = Problems()
    with pytest.raises(ZeroDivisionError), problems.collected():
        raise ZeroDivisionError
    assert problems == []
