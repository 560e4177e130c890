"""Every option of ``tcp``, read back from real sockets: the listening one, the accepted one, the connected one."""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from twisted_lb.config.tcp import ConnectTcp, Keepalive, ListenTcp
from twisted_lb.config.units import Duration, Size
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.net import sockopts
from twisted_lb.net.accepted import SAVED_SYN, arrangement
from twisted_lb.net.listening import IpOptions, open_tcp
from twisted_lb.net.sockopts import ConnectOptions, ListenOptions

pytestmark = pytest.mark.linux

TCP, SOL = socket.IPPROTO_TCP, socket.SOL_SOCKET
HOSTS: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FAMILIES = pytest.mark.parametrize("family", HOSTS, ids=["v4", "v6"])
MPTCP = ListenTcp(multipath=True)


@contextlib.contextmanager
def connected(
    family: int, listen: ListenTcp, connect: ConnectTcp, data: bytes = b"x"
) -> Iterator[tuple[socket.socket, socket.socket, socket.socket, Facts]]:
    """A listening socket, the accepted one with its facts, and the one that connected, all made as the proxy does."""
    refusals: list[str] = []
    arrange = arrangement(ListenOptions.of(listen, family, 16), family, False, refusals.append)
    options = ConnectOptions.of(connect, family)
    with contextlib.ExitStack() as stack:
        listening = open_tcp(family, (HOSTS[family], 0), 16, IpOptions(listen))
        stack.callback(listening.close)
        client = stack.enter_context(socket.socket(family, socket.SOCK_STREAM, options.protocol))
        client.settimeout(5)
        options.apply(client, listening.getsockname(), data_first=bool(data))
        client.connect(listening.getsockname())
        client.sendall(data)
        listening.settimeout(5)
        accepted, _ = socket.socket.accept(listening)  # type: ignore[arg-type]
        stack.enter_context(accepted)
        facts = Facts(SocketAddress("127.0.0.1", 1), SocketAddress("127.0.0.1", 2), "web", "*:2")
        if arrange is not None:
            arrange(accepted, facts)
        assert refusals == []
        yield listening, accepted, client, facts  # type: ignore[misc]


S = Duration
SHARED: dict[str, tuple[dict[str, Any], int, int, Any]] = {
    "nodelay": ({}, TCP, 1, 1),
    "nodelay off": ({"nodelay": False}, TCP, 1, 0),
    "keepalive": ({"keepalive": True}, SOL, socket.SO_KEEPALIVE, 1),
    "keepalive by its table": ({"keepalive": Keepalive()}, SOL, socket.SO_KEEPALIVE, 1),
    "idle": ({"keepalive": Keepalive(idle=S(33))}, TCP, 4, 33),
    "interval, rounded up": ({"keepalive": Keepalive(interval=S(6.1))}, TCP, 5, 7),
    "count": ({"keepalive": Keepalive(count=3)}, TCP, 6, 3),
    "user_timeout": ({"user_timeout": S(1.5)}, TCP, 18, 1500),
    "congestion": ({"congestion": "reno"}, TCP, 13, b"reno"),
    "receive_buffer": ({"receive_buffer": Size(20000)}, SOL, socket.SO_RCVBUF, 40000),
    "send_buffer": ({"send_buffer": Size(20000)}, SOL, socket.SO_SNDBUF, 40000),
    "notsent_lowat": ({"notsent_lowat": Size(16384)}, TCP, 25, 16384),
    "window_clamp": ({"window_clamp": Size(8000)}, TCP, 10, 8000),
    "priority": ({"priority": 5}, SOL, socket.SO_PRIORITY, 5),
    "priority beside tos": ({"priority": 5, "tos": 0x10}, SOL, socket.SO_PRIORITY, 5),
    "fin_wait": ({"fin_wait": S(9)}, TCP, 8, 9),
    "reset_on_close": ({"reset_on_close": True}, SOL, socket.SO_LINGER, struct.pack("ii", 1, 0)),
    "reset_on_close off": ({"reset_on_close": False}, SOL, socket.SO_LINGER, struct.pack("ii", 0, 0)),
}
ROOTS: dict[str, tuple[dict[str, Any], int, int, Any]] = {
    "mark": ({"mark": 0x80000005}, SOL, 36, struct.unpack("=i", struct.pack("=I", 0x80000005))[0]),
    "busy_poll": ({"busy_poll": S(0.00005)}, SOL, 46, 50),
    "priority": ({"priority": 15}, SOL, socket.SO_PRIORITY, 15),
}


