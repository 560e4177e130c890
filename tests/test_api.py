"""The front desk: what plugins rely on stays as they know it."""

import inspect

import pytest
from zope.interface.interface import InterfaceClass, Method

from twisted_lb import api
from twisted_lb.api import Options, SessionRecord, Supply

SOURCE = inspect.getsource(api)
INTERFACES = [
    value for value in vars(api).values() if isinstance(value, InterfaceClass) and value.__name__ != "Interface"
]


def test_all_of_it_can_be_imported_by_a_star() -> None:
    assert [name for name in api.__all__ if not hasattr(api, name)] == []
    assert {interface.__name__ for interface in INTERFACES} <= set(api.__all__)


def test_all_that_it_defines_is_part_of_it() -> None:
    own = {name for name in vars(api) if f"\n{name} = " in SOURCE or f"\nclass {name}(" in SOURCE} - {"T", "__all__"}
    assert own <= set(api.__all__)


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.__name__)
def test_methods_of_interfaces_are_written_as_they_are_called(interface: InterfaceClass) -> None:
    # Seen: a linter's fix renamed each first argument to "self", and verifyObject asked for one argument too few.
    for _, member in interface.namesAndDescriptions():
        if isinstance(member, Method):
            assert "self" not in member.getSignatureInfo()["positional"]  # type: ignore[no-untyped-call]


def test_a_supply_without_options_has_none() -> None:
    assert Supply(lambda options: object()).options is Options
    assert Options.__struct_fields__ == ()


def test_options_are_frozen_like_the_rest_of_the_configuration() -> None:
    class Mine(Options, frozen=True):
        draws: int = 2

    with pytest.raises(AttributeError):
        Mine().draws = 3  # type: ignore[misc]


def test_a_record_begins_with_its_time_which_the_json_access_log_replaces() -> None:
    assert SessionRecord.__struct_fields__[0] == "time"
