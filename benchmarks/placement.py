"""Where one start of a peer lives, and what it becomes once it runs."""

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.arrangement import Arrangement
from benchmarks.network import Network, loopback

# Each connection costs a proxy two descriptors; with splicing, HAProxy sets aside half as many again for pipes.
DESCRIPTORS_PER_CONNECTION = 2.5
SPARE_DESCRIPTORS = 1000


def connections_within(descriptors: int) -> int:
    """How many connections a proxy that may have ``descriptors`` is able to serve at once."""
    return max(1, int((descriptors - SPARE_DESCRIPTORS) / DESCRIPTORS_PER_CONNECTION))


@dataclass(frozen=True)
class Placement:
    """A private directory, a port, the ports of two servers, a descriptor limit, and what surrounds the proxy."""

    directory: Path
    port: int
    server_ports: tuple[int, int]
    descriptors: int
    arrangement: Arrangement = Arrangement.PLAIN
    network: Network = field(default_factory=loopback)

    @property
    def listen(self) -> str:
        """``HOST:PORT`` that clients connect to."""
        return f"{self.network.proxy.address}:{self.port}"

    @property
    def servers(self) -> tuple[str, str]:
        """``HOST:PORT`` of the two servers."""
        first, second = self.server_ports
        return f"{self.network.servers.address}:{first}", f"{self.network.servers.address}:{second}"


@dataclass(frozen=True)
class Target:
    """A peer that runs: the port for clients, and the process to account for (``None``: there is no proxy)."""

    name: str
    port: int
    pid: int | None
    network: Network = field(default_factory=loopback)

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect to."""
        return self.network.proxy.address, self.port

    @property
    def url(self) -> str:
        """The small page behind it."""
        return f"http://{self.network.proxy.address}:{self.port}/"
