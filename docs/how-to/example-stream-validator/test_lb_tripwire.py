"""``tripwire`` keeps every stream validator's promises, and its own."""

from unittest import TestCase

from lb_tripwire import Tripwire, TripwireOptions

from twisted_lb.api import IStreamValidator
from twisted_lb.testing import StreamValidatorContract


class TestContract(StreamValidatorContract, TestCase):
    """What every validator promises that stays on the stream."""

    accepted = (b"SELECT 1", b"c4n4ry-7f3a")
    passed = ([("client", b"SELECT 1"), ("server", b"a row"), ("client", b"c4n4ry-7f3a")],)
    ended = (
        [("client", b"SELECT *"), ("server", b"a row, c4n4ry-7f3a, another")],
        [("server", b"c4n4ry"), ("client", b"more"), ("server", b"-7f3a")],
    )

    def make_validator(self) -> IStreamValidator:
        """Make the validator under test."""
        return Tripwire(TripwireOptions(text="c4n4ry-7f3a"))