def option_of(sock: socket.socket, level: int, option: int, like: Any) -> Any:
    if isinstance(like, bytes):
        return sock.getsockopt(level, option, 16)[: len(like)]
    return sock.getsockopt(level, option)


def read_back(family: int, settings: dict[str, Any], level: int, option: int, expected: Any) -> None:
    ListenOptions.of(ListenTcp(**settings), family, 16).check()
    ConnectOptions.of(ConnectTcp(**settings), family).check()
    with connected(family, ListenTcp(**settings), ConnectTcp(**settings)) as (*socks, _):
        assert [option_of(sock, level, option, expected) for sock in socks] == [expected] * 3


@FAMILIES
@pytest.mark.parametrize(("settings", "level", "option", "expected"), SHARED.values(), ids=list(SHARED))
def test_an_option_is_that_of_all_three_sockets(
    family: int, settings: dict[str, Any], level: int, option: int, expected: Any
) -> None:
    read_back(family, settings, level, option, expected)


@pytest.mark.root
@FAMILIES
@pytest.mark.parametrize(("settings", "level", "option", "expected"), ROOTS.values(), ids=list(ROOTS))
def test_an_option_for_the_privileged_is_that_of_all_three_sockets(
    family: int, settings: dict[str, Any], level: int, option: int, expected: Any
) -> None:
    read_back(family, settings, level, option, expected)


@pytest.mark.parametrize(("family", "level", "option"), [(socket.AF_INET, 0, 1), (socket.AF_INET6, 41, 67)])
def test_tos_is_the_traffic_class_over_ipv6(family: int, level: int, option: int) -> None:
    read_back(family, {"tos": 0x20}, level, option, 0x20)


@FAMILIES
def test_a_segment_has_room_for_the_bytes_that_were_said(family: int) -> None:
    tcp: dict[str, Any] = {"max_segment": 600}
    with connected(family, ListenTcp(**tcp), ConnectTcp()) as (listening, accepted, client, _):
        assert listening.getsockopt(TCP, socket.TCP_MAXSEG) == 600
        # TCP's timestamps take 12 of them.
        assert [sock.getsockopt(TCP, socket.TCP_MAXSEG) for sock in (accepted, client)] == [588, 588]
    with connected(family, ListenTcp(), ConnectTcp(**tcp)) as (_, accepted, client, _):
        assert [sock.getsockopt(TCP, socket.TCP_MAXSEG) for sock in (accepted, client)] == [588, 588]


@pytest.mark.parametrize("quickack", [True, False])
def test_quickack_is_set_on_each_accepted_socket(quickack: bool) -> None:
    """The kernel goes its own way afterwards, and a listener hands nothing of it down."""
    with connected(socket.AF_INET, ListenTcp(quickack=quickack), ConnectTcp()) as (_, accepted, _, _):
        assert accepted.getsockopt(TCP, socket.TCP_QUICKACK) == int(quickack)
    options = ConnectOptions.of(ConnectTcp(quickack=quickack), socket.AF_INET)
    with socket.socket() as sock:
        options.apply(sock, ("127.0.0.1", 1), data_first=False)
        assert sock.getsockopt(TCP, socket.TCP_QUICKACK) == int(quickack)


def test_a_usual_listener_has_nothing_to_do_for_each_connection() -> None:
    tcp = ListenTcp(keepalive=True, user_timeout=S(3), congestion="reno", tos=32, max_segment=-20, defer_accept=S(1))
    for one in (ListenTcp(), tcp):
        assert arrangement(ListenOptions.of(one, socket.AF_INET, 5), socket.AF_INET, False, pytest.fail) is None


LISTENING: dict[str, tuple[ListenTcp, int, int, int]] = {
    "defer_accept, rounded up": (ListenTcp(defer_accept=S(2.5)), TCP, 9, 3),
    "fast_open": (ListenTcp(fast_open=7), TCP, 23, 7),
    "fast_open, as long as the backlog": (ListenTcp(fast_open=True), TCP, 23, 16),
    "fast_open off": (ListenTcp(fast_open=False), TCP, 23, 0),
    "save_syn": (ListenTcp(save_syn=True), TCP, 27, 1),
    "reuse_port": (ListenTcp(reuse_port=True), SOL, 15, 1),
    "no reuse_port": (ListenTcp(), SOL, 15, 0),
}


