"""The PROXY protocol seen from outside: through chains of proxies, from sources trusted or not, and broken."""

import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.headers import ALPN, AUTHORITY, AWS, CRC32C, NOOP, SSL, Header, binary, crc32c, length, line, read
from tests.loopback.servers import Echo, Server, abstract, ask, connect, echo, hear

Ends = tuple[str, int]
IPV4: tuple[Ends, Ends] = ("203.0.113.7", 51000), ("198.51.100.9", 443)
IPV6: tuple[Ends, Ends] = ("2001:db8::7", 51000), ("2001:db8::9", 443)
TRUSTED, OTHER = "127.0.0.9", "127.0.0.8"
SPAN_S, LATE_S = 0.3, 2.0
TLS_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(32)
ABOUT_TLS = b"\1\0\0\0\0\x21\0\7TLSv1.3"
"""What an SSL TLV may hold."""
_ports = itertools.count(1024)


def fresh(ends: tuple[Ends, Ends]) -> tuple[Ends, Ends]:
    """The same hosts; the client's port is one that no other test claims, so that its record can be found."""
    return (ends[0][0], next(_ports)), ends[1]


def tlvs(*fields: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in fields)


def summed(ends: tuple[Ends, Ends], *fields: tuple[int, bytes]) -> bytes:
    """A header in version 2 with a right checksum, which is its last TLV."""
    header = binary(*ends, tlvs(*fields, (CRC32C, bytes(4))))
    return header[:-4] + crc32c(header).to_bytes(4)


def told(answer: bytes) -> tuple[Header, bytes]:
    """Take apart what an echo server repeats: the header that it got, and the rest."""
    size = length(answer)
    assert size is not None, f"no header: {answer!r}"
    return read(answer[:size]), answer[size:]


def ask_from(source: str, port: int, said: bytes) -> bytes:
    """Ask as a client of that address; an answer that ends with a reset ends with ``b"RST"``."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as client:
            client.sendall(said)
            with contextlib.suppress(OSError):  # "not connected" after a reset, which the next call tells
                client.shutdown(socket.SHUT_WR)
            while data := client.recv(65536):
                answer += data
    except (ConnectionResetError, BrokenPipeError):
        return answer + b"RST"
    return answer


@pytest.fixture(scope="module")
def server() -> Iterator[Echo]:
    with echo() as made:
        yield made


@pytest.fixture
def record_of(wait: Any) -> Callable[..., dict[str, Any]]:
    """Wait for the one record in which all ``fields`` are as given."""

    def find(running: Any, **fields: Any) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [record for record in running.records(1) if fields.items() <= record.items()]

        records: list[dict[str, Any]] = wait(found, f"a record with {fields}")
        assert len(records) == 1
        return records[0]

    return find


# Chains


@pytest.fixture(scope="module", params=["streams", "endpoints"])
def hops(request: Any, module_proxy: Any, tcp_config: Any, server: Echo, free_port: Any) -> list[tuple[Any, int]]:
    """Three proxies, each of which hands on to the next, and where each listens; the last one's server is an echo."""
    spell_bind, spell_server = {
        "streams": ("127.0.0.1:{}", "127.0.0.1:{}"),
        "endpoints": ("tcp:{}:interface=127.0.0.1", "tcp:127.0.0.1:{}"),
    }[request.param]
    made: list[tuple[Any, int]] = []
    following = server.port
    for _ in range(3):
        port = free_port()
        config = tcp_config(spell_bind.format(port), spell_server.format(following), accept_proxy=True)
        config["backends"]["app"]["send_proxy"] = {"version": "v2", "forward_tlvs": ["all"]}
        made.insert(0, (module_proxy(config), port))
        following = port
    return made


@pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_addresses_and_tlvs_survive_every_hop(
    hops: list[tuple[Any, int]], record_of: Any, count: int, ends: tuple[Ends, Ends]
) -> None:
    ends = fresh(ends)
    kept = {
        ALPN: b"h2",
        AUTHORITY: b"a.example",
        SSL: b"\1\0\0\0\0\x21\0\7TLSv1.3",
        AWS: b"\1vpce-1",
        0xE4: b"\0" * 200,
    }
    way = hops[-count:]
    header, rest = told(ask(way[0][1], summed(ends, (NOOP, b"\0\0\0"), *kept.items()) + b"ping"))
    assert header == Header("v2", "PROXY", *ends, kept)
    assert rest == b"ping"
    for running, _ in way:
        record = record_of(running, source_port=ends[0][1])
        assert (record["source"], record["ending"], record["bytes_in"]) == (ends[0][0], "--", 4)
        assert (record["destination"], record["destination_port"]) == ends[1]
        assert record["peer"] == "127.0.0.1"
        assert record["peer_port"] > 0


