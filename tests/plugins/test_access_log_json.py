"""``json`` writes each record as one JSON object."""

import json
from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import IAccessLog, Options, SessionRecord
from twisted_lb.testing import AccessLogContract, make_record
from twisted_lb_plugins.access_log_json import build


class TestContract(AccessLogContract, SynchronousTestCase):
    """``json`` keeps what every access log promises."""

    def make_access_log(self) -> IAccessLog:
        return build(Options())


def test_every_field_of_the_record_is_a_key_with_its_value() -> None:
    record = make_record(redispatched=True, reason='"quoted", \\ and ä', queue_ms=-1)
    line = json.loads(build(Options()).format(record))
    expected = {name: getattr(record, name) for name in SessionRecord.__struct_fields__}
    assert line == expected | {"time": "2026-11-22T19:48:15.123Z"}
    assert list(line) == list(SessionRecord.__struct_fields__)


def test_the_time_is_utc_with_milliseconds_whatever_its_fraction() -> None:
    log = build(Options())
    for at in (0.0, 1e9, 1795376895.0004, 1795376895.0006, 1795376895.9996, 1795376895.5):
        time = json.loads(log.format(make_record(time=at)))["time"]
        assert len(time) == len("2026-11-22T19:48:15.123Z")
        assert datetime.fromisoformat(time) == datetime.fromtimestamp(round(at, 3), UTC)


def test_a_client_whose_path_is_not_utf8_is_logged_too() -> None:
    line = json.loads(build(Options()).format(make_record(source="unix:/\udcff", server="ä")))
    assert line["source"] == "unix:/\\udcff"
    assert line["server"] == "ä"
