"""What is done with accepted sockets beyond what they inherit, seen where it does not go well."""

import os
import socket
import struct
from typing import Any

import pytest

from twisted_lb.config.tcp import ListenTcp
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.net.accepted import arrangement, original_destination
from twisted_lb.net.sockopts import ListenOptions

ARRIVED = SocketAddress("192.0.2.9", 80)


class Accepted:
    """A socket whose kernel answers ``answer``, or refuses everything."""

    def __init__(self, family: int, answer: bytes | None) -> None:
        self.family = family
        self.answer = answer

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        if self.answer is None or len(self.answer) != size:
            raise FileNotFoundError(2, "no such entry")
        return self.answer

    def setsockopt(self, *arguments: Any) -> None:
        raise PermissionError(1, "Operation not permitted")


V4 = struct.pack("!HH4s8x", 2, 8080, socket.inet_aton("203.0.113.7"))
V6 = struct.pack("!HHI16sI", 10, 443, 0, socket.inet_pton(socket.AF_INET6, "2001:db8::7"), 0)


@pytest.mark.parametrize(
    ("family", "answer", "expected"),
    [
        (socket.AF_INET, V4, SocketAddress("203.0.113.7", 8080)),
        (socket.AF_INET6, V6, SocketAddress("2001:db8::7", 443)),
        # Seen at a socket of systemd's, which serves both: the destination of who came over IPv4 was the proxy itself.
        (socket.AF_INET6, V4, SocketAddress("::ffff:203.0.113.7", 8080)),
        (socket.AF_INET, None, None),
        (socket.AF_INET6, None, None),
    ],
)
def test_the_original_destination_is_the_kernels_answer_and_without_one_where_it_arrived(
    family: int, answer: bytes | None, expected: SocketAddress | None
) -> None:
    sock: Any = Accepted(family, answer)
    assert original_destination(sock) == expected
    facts = Facts(SocketAddress("198.51.100.1", 5), ARRIVED, "web", "*:80")
    arrange = arrangement(None, family, True, pytest.fail)
    assert arrange is not None
    arrange(sock, facts)
    assert facts.destination == (expected or ARRIVED)


def test_of_a_unix_socket_it_is_learnt_who_connected_and_no_original_destination() -> None:
    arrange = arrangement(None, socket.AF_UNIX, True, pytest.fail)
    assert arrange is not None
    facts = Facts(SocketAddress("unix:"), ARRIVED, "web", "unix:/run/web.sock")
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        arrange(ours, facts)
    assert facts.credentials is not None
    assert (facts.credentials.pid, facts.credentials.uid) == (os.getpid(), os.getuid())
    assert facts.destination == ARRIVED


def test_what_the_kernel_refuses_is_complained_of_and_the_connection_goes_on() -> None:
    said: list[str] = []
    options = ListenOptions.of(ListenTcp(priority=7, save_syn=True), socket.AF_INET, 5)
    arrange = arrangement(options, socket.AF_INET, False, said.append)
    assert arrange is not None
    sock: Any = Accepted(socket.AF_INET, None)
    arrange(sock, Facts(SocketAddress("198.51.100.1", 5), ARRIVED, "web", "*:80"))
    assert said == [
        "198.51.100.1:5: an option of tcp cannot be set on the accepted connection: Operation not permitted",
        "198.51.100.1:5: tcp.save_syn: no such entry",
    ]
