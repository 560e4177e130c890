"""The network that the tests build: a client, a proxy, and two servers behind it, each in a namespace of its own.

.. code-block:: text

    client 10.1.0.2 ──── 10.1.0.1 proxy 10.2.0.1 ──── 10.2.0.2 one
           fd00:1::2   fd00:1::1        10.3.0.1 ──── 10.3.0.2 two       and so on: fd00:2::2, fd00:3::2

Everybody's default route leads through the proxy, which forwards nothing. ``FAR`` addresses are routed to ``one``,
where every one of them is somebody's; ``NOWHERE`` addresses are nobody's, and no route leads there. ``TENANT``
addresses exist twice, in ``one`` and in ``two``, and are known nowhere else.

Imported by tests, runs no test itself.
"""

import socket

from tests.namespaces.netns import Namespace, Namespaces

FAMILIES = ("4", "6")
CLIENT = {"4": "10.1.0.2", "6": "fd00:1::2"}
FRONT = {"4": "10.1.0.1", "6": "fd00:1::1"}
"""The proxy, seen from the client."""
BACK = {"4": "10.2.0.1", "6": "fd00:2::1"}
"""The proxy, seen from the server ``one``."""
ONE = {"4": "10.2.0.2", "6": "fd00:2::2"}
TWO = {"4": "10.3.0.2", "6": "fd00:3::2"}
FAR = {"4": "198.51.100.9", "6": "2001:db8:51::9"}
NOWHERE = {"4": "203.0.113.9", "6": "2001:db8:113::9"}
TENANT = {"4": "10.9.0.9", "6": "fd00:9::9"}
FOREIGN = {"4": "192.0.2.77", "6": "2001:db8:2::77"}
"""Of no interface, but answers to it come back to the proxy."""
CROWD = "10.1.1."
"""The network, a /24, of further addresses of the client."""

_FAR_NETWORK = {"4": "198.51.100.0/24", "6": "2001:db8:51::/48"}
_LINKS = ((1, "client"), (2, "one"), (3, "two"))


def net(host: str) -> str:
    """Spell a host as addresses with ports do."""
    return f"[{host}]" if ":" in host else host


def family_of(host: str) -> socket.AddressFamily:
    """The socket family of an IP address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Network:
    """The namespaces of the topology, with their links, addresses and routes."""

    def __init__(self) -> None:
        self._namespaces = Namespaces()
        self._delivers = False
        try:
            self.client, self.proxy = self.make("client"), self.make("proxy")
            self.one, self.two = self.make("one"), self.make("two")
            self._build()
        except BaseException:
            self.remove()
            raise

    def make(self, role: str) -> Namespace:
        """Make one more namespace, without any link; it is removed with the others."""
        return self._namespaces.make(role)

    def remove(self) -> None:
        """Remove everything."""
        self._namespaces.remove()

    def _build(self) -> None:
        for number, role in _LINKS:
            other: Namespace = getattr(self, role)
            self.proxy.ip(f"link add {role} type veth peer name proxy netns {other.name}", *_link(number, 1, role))
            other.ip(
                *_link(number, 2, "proxy"),
                f"route add default via 10.{number}.0.1",
                f"route add ::/0 via fd00:{number}::1",
            )
        self.proxy.ip(
            *(f"route add {_FAR_NETWORK[family]} via {ONE[family]}" for family in FAMILIES),
            f"route add {CROWD}0/24 via {CLIENT['4']}",
        )
        self.client.ip(f"route add local {CROWD}0/24 dev lo")
        self.one.ip(*(f"route add local {_FAR_NETWORK[family]} dev lo" for family in FAMILIES))
        for tenant in (self.one, self.two):
            tenant.ip(f"addr add {TENANT['4']}/32 dev lo", f"addr add {TENANT['6']}/128 dev lo nodad")

    def intercept(self, ports: dict[int, int]) -> None:
        """Let the proxy's kernel hand connections to anybody's port, a key of ``ports``, to the port that is its value.

        This is TPROXY; what servers answer to clients, whose addresses the proxy took, it hands over as well.
        """
        rules = [
            f'iifname "client" {protocol} daddr != {FRONT[family]} tcp dport {port} '
            f"tproxy {protocol} to {net(FRONT[family])}:{own} meta mark set 1 accept"
            for port, own in ports.items()
            for family, protocol in (("4", "ip"), ("6", "ip6"))
        ]
        self.proxy.nft(
            "table inet lbt { chain prerouting { type filter hook prerouting priority mangle;\n"
            + "\n".join(["meta l4proto tcp socket transparent 1 meta mark set 1 accept", *rules])
            + "\n}\n}\n"
        )
        for family in FAMILIES if not self._delivers else ():
            self.proxy.ip("rule add fwmark 1 lookup 100", _DELIVERY[family], family=family)
        self._delivers = True

    def translate(self, ports: dict[int, int], to: str) -> None:
        """As ``intercept``, but by address translation. ``to``: ``redirect``, or ``dnat`` to the address ``BACK``."""
        rules = [
            f'iifname "client" {protocol} daddr != {FRONT[family]} tcp dport {port} '
            + (f"redirect to :{own}" if to == "redirect" else f"dnat {protocol} to {net(BACK[family])}:{own}")
            for port, own in ports.items()
            for family, protocol in (("4", "ip"), ("6", "ip6"))
        ]
        self.proxy.nft(
            "table inet lbt { chain prerouting { type nat hook prerouting priority dstnat;\n"
            + "\n".join(rules)
            + "\n}\n}\n"
        )

    def take_answers(self) -> None:
        """Let the proxy's kernel hand over what servers answer to addresses that are not the proxy's."""
        self.intercept({})


_DELIVERY = {
    "4": "route add local 0.0.0.0/0 dev lo table 100",
    "6": "route add local ::/0 dev lo table 100",
}
"""Any address is this machine's own."""


def _link(number: int, end: int, interface: str) -> list[str]:
    return [
        f"addr add 10.{number}.0.{end}/24 dev {interface}",
        f"addr add fd00:{number}::{end}/64 dev {interface} nodad",
        f"link set {interface} up",
    ]
