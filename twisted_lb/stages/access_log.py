"""Exactly one record per connection.

Stage: access log, the last.
In: the record of a connection that has ended.
Out: a line in the frontend's access log.
Never: blames a connection for a log that fails.
Source: HAProxy configuration.txt, section 8.
"""

from twisted_lb.api import IAccessLog, SessionRecord
from twisted_lb.errors import PluginError
from twisted_lb.logs import LineBuffer
from twisted_lb.plugin_host import Built


class AccessLog:
    """A frontend's access log: a format from a plugin, and where its lines go."""

    def __init__(self, log_format: Built[IAccessLog], lines: LineBuffer) -> None:
        self._format = log_format
        self._lines = lines

    def write(self, record: SessionRecord) -> None:
        """Write one line. Raises PluginError if the format fails; the record is lost then."""
        try:
            line = self._format.object.format(record)
        except Exception as error:
            raise PluginError(
                self._format.plugin, f"access log {self._format.name!r} raised {error!r} in format"
            ) from error
        if not isinstance(line, bytes):
            raise PluginError(
                self._format.plugin, f"access log {self._format.name!r} answered {line!r} in format, which is no bytes"
            )
        self._lines.write(line)
