"""Writing, and producers: what three kinds of transport do alike."""

from typing import TYPE_CHECKING

import pytest
from twisted.internet.error import ConnectionDone

from twisted_lb.net.stream_writing import WRITE_LIMIT

if TYPE_CHECKING:
    pass
from tests.net.kinds import BULK, HalfNotes, Kind, Notes, Source


def test_what_is_written_arrives_once_and_in_order(kind: Kind) -> None:
    left, _ = kind.connect(HalfNotes(), right := HalfNotes())
    left.write(b"one ")
    left.writeSequence([b"two ", b"three"])
    left.write(b"")
    kind.settle()
    assert right.data == b"one two three"


def test_a_lot_that_is_written_at_once_arrives_whole(kind: Kind) -> None:
    left, _ = kind.connect(HalfNotes(), right := HalfNotes())
    left.write(BULK)
    kind.settle()
    assert right.data == BULK


def test_a_producer_is_paused_while_nobody_reads_and_resumed_afterwards(kind: Kind) -> None:
    left, reader = kind.connect(HalfNotes(), right := HalfNotes())
    reader.pauseProducing()
    left.registerProducer(source := Source(left), True)
    written = 0
    while "pause" not in source.events:
        left.write(BULK[:WRITE_LIMIT])
        written += WRITE_LIMIT
        kind.settle()
        assert written < 50 << 20, "it is never paused"
    assert source.events == ["pause"]
    reader.resumeProducing()
    kind.settle()
    assert source.events == ["pause", "resume"]
    assert len(right.data) == written


def test_a_pull_producer_is_asked_for_each_piece(kind: Kind) -> None:
    left, _ = kind.connect(HalfNotes(), right := HalfNotes())
    left.registerProducer(Source(left, pieces=5), False)
    kind.settle()
    assert right.data == b"piece" * 5


def test_there_is_one_producer_at_a_time(kind: Kind) -> None:
    left, _ = kind.connect(HalfNotes(), HalfNotes())
    left.registerProducer(Source(left), True)
    with pytest.raises(RuntimeError):
        left.registerProducer(Source(left), True)
    left.unregisterProducer()
    left.registerProducer(Source(left), True)


def test_half_close_waits_for_what_was_written(kind: Kind) -> None:
    left, reader = kind.connect(HalfNotes(), right := HalfNotes())
    reader.pauseProducing()
    left.write(BULK)
    left.loseWriteConnection()
    kind.settle()
    assert right.events == []
    reader.resumeProducing()
    kind.settle()
    assert right.data == BULK
    assert right.events[-1] == "read closed"


def test_nothing_can_be_written_after_a_half_close(kind: Kind) -> None:
    left, _ = kind.connect(HalfNotes(), right := HalfNotes())
    left.loseWriteConnection()
    kind.settle()
    left.write(b"too late")
    kind.settle()
    assert right.data == b""


def test_losing_the_connection_sends_what_was_written_first(kind: Kind) -> None:
    left, reader = kind.connect(near := HalfNotes(), right := HalfNotes())
    reader.pauseProducing()
    left.write(BULK)
    left.loseConnection()
    kind.settle()
    assert near.events == []
    reader.resumeProducing()
    kind.settle()
    assert right.data == BULK
    assert right.events[-1] == "read closed"
    assert near.events == ["lost"]
    assert near.reason is not None
    assert near.reason.check(ConnectionDone)


def test_losing_the_connection_waits_for_the_producer(ours: Kind) -> None:
    """As ``ITransport.loseConnection`` promises; Twisted's own TCP does not."""
    left, _ = ours.connect(near := HalfNotes(), right := HalfNotes())
    left.registerProducer(Source(left), True)
    left.loseConnection()
    left.write(b"the producer's last words")
    ours.settle()
    assert right.data == b"the producer's last words"
    assert near.events == []
    left.unregisterProducer()
    ours.settle()
    assert near.events == ["lost"]


def test_the_producer_is_stopped_when_the_connection_is_gone(kind: Kind) -> None:
    left, right = kind.connect(Notes(), HalfNotes())
    left.registerProducer(source := Source(left), True)
    right.loseConnection()
    kind.settle()
    assert source.events == ["stop"]
    left.registerProducer(late := Source(left), True)
    assert late.events == ["stop"]