@FAMILIES
@pytest.mark.parametrize(("tcp", "level", "option", "expected"), LISTENING.values(), ids=list(LISTENING))
def test_an_option_of_listeners_alone(family: int, tcp: ListenTcp, level: int, option: int, expected: int) -> None:
    with connected(family, tcp, ConnectTcp()) as (listening, *_):
        assert listening.getsockopt(level, option) == expected


@FAMILIES
def test_save_syn_gives_the_headers_of_the_clients_syn(family: int) -> None:
    with connected(family, ListenTcp(save_syn=True), ConnectTcp()) as (_, _, client, facts):
        syn = facts.learnt[SAVED_SYN]
        assert syn[0] >> 4 == (6 if family == socket.AF_INET6 else 4)
        ports = syn[40:42] if family == socket.AF_INET6 else syn[20:22]
        assert int.from_bytes(ports, "big") == client.getsockname()[1]


@FAMILIES
@pytest.mark.parametrize("data_first", [True, False])
def test_fast_open_is_for_connections_that_have_something_to_say(family: int, data_first: bool) -> None:
    options = ConnectOptions.of(ConnectTcp(fast_open=True), family)
    options.check()
    with socket.socket(family) as sock:
        options.apply(sock, (HOSTS[family], 1), data_first)
        assert sock.getsockopt(TCP, sockopts.TCP_FASTOPEN_CONNECT) == int(data_first)


@FAMILIES
def test_packets_are_signed_and_those_of_another_key_are_not_seen(family: int) -> None:
    listen = ListenTcp(md5_key="secret")
    ListenOptions.of(listen, family, 1).check()
    ConnectOptions.of(ConnectTcp(md5_key="secret"), family).check()
    with connected(family, listen, ConnectTcp(md5_key="secret")) as (listening, accepted, _, _):
        assert accepted.recv(1) == b"x"
        for other in (ConnectTcp(md5_key="other"), ConnectTcp()):
            with socket.socket(family) as sock:
                ConnectOptions.of(other, family).apply(sock, listening.getsockname(), data_first=False)
                sock.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    sock.connect(listening.getsockname())


@FAMILIES
def test_multipath_sockets_speak_it_with_one_another(family: int) -> None:
    with connected(family, MPTCP, ConnectTcp(multipath=True)) as (*socks, _):
        protocols = [sock.getsockopt(SOL, socket.SO_PROTOCOL) for sock in socks]
        assert protocols == [sockopts.IPPROTO_MPTCP] * 3


