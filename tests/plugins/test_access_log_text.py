"""``text`` writes HAProxy's line for TCP."""

import re
import time
from collections.abc import Iterator

import pytest
from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import HttpRecord, IAccessLog, Options
from twisted_lb.testing import AccessLogContract, make_record
from twisted_lb_plugins.access_log_text import build

HALOG = re.compile(
    r"(?P<ci>\S+):(?P<cp>\d*) \[(?P<t>[^]]+)\] (?P<ft>\S+) (?P<b>[^/]+)/(?P<s>\S+)"
    r" (?P<Tw>-?\d+)/(?P<Tc>-?\d+)/(?P<Tt>\d+) (?P<B>\d+) (?P<ts>\S\S)"
    r" (?P<ac>\d+)/(?P<fc>\d+)/(?P<bc>\d+)/(?P<sc>\d+)/(?P<rc>\+?\d+) (?P<sq>\d+)/(?P<bq>\d+)"
)


class TestContract(AccessLogContract, SynchronousTestCase):
    """``text`` keeps what every access log promises."""

    def make_access_log(self) -> IAccessLog:
        return build(Options())


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_every_field_stands_where_haproxy_has_it() -> None:
    record = make_record(
        queue_ms=1,
        connect_ms=2,
        total_ms=3,
        bytes_in=4,
        bytes_out=5,
        ending="cD",
        process_connections=6,
        frontend_connections=7,
        backend_connections=8,
        server_connections=9,
        retries=10,
        server_queue=11,
        backend_queue=12,
    )
    line = build(Options()).format(record)
    assert line == b"192.0.2.1:40000 [22/Nov/2026:20:48:15.123] web app/a 1/2/3 5 cD 6/7/8/9/10 11/12"
    assert HALOG.fullmatch(line.decode())


def test_a_connection_that_got_nowhere_has_no_server_and_no_times() -> None:
    line = build(Options()).format(make_record(server="<NOSRV>", queue_ms=-1, connect_ms=-1, total_ms=0, ending="PR"))
    assert b" app/<NOSRV> -1/-1/0 " in line
    assert b" PR " in line


def test_a_redispatched_connection_has_a_plus_before_its_retries() -> None:
    assert b"/+3 0/0" in build(Options()).format(make_record(retries=3, redispatched=True))


@pytest.mark.parametrize("source", ["unix:", "unix:/run/a b\nc", "unix:@x"])
def test_a_unix_client_is_unix_without_the_path_that_it_chose(source: str) -> None:
    assert build(Options()).format(make_record(source=source, source_port=0)).startswith(b"unix: [22/Nov/")


def test_an_ipv6_client_has_no_brackets_as_with_haproxy() -> None:
    assert build(Options()).format(make_record(source="2001:db8::1")).startswith(b"2001:db8::1:40000 [")


def test_the_date_follows_the_second() -> None:
    log = build(Options())
    lines = [log.format(make_record(time=at)) for at in (1795376895.9994, 1795376895.9996, 1795376895.0)]
    assert [line.split(b"]")[0][-12:] for line in lines] == [b"20:48:15.999", b"20:48:16.000", b"20:48:15.000"]


# What was refused


def test_the_last_field_says_by_whom_a_connection_was_refused_and_why() -> None:
    line = build(Options()).format(make_record(ending="PR", stage="policy", reason="policy 3: deny"))
    assert line.endswith(b' PR 1/1/1/1/0 0/0 "policy 3: deny"')
    assert HALOG.match(line.decode())


def test_a_request_that_was_refused_has_it_behind_the_request() -> None:
    record = HttpRecord(
        **structs.asdict(make_record(ending="PR", reason="policy 1: too many")),
        method="GET",
        target="/",
        version="1.1",
        host="x",
        status=429,
        request_ms=1,
        response_ms=-1,
        requests=1,
    )
    assert build(Options()).format(record).endswith(b' "GET / HTTP/1.1" "policy 1: too many"')


@pytest.mark.parametrize(
    ("ending", "reason", "shown"),
    [
        ("IR", "policy 'x' raised ValueError()", True),
        ("PT", "policy 1: slow down", True),
        ("PD", "validator redis: FLUSHALL", True),
        ("PR", "", False),
        ("CD", "Connection reset by peer", False),
        ("cD", "idle for too long", False),
        ("--", "", False),
    ],
)
def test_only_what_we_refused_has_it(ending: str, reason: str, shown: bool) -> None:
    line = build(Options()).format(make_record(ending=ending, reason=reason))
    assert line.endswith(f' "{reason}"'.encode()) is shown


def test_a_reason_cannot_end_its_quotation() -> None:
    line = build(Options()).format(make_record(ending="PR", reason='policy 1: "no"\n'))
    assert line.endswith(b' "policy 1: #22no#22#0A"')
