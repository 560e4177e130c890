"""Fixtures of tests in network namespaces; see ``topology`` for what the network looks like.

``network``: the topology, one for all tests of a module. ``servers``: the witnesses ``one`` and ``two`` in it.
``proxy`` and ``module_proxy``: as in ``tests/loopback``, to be told with ``before=network.proxy.prefix`` to run inside.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.loopback.conftest import free_port, module_proxy, proxy
from tests.namespaces.netns import remove_abandoned
from tests.namespaces.topology import Network
from tests.namespaces.witness import Ends, Witness

__all__ = ["free_port", "module_proxy", "proxy"]

PORTS = (80, 81, 8080, 1080)
"""Where each of the servers listens, on all of its addresses."""


class Servers(NamedTuple):
    """The servers in the namespaces of the same names."""

    one: Witness
    two: Witness


@pytest.fixture(scope="session")
def swept() -> None:
    """What earlier runs have left because they were killed is removed."""
    remove_abandoned()


@pytest.fixture(scope="module")
def network(swept: None) -> Iterator[Network]:
    """The topology, for the tests of a module."""
    made = Network()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def servers(network: Network) -> Iterator[Servers]:
    """A server in ``one``, which is at every FAR address as well, and one in ``two``."""
    made: list[Witness] = []
    try:
        ends: list[Ends] = [(host, port) for host in ("0.0.0.0", "::") for port in PORTS]
        made += [Witness(network.one, "one", *ends), Witness(network.two, "two", *ends)]
        yield Servers(*made)
    finally:
        for one in made:
            one.close()
