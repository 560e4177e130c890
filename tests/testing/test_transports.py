"""Transports in memory behave as sockets do where ``iosim``'s do not; the whole contract is in ``net/test_stream``."""

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from twisted_lb.testing import MemoryNetwork
from twisted_lb.testing.transports import WRITE_LIMIT


@implementer(IHalfCloseableProtocol)
class Noted(Protocol):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)

    def readConnectionLost(self) -> None:
        self.heard.append("end")

    def writeConnectionLost(self) -> None:
        """It was its own doing."""


class Producer:
    """Notes what its consumer asks of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pauseProducing(self) -> None:
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        self.asked.append("resume")

    def stopProducing(self) -> None:
        self.asked.append("stop")


def test_a_reader_that_is_paused_hears_nothing_until_it_goes_on() -> None:
    network, reader = MemoryNetwork(), Noted()
    near, far = network.connect(Noted(), reader)
    far.pauseProducing()
    near.write(b"later")
    network.settle()
    assert reader.heard == []
    far.resumeProducing()
    network.settle()
    assert reader.heard == [b"later"]


def test_what_a_paused_reader_does_not_take_pauses_the_writers_producer() -> None:
    network, reader, producer = MemoryNetwork(), Noted(), Producer()
    near, far = network.connect(Noted(), reader, 1024)
    near.registerProducer(producer, True)
    far.pauseProducing()
    sent = b"x" * (WRITE_LIMIT + 4096)
    near.write(sent)
    network.settle()
    assert producer.asked == ["pause"]
    far.resumeProducing()
    network.settle()
    assert b"".join(reader.heard) == sent
    assert producer.asked == ["pause", "resume"]


def test_after_a_half_close_the_other_direction_goes_on() -> None:
    network, first, second = MemoryNetwork(), Noted(), Noted()
    near, far = network.connect(first, second)
    near.write(b"that is all")
    near.loseWriteConnection()
    network.settle()
    far.write(b"still talking")
    network.settle()
    assert second.heard == [b"that is all", "end"]
    assert first.heard == [b"still talking"]
