"""Requests made to be read in two ways, through the whole proxy: the server behind hears one, or nothing.

Every attack hides a request for ``/smuggled``; a strict server behind the proxy notes each byte that reaches it.
Source: RFC 9112, section 11.2; the published research on CL.TE, TE.CL, TE.TE, CL.0 and 0.CL.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback.web import Client, Recorder, get, http_config, statuses, tell

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, StartProxy

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
MARKER = ("GET", "/marker", b"")


@pytest.fixture(scope="module")
def server() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.close()


@pytest.fixture(scope="module")
def port(module_proxy: "StartProxy", free_port: "FreePort", server: Recorder) -> int:
    port = free_port()
    config = http_config(port, f"127.0.0.1:{server.port}", {"client": "5s", "http_request": "5s"}, http_reuse="always")
    config["frontends"]["web"]["forwarded"] = {"rfc7239": "set"}
    module_proxy(config)
    return port


@pytest.fixture(autouse=True)
def fresh(server: Recorder, port: int) -> None:
    """Forget what was heard before; the connection that other clients have used is there to be poisoned."""
    with Client(port) as client:
        assert client.ask("/before")[0] == 200
    for heard in server.connections:
        heard.raw.clear()
        heard.requests.clear()
        heard.fields.clear()


def post(*lines: bytes) -> bytes:
    return b"\r\n".join((b"POST /seen HTTP/1.1", b"Host: a.example", *lines, b"", b""))


def mark(port: int) -> None:
    """Have another client make its request; what went to the server before has arrived then."""
    with Client(port) as client:
        status, _, body = client.ask("/marker")
        assert (status, body) == (200, b"/marker")


def both(length: int) -> tuple[bytes, bytes]:
    return b"Content-Length: %d" % length, CHUNKED


REFUSED: dict[str, tuple[int, bytes]] = {
    "CL.TE": (400, post(*both(5 + len(SMUGGLED))) + b"0\r\n\r\n" + SMUGGLED),
    "TE.CL": (400, post(CHUNKED, b"Content-Length: 4") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
    "CL.TE with no length": (400, post(*both(0)) + SMUGGLED),
    "CL.TE in HTTP/1.0": (400, post(*both(5)).replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n" + SMUGGLED),
    "CL.CL": (400, post(b"Content-Length: 0", b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED),
    "CL.CL in one line": (400, post(b"Content-Length: 0, %d" % len(SMUGGLED)) + SMUGGLED),
    "0.CL behind a blank": (400, post(b"Content-Length : %d" % len(SMUGGLED)) + SMUGGLED),
    "0.CL behind a fold": (400, post(b"X: y\r\n Content-Length: %d" % len(SMUGGLED)) + SMUGGLED),
    "0.CL in a folded value": (400, post(b"Content-Length:\r\n %d" % len(SMUGGLED)) + SMUGGLED),
    "CL with a plus": (400, post(b"Content-Length: +%d" % len(SMUGGLED)) + SMUGGLED),
    "CL in hexadecimal": (400, post(b"Content-Length: 0x%x" % len(SMUGGLED)) + SMUGGLED),
    "CL behind 2^64": (400, post(b"Content-Length: 18446744073709551616") + SMUGGLED),
    "CL with underscores": (400, post(b"Content-Length: 4_1") + SMUGGLED),
    "TE.TE": (400, post(CHUNKED, b"Transfer-Encoding: cow") + b"0\r\n\r\n" + SMUGGLED),
    "TE.TE in one line": (400, post(b"Transfer-Encoding: chunked, cow") + b"0\r\n\r\n" + SMUGGLED),
    "TE of another kind": (400, post(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n" + SMUGGLED),
    "TE behind a tab of another kind": (400, post(b"Transfer-Encoding:\x0bchunked") + b"0\r\n\r\n" + SMUGGLED),
    "TE in quotes": (400, post(b'Transfer-Encoding: "chunked"') + b"0\r\n\r\n" + SMUGGLED),
    "TE before a blank": (400, post(b"Transfer-Encoding : chunked") + b"0\r\n\r\n" + SMUGGLED),
    "TE behind a bare LF": (400, post(b"X: y\nTransfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED),
    "TE behind a bare CR": (400, post(b"X: y\rTransfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED),
    "TE behind a NUL": (400, post(b"X: y\0Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED),
    "a length to be removed": (400, post(b"Content-Length: 9", b"Connection: Content-Length") + SMUGGLED),
    "TE with gzip": (422, post(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n" + SMUGGLED),
    "a body in TRACE": (400, post(*both(0)[:1]).replace(b"POST", b"TRACE").replace(b": 0", b": 9") + SMUGGLED),
    "a fold before the first field": (400, b"GET / HTTP/1.1\r\n Host: a.example\r\nHost: a.example\r\n\r\n" + SMUGGLED),
    "a line in the target": (400, b"GET /\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    "a version too many": (400, b"GET / HTTP/1.1 HTTP/1.1\r\nHost: a.example\r\n\r\n" + SMUGGLED),
    "two Hosts": (400, get("/seen", "Host: b.example") + SMUGGLED),
    "no Host": (400, b"GET /seen HTTP/1.1\r\n\r\n" + SMUGGLED),
    "another Host in the target": (400, get("http://internal.example/seen") + SMUGGLED),
    "a user in the target": (400, get("http://a.example@internal.example/", host="internal.example") + SMUGGLED),
    "a Host with a path": (400, get("/seen", host="a.example/x") + SMUGGLED),
    "two Hosts in one": (400, get("/seen", host="a.example, b.example") + SMUGGLED),
    "HTTP/2 in the clear": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED),
    "a head without an end": (
        431,
        b"GET /seen HTTP/1.1\r\nHost: a.example\r\n" + b"X: 0123456789\r\n" * 90 + b"Y: " + b"y" * 16384,
    ),
    "a target without an end": (414, b"GET /" + b"a" * 20000),
}
"""Heads that are refused: with which status, and with the bytes that come behind."""


@pytest.mark.parametrize("name", REFUSED)
def test_of_a_refused_head_no_byte_reaches_the_server_and_nothing_behind_it_is_read(
    name: str, port: int, server: Recorder
) -> None:
    status, attack = REFUSED[name]
    heard = tell(port, attack)
    assert statuses(heard) == [status], heard
    assert b"\r\nConnection: close\r\n" in heard
    mark(port)
    assert server.requests == [MARKER]
    assert server.raw.startswith(b"GET /marker ")


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_head_behind_a_good_request_is_refused_as_well(name: str, port: int, server: Recorder) -> None:
    status, attack = REFUSED[name]
    heard = tell(port, get("/good") + attack)
    assert statuses(heard) == [200, status], heard
    mark(port)
    assert server.requests == [("GET", "/good", b""), MARKER]


CHUNKS = {
    "a size with a sign": b"+2d\r\n",
    "a size with 0x": b"0x2d\r\n",
    "a size behind a blank": b" 2d\r\n",
    "a size before a tab of another kind": b"2d\x0b\r\n",
    "a size that overflows": b"1000000000000002d\r\n",
    "a size of underscores": b"2_d\r\n",
    "no size": b"\r\n",
    "a lone LF behind the size": b"2d\n",
    "a lone CR behind the size": b"2d\r",
    "an extension that ends with LF": b"2d;a\n",
    "an extension with a CR": b"2d;a\rb\r\n",
    "an extension with a CRLF in quotes": b'2d;a="\r\n',
}
"""What begins a chunk, and is taken for another size, or for another line, by somebody."""


@pytest.mark.parametrize("name", CHUNKS)
def test_a_chunk_that_can_be_read_in_two_ways_ends_both_connections(name: str, port: int, server: Recorder) -> None:
    heard = tell(port, post(CHUNKED) + CHUNKS[name] + SMUGGLED + b"\r\n0\r\n\r\n" + SMUGGLED)
    assert statuses(heard) == [400], heard
    mark(port)
    assert server.requests == [MARKER], "the request was never whole"
    assert b"/smuggled" not in server.raw


@pytest.mark.parametrize("end", [b"XX", b"\n", b"\r", b"\n\r", b"\r\r\n", b""], ids=repr)
def test_a_chunk_that_does_not_end_where_it_said_ends_both_connections(end: bytes, port: int, server: Recorder) -> None:
    heard = tell(port, post(CHUNKED) + b"1\r\na" + end + b"0\r\n\r\n" + SMUGGLED)
    assert statuses(heard) == [400], heard
    mark(port)
    assert server.requests == [MARKER]
    assert b"/smuggled" not in server.raw


@pytest.mark.parametrize(
    "trailer",
    ["Content-Length: 9", "Transfer-Encoding: chunked", "Host: b", "X-Forwarded-For: 1.1.1.1", "X : y", " X: y"],
)
def test_a_trailer_that_would_change_what_came_before_ends_both_connections(
    trailer: str, port: int, server: Recorder
) -> None:
    heard = tell(port, post(CHUNKED) + b"1\r\na\r\n0\r\n%b\r\n\r\n" % trailer.encode() + SMUGGLED)
    assert statuses(heard) == [400], heard
    mark(port)
    assert server.requests == [MARKER]
    assert b"/smuggled" not in server.raw


FRAMED: dict[str, tuple[bytes, bytes]] = {
    "a length": (post(b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED, SMUGGLED),
    "a length with zeros": (post(b"Content-Length: 00%d" % len(SMUGGLED)) + SMUGGLED, SMUGGLED),
    "a chunk": (post(CHUNKED) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED), SMUGGLED),
    "an extension": (post(CHUNKED) + b"%x;a=b\r\n%b\r\n0;c\r\n\r\n" % (len(SMUGGLED), SMUGGLED), SMUGGLED),
    "many zeros": (post(CHUNKED) + b"%024x\r\n%b\r\n000\r\n\r\n" % (len(SMUGGLED), SMUGGLED), SMUGGLED),
    "a body in GET": (post(b"Content-Length: 9").replace(b"POST", b"GET") + b"/smuggled", b"/smuggled"),
    "a length with an underscore": (post(b"Content-Length: 5", b"Content_Length: 0") + b"hello", b"hello"),
    "a coding with an underscore": (
        post(b"Content-Length: 5", b"Transfer_Encoding: chunked") + b"0\r\n\r\n",
        b"0\r\n\r\n",
    ),
    "an expectation": (post(b"Expect: 100-continue", b"Content-Length: 9") + b"/smuggled", b"/smuggled"),
}
"""Requests whose body looks like a request, in all the ways in which it may be framed; and the body."""


@pytest.mark.parametrize("name", FRAMED)
def test_a_body_is_a_body_whatever_it_looks_like(name: str, port: int, server: Recorder) -> None:
    attack, body = FRAMED[name]
    with Client(port) as client:
        method = attack.partition(b" ")[0].decode()
        assert client.send(attack).response(method)[::2] == (200, b"/seen")
        assert client.ask("/next")[::2] == (200, b"/next")
    mark(port)
    assert server.requests == [(method, "/seen", body), ("GET", "/next", b""), MARKER]


@pytest.mark.parametrize("lines", [(), (b"Content-Length: 0",), (b"Upgrade: h2c", b"Connection: Upgrade")], ids=repr)
def test_what_follows_a_request_without_a_body_is_the_next_request_to_everybody(
    lines: tuple[bytes, ...], port: int, server: Recorder
) -> None:
    # CL.0: a server that disregards the body of some requests. There is none here, whatever the server thinks.
    with Client(port) as client:
        client.send(post(*lines) + SMUGGLED)
        assert client.response("POST")[2] == b"/seen"
        assert client.response()[2] == b"/smuggled", "this client asked for it itself"
    mark(port)
    assert server.requests == [("POST", "/seen", b""), ("GET", "/smuggled", b""), MARKER]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_nothing_behind_a_request_that_closes_is_read(version: bytes, port: int, server: Recorder) -> None:
    last = post(b"Content-Length: 1", b"Connection: close").replace(b"HTTP/1.1", b"HTTP/" + version) + b"x"
    heard = tell(port, last + SMUGGLED)
    assert statuses(heard) == [200]
    mark(port)
    assert server.requests == [("POST", "/seen", b"x"), MARKER]


def test_the_bytes_behind_a_refused_request_are_not_read_however_they_come(port: int, server: Recorder) -> None:
    with Client(port) as client:
        client.send(REFUSED["two Hosts"][1])
        assert client.response()[0] == 400
        client.send(SMUGGLED)
        assert client.is_closed()
    mark(port)
    assert server.requests == [MARKER]


# What a client says about itself


@pytest.mark.parametrize(
    "lie", ["X-Forwarded-Host: evil", "X-Forwarded-Proto: https", "X_Forwarded_Host: evil", "x-forwarded-port: 1"]
)
def test_no_client_speaks_for_us(lie: str, port: int, server: Recorder) -> None:
    with Client(port) as client:
        assert client.ask("/seen", lie, "Connection: X-Forwarded-For, Forwarded, X-Forwarded-Host")[0] == 200
    (fields,) = [heard.fields[0] for heard in server.connections if heard.fields]
    told = dict(fields)
    assert len(told) == len(fields), "no field came twice"
    assert told[b"x-forwarded-host"] == b"a.example"
    assert told[b"x-forwarded-proto"] == b"http"
    assert told[b"x-forwarded-port"] == b"%d" % port
    assert told[b"x-forwarded-for"] == b"127.0.0.1"
    assert told[b"forwarded"] == b"for=127.0.0.1;host=a.example;proto=http"
    assert b"x_forwarded_host" not in told


@pytest.mark.parametrize("value", ["1.1.1.1\r\n X: y", "1.1.1.1\nX: y", "1.1.1.1\rX: y", "1.1.1.1\0", "\x7f"], ids=repr)
def test_nothing_is_injected_through_a_field_that_we_add_to(value: str, port: int, server: Recorder) -> None:
    assert statuses(tell(port, get("/seen", f"X-Forwarded-For: {value}"))) == [400]
    mark(port)
    assert server.requests == [MARKER]


def test_the_list_of_proxies_ends_with_whom_we_have_seen(port: int, server: Recorder) -> None:
    with Client(port) as client:
        assert client.ask("/seen", "X-Forwarded-For: 192.0.2.1", "x-forwarded-for: 10.0.0.1")[0] == 200
    (fields,) = [heard.fields[0] for heard in server.connections if heard.fields]
    assert dict(fields)[b"x-forwarded-for"] == b"192.0.2.1, 10.0.0.1, 127.0.0.1"


def test_a_whole_target_becomes_a_path_and_its_host(port: int, server: Recorder) -> None:
    with Client(port) as client:
        assert client.ask("http://A.example:80/seen?x")[2] == b"/seen?x"
    assert b"http://" not in server.raw
    (fields,) = [heard.fields[0] for heard in server.connections if heard.fields]
    assert [value.lower() for name, value in fields if name == b"host"] in ([b"a.example"], [b"a.example:80"])


def test_connection_takes_nothing_away_that_decides_on_access(port: int, server: Recorder) -> None:
    lines = ("Authorization: Basic eDp5", "Cookie: a=b", "X-Real-IP: 192.0.2.1", "X-Own: 1")
    with Client(port) as client:
        named = "Connection: close, Authorization, Cookie, X-Real-IP, X-Own"
        assert client.ask("/seen", *lines, named)[0] == 200
    (fields,) = [heard.fields[0] for heard in server.connections if heard.fields]
    told = dict(fields)
    assert {b"authorization", b"cookie", b"x-real-ip", b"host"} <= set(told)
    assert b"x-own" not in told
    assert b"connection" not in told


@pytest.mark.parametrize(
    "line", ["Transfer-Encoding:\tchunked", "Transfer-Encoding:  chunked ", "TRANSFER-ENCODING:ChunKed\t"]
)
def test_framing_that_is_spelt_oddly_is_spelt_anew(line: str, port: int, server: Recorder) -> None:
    # Seen: nginx takes no tab for a blank, so it did not know the coding, and another may not see it at all.
    with Client(port) as client:
        client.send(post(line.encode()) + b"5\r\nhello\r\n0\r\n\r\n" + get("/next"))
        assert [client.response("POST")[2], client.response()[2]] == [b"/seen", b"/next"]
    assert b"\r\nTransfer-Encoding: chunked\r\n" in server.raw
    assert server.requests == [("POST", "/seen", b"hello"), ("GET", "/next", b"")]


def test_a_request_in_pieces_is_one_request(port: int, server: Recorder, wait: Any) -> None:
    whole = post(CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n" + SMUGGLED
    with Client(port) as client:
        for byte in whole:
            client.send(bytes([byte]))
        assert client.response("POST")[2] == b"/seen"
        assert client.response()[2] == b"/smuggled"
    assert server.requests == [("POST", "/seen", b"hello"), ("GET", "/smuggled", b"")]


def test_half_a_head_opens_no_connection_to_the_server(proxy: "StartProxy", free_port: "FreePort", wait: Any) -> None:
    server, port = Recorder(), free_port()
    running = proxy(http_config(port, f"127.0.0.1:{server.port}"))
    with Client(port) as client:
        client.send(get("/seen")[:-1])
    assert running.records(1)[0]["ending"] == "CR"
    assert server.accepted == 0
    server.close()