def test_a_client_behind_version_1_is_known_three_hops_on(hops: list[tuple[Any, int]]) -> None:
    ends = fresh(IPV4)
    assert told(ask(hops[0][1], line(*ends) + b"ping")) == (Header("v2", "PROXY", *ends, {}), b"ping")


def test_a_large_payload_follows_its_header_through_all_hops(hops: list[tuple[Any, int]]) -> None:
    ends = fresh(IPV4)
    said = bytes(range(256)) * 4000
    with connect(hops[0][1]) as client:
        client.sendall(binary(*ends))
        answer = b""
        for start in range(0, len(said), 50_000):
            piece = said[start : start + 50_000]
            client.sendall(piece)
            while len(answer) < start + len(piece):
                answer += client.recv(1 << 20)
        client.shutdown(socket.SHUT_WR)
        answer += hear(client)
    assert told(answer) == (Header("v2", "PROXY", *ends, {}), said)


def test_a_broken_header_is_reset_and_reaches_no_second_hop(hops: list[tuple[Any, int]], wait: Any) -> None:
    (first, port), (second, _) = hops[:2]
    before = len(second.records(0))
    assert ask_from("127.0.0.1", port, b"PROXY TCP4 999.1.1.1 198.51.100.9 1 2\r\nping") == b"RST"
    wait(lambda: [one for one in first.records(1) if "proxy-v1-address" in one["reason"]], "its record")
    assert len(second.records(0)) == before


# Whom to believe, and for how long


@pytest.fixture(scope="module")
def ports(free_port: Any) -> dict[str, int]:
    names = "all reject direct versions slow text denied off v1 options tlvs"
    return {name: free_port() for name in names.split()}


