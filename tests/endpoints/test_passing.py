"""What wraps a protocol takes part in what that takes part in, no more and no less."""

from typing import Any

from twisted.internet.interfaces import IFileDescriptorReceiver, IHalfCloseableProtocol, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from twisted_lb.endpoints.passing import PassingFactory, PassingProtocol, log_prefix


@implementer(IHalfCloseableProtocol, IFileDescriptorReceiver)
class Everything(Protocol):
    """Takes part in all that it can."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.told.append(data)

    def readConnectionLost(self) -> None:
        self.told.append("read lost")

    def writeConnectionLost(self) -> None:
        self.told.append("write lost")

    def fileDescriptorReceived(self, descriptor: int) -> None:
        self.told.append(descriptor)

    def connectionLost(self, reason: Any = None) -> None:
        self.told.append("lost")


def test_a_wrapper_provides_what_the_wrapped_provides() -> None:
    passing = PassingProtocol()
    assert not IHalfCloseableProtocol.providedBy(passing)
    passing.adopt(Everything())
    assert IHalfCloseableProtocol.providedBy(passing)
    assert IFileDescriptorReceiver.providedBy(passing)
    passing.adopt(Protocol())
    assert not IHalfCloseableProtocol.providedBy(passing)


def test_a_wrapper_passes_everything_on() -> None:
    passing, wrapped = PassingProtocol(), Everything()
    passing.adopt(wrapped)
    passing.dataReceived(b"x")
    passing.fileDescriptorReceived(7)
    passing.readConnectionLost()
    passing.writeConnectionLost()
    passing.connectionLost()
    assert wrapped.told == [b"x", 7, "read lost", "write lost", "lost"]


def test_a_wrapper_that_has_lost_its_connection_lets_go_of_what_it_wraps() -> None:
    passing = PassingProtocol()
    passing.adopt(Everything())
    passing.connectionLost()
    assert passing.wrapped is None
    passing.connectionLost()


def test_the_log_names_what_is_wrapped() -> None:
    passing = PassingProtocol()
    assert passing.logPrefix() == "PassingProtocol"
    passing.adopt(Everything())
    assert passing.logPrefix() == "Everything"
    assert PassingFactory(Factory.forProtocol(Everything)).logPrefix() == "Factory (PROXY)"
    assert log_prefix(object()) == "object"


def test_a_factory_is_told_of_start_and_stop() -> None:
    class Counting(Factory):
        events: tuple[str, ...] = ()

        def startFactory(self) -> None:
            self.events += ("start",)

        def stopFactory(self) -> None:
            self.events += ("stop",)

    counting = Counting()
    passing = PassingFactory(counting)
    for _ in range(2):
        passing.doStart()
    for _ in range(2):
        passing.doStop()
    assert counting.events == ("start", "stop")


def test_a_factory_that_negotiates_nothing_stays_so() -> None:
    assert not IProtocolNegotiationFactory.providedBy(PassingFactory(Factory()))
