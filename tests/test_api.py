"""The front desk: what plugins rely on stays as they know it."""

import inspect

from zope.interface.interface import InterfaceClass

from twisted_lb import api, contracts


def test_all_of_it_can_be_imported_by_a_star() -> None:
    assert [name for name in api.__all__ if not hasattr(api, name)] == []


def test_every_contract_is_part_of_it() -> None:
    named = {name for name, value in vars(contracts).items() if isinstance(value, InterfaceClass)} - {"Interface"}
    assert named <= set(api.__all__)


def test_all_that_it_brings_is_part_of_it() -> None:
    brought = {name for name, value in vars(api).items() if not (name.startswith("__") or inspect.ismodule(value))}
    assert brought == set(api.__all__)