@pytest.fixture(scope="module")
def running(module_proxy: Any, server: Echo, ports: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One frontend for each way to accept a header; their server gets none but from those that are about sending."""
    text_log = tmp_path_factory.mktemp("text") / "access.log"
    trusted = {"from": [TRUSTED, "unix"]}
    of_frontend: dict[str, dict[str, Any]] = {
        "reject": {"accept_proxy": trusted},
        "direct": {"accept_proxy": {**trusted, "others": "direct"}},
        "versions": {"accept_proxy": {"versions": ["v1"], "max_header": "300B"}},
        "slow": {"accept_proxy": {"timeout": f"{SPAN_S}s"}},
        "text": {"access_log": {"use": "text", "path": str(text_log)}},
        "denied": {"policies": [{"use": "source", "deny": ["203.0.113.0/24"]}]},
    }
    of_backend: dict[str, Any] = {
        "v1": "v1",
        "options": {"version": "v2", "proxy_v2_options": ["ssl", "crc32c", "unique-id"]},
        "tlvs": {"version": "v2", "tlvs": {"authority": "sni", "0xE4": "{source}|{peer}|{frontend}"}},
    }
    frontends, backends = {}, {}
    for name, port in ports.items():
        frontend = {"bind": f"127.0.0.1:{port}", "backend": name, "accept_proxy": True, **of_frontend.get(name, {})}
        frontends[name] = frontend
        backends[name] = {"servers": {"s1": f"127.0.0.1:{server.port}"}, "send_proxy": of_backend.get(name, False)}
    frontends["off"]["bind"] = {"address": frontends["off"]["bind"], "accept_proxy": False}
    frontends["reject"]["bind"] = [frontends["reject"]["bind"], f"unix:@{abstract('proxied')}"]
    made = module_proxy({"frontends": frontends, "backends": backends})
    made.text_log = text_log
    return made


@pytest.mark.parametrize("name", ["reject", "direct"])
@pytest.mark.parametrize("spell", [line, binary])
def test_a_trusted_source_is_believed(
    running: Any, ports: dict[str, int], record_of: Any, name: str, spell: Callable[..., bytes]
) -> None:
    ends = fresh(IPV4)
    assert ask_from(TRUSTED, ports[name], spell(*ends) + b"ping") == b"ping"
    record = record_of(running, frontend=name, source_port=ends[0][1])
    assert (record["source"], record["peer"], record["ending"]) == (ends[0][0], TRUSTED, "--")


@pytest.mark.parametrize("said", [b"ping", line(*IPV4) + b"ping"])
def test_other_sources_are_reset(running: Any, ports: dict[str, int], said: bytes) -> None:
    assert ask_from(OTHER, ports["reject"], said) == b"RST"


def test_a_source_that_was_reset_is_in_the_log(running: Any, ports: dict[str, int], wait: Any) -> None:
    assert ask_from(OTHER, ports["reject"], b"") == b"RST"
    refused = wait(lambda: [one for one in running.records(1) if one["peer"] == OTHER], "its record")[0]
    assert (refused["ending"], refused["stage"], refused["server"]) == ("PR", "proxy_header", "<NOSRV>")
    assert refused["reason"] == "source is not in accept_proxy.from"


@pytest.mark.parametrize("said", [b"ping", line(*IPV4) + b"ping", binary(*IPV4) + b"ping", b"PROXY nonsense"])
def test_a_direct_source_is_served_whatever_it_says(running: Any, ports: dict[str, int], said: bytes) -> None:
    assert ask_from(OTHER, ports["direct"], said) == said
    assert not [one for one in running.records(1) if one["peer"] == OTHER and one["source"] != OTHER]


def test_a_trusted_source_of_a_direct_bind_must_send_a_header_all_the_same(running: Any, ports: dict[str, int]) -> None:
    assert ask_from(TRUSTED, ports["direct"], b"ping") == b"RST"


def test_the_clients_of_a_unix_socket_are_trusted_where_it_is_listed(running: Any, record_of: Any) -> None:
    ends = fresh(IPV6)
    assert ask(f"\0{abstract('proxied')}", binary(*ends) + b"ping", socket.AF_UNIX) == b"ping"
    record = record_of(running, source_port=ends[0][1])
    assert (record["source"], record["peer"]) == (ends[0][0], "unix:")


def test_a_bind_can_be_left_out(running: Any, ports: dict[str, int]) -> None:
    assert ask(ports["off"], line(*IPV4)) == line(*IPV4)


def test_a_policy_judges_whom_the_header_names(running: Any, ports: dict[str, int], record_of: Any) -> None:
    denied, allowed = fresh(IPV4), fresh((("192.0.2.77", 1), IPV4[1]))
    assert ask(ports["denied"], binary(*denied) + b"ping") == b""
    record = record_of(running, source_port=denied[0][1])
    assert (record["ending"], record["stage"], record["source"]) == ("PR", "proxy_header", denied[0][0])
    assert ask(ports["denied"], binary(*allowed) + b"ping") == b"ping"


@pytest.mark.parametrize("begun", [b"", b"PROXY TCP4 ", binary(*IPV4)[:-1]])
def test_who_sends_no_whole_header_in_time_is_gone(
    running: Any, ports: dict[str, int], record_of: Any, begun: bytes
) -> None:
    begins = time.monotonic()
    with connect(ports["slow"]) as client:
        client.sendall(begun)
        assert hear(client) == b""
        lasted = time.monotonic() - begins
        record = record_of(running, peer_port=client.getsockname()[1])
    assert (record["ending"], record["stage"]) == ("cR", "proxy_header")
    assert SPAN_S - 0.01 <= lasted <= SPAN_S + LATE_S


def test_who_keeps_sending_bytes_of_a_header_is_gone_all_the_same(
    running: Any, ports: dict[str, int], record_of: Any
) -> None:
    with connect(ports["slow"]) as client:
        client.settimeout(SPAN_S / 10)
        begins = time.monotonic()
        for byte in binary(*IPV4, tlvs((NOOP, bytes(300)))):
            try:
                client.sendall(bytes([byte]))
                if client.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        lasted = time.monotonic() - begins
        record = record_of(running, peer_port=client.getsockname()[1])
    assert (record["ending"], record["stage"]) == ("cR", "proxy_header")
    assert SPAN_S - 0.01 <= lasted <= SPAN_S + LATE_S


# What the logs say


def test_a_text_log_shows_the_claimed_address(running: Any, ports: dict[str, int], wait: Any) -> None:
    ends = fresh(IPV4)
    assert ask(ports["text"], binary(*ends) + b"ping") == b"ping"
    log: Path = running.text_log
    begins = f"{ends[0][0]}:{ends[0][1]} ["
    assert wait(lambda: log.exists() and [one for one in log.read_text().splitlines() if begins in one], "its line")


@pytest.mark.parametrize(
    ("name", "said", "cause"),
    [
        ("all", TLS_HELLO, "looks like a TLS ClientHello: the sender does not send PROXY headers"),
        ("all", b"GET / HTTP/1.1\r\n\r\n", "looks like an HTTP request: the sender does not send PROXY headers"),
        ("versions", binary(*IPV4), "the sender sends v2, which is not accepted here"),
    ],
)
def test_a_warning_names_who_sent_what_and_why_it_may_be(
    running: Any, ports: dict[str, int], record_of: Any, name: str, said: bytes, cause: str
) -> None:
    with connect(ports[name]) as client:
        client.sendall(said)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        port = client.getsockname()[1]
    running.wait_for_stderr(f"127.0.0.1:{port}: proxy-not-a-header")
    warning = next(one for one in running.stderr().splitlines() if f"127.0.0.1:{port}:" in one)
    assert " warn " in warning
    assert f"frontend {name}: " in warning
    assert cause in warning
    record = record_of(running, peer_port=port)
    assert (record["ending"], record["stage"], record["source"]) == ("PR", "proxy_header", "127.0.0.1")
    assert record["reason"] in warning


# Sending


def test_version_1_is_sent(running: Any, ports: dict[str, int]) -> None:
    ends = fresh(IPV6)
    assert ask(ports["v1"], binary(*ends, tlvs((AWS, b"x"))) + b"ping") == line(*ends) + b"ping"


def test_haproxys_options_pass_on_what_is_known_of_tls(running: Any, ports: dict[str, int]) -> None:
    ends = fresh(IPV4)
    header, rest = told(ask(ports["options"], binary(*ends, tlvs((SSL, ABOUT_TLS), (AWS, b"x"))) + b"ping"))
    assert (header.source, header.tlvs[SSL], rest) == (ends[0], ABOUT_TLS, b"ping")
    assert set(header.tlvs) == {SSL, CRC32C, 0x05}


def test_tlvs_of_ones_own_are_filled_in(running: Any, ports: dict[str, int]) -> None:
    header, _ = told(ask(ports["tlvs"], binary(*fresh(IPV4), tlvs((AUTHORITY, b"a.example"), (AWS, b"x"))) + b"ping"))
    assert header.tlvs == {AUTHORITY: b"a.example", 0xE4: b"203.0.113.7|127.0.0.1|tlvs"}


@pytest.mark.linux
@pytest.mark.parametrize(
    ("bind", "address"),
    [("127.0.0.1:{}", "127.0.0.1:{}"), ("tcp:{}:interface=127.0.0.1", "tcp:127.0.0.1:{}")],
    ids=["streams", "endpoints"],
)
def test_the_header_and_the_clients_first_bytes_are_one_segment(
    proxy: Any, tcp_config: Any, free_port: Any, bind: str, address: str
) -> None:
    segments: list[int] = []

    def count(client: socket.socket) -> None:
        heard = b""
        while not heard.endswith(b"ping"):
            heard += client.recv(65536)
        information = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        segments.append(struct.unpack_from("I", information, 152)[0])  # tcpi_data_segs_in
        client.sendall(heard)

    counting = Server(count)
    try:
        port = free_port()
        config = tcp_config(bind.format(port), address.format(counting.port), accept_proxy=True)
        config["backends"]["app"]["send_proxy"] = "v2"
        proxy(config)
        ends = fresh(IPV4)
        assert told(ask(port, line(*ends) + b"ping")) == (Header("v2", "PROXY", *ends, {}), b"ping")
        assert segments == [1]
    finally:
        counting.close()


# Reload


def listening_inode(port: int) -> str:
    """Which socket listens on a port of 127.0.0.1."""
    for entry in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = entry.split()
        if fields[1] == f"0100007F:{port:04X}" and fields[3] == "0A":
            return fields[9]
    raise AssertionError(f"nobody listens on {port}")


@pytest.mark.linux
def test_a_reload_changes_what_is_expected_on_a_socket_that_stays_open(
    proxy: Any, tcp_config: Any, free_port: Any, server: Echo
) -> None:
    port = free_port()

    def config(accept: Any) -> Any:
        return tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}", accept_proxy=accept)

    running = proxy(config(accept=True))
    inode = listening_inode(port)
    header = binary(*IPV4)
    assert ask(port, header + b"ping") == b"ping"
    with connect(port) as begun:
        begun.sendall(header[:5])
        running.records(1)
        running.reload(config(accept=True))
        assert ask(port, header + b"ping") == b"ping"
        running.reload(config(accept=False))
        assert ask(port, header + b"ping") == header + b"ping"
        begun.sendall(header[5:] + b"still proxied")
        begun.shutdown(socket.SHUT_WR)
        assert hear(begun) == b"still proxied", "a live connection must keep what it began with"
    running.reload(config(accept={"versions": ["v1"]}))
    assert ask_from("127.0.0.1", port, header + b"ping") == b"RST"
    assert ask(port, line(*IPV4) + b"ping") == b"ping"
    assert listening_inode(port) == inode
