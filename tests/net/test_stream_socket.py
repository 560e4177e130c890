"""The addresses and the options of a stream, over each family."""

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from twisted_lb.net.stream import Stream

if TYPE_CHECKING:
    from tests.conftest import Loop
from tests.net.kinds import Waiter, nonblocking


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_connects_over_tcp_and_knows_both_addresses(loop: "Loop", host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address_type = IPv6Address if ":" in host else IPv4Address
    with socket.create_server((host, 0), family=family) as listener:
        stream = Stream(loop.poller, nonblocking(family))
        stream.connect(listener.getsockname(), waiter := Waiter())
        assert not waiter.connected, "never from within the call"
        loop.until(lambda: waiter.connected)
        far, peer = listener.accept()
        assert stream.getPeer() == address_type("TCP", *listener.getsockname())
        assert stream.getHost() == address_type("TCP", *peer)
        for option in ("TcpNoDelay", "TcpKeepAlive"):
            for value in (True, False):
                getattr(stream, f"set{option}")(value)
                assert getattr(stream, f"get{option}")() is value
        far.close()
        stream.drop()


def test_it_connects_over_unix_sockets(loop: "Loop", tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        stream = Stream(loop.poller, nonblocking(socket.AF_UNIX))
        stream.connect(path, waiter := Waiter())
        assert not waiter.connected
        loop.until(lambda: waiter.connected)
        assert stream.getPeer() == UNIXAddress(os.fsencode(path))
        assert stream.getHost() == UNIXAddress(None)
        stream.drop()
