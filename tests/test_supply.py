"""What hooks supply."""

import pytest

from twisted_lb.supply import Options, Supply


def test_a_supply_without_options_has_none() -> None:
    assert Supply(lambda options: object()).options is Options
    assert Options.__struct_fields__ == ()


def test_options_are_frozen_like_the_rest_of_the_configuration() -> None:
    class Mine(Options, frozen=True):
        draws: int = 2

    with pytest.raises(AttributeError):
        Mine().draws = 3  # type: ignore[misc]