@pytest.mark.root
@FAMILIES
def test_who_speaks_plain_tcp_to_a_multipath_listener_has_its_options_too(family: int) -> None:
    """Seen: what the kernel accepts then has the defaults of some, although the listener had them set."""
    tcp = ListenTcp(multipath=True, notsent_lowat=Size(16384), busy_poll=S(0.00005), priority=5, keepalive=True)
    with connected(family, tcp, ConnectTcp()) as (_, accepted, _, _):
        assert accepted.getsockopt(SOL, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
        assert accepted.getsockopt(TCP, 25) == 16384
        assert accepted.getsockopt(SOL, 46) == 50
        assert accepted.getsockopt(SOL, socket.SO_PRIORITY) == 5
        assert accepted.getsockopt(TCP, socket.TCP_NODELAY) == 1
        assert accepted.getsockopt(SOL, socket.SO_KEEPALIVE) == 1


WITHOUT_MULTIPATH: dict[str, Any] = {
    "quickack": False,
    "user_timeout": S(5),
    "window_clamp": Size(8000),
    "fin_wait": S(5),
    "md5_key": "k",
}


def test_over_ipv6_the_traffic_class_cannot_be_combined_with_multipath() -> None:
    """It seems to work on the socket of a client that speaks plain TCP to a multipath listener: that is a plain one."""
    listening, connecting = ListenTcp(tos=32, multipath=True), ConnectTcp(tos=32, multipath=True)
    ListenOptions.of(listening, socket.AF_INET, 5).check()
    ConnectOptions.of(connecting, socket.AF_INET).check()
    with pytest.raises(ConfigError, match=r"^tcp\.tos: cannot be used with tcp\.multipath"):
        ListenOptions.of(listening, socket.AF_INET6, 5).check()
    with pytest.raises(ConfigError, match=r"^tcp\.tos: cannot be used with tcp\.multipath"):
        ConnectOptions.of(connecting, socket.AF_INET6).check()


@pytest.mark.parametrize("key", [*WITHOUT_MULTIPATH, "save_syn"])
def test_what_cannot_be_combined_with_multipath_is_said(key: str) -> None:
    settings = {key: WITHOUT_MULTIPATH.get(key, True), "multipath": True}
    tries: list[Any] = [ListenOptions.of(ListenTcp(**settings), socket.AF_INET, 5).check]
    if key in WITHOUT_MULTIPATH:
        tries.append(ConnectOptions.of(ConnectTcp(**settings), socket.AF_INET).check)
    for check in tries:
        with pytest.raises(ConfigError, match=rf"^tcp\.{key}: cannot be used with tcp\.multipath"):
            check()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "congestion": ({"congestion": "nope"}, 'tcp.congestion: this kernel knows no "nope", only .*reno'),
    "max_segment": ({"max_segment": 50}, "tcp.max_segment: 50: this kernel does not take this value"),
    "tos": ({"tos": 3}, "tcp.tos: 3: the two lowest bits are the kernel's own"),
    "fin_wait": ({"fin_wait": S(500)}, "tcp.fin_wait: 500 is too much: this kernel waits 120 s at most"),
    "receive_buffer": ({"receive_buffer": Size(1 << 30)}, r"tcp.receive_buffer: \d+ is too much: .*rmem_max allows"),
    "send_buffer": ({"send_buffer": Size(1 << 30)}, r"tcp.send_buffer: \d+ is too much: .*wmem_max allows"),
    "idle": ({"keepalive": Keepalive(idle=S(0))}, "tcp.keepalive.idle: 0: this kernel does not take this value"),
    "user_timeout": ({"user_timeout": S(1e9)}, "tcp.user_timeout: is too much for this kernel"),
}


@pytest.mark.parametrize(("settings", "said"), REFUSED.values(), ids=list(REFUSED))
def test_what_this_kernel_refuses_or_cuts_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ListenOptions.of(ListenTcp(**settings), socket.AF_INET, 5).check()
    with pytest.raises(ConfigError, match=said):
        ConnectOptions.of(ConnectTcp(**settings), socket.AF_INET).check()


def test_all_that_is_refused_is_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ListenOptions.of(ListenTcp(congestion="nope", max_segment=50, defer_accept=S(1e6)), socket.AF_INET, 5).check()
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "tcp.congestion",
        "tcp.max_segment",
        "tcp.defer_accept",
    ]


class Refusing(socket.SocketType):
    """A socket of somebody without privileges."""

    def setsockopt(self, *arguments: Any) -> None:
        raise PermissionError(1, os.strerror(1))


@pytest.mark.parametrize(
    ("settings", "needed"),
    [({"mark": 1}, "CAP_NET_ADMIN or CAP_NET_RAW"), ({"priority": 7}, "from 7 on"), ({"busy_poll": S(1)}, "busy_read")],
)
def test_a_missing_privilege_is_named(settings: dict[str, Any], needed: str) -> None:
    with pytest.raises(ConfigError, match=f"needs .*{needed}"):
        ListenOptions.of(ListenTcp(**settings), socket.AF_INET, 5).check(Refusing)


def test_a_kernel_without_multipath_is_named() -> None:
    def make(family: int, type: int, proto: int) -> Any:
        raise OSError(93, os.strerror(93))

    with pytest.raises(ConfigError, match=r"tcp\.multipath: this kernel has none: .*net\.mptcp\.enabled"):
        ListenOptions.of(MPTCP, socket.AF_INET, 5).check(make)


def test_a_relative_segment_that_leaves_too_little_is_an_error() -> None:
    options = ListenOptions.of(ListenTcp(max_segment=-1400), socket.AF_INET, 5)
    assert options.segment_within(1600) == 160
    with pytest.raises(ConfigError, match="leaves 60, and TCP needs 88"):
        options.segment_within(1500)
