"""The hooks are suppliers: no arguments, a mapping of supplies, one for each kind of setting."""

import inspect
import typing
from collections.abc import Mapping

import pluggy
import pytest

from twisted_lb import hookspecs
from twisted_lb.api import Supply
from twisted_lb.plugin_host import KINDS

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("lb_")}


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_takes_nothing_and_gives_supplies_of_its_interface(name: str) -> None:
    assert not inspect.signature(HOOKS[name]).parameters
    answer = typing.get_type_hints(HOOKS[name])["return"]
    assert typing.get_origin(answer) is Mapping
    key, supply = typing.get_args(answer)
    assert key is str
    assert typing.get_origin(supply) is Supply
    assert typing.get_args(supply) == (KINDS[name.removeprefix("lb_")].interface,)  # type: ignore[index]


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_known_to_pluggy(name: str) -> None:
    manager = pluggy.PluginManager("twisted_lb")
    manager.add_hookspecs(hookspecs)
    assert getattr(manager.hook, name).has_spec()
