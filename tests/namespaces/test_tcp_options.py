"""``tcp``: what is asked for is what a running proxy's own sockets have, and what goes over the wire."""

import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.loopback.conftest import Proxy
from tests.namespaces.packets import number, socket_of, watching
from tests.namespaces.records import record_of
from tests.namespaces.topology import BACK, FAMILIES, FRONT, ONE, Network, net
from tests.namespaces.witness import Ends, Setting, Visit, Witness, seen_by

pytestmark = [pytest.mark.root, pytest.mark.linux, pytest.mark.daemon("ip"), pytest.mark.daemon("ss")]

IPPROTO_MPTCP, SO_BUSY_POLL = 262, 46
LINGER2, MD5SIG, FASTOPEN, NOTSENT_LOWAT, SAVE_SYN = 8, 14, 23, 25, 27
TCP, SOCKET = socket.IPPROTO_TCP, socket.SOL_SOCKET

BOTH: dict[str, Any] = {
    "nodelay": False,
    "keepalive": {"idle": "33s", "interval": "7s", "count": 4},
    "user_timeout": "12s",
    "congestion": "reno",
    "max_segment": 1200,
    "receive_buffer": "64KiB",
    "send_buffer": "32KiB",
    "notsent_lowat": "16KiB",
    "window_clamp": "48KiB",
    "mark": 7,
    "tos": 0x48,
    "priority": 5,
    "fin_wait": "9s",
    "reset_on_close": True,
    "busy_poll": "30us",
}
LISTENING = {**BOTH, "defer_accept": "3s", "fast_open": 16, "save_syn": True, "reuse_port": True}
READ_BACK: dict[str, tuple[int, int, int]] = {
    "nodelay": (TCP, socket.TCP_NODELAY, 0),
    "keepalive": (SOCKET, socket.SO_KEEPALIVE, 1),
    "keepalive.idle": (TCP, socket.TCP_KEEPIDLE, 33),
    "keepalive.interval": (TCP, socket.TCP_KEEPINTVL, 7),
    "keepalive.count": (TCP, socket.TCP_KEEPCNT, 4),
    "user_timeout": (TCP, socket.TCP_USER_TIMEOUT, 12_000),
    "receive_buffer": (SOCKET, socket.SO_RCVBUF, 2 * 65536),
    "send_buffer": (SOCKET, socket.SO_SNDBUF, 2 * 32768),
    "notsent_lowat": (TCP, NOTSENT_LOWAT, 16384),
    "window_clamp": (TCP, socket.TCP_WINDOW_CLAMP, 49152),
    "mark": (SOCKET, socket.SO_MARK, 7),
    "priority": (SOCKET, socket.SO_PRIORITY, 5),
    "fin_wait": (TCP, LINGER2, 9),
    "reset_on_close": (SOCKET, socket.SO_LINGER, 1),
    "busy_poll": (SOCKET, SO_BUSY_POLL, 30),
}
OF_LISTENERS: dict[str, tuple[int, int, int]] = {
    "defer_accept": (TCP, socket.TCP_DEFER_ACCEPT, 3),
    "fast_open": (TCP, FASTOPEN, 16),
    "save_syn": (TCP, SAVE_SYN, 1),
    "reuse_port": (SOCKET, socket.SO_REUSEPORT, 1),
}
KEY = b"secret of both"


def signature(host: str, key: bytes = KEY) -> Setting:
    """The option that signs what goes to and comes from an IPv4 address. Source: RFC 2385; struct tcp_md5sig."""
    address = struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton(host))
    return TCP, MD5SIG, address + struct.pack("=BBHi80s", 0, 0, len(key), 0, key)


