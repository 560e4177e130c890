"""Twisted's own ``portforward`` as a peer. Usage: ``portforward.py PORT SERVER_PORT...``

The epoll reactor, no logging; the one thing added is that connections go to the servers in turn.
"""

import sys
from itertools import cycle
from typing import Any

from twisted.internet import epollreactor
from twisted.protocols import portforward


class RoundRobin(portforward.ProxyFactory):
    """Each connection goes to the next server port; the protocol reads ``port`` as soon as it is connected."""

    noisy = False

    def __init__(self, host: str, ports: list[int]) -> None:
        super().__init__(host, ports[0])
        self._ports = cycle(ports)

    def buildProtocol(self, *arguments: Any) -> Any:
        """Choose the server, then build as the parent does."""
        self.port = next(self._ports)
        return super().buildProtocol(*arguments)


def main(port: int, server_ports: list[int]) -> None:
    """Serve on ``port`` until a signal comes."""
    epollreactor.install()
    from twisted.internet import reactor

    portforward.ProxyClientFactory.noisy = False
    factory = RoundRobin("127.0.0.1", server_ports)
    reactor.listenTCP(port, factory, backlog=4096, interface="127.0.0.1")  # type: ignore[arg-type]
    reactor.run()


if __name__ == "__main__":
    listen, *servers = (int(argument) for argument in sys.argv[1:])
    main(listen, servers)
