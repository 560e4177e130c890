"""``access_log = "text"``: HAProxy's line for TCP, so that tools which read its logs read ours.

``192.0.2.1:40000 [22/Nov/2026:19:48:15.123] web app/a 0/1/250 1024 -- 1/1/1/1/0 0/0``

Source: HAProxy configuration.txt, section 8.2.2 "TCP log format":
``%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq``.
"""

from collections.abc import Mapping
from time import localtime

from zope.interface import implementer

from twisted_lb.api import IAccessLog, Options, SessionRecord, Supply, hookimpl

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Not ``strftime``'s, which follow the locale."""


@implementer(IAccessLog)
class TextLog:
    """Writes records as HAProxy does; the time is local, as there.

    A client of a Unix socket is ``unix:``, without the path that it chose for itself: that path may hold blanks and
    line ends. A ``+`` before the retries says that the connection was redispatched.
    """

    def __init__(self) -> None:
        self._second = -1
        self._date = ""

    def format(self, record: SessionRecord) -> bytes:
        """Return the line; about 2 us."""
        second, millisecond = divmod(round(record.time * 1000), 1000)
        if second != self._second:
            self._date = _date(second)
            self._second = second
        r = record
        source = "unix:" if r.source.startswith("unix:") else f"{r.source}:{r.source_port}"
        return (
            f"{source} [{self._date}.{millisecond:03d}] {r.frontend} {r.backend}/{r.server}"
            f" {r.queue_ms}/{r.connect_ms}/{r.total_ms} {r.bytes_out} {r.ending}"
            f" {r.process_connections}/{r.frontend_connections}/{r.backend_connections}/{r.server_connections}"
            f"/{'+' if r.redispatched else ''}{r.retries} {r.server_queue}/{r.backend_queue}"
        ).encode("utf-8", "backslashreplace")


def _date(second: int) -> str:
    at = localtime(second)
    return f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"


def build(options: Options) -> TextLog:
    """Build the log; it has no options."""
    return TextLog()


@hookimpl
def lb_access_logs() -> Mapping[str, Supply[IAccessLog]]:
    """Supply ``text``."""
    return {"text": Supply(build)}