@pytest.fixture(scope="module")
def special(network: Network) -> Iterator[Witness]:
    """A server that takes fast open, multipath TCP, or only what is signed."""
    network.one.set("net/ipv4/tcp_fastopen", 3)
    network.proxy.set("net/ipv4/tcp_fastopen", 3)
    network.client.set("net/ipv4/tcp_fastopen", 1)
    made = [
        Witness(network.one, "fast", (ONE["4"], 9080), options=((TCP, FASTOPEN, 16),)),
        Witness(network.one, "many", (ONE["4"], 9081), protocol=IPPROTO_MPTCP),
        Witness(network.one, "signed", (ONE["4"], 9082), options=(signature(BACK["4"]),)),
    ]
    yield made[0]
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def running(network: Network, servers: Any, special: Witness, module_proxy: Any) -> Proxy:
    """A proxy with everything set on both sides (9000), and frontends for what needs one of its own."""
    plain: dict[str, Any] = {"servers": {"s": f"{ONE['4']}:80"}}
    frontends: dict[str, Any] = {
        "all": {"bind": [f"{net(FRONT[family])}:9000" for family in FAMILIES], "backend": "all", "tcp": LISTENING},
        "all6": {"bind": f"{net(FRONT['6'])}:9001", "backend": "all6"},
        "deferred": {"bind": f"{FRONT['4']}:9002", "backend": "plain", "tcp": {"defer_accept": "10s"}},
        "fast": {"bind": f"{FRONT['4']}:9003", "backend": "fast", "tcp": {"fast_open": True}},
        "fast-silent": {"bind": f"{FRONT['4']}:9004", "backend": "fast-silent"},
        "many": {"bind": f"{FRONT['4']}:9005", "backend": "many", "tcp": {"multipath": True}},
        "signed": {"bind": f"{FRONT['4']}:9006", "backend": "signed", "tcp": {"md5_key": KEY.decode()}},
        "unsigned": {"bind": f"{FRONT['4']}:9007", "backend": "unsigned"},
        "shorter": {"bind": f"{FRONT['4']}:9008", "backend": "shorter", "tcp": {"max_segment": -100}},
        "own": {
            "bind": {"address": f"{FRONT['4']}:9009", "tcp": {"user_timeout": "2s"}},
            "backend": "own",
            "tcp": {"user_timeout": "1s", "mark": 3},
        },
    }
    backends: dict[str, Any] = {
        "plain": plain,
        "all": {"servers": {"s": f"{ONE['4']}:81"}, "tcp": BOTH},
        "all6": {"servers": {"s": f"{net(ONE['6'])}:81"}, "tcp": BOTH},
        "fast": {"servers": {"s": f"{ONE['4']}:9080"}, "send_proxy": "v1", "tcp": {"fast_open": True}},
        "fast-silent": {"servers": {"s": f"{ONE['4']}:9080"}, "tcp": {"fast_open": True}},
        "many": {"servers": {"s": f"{ONE['4']}:9081"}, "tcp": {"multipath": True}},
        "signed": {"servers": {"s": f"{ONE['4']}:9082"}, "tcp": {"md5_key": KEY.decode()}},
        "unsigned": {"servers": {"s": f"{ONE['4']}:9082"}, "timeouts": {"connect": "300ms"}, "retries": 0},
        "shorter": {**plain, "tcp": {"max_segment": -100}},
        "own": {
            "servers": {"s": {"address": f"{ONE['4']}:1080", "tcp": {"user_timeout": "2s"}}},
            "tcp": {"user_timeout": "1s", "mark": 3},
        },
    }
    started: Proxy = module_proxy({"frontends": frontends, "backends": backends}, before=network.proxy.prefix)
    return started


