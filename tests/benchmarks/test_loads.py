"""Reading what wrk and ab print, and the loads of our own against a server that misbehaves."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.errors import LoadFailedError
from benchmarks.loads import BROWSER_FIELDS, download, idle_bytes, parse_ab, parse_wrk
from benchmarks.placement import Target

WRK = """Running 1s test @ http://127.0.0.1:18099/
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    34.23us   30.94us   1.29ms   96.17%
    Req/Sec   103.46k    12.37k  122.69k    72.73%
  Latency Distribution
     50%   32.00us
     75%   37.00us
     90%   46.00us
     99%    1.25ms
  112669 requests in 1.10s, 16.12MB read
Requests/sec: 102427.39
Transfer/sec:     14.65MB
"""
AB = """Document Length:        3 bytes

Concurrency Level:      4
Time taken for tests:   0.050 seconds
Complete requests:      1000
Failed requests:        0
Total transferred:      145000 bytes
Requests per second:    19942.96 [#/sec] (mean)
"""


def test_wrk_gives_requests_seconds_and_percentiles_in_microseconds() -> None:
    outcome = parse_wrk(WRK)
    assert (outcome.units, outcome.seconds) == (112669, 1.1)
    assert (outcome.p50_us, outcome.p99_us) == (32.0, 1250.0)


def test_wrk_may_measure_in_minutes() -> None:
    assert parse_wrk(WRK.replace("in 1.10s", "in 1.50m")).seconds == 90


@pytest.mark.parametrize(
    "text",
    [
        WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
        WRK + "  Non-2xx or 3xx responses: 7\n",
        WRK.replace("112669 requests", "0 requests"),
        "unable to connect to 127.0.0.1:1 Connection refused\n",
        "",
    ],
)
def test_wrk_with_errors_gives_no_figure(text: str) -> None:
    with pytest.raises(LoadFailedError, match="wrk"):
        parse_wrk(text)


def test_ab_gives_connections_and_seconds() -> None:
    outcome = parse_ab(AB)
    assert (outcome.units, outcome.seconds) == (1000, 0.05)


@pytest.mark.parametrize(
    "text",
    [
        AB.replace("Failed requests:        0", "Failed requests:        2"),
        AB + "Write errors:           1\n",
        AB + "Non-2xx responses:      1000\n",
        AB.replace("Complete requests:      1000", "Complete requests:      0"),
        "apr_socket_recv: Connection reset by peer (104)\n",
    ],
)
def test_ab_with_errors_gives_no_figure(text: str) -> None:
    with pytest.raises(LoadFailedError, match="ab"):
        parse_ab(text)


@contextmanager
def answering(answer: bytes, connections: int) -> Iterator[int]:
    """Serve ``answer`` to each of ``connections`` connections once something was asked, then close; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            for _ in range(connections):
                sock = listener.accept()[0]
                with sock:
                    sock.recv(4096)
                    sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


def body(size: int, length: int | None = None) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {length or size}\r\n\r\n".encode() + b"x" * size


def test_a_download_counts_the_bodies_of_all_connections() -> None:
    with answering(body(500_000) * 2, connections=3) as port:
        outcome = download(
            Target("server", port, None), connections=3, bodies_each=2, body_bytes=500_000, deadline_s=10
        )
    assert outcome.units == 3.0
    assert outcome.seconds > 0


def test_the_name_of_a_field_may_come_in_lower_case() -> None:
    with answering(body(500).replace(b"Content-Length", b"content-length"), connections=1) as port:
        outcome = download(Target("server", port, None), connections=1, bodies_each=1, body_bytes=500, deadline_s=10)
    assert outcome.units == 500 / 1e6


@pytest.mark.parametrize(
    "answer", [body(400, length=500), body(499), b"HTTP/1.1 404 Not Found\r\nContent-Length: 500\r\n\r\n", b""]
)
def test_a_download_cut_short_or_refused_gives_no_figure(answer: bytes) -> None:
    with answering(answer, connections=1) as port, pytest.raises(LoadFailedError):
        download(Target("server", port, None), connections=1, bodies_each=1, body_bytes=500, deadline_s=10)


def test_an_idle_connection_without_an_answer_gives_no_figure() -> None:
    with answering(b"", connections=1) as port, pytest.raises(LoadFailedError, match="connection 1 of"):
        idle_bytes(Target("silent", port, os.getpid()), connections=5)


def test_a_browsers_request_has_fifteen_fields_and_some_seven_hundred_bytes() -> None:
    assert len(BROWSER_FIELDS) + len(["Host"]) == 15
    head = "\r\n".join(["GET / HTTP/1.1", "Host: 127.0.0.1:12345", *BROWSER_FIELDS, "", ""])
    assert 650 <= len(head) <= 750
