"""``access_log = "text"``: HAProxy's lines for TCP and for HTTP, so that tools which read its logs read ours.

``192.0.2.1:40000 [22/Nov/2026:19:48:15.123] web app/a 0/1/250 1024 -- 1/1/1/1/0 0/0``
``192.0.2.1:40000 [22/Nov/2026:19:48:15.123] web app/a 0/0/1/12/13 200 1024 - - ---- 1/1/1/1/0 0/0 "GET / HTTP/1.1"``

Source: HAProxy configuration.txt, section 8.2.2 "TCP log format":
``%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq``, and section 8.2.3 "HTTP log format":
``%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %{+Q}r``; cookies are
not looked at, so ``%CC``, ``%CS`` and the last two letters of ``%tsc`` are always ``-``.

What was refused here has one more field, the last, in quotation marks: why, and by which validator or policy.
"""

from collections.abc import Mapping
from time import localtime

from zope.interface import implementer

from twisted_lb.api import HttpRecord, IAccessLog, Options, SessionRecord, Supply, hookimpl

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
        if isinstance(r, HttpRecord):
            times = f"{r.request_ms}/{r.queue_ms}/{r.connect_ms}/{r.response_ms}/{r.total_ms} {r.status or -1}"
            what, request = f"- - {r.ending}--", f' "{_request_line(r)}"'
        else:
            times, what, request = f"{r.queue_ms}/{r.connect_ms}/{r.total_ms}", r.ending, ""
        return (
            f"{source} [{self._date}.{millisecond:03d}] {r.frontend} {r.backend}/{r.server}"
            f" {times} {r.bytes_out} {what}"
            f" {r.process_connections}/{r.frontend_connections}/{r.backend_connections}/{r.server_connections}"
            f"/{'+' if r.redispatched else ''}{r.retries} {r.server_queue}/{r.backend_queue}{request}"
            f"{_why(r)}"
        ).encode("utf-8", "backslashreplace")


def _request_line(record: HttpRecord) -> str:
    """As HAProxy shows it."""
    if not record.version:
        return record.method
    return _quotable(f"{record.method} {record.target} HTTP/{record.version}")


def _why(record: SessionRecord) -> str:
    return f' "{_quotable(record.reason)}"' if record.reason and record.ending[0] in _BY_US else ""


def _quotable(line: str) -> str:
    """Write what would end the quotation, or the line, as ``#`` and two digits."""
    if line.isascii() and line.isprintable() and not _QUOTED.intersection(line):
        return line
    return "".join(f"#{ord(one):02X}" if one in _QUOTED or not 0x20 <= ord(one) < 0x7F else one for one in line)


_QUOTED = frozenset('"#\\')
_BY_US = "PI"
"""The first letters of the endings that were our decision, or a defect of ours."""


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
