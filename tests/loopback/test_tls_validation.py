"""``tls`` before real servers: clients reach whom they name, whatever the cuts; who is refused is told by an alert."""

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.certificates import certificate
from tests.loopback.servers import ANSWER_S, Server
from tests.wire.hellos import hello, in_records, key_share, python_hello, unrecorded, usual
from twisted_lb.wire.client_hello import ClientHello, read_client_hello
from twisted_lb.wire.client_hello_fingerprints import ja4
from twisted_lb.wire.server_hello import RETRY_RANDOM

pytestmark = pytest.mark.linux

PLENTY = 3_000_000
ROUTES = [
    {"facts": {"tls.sni": "mail.example.org"}, "backend": "mail"},
    {"facts": {"tls.sni": "*.example.org", "tls.alpn": "h2"}, "backend": "h2"},
    {"facts": {"tls.sni": "*.example.org"}, "backend": "site"},
    {"facts": {"tls.sni": "closed.example"}, "refuse": True},
]
NAMES = ("mail", "h2", "site", "rest")


def says(name: str, context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """TLS; inside, a request is answered with ``name``, for ``/plenty`` with as much, and one with a body with that."""

    def answer(connection: socket.socket) -> None:
        connection.settimeout(ANSWER_S)
        with context.wrap_socket(connection, server_side=True) as secured:
            head, _, body = b"", b"", b""
            while b"\r\n\r\n" not in head:
                head += secured.recv(65536)
            head, _, body = head.partition(b"\r\n\r\n")
            if head.startswith(b"POST"):
                while len(body) < PLENTY:
                    body += secured.recv(65536)
            text = {b"G": b"x" * PLENTY, b"P": body}[head[:1]] if b" /plenty " in head else name.encode()
            secured.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    return answer


def says_plainly(text: bytes) -> Callable[[socket.socket], None]:
    """``text`` in answer to whatever comes first."""

    def answer(connection: socket.socket) -> None:
        connection.settimeout(ANSWER_S)
        connection.recv(65536)
        connection.sendall(text)
        while connection.recv(65536):
            pass

    return answer


def server_context(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def client_context(*protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of every server."""
    return certificate("www.example.org", tmp_path_factory.mktemp("pem") / "server.pem")


@pytest.fixture(scope="module")
def start_server() -> Iterator[Callable[[Callable[[socket.socket], object]], Server]]:
    """Start a server that lives as long as the module."""
    started: list[Server] = []

    def start(serve: Callable[[socket.socket], object]) -> Server:
        started.append(Server(serve))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def backends(start_server: Any, pem: Path) -> dict[str, Any]:
    """One backend per name, with one server that says it."""
    servers = {name: start_server(says(name, server_context(pem))) for name in NAMES}
    return {name: {"servers": {"a": f"127.0.0.1:{server.port}"}} for name, server in servers.items()}


@pytest.fixture(scope="module")
def routed(module_proxy: Any, free_port: Any, backends: dict[str, Any]) -> int:
    """The port of a proxy that routes by server name and protocol."""
    port: int = free_port()
    frontend = {"bind": f"127.0.0.1:{port}", "validators": ["tls"], "routes": ROUTES, "backend": "rest"}
    module_proxy({"frontends": {"web": frontend}, "backends": backends})
    return port


def ask(secured: ssl.SSLSocket, request: bytes = b"GET / HTTP/1.0\r\n\r\n") -> bytes:
    """Send ``request`` and return the answer's body."""
    secured.sendall(request)
    answer = b""
    while piece := secured.recv(65536):
        answer += piece
    return answer.partition(b"\r\n\r\n")[2]


def connected(port: int, name: str | None, *protocols: str, **more: Any) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
    return client_context(*protocols).wrap_socket(sock, server_hostname=name, **more)


@pytest.mark.parametrize(
    ("name", "protocols", "where"),
    [
        ("mail.example.org", (), "mail"),
        ("MAIL.Example.org", ("h2",), "mail"),
        ("www.example.org", ("h2", "http/1.1"), "h2"),
        ("www.example.org", ("http/1.1",), "site"),
        ("a.b.example.org", (), "site"),
        ("example.org", (), "rest"),
        (None, ("h2",), "rest"),
    ],
)
def test_a_client_reaches_whom_it_names(routed: int, name: str | None, protocols: tuple[str, ...], where: str) -> None:
    with connected(routed, name, *protocols) as secured:
        assert ask(secured) == where.encode()


@pytest.mark.daemon("curl")
@pytest.mark.parametrize(
    ("name", "where"), [("mail.example.org", "mail"), ("www.example.org", "h2"), ("x.test", "rest")]
)
def test_curl_reaches_whom_it_names(routed: int, name: str, where: str) -> None:
    words = ["curl", "-sk", "--noproxy", "*", "--connect-to", f"::127.0.0.1:{routed}", f"https://{name}/"]
    assert subprocess.run(words, capture_output=True, timeout=ANSWER_S, check=True).stdout == where.encode()


def shake_hands_in_pieces(port: int, name: str, split: Callable[[bytes], list[bytes]]) -> bytes:
    """Say the hello in the pieces that ``split`` makes of it, go on as usual; return what the server says inside."""
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(received, sent, server_hostname=name)
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        for piece in split(sent.read()):
            sock.send(piece)
        steps: list[Callable[[], object]] = [client.do_handshake, lambda: client.write(b"GET / HTTP/1.0\r\n\r\n")]
        answer = b""
        while not answer.endswith(name.split(".")[0].encode()):
            try:
                if steps:
                    steps[0]()
                    del steps[0]
                else:
                    answer += client.read(65536)
            except ssl.SSLWantReadError:
                sock.sendall(sent.read())
                received.write(sock.recv(65536))
            else:
                sock.sendall(sent.read())
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("size", [1, 7, 64, 100, 400])
def test_a_hello_that_is_spread_over_records_is_routed_as_one_that_is_not(routed: int, size: int) -> None:
    def split(hello: bytes) -> list[bytes]:
        whole = unrecorded(hello)
        return [in_records(whole, *range(size, len(whole), size))]

    assert shake_hands_in_pieces(routed, "mail.example.org", split) == b"mail"


@pytest.mark.parametrize("size", [1, 6, 200])
def test_a_hello_that_is_spread_over_segments_and_records_is_routed_as_one_that_is_not(routed: int, size: int) -> None:
    def split(hello: bytes) -> list[bytes]:
        whole = unrecorded(hello)
        records = in_records(whole, *range(50, len(whole), 50))
        return [records[at : at + size] for at in range(0, len(records), size)]

    assert shake_hands_in_pieces(routed, "mail.example.org", split) == b"mail"


def test_what_follows_the_handshake_passes_both_ways(routed: int) -> None:
    with connected(routed, "mail.example.org") as secured:
        assert len(ask(secured, b"GET /plenty HTTP/1.0\r\n\r\n")) == PLENTY
    body = bytes(range(256)) * (PLENTY // 256 + 1)
    with connected(routed, "mail.example.org") as secured:
        assert ask(secured, b"POST /plenty HTTP/1.0\r\n\r\n" + body[:PLENTY]) == body[:PLENTY]


# Handshakes of other shapes


@pytest.fixture
def before(proxy: Any, free_port: Any) -> Callable[..., tuple[int, Any]]:
    """Put a proxy with the validator ``tls`` before a server; gives its port, and itself."""

    def start(server: Server, policies: Any = (), routes: Any = (), **options: Any) -> tuple[int, Any]:
        port = free_port()
        frontend = {
            "bind": f"127.0.0.1:{port}",
            "validators": [{"use": "tls", **options}],
            "backend": "app",
            **({"policies": policies} if policies else {}),
            **({"routes": routes} if routes else {}),
        }
        servers = {"servers": {"a": f"127.0.0.1:{server.port}"}}
        return port, proxy({"frontends": {"web": frontend}, "backends": {"app": servers}})

    return start


def test_a_server_may_ask_for_another_hello(before: Any, start_server: Any, pem: Path) -> None:
    context = server_context(pem)
    context.set_ecdh_curve("secp384r1")  # the client's first key share is for another group
    port, _ = before(start_server(says("app", context)))
    with connected(port, "www.example.org") as secured:
        assert ask(secured) == b"app"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(before: Any, start_server: Any, pem: Path, version: ssl.TLSVersion) -> None:
    context, client = server_context(pem), client_context()
    context.maximum_version = version
    port, _ = before(start_server(says("app", context)))
    resumed, session = [], None
    for _ in range(2):
        sock = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
        with client.wrap_socket(sock, server_hostname="www.example.org", session=session) as secured:
            assert ask(secured) == b"app"
            resumed.append(secured.session_reused)
            session = secured.session
    assert resumed == [False, True]


# Refusals


def s_client(port: int, *options: str) -> str:
    """What ``openssl s_client`` says about an attempt to connect."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_S, check=False)
    return (done.stdout + done.stderr).decode()


OLD = ("-cipher", "ALL:@SECLEVEL=0")


@pytest.mark.daemon("openssl")
@pytest.mark.parametrize(
    ("words", "alert", "reason"),
    [
        (["-servername", "evil.example"], "unrecognized name", "tls-sni-not-allowed: evil.example"),
        (["-noservername"], "alert number 109", "tls-sni-missing"),
        (["-servername", "good.example.", "-tls1_2"], "unrecognized name", "tls-sni-name"),
        (["-servername", "good.example", "-tls1_1", *OLD], "alert protocol version", "tls-min-version"),
        (["-servername", "good.example", "-tls1", *OLD], "alert protocol version", "tls-min-version"),
    ],
)
def test_openssl_is_told_why(
    before: Any, start_server: Any, pem: Path, words: list[str], alert: str, reason: str
) -> None:
    server = start_server(says("app", server_context(pem)))
    port, running = before(server, allowed_sni=["good.example"])
    assert alert in s_client(port, *words)
    [record] = running.records(1)
    assert (record["ending"], record["stage"], record["reason"]) == ("PR", "validation", f"validator tls: {reason}")
    assert record["plugin"] == ""
    assert server.accepted == 0
    with connected(port, "good.example") as secured:
        assert ask(secured) == b"app"


def test_python_is_told_why(before: Any, start_server: Any, pem: Path) -> None:
    port, _ = before(start_server(says("app", server_context(pem))), allowed_sni=["*.example.org"])
    with pytest.raises(ssl.SSLError, match="TLSV1_UNRECOGNIZED_NAME"):
        connected(port, "evil.example")


def test_who_is_asked_for_another_hello_cannot_ask_for_another_name(before: Any, start_server: Any, pem: Path) -> None:
    context, asked = server_context(pem), list[Any]()
    context.sni_callback = lambda connection, name, context: asked.append(name)
    port, running = before(start_server(says("app", context)), allowed_sni=["good.example"])
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as sock:
        sock.sendall(hello([key_share() if one[0] == 51 else one for one in usual(b"good.example")]))
        assert RETRY_RANDOM in sock.recv(1000)
        sock.sendall(hello(usual(b"other.example")))
        assert sock.recv(1000) == b"\x15\x03\x03\x00\x02\x02\x2f"
    [record] = running.records(1)
    assert (record["ending"], record["stage"], record["reason"]) == ("PD", "relay", "validator tls: tls-second-hello")
    assert asked == ["good.example"]


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x80\x1f\x01\x00\x02" + bytes(30), b"SSH-2.0-x\r\n"])
def test_who_speaks_no_tls_is_told_nothing(before: Any, start_server: Any, pem: Path, said: bytes) -> None:
    server = start_server(says("app", server_context(pem)))
    port, running = before(server)
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as sock:
        sock.sendall(said)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1000) == b""
    assert running.records(1)[0]["reason"] in ("validator tls: tls-no-tls", "validator tls: tls-sslv2")
    assert server.accepted == 0


@pytest.mark.parametrize("text", [b"HTTP/1.1 400 Bad Request\r\n\r\nThis is not TLS", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_a_server_that_answers_in_plain_text_is_cut_off_and_the_client_is_told(
    before: Any, start_server: Any, text: bytes
) -> None:
    port, running = before(start_server(says_plainly(text)))
    with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_INTERNAL_ERROR"):
        connected(port, "www.example.org")
    [record] = running.records(1)
    assert (record["ending"], record["stage"], record["reason"]) == ("PD", "relay", "validator tls: tls-server-no-tls")


def test_what_a_rude_server_says_never_arrives(before: Any, start_server: Any) -> None:
    port, running = before(start_server(says_plainly(b"220 mail.example ESMTP\r\n")))
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as sock:
        sock.sendall(python_hello())
        said = b""
        while piece := sock.recv(1000):
            said += piece
    assert said == b"\x15\x03\x03\x00\x02\x02\x50"
    running.records(1)


def test_a_rude_server_is_let_through_if_told_so(before: Any, start_server: Any) -> None:
    port, _ = before(start_server(says_plainly(b"220 mail.example ESMTP\r\n")), check_server=False)
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as sock:
        sock.sendall(python_hello())
        assert sock.recv(1000) == b"220 mail.example ESMTP\r\n"


@pytest.mark.daemon("openssl")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_a_server_that_chooses_a_version_below_the_lowest_is_cut_off(before: Any, start_server: Any, pem: Path) -> None:
    context = server_context(pem)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    port, running = before(start_server(says("app", context)))
    told = s_client(port, "-servername", "www.example.org", "-min_protocol", "TLSv1", *OLD)
    assert "alert internal error" in told
    assert running.records(1)[0]["reason"] == "validator tls: tls-server-version"


# Rules


def fingerprint(hello: bytes) -> str:
    found = read_client_hello(hello)
    assert isinstance(found, ClientHello)
    return ja4(found)


def test_rules_know_every_fact_also_those_that_are_worked_out_on_demand(
    before: Any, start_server: Any, pem: Path
) -> None:
    refused = fingerprint(python_hello("www.example.org", ()))
    rules = [
        {"deny": f"tls.ja4 == '{refused}'"},
        {"deny": "'TLS_RSA_WITH_NULL_MD5' in tls.cipher_suites"},
        {"deny": "tls.version != '1.3' or tls.sni == 'bad.example'"},
    ]
    port, running = before(start_server(says("app", server_context(pem))), policies=rules)
    with pytest.raises((ssl.SSLError, OSError)):
        connected(port, "www.example.org")
    with pytest.raises((ssl.SSLError, OSError)):
        connected(port, "bad.example", "h2")
    with connected(port, "www.example.org", "h2") as secured:
        assert ask(secured) == b"app"
    assert [record["stage"] for record in running.records(3)] == ["policy", "policy", "relay"]


def test_routes_know_facts_that_are_worked_out_on_demand(before: Any, start_server: Any, pem: Path) -> None:
    refused = fingerprint(python_hello("www.example.org", ()))
    routes = [{"facts": {"tls.ja4": refused}, "refuse": True}]
    port, running = before(start_server(says("app", server_context(pem))), routes=routes)
    with pytest.raises((ssl.SSLError, OSError)):
        connected(port, "www.example.org")
    with connected(port, "www.example.org", "h2") as secured:
        assert ask(secured) == b"app"
    assert [record["stage"] for record in running.records(2)] == ["policy", "relay"]


@pytest.mark.daemon("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize(
    "entry",
    [
        {"policies": [{"deny": "tls.sni == 'bad.example'"}]},
        {"routes": [{"facts": {"tls.sni": "bad.example"}, "refuse": True}]},
    ],
    ids=["rule", "route"],
)
def test_who_is_refused_behind_the_validator_is_told_by_an_alert_too(
    before: Any, start_server: Any, pem: Path, version: str, entry: dict[str, Any]
) -> None:
    port, running = before(start_server(says("app", server_context(pem))), **entry)
    assert "alert access denied" in s_client(port, "-servername", "bad.example", version)
    assert running.records(1)[0]["stage"] == "policy"


def test_who_is_rejected_hears_nothing(before: Any, start_server: Any, pem: Path) -> None:
    server = start_server(says("app", server_context(pem)))
    port, _ = before(server, policies=[{"reject": "tls.sni == 'bad.example'"}])
    with pytest.raises(ConnectionResetError):
        connected(port, "bad.example")


def test_tls_and_another_protocol_share_a_port(proxy: Any, free_port: Any, start_server: Any, pem: Path) -> None:
    port = free_port()
    frontend = {
        "bind": f"127.0.0.1:{port}",
        "validators": [{"any_of": ["tls", {"use": "payload", "starts_with": "PING"}]}],
        "routes": [{"facts": {"protocol": "tls"}, "backend": "tls"}],
        "backend": "plain",
    }
    servers = {"tls": start_server(says("tls", server_context(pem))), "plain": start_server(says_plainly(b"PONG"))}
    backends = {name: {"servers": {"a": f"127.0.0.1:{server.port}"}} for name, server in servers.items()}
    running = proxy({"frontends": {"web": frontend}, "backends": backends})
    with connected(port, "www.example.org") as secured:
        assert ask(secured) == b"tls"
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as sock:
        sock.sendall(b"PING")
        assert sock.recv(100) == b"PONG"
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
    assert {record["backend"] for record in running.records(3)} == {"tls", "plain"}


def test_through_twisted_endpoints_it_is_the_same(proxy: Any, free_port: Any, start_server: Any, pem: Path) -> None:
    servers = {"good": start_server(says("good", server_context(pem))), "rude": start_server(says_plainly(b"PONG"))}
    ports = {name: free_port() for name in servers}
    frontends = {
        name: {"bind": f"tcp:{port}:interface=127.0.0.1", "validators": ["tls"], "backend": name}
        for name, port in ports.items()
    }
    backends = {name: {"servers": {"a": f"tcp:127.0.0.1:{server.port}"}} for name, server in servers.items()}
    proxy({"frontends": frontends, "backends": backends})
    with connected(ports["good"], "www.example.org") as secured:
        assert len(ask(secured, b"GET /plenty HTTP/1.0\r\n\r\n")) == PLENTY
    with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_INTERNAL_ERROR"):
        connected(ports["rude"], "www.example.org")
    with pytest.raises(ssl.SSLError, match="TLSV1_UNRECOGNIZED_NAME"):
        connected(ports["good"], "www-.example.org")
