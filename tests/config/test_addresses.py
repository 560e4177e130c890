"""The grammar of addresses, form by form."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twisted_lb.config.addresses import (
    BindAddress,
    ClientDestination,
    ClientSource,
    EndpointDescription,
    FixedSource,
    HeaderSource,
    InheritedFd,
    IpAddress,
    IpServer,
    ServerAddress,
    UnixAbstract,
    UnixPath,
    parse_bind,
    parse_server,
    parse_source,
)
from twisted_lb.errors import ConfigError

LONGEST_BIND_PATH = "/" + "b" * 106
LONGEST_SERVER_PATH = "/" + "s" * 106


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", IpAddress("127.0.0.1", 8080, 8080)),
        ("*:80", IpAddress("0.0.0.0", 80, 80)),
        ("*:0", IpAddress("0.0.0.0", 0, 0)),
        ("[::]:65535", IpAddress("::", 65535, 65535)),
        ("[0:0::1]:80", IpAddress("::1", 80, 80)),
        ("[fe80::1%eth0]:80", IpAddress("fe80::1%eth0", 80, 80)),
        ("www.example.org:80", IpAddress("www.example.org", 80, 80)),
        ("127.0.0.1:7000-7099", IpAddress("127.0.0.1", 7000, 7099)),
        ("[::1]:7000-7000", IpAddress("::1", 7000, 7000)),
        ("unix:/run/web.sock", UnixPath("/run/web.sock")),
        (f"unix:{LONGEST_BIND_PATH}", UnixPath(LONGEST_BIND_PATH)),
        ("unix:@web", UnixAbstract("web")),
        (f"unix:@{'a' * 107}", UnixAbstract("a" * 107)),
        ("fd:3", InheritedFd(3)),
        ("tcp:8080:interface=127.0.0.1", EndpointDescription("tcp:8080:interface=127.0.0.1")),
        ("tcp:8080", EndpointDescription("tcp:8080")),
        ("ssl:443:privateKey=key.pem", EndpointDescription("ssl:443:privateKey=key.pem")),
        ("tcp6:8080", EndpointDescription("tcp6:8080")),
        ("systemd:domain=INET:index=0", EndpointDescription("systemd:domain=INET:index=0")),
        ("unix:address=/run/web.sock", EndpointDescription("unix:address=/run/web.sock")),
    ],
)
def test_every_form_of_a_bind(text: str, address: BindAddress) -> None:
    assert parse_bind(text) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9001", IpServer("127.0.0.1", 9001)),
        ("[::1]:9001", IpServer("::1", 9001)),
        ("app.example.org:80", IpServer("app.example.org", 80)),
        ("127.0.0.1:+1000", IpServer("127.0.0.1", None, 1000)),
        ("127.0.0.1:-1000", IpServer("127.0.0.1", None, -1000)),
        ("[::1]:+0", IpServer("::1", None, 0)),
        ("127.0.0.1", IpServer("127.0.0.1", None)),
        ("[::1]", IpServer("::1", None)),
        ("localhost", IpServer("localhost", None)),
        ("*", ClientDestination(None)),
        ("*:9001", ClientDestination(9001)),
        ("*:+1", ClientDestination(None, 1)),
        ("*:-1", ClientDestination(None, -1)),
        ("unix:/run/app.sock", UnixPath("/run/app.sock")),
        (f"unix:{LONGEST_SERVER_PATH}", UnixPath(LONGEST_SERVER_PATH)),
        ("unix:@app", UnixAbstract("app")),
        ("ssl:host=example.org:port=443", EndpointDescription("ssl:host=example.org:port=443")),
        ("tls:example.org:443", EndpointDescription("tls:example.org:443")),
        ("TCP:example.org:80", EndpointDescription("TCP:example.org:80")),
        ("unix:path=/run/app.sock", EndpointDescription("unix:path=/run/app.sock")),
    ],
)
def test_every_form_of_a_server(text: str, address: ServerAddress) -> None:
    assert parse_server(text) == address


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", 'write "HOST:PORT"'),
        ("8080", r'write "\*:8080"'),
        ("localhost", 'write "localhost:PORT"'),
        ("[::1]", r'write "\[::1\]:PORT"'),
        ("localhost:", "has no port"),
        (":8080", r'write "\*:8080"'),
        ("::1:8080", r'IPv6 is written as "\[ADDRESS\]:PORT"'),
        ("[::1:8080", r'IPv6 is written as "\[ADDRESS\]:PORT"'),
        ("[::g]:8080", "is not an address"),
        ("999.1.1.1:80", "is not an address"),
        ("127.1:80", "is not an address"),
        ("a b:80", "neither an address nor a host name"),
        ("-a:80", "neither an address nor a host name"),
        ("münchen.example:80", "neither an address nor a host name"),
        ("localhost:65536", "from 0 to 65535"),
        ("localhost:http", '"http" is not a port'),
        ("localhost:٣", "is not a port"),
        ("localhost:99-", '"" is not a port'),
        ("localhost:1-2-3", '"2-3" is not a port'),
        ("localhost:0-9", "starts at 1"),
        ("localhost:7099-7000", 'write "7000-7099"'),
        ("localhost:+5", "only a server"),
        ("onion:80:localhost", 'no Twisted endpoint called "onion" is installed'),
        ("unix:run/web.sock", 'with an absolute path, or as "unix:@NAME"'),
        ("unix:", 'with an absolute path, or as "unix:@NAME"'),
        ("unix:@", "1 to 107 are possible"),
        (f"unix:@{'a' * 108}", "is 108 bytes long"),
        (f"unix:{LONGEST_BIND_PATH}b", "is 108 bytes long; 1 to 107 are possible"),
        ("unix:/" + "é" * 54, "is 109 bytes long"),
        ("unix:/run/web.sock:mode=660", '"mode" does not belong in the address'),
        ("unix:/run\0", "NUL byte"),
        ("fd:", 'such as "fd:3"'),
        ("fd:-1", 'such as "fd:3"'),
    ],
)
def test_a_wrong_bind_says_what_would_be_right(text: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice) as caught:
        parse_bind(text)
    assert text in str(caught.value) or repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", 'write "HOST:PORT"'),
        ("9001", 'write "HOST:9001"'),
        (":9001", 'write "HOST:9001"'),
        ("*:0", "cannot be on port 0"),
        ("*:", "leave the"),
        ("*:1-2", r'write "HOST:\+N"'),
        ("fd:3", "only a bind"),
        ("localhost:", "leave the"),
        ("localhost:0", "cannot be on port 0"),
        ("localhost:7000-7099", r'write "HOST:\+N"'),
        ("localhost:+", '"" is not a port'),
        ("localhost:+65536", "from 0 to 65535"),
        ("::1", r'IPv6 is written as "\[ADDRESS\]:PORT"'),
        ("systemd:domain=INET:index=0", 'no Twisted endpoint called "systemd"'),
        (f"unix:{LONGEST_SERVER_PATH}s", "1 to 107 are possible"),
    ],
)
def test_a_wrong_server_says_what_would_be_right(text: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice) as caught:
        parse_server(text)
    assert f'"{text}"' in str(caught.value)


addressish = st.text() | st.from_regex(r"(unix:|fd:|\[|tcp:|[a-z*]*)[0-9a-z:.@/+*\]-]*")


@given(addressish)
@example("unix:/\udc80\ud800")
def test_any_text_is_a_bind_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        assert isinstance(parse_bind(text), BindAddress)


@given(addressish)
@example("unix:@\udc80\ud800")
def test_any_text_is_a_server_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        assert isinstance(parse_server(text), ServerAddress)


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_a_range_keeps_its_ends_or_is_refused(low: int, high: int) -> None:
    text = f"127.0.0.1:{low}-{high}"
    if low <= high:
        assert parse_bind(text) == IpAddress("127.0.0.1", low, high)
    else:
        with pytest.raises(ConfigError):
            parse_bind(text)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("client", ClientSource(True)),
        ("client_ip", ClientSource(False)),
        ("header:X-Forwarded-For", HeaderSource("X-Forwarded-For")),
        ("192.0.2.7", FixedSource("192.0.2.7")),
        ("192.0.2.7:4000", FixedSource("192.0.2.7", 4000, 4000)),
        ("192.0.2.7:4000-4999", FixedSource("192.0.2.7", 4000, 4999)),
        ("[2001:DB8::7]", FixedSource("2001:db8::7")),
        ("[2001:db8::7]:4000", FixedSource("2001:db8::7", 4000, 4000)),
        ("[2001:db8::7]:4000-4999", FixedSource("2001:db8::7", 4000, 4999)),
        ("*:4000-4999", FixedSource("", 4000, 4999)),
    ],
)
def test_every_form_of_a_source(text: str, source: ClientSource | HeaderSource | FixedSource) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", '"header:NAME" or an IP address'),
        ("clientip", 'write "client_ip"'),
        ("header:", 'write "header:NAME"'),
        ("header:X Y", 'write "header:NAME"'),
        ("header:X-Real-IP\n", 'write "header:NAME"'),
        ("header:forwarded", "holds no plain addresses"),
        ("hdr_ip(X-Real-IP,-1)", 'write "header:X-Real-IP"'),
        ("localhost", '"header:NAME" or an IP address'),
        ("999.1.1.1", "is not an address"),
        ("[::g]", "is not an address"),
        ("::1", r'IPv6 is written as "\[ADDRESS\]:PORT"'),
        ("*", "leave source out"),
        ("192.0.2.7:", "leave the"),
        ("192.0.2.7:0", "leave it out"),
        ("192.0.2.7:+1", "only a server"),
        ("192.0.2.7:9-8", 'write "8-9"'),
        ("192.0.2.7:0-9", "starts at 1"),
    ],
)
def test_a_wrong_source_says_what_would_be_right(text: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice) as caught:
        parse_source(text)
    assert len(caught.value.problems) == 1
