"""Public fakes and contract suites for plugin authors; nothing of the package imports this.

A contract suite is a mixin: subclass it together with ``unittest.TestCase`` (or twisted.trial's), say how to make the
object, and every promise that its interface asks for becomes a test::

    class TestMine(BalancerContract, TestCase):
        def make_balancer(self) -> IBalancer:
            return Mine()
"""

from twisted_lb.testing.contracts import AccessLogContract, BalancerContract, ObserverContract, PolicyContract
from twisted_lb.testing.contracts_bodies import BodyFilterContract
from twisted_lb.testing.contracts_bytes import ProxyCodecContract, StreamValidatorContract, ValidatorContract
from twisted_lb.testing.contracts_tables import TableStoreContract
from twisted_lb.testing.fakes import (
    SOURCES,
    STRANGE_REQUESTS,
    FakeServer,
    fact_finder,
    make_facts,
    make_record,
    make_request,
    make_response,
    make_runtime,
)
from twisted_lb.testing.transports import MemoryNetwork, MemoryTransport

__all__ = [
    "SOURCES",
    "STRANGE_REQUESTS",
    "AccessLogContract",
    "BalancerContract",
    "BodyFilterContract",
    "FakeServer",
    "MemoryNetwork",
    "MemoryTransport",
    "ObserverContract",
    "PolicyContract",
    "ProxyCodecContract",
    "StreamValidatorContract",
    "TableStoreContract",
    "ValidatorContract",
    "fact_finder",
    "make_facts",
    "make_record",
    "make_request",
    "make_response",
    "make_runtime",
]
