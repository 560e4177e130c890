"""Where clients, proxy and servers are: on loopback, or in three network namespaces in a row."""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TypeVar

from benchmarks.errors import LoadFailedError, MissingProgramError
from benchmarks.process import HOST, signals_held
from benchmarks.programs import find_program

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
IP_DEADLINE_S = 10
# Each closed connection blocks its pair of ports for a minute; a run takes the next address, and there are enough.
SOURCES = 100
LOCAL_TABLE = 100
NAMESPACED = {"clients": "192.0.2.2", "proxy": "192.0.2.1", "servers": "198.51.100.2"}
"""The addresses of the three; of those kept for documentation, so that nothing else has them."""
PROXY_TO_SERVERS = "198.51.100.1"


@dataclass(frozen=True)
class Place:
    """A network stack: the address that others reach it by, and its namespace (``None``: the one we are in)."""

    address: str
    namespace: str | None = None

    def command(self, words: Sequence[str]) -> list[str]:
        """The command that runs ``words`` there; the process keeps its id."""
        if self.namespace is None:
            return list(words)
        return [find_program("ip"), "netns", "exec", self.namespace, *words]

    def call(self, function: Callable[[], T]) -> T:
        """Call ``function`` there: in a namespace, on a thread of its own, that ends in it."""
        if self.namespace is None:
            return function()
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_enter, self.namespace).result()
            return thread.submit(function).result()


@dataclass(frozen=True)
class Network:
    """The places of a workload, and the addresses that its clients come from, a new one for each run."""

    clients: Place
    proxy: Place
    servers: Place
    sources: Iterator[str]


def loopback() -> Network:
    """Everything on 127.0.0.1; clients also have the rest of 127.0.0.0/24."""
    here = Place(HOST)
    return Network(here, here, here, cycle(_following("127.0.0.2")))


def check_namespaces() -> None:
    """Whether ``namespaces`` has what it needs.

    Raises: MissingProgramError when we are not root or iproute2 is not installed.
    """
    if os.geteuid() != 0:
        raise MissingProgramError("it builds network namespaces: run it as root")
    find_program("ip")


@contextmanager
def namespaces() -> Iterator[Network]:
    """Build a namespace each for clients, proxy and servers, joined by two veth pairs; remove them on the way out.

    What comes to the proxy's from the servers belongs to the proxy, whatever address it is for: that is all the routing
    that answers to a spoofed address need, and it needs no packet filter.

    Raises: MissingProgramError as ``check_namespaces``; LoadFailedError when the kernel refuses.
    """
    check_namespaces()
    names = {role: f"benchmark-{os.getpid()}-{role}" for role in NAMESPACED}
    with ExitStack() as built:
        for name in names.values():
            with signals_held():
                _ip(["netns", "add", name])
                built.callback(_remove, name)
        _ip(["-n", names["proxy"], "-batch", "-"], _proxy_commands(names))
        _ip(["-n", names["clients"], "-batch", "-"], _client_commands())
        _ip(["-n", names["servers"], "-batch", "-"], _server_commands())
        places = {role: Place(NAMESPACED[role], name) for role, name in names.items()}
        places["proxy"].call(_trust_every_path)
        yield Network(**places, sources=cycle(_following(NAMESPACED["clients"])))


def _proxy_commands(names: dict[str, str]) -> list[str]:
    return [
        "link set lo up",
        f"link add clients type veth peer name proxy netns {names['clients']}",
        f"link add servers type veth peer name proxy netns {names['servers']}",
        f"addr add {NAMESPACED['proxy']}/24 dev clients",
        f"addr add {PROXY_TO_SERVERS}/24 dev servers",
        "link set clients up",
        "link set servers up",
        f"rule add iif servers lookup {LOCAL_TABLE}",
        f"route add local default dev lo table {LOCAL_TABLE}",
    ]


def _client_commands() -> list[str]:
    addresses = [f"addr add {address}/24 dev proxy" for address in _following(NAMESPACED["clients"])]
    return ["link set lo up", *addresses, "link set proxy up"]


def _server_commands() -> list[str]:
    return [
        "link set lo up",
        f"addr add {NAMESPACED['servers']}/24 dev proxy",
        "link set proxy up",
        f"route add default via {PROXY_TO_SERVERS}",
    ]


def _following(first: str) -> list[str]:
    """``SOURCES`` addresses from ``first`` on."""
    network, _, number = first.rpartition(".")
    return [f"{network}.{int(number) + offset}" for offset in range(SOURCES)]


def _ip(arguments: list[str], lines: Sequence[str] = ()) -> None:
    ended = subprocess.run(
        [find_program("ip"), *arguments],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=IP_DEADLINE_S,
        check=False,
    )
    if ended.returncode:
        raise LoadFailedError(f"ip {' '.join(arguments)}: {' / '.join(ended.stderr.split(chr(10))[:3])}")


def _remove(namespace: str) -> None:
    with signals_held(), suppress(LoadFailedError):
        _ip(["netns", "del", namespace])


def _trust_every_path() -> None:
    """Turn reverse path filtering off, which a distribution may turn on; ``/proc/sys/net`` is the calling thread's."""
    for path in Path("/proc/sys/net/ipv4/conf").glob("*/rp_filter"):
        path.write_text("0")


def _enter(namespace: str) -> None:
    """Move the calling thread into ``namespace``. Source: setns(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns to {namespace}")
    finally:
        os.close(descriptor)
