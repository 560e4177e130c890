"""``use = "tripwire"``: a connection ends before a certain text leaves: a row that no query should find."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ALLOW_FINALLY,
    Allow,
    Deny,
    Facts,
    IStreamValidator,
    IStreamWatch,
    IValidator,
    Options,
    Supply,
    hookimpl,
)


class TripwireOptions(Options, frozen=True):
    """``text``: what must not get out. ``farewell``: what the client hears in its place."""

    text: Annotated[str, Meta(min_length=8)]
    farewell: str = ""


@implementer(IStreamWatch)
class Watch:
    """One connection. Keeps back what may be the beginning of the text: it may come in two pieces."""

    def __init__(self, text: bytes, denial: Deny) -> None:
        self._text = text
        self._denial = denial
        self._before = b""

    def client_said(self, data: bytes) -> Allow:
        """The client may say whatever it likes, and nobody looks at it any more."""
        return ALLOW_FINALLY

    def server_said(self, data: bytes) -> Allow | Deny:
        """Look for the text, also where it began in what has passed already."""
        said = self._before + data
        self._before = said[-len(self._text) + 1 :]
        return self._denial if self._text in said else ALLOW


@implementer(IStreamValidator)
class Tripwire:
    """Has nothing to say about a connection's first bytes, and waits for none."""

    server_first = True

    def __init__(self, options: TripwireOptions) -> None:
        self._text = options.text.encode()
        self._denial = Deny("the text was about to leave", farewell=options.farewell.encode())

    def validate(self, data: bytes, facts: Facts) -> Allow:
        """Allow whatever the client begins with."""
        return ALLOW

    def watch(self, facts: Facts) -> Watch:
        """Watch every connection."""
        return Watch(self._text, self._denial)


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``tripwire``."""
    return {"tripwire": Supply(Tripwire, TripwireOptions, mode="tcp")}