@pytest.fixture(scope="module", params=FAMILIES)
def visit(network: Network, running: Proxy, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A client's connection with everything set; its server is reached over IPv4."""
    with Visit(network.client, (FRONT[request.param], 9000)) as made:
        made.socket.sendall(b"something to accept it for")
        assert made.seen().server == "one"
        yield made


@pytest.mark.parametrize("key", [*READ_BACK, *OF_LISTENERS])
def test_listening_sockets_have_what_is_asked_for(running: Proxy, visit: Visit, key: str) -> None:
    level, option, expected = {**READ_BACK, **OF_LISTENERS}[key]
    with socket_of(running.pid, visit.to, "listening") as listening:
        assert number(listening, level, option) == expected


@pytest.mark.parametrize("key", READ_BACK)
def test_accepted_sockets_have_what_is_asked_for(running: Proxy, visit: Visit, key: str) -> None:
    level, option, expected = READ_BACK[key]
    with socket_of(running.pid, visit.to, "accepted") as accepted:
        assert number(accepted, level, option) == expected


@pytest.mark.parametrize("key", READ_BACK)
def test_connected_sockets_have_what_is_asked_for(running: Proxy, visit: Visit, key: str) -> None:
    level, option, expected = READ_BACK[key]
    with socket_of(running.pid, (ONE["4"], 81), "connected") as connected:
        assert number(connected, level, option) == expected


def test_the_congestion_control_and_the_keepalive_timer_are_those_that_are_set(
    network: Network, running: Proxy, visit: Visit
) -> None:
    ports = (f"sport = :{visit.to[1]} and dport = :{visit.ends[1]}", "dport = :81")
    for one in ports:
        told = network.proxy.run("ss", "-tneoi", "state", "established", f"( {one} )")
        assert " reno " in told
        assert "timer:(keepalive," in told
        assert "fwmark:0x7" in told


def test_the_type_of_service_is_set_on_both_sides(running: Proxy, visit: Visit) -> None:
    level, option = (
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if visit.socket.family == socket.AF_INET6 else (0, socket.IP_TOS)
    )
    with socket_of(running.pid, visit.to, "accepted") as accepted:
        assert number(accepted, level, option) == 0x48
    with socket_of(running.pid, (ONE["4"], 81), "connected") as connected:
        assert number(connected, 0, socket.IP_TOS) == 0x48


def test_clients_are_told_the_longest_segment(visit: Visit) -> None:
    timestamps = 12
    assert visit.socket.getsockopt(TCP, socket.TCP_MAXSEG) == 1200 - timestamps


@pytest.mark.parametrize(("family", "port"), [("4", 9000), ("6", 9001)])
def test_the_first_packet_to_a_server_has_the_segment_and_the_type_of_service(
    network: Network, running: Proxy, family: str, port: int
) -> None:
    with watching(network.one, "proxy") as wire, Visit(network.client, (FRONT[family], port)) as visit:
        visit.socket.sendall(b"hello")
        syn = wire.syn(81)
        assert visit.seen().local == (ONE[family], 81)
    assert (syn.segment, syn.tos) == (1200, 0x48)


def test_a_relative_segment_is_so_much_less_than_the_path_has_room_for(network: Network, running: Proxy) -> None:
    with watching(network.one, "proxy") as wire, Visit(network.client, (FRONT["4"], 9008)) as visit:
        assert wire.syn(80).segment == 1500 - 40 - 100
        assert visit.seen().server == "one"
        assert visit.socket.getsockopt(TCP, socket.TCP_MAXSEG) <= 1500 - 40 - 100


def test_binds_and_servers_go_before_their_frontend_and_backend_key_by_key(network: Network, running: Proxy) -> None:
    with Visit(network.client, (FRONT["4"], 9009)) as visit:
        assert visit.seen().server == "one"
        for address, end in ((visit.to, "accepted"), ((ONE["4"], 1080), "connected")):
            with socket_of(running.pid, address, end) as sock:
                assert (number(sock, TCP, socket.TCP_USER_TIMEOUT), number(sock, SOCKET, socket.SO_MARK)) == (2000, 3)


def test_a_client_that_says_nothing_is_not_accepted_yet(network: Network, running: Proxy, servers: Any) -> None:
    to: Ends = (FRONT["4"], 9002)
    before = len(servers.one.seen)
    with Visit(network.client, to) as silent:
        with Visit(network.client, to) as talking:
            talking.socket.sendall(b"hello")
            assert talking.seen().server == "one"
        assert len(servers.one.seen) == before + 1, "the silent one, who came first, was accepted"
        silent.socket.sendall(b"hello")
        assert silent.seen().server == "one"


def test_a_client_may_speak_with_its_first_packet(network: Network, running: Proxy) -> None:
    to: Ends = (FRONT["4"], 9003)
    with watching(network.proxy, "client") as wire:
        said = [fast_greeting(network, to, wire) for _ in range(2)]
    assert said == [b"", b"hello"], "the first one only asks for the cookie"


def fast_greeting(network: Network, to: Ends, wire: Any) -> bytes:
    """Connect with a greeting, hear it back, and tell how much of it was in the first packet."""
    with network.client.entered():
        client = socket.socket()
    with client, client.makefile("rb") as received:
        client.sendto(b"hello", socket.MSG_FASTOPEN, to)
        client.settimeout(5)
        assert b'"fast"' in received.readline()
        assert b"PROXY" in received.readline()
        assert received.read(5) == b"hello"
    data: bytes = wire.syn(to[1]).data
    return data


def test_what_there_is_to_say_to_a_server_goes_with_the_first_packet(network: Network, running: Proxy) -> None:
    seen_by(network.client, (FRONT["4"], 9003))  # there is a cookie for this server from now on
    with watching(network.one, "proxy") as wire, Visit(network.client, (FRONT["4"], 9003)) as visit:
        assert wire.syn(9080).data.startswith(b"PROXY TCP4 ")
        assert visit.seen().server == "fast"


def test_a_server_that_speaks_first_is_reached_in_spite_of_fast_open(network: Network, running: Proxy) -> None:
    seen_by(network.client, (FRONT["4"], 9003))  # there is a cookie for this server from now on
    assert seen_by(network.client, (FRONT["4"], 9004))[0].server == "fast"


def test_both_sides_may_be_multipath(network: Network, running: Proxy) -> None:
    with network.client.entered():
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    with watching(network.one, "proxy") as wire, client, client.makefile("rb") as received:
        client.settimeout(5)
        client.connect((FRONT["4"], 9005))
        assert wire.syn(9081).multipath
        assert b'"many"' in received.readline()
        told = network.proxy.run("ss", "-Mn", "state", "established")
        assert f"{FRONT['4']}:9005" in told
        assert f"{ONE['4']}:9081" in told


def test_a_multipath_bind_serves_plain_clients(network: Network, running: Proxy) -> None:
    assert seen_by(network.client, (FRONT["4"], 9005))[0].server == "many"


def test_connections_that_are_signed_come_about_on_both_sides(network: Network, running: Proxy) -> None:
    to, signed = (FRONT["4"], 9006), (signature(FRONT["4"]),)
    with watching(network.one, "proxy") as wire, Visit(network.client, to, options=signed) as visit:
        assert wire.syn(9082).signed
        assert visit.seen().server == "signed"
        assert visit.ask(b"x" * 10_000) == b"x" * 10_000


@pytest.mark.parametrize("options", [(), (signature(FRONT["4"], b"another"),)], ids=["unsigned", "wrongly"])
def test_a_client_without_the_key_is_not_heard(network: Network, running: Proxy, options: tuple[Setting, ...]) -> None:
    with pytest.raises(TimeoutError):
        Visit(network.client, (FRONT["4"], 9006), options=options, timeout_s=0.3)


def test_a_server_does_not_hear_who_lacks_its_key(network: Network, running: Proxy) -> None:
    with Visit(network.client, (FRONT["4"], 9007)) as visit:
        assert visit.refused()
        ends = visit.ends
    assert record_of(running, ends)["ending"] == "sC"
