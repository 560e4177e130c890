"""The contracts of plugins: interfaces that can be verified."""

import pytest
from zope.interface.interface import InterfaceClass, Method

from twisted_lb import contracts

INTERFACES = [
    value for value in vars(contracts).values() if isinstance(value, InterfaceClass) and value.__name__ != "Interface"
]


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.__name__)
def test_methods_of_interfaces_are_written_as_they_are_called(interface: InterfaceClass) -> None:
    # Seen: a linter's fix renamed each first argument to "self", and verifyObject asked for one argument too few.
    for _, member in interface.namesAndDescriptions():
        if isinstance(member, Method):
            assert "self" not in member.getSignatureInfo()["positional"]  # type: ignore[no-untyped-call]
