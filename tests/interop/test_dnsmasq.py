"""dnsmasq behind the validator ``dns``, asked by dig over TCP."""

import subprocess

import pytest

from tests.interop.daemons import Daemons
from tests.interop.front_doors import Door, FrontDoors
from tests.interop.ways import FreePort, dial
from tests.loopback.conftest import StartProxy
from tests.wire.dns_spelling import answer, message, question

pytestmark = [pytest.mark.linux, pytest.mark.daemon("dnsmasq", "dig")]


@pytest.fixture(scope="module")
def doors(daemons: Daemons, module_proxy: StartProxy, free_port: FreePort) -> FrontDoors:
    folder, port = daemons.folder(), free_port()
    options = [
        *(
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-hosts",
            "--no-resolv",
            "--bind-interfaces",
        ),
        *("--listen-address=127.0.0.1", f"--port={port}", f"--pid-file={folder}/pid", "--user=root", "--group=root"),
        *("--address=/www.example.org/192.0.2.7", "--txt-record=long.example.org," + ",".join(["x" * 200] * 20)),
    ]
    daemons.start("dnsmasq", "dnsmasq", *options, folder=folder, ports=[port])
    every = {"use": "dns", "every_query": True}
    return FrontDoors(module_proxy, free_port, {"first": Door(["dns"], port), "every": Door([every], port)})


def dig(port: int, *words: str) -> str:
    command = ["dig", "@127.0.0.1", "-p", str(port), "+tcp", "+time=10", "+tries=1", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("name", ["first", "every"])
def test_dig_is_answered(name: str, doors: FrontDoors) -> None:
    port = doors.ports[name]
    assert dig(port, "+short", "www.example.org") == "192.0.2.7\n"
    assert dig(port, "+short", "+noedns", "WWW.Example.ORG", "A") == "192.0.2.7\n"
    assert dig(port, "+short", "+cookie", "+nsid", "+padding=300", "+dnssec", "www.example.org") == "192.0.2.7\n"
    assert dig(port, "+short", "long.example.org", "TXT").count("x") == 4000
    assert "version.bind" in dig(port, "version.bind", "CH", "TXT")


@pytest.mark.parametrize("name", ["first", "every"])
def test_dig_asks_more_than_once_on_one_connection(name: str, doors: FrontDoors) -> None:
    questions = ["www.example.org"] * 5
    assert dig(doors.ports[name], "+keepopen", "+short", *questions) == "192.0.2.7\n" * 5


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "dns-long"),
        (answer(), "dns-response"),
        (message(flags=0x2800), "dns-opcode"),
        (message(rest=b"hidden"), "dns-trailing"),
    ],
)
def test_what_is_no_query_is_refused(said: bytes, reason: str, doors: FrontDoors) -> None:
    heard, told = doors.refused("first", said)
    assert told == f"validator dns: {reason}"
    assert heard == b"" or heard[5] == 1  # a refusal is a format error


def test_a_later_message_that_is_no_query_is_refused_if_every_one_is_judged(doors: FrontDoors) -> None:
    first = message(question("www.example.org"))
    with dial(doors.ports["every"]) as client:
        client.sendall(first)
        heard = b""
        while len(heard) < 2 or len(heard) < 2 + int.from_bytes(heard[:2], "big"):
            heard += client.recv(4096)
    assert heard[2:4] == first[2:4]
    assert doors.refused("every", first + message(rest=b"hidden"))[1] == "validator dns: dns-trailing"
