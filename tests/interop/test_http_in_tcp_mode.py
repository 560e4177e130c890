"""nginx behind the validators ``http1`` and ``http2`` of TCP mode, asked by curl."""

import subprocess

import pytest

from tests.interop.daemons import Daemons
from tests.interop.front_doors import Door, FrontDoors
from tests.interop.ways import FreePort
from tests.interop.web_servers import start_nginx
from tests.loopback.conftest import StartProxy

pytestmark = [pytest.mark.linux, pytest.mark.daemon("nginx", "curl")]

NGINX = """\
    access_log off;
    server {{ listen 127.0.0.1:{plain}; location / {{ root files; }} }}
    server {{ listen 127.0.0.1:{modern} http2; location / {{ root files; }} }}
"""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LENIENT = {"use": "http1", "accept_invalid": True}
BIG = b"0123456789abcdef" * 65536


@pytest.fixture(scope="module")
def doors(daemons: Daemons, module_proxy: StartProxy, free_port: FreePort) -> FrontDoors:
    folder, plain, modern = daemons.folder(), free_port(), free_port()
    (folder / "files").mkdir()
    (folder / "files" / "big").write_bytes(BIG)
    start_nginx(daemons, folder, NGINX.format(plain=plain, modern=modern), plain, modern)
    return FrontDoors(
        module_proxy,
        free_port,
        {"http1": Door(["http1"], plain), "http2": Door(["http2"], modern), "lenient": Door([LENIENT], plain)},
    )


@pytest.mark.parametrize(
    ("name", "option", "version"), [("http1", "--http1.1", "1.1"), ("http2", "--http2-prior-knowledge", "2")]
)
def test_curl_is_answered(name: str, option: str, version: str, doors: FrontDoors) -> None:
    address = f"http://127.0.0.1:{doors.ports[name]}/big"
    command = ["curl", "-sS", option, "-w", "%{stderr}%{http_version}", address]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.stderr.decode() == version
    assert done.stdout == BIG


@pytest.mark.parametrize(
    ("name", "said", "reason", "answer"),
    [
        ("http1", b"SSH-2.0-x\r\n", "http1-method", b"HTTP/1.1 400 "),
        ("http1", b"GET / HTTP/1.1\r\n\r\n", "http1-host-missing", b"HTTP/1.1 400 "),
        ("http1", PREFACE, "http1-method-reserved", b"HTTP/1.1 400 "),
        ("http2", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "http2-preface", b""),
        ("http2", PREFACE + b"\0\0\0\1\0\0\0\0\1", "http2-frame", b"\0\0\0\4\0\0\0\0\0\0\0\x08\7"),
    ],
)
def test_who_speaks_something_else_is_refused(
    name: str, said: bytes, reason: str, answer: bytes, doors: FrontDoors
) -> None:
    heard, told = doors.refused(name, said)
    assert told == f"validator {name}: {reason}"
    assert heard.startswith(answer)
    assert bool(heard) == bool(answer)


def test_what_may_pass_reaches_the_server(doors: FrontDoors) -> None:
    heard, reason = doors.refused("lenient", b"GET / HTTP/1.1\r\n\r\n")
    assert b"Server: nginx" in heard
    assert reason == ""
