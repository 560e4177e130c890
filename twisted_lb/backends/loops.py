"""Whether a destination that a client asked for is one of our own listeners: connecting there would never end."""

import socket
from collections.abc import Container
from typing import Any

from twisted_lb.net.namespace import Namespace

Listening = Container[tuple[Any, str, int]]
"""(identity of the namespace or ``None`` for the process's own, host, port) of each TCP listener that is open."""

_WILDCARD: dict[int, str] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


def leads_back(listening: Listening, namespace: Namespace | None, family: int, host: str, port: int) -> bool:
    """Whether a connection to ``host`` and ``port`` in ``namespace`` would come out at one of our own listeners.

    Cost: two look-ups; and a scratch socket, when a listener for every address has that port.
    """
    place = None if namespace is None or namespace.is_home else namespace.identity
    if (place, host, port) in listening:
        return True
    return (place, _WILDCARD[family], port) in listening and is_local(namespace, family, host)


def is_local(namespace: Namespace | None, family: int, host: str) -> bool:
    """Whether ``host`` is an address of the machine, as far as ``namespace`` sees it.

    For IPv4, multicast's interface is what the kernel looks up among the local addresses whatever
    ``ip_nonlocal_bind`` says; IPv6 has only ``bind``.
    """
    make = socket.SocketType if namespace is None else namespace.socket
    sock = make(family, socket.SOCK_DGRAM, 0)
    try:
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
        else:
            sock.bind((host, 0))
    except OSError:
        return False
    finally:
        sock.close()
    return True
