"""Closing a connection at once, over any transport."""

from twisted_lb.net.hang_up import hang_up


class Plain:
    """A transport that can only be closed the usual way."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    def loseConnection(self) -> None:
        self.closed.append("the usual way")


class Aborting(Plain):
    """A transport that can be aborted too."""

    def abortConnection(self) -> None:
        self.closed.append("at once")


def test_a_transport_is_aborted() -> None:
    hang_up(transport := Aborting())
    assert transport.closed == ["at once"]


def test_a_transport_that_cannot_be_aborted_is_closed_the_usual_way() -> None:
    hang_up(transport := Plain())
    assert transport.closed == ["the usual way"]
