"""Connections to a server that wait for their next request: those that all clients share, and those of one client.

Source: HAProxy configuration.txt, "http-reuse", "pool-max-conn", "pool-purge-delay" and "max-session-srv-conns".
"""

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_lb.backends.outgoing import Outgoing
from twisted_lb.backends.target import DestinationTarget, SocketTarget, Target
from twisted_lb.config.addresses import ClientSource, HeaderSource
from twisted_lb.facts import Facts

if TYPE_CHECKING:
    from twisted_lb.backends.http_connection import ServerConnection

MOST_OWN = 5
"""Idle connections that one client may have for itself; HAProxy's number, see max-session-srv-conns."""

KeyOf = Callable[[Facts], Hashable]


class Idle:
    """Idle connections to one server, made under the settings that it has now; the one used last is taken first.

    A reload replaces this object, so what it replaces is not pooled any more. ``maximum``: how many of them; 0 keeps
    none. ``idle_s``: for how long, ``None`` for ever. ``private``: each connection belongs to the client it was made
    for. ``key_of``: works out what of a connection depends on the client; ``None`` if nothing does. ``open``: whether
    the server is in use; else none is kept.
    """

    __slots__ = (
        "_by_key",
        "_clock",
        "_count",
        "_of_clients",
        "_purge",
        "common",
        "idle_s",
        "key_of",
        "maximum",
        "open",
        "private",
    )

    def __init__(
        self,
        clock: IReactorTime,
        maximum: int,
        idle_s: float | None,
        private: bool = False,
        key_of: KeyOf | None = None,
    ) -> None:
        self.maximum = maximum
        self.idle_s = idle_s
        self.private = private
        self.key_of = key_of
        self.common = key_of is None and not private
        """Whether any client's request may go over any of them."""
        self.open = True
        self._clock = clock
        # Dicts for want of an ordered set. Each is in the order in which its members became idle.
        self._by_key: dict[Hashable, dict[ServerConnection, None]] = {}
        self._count = 0
        self._of_clients: set[ServerConnection] = set()
        self._purge: IDelayedCall | None = None

    def __len__(self) -> int:
        return self._count

    def take(self, key: Hashable = None, used: int = 0) -> "ServerConnection | None":
        """Take one of that key that has carried at least ``used`` requests."""
        waiting = self._by_key.get(key)
        if not waiting:
            return None
        if used > 1:
            connection = next((one for one in reversed(waiting) if one.used >= used), None)
            if connection is None:
                return None
            del waiting[connection]
        else:
            connection = waiting.popitem()[0]
        if not waiting and key is not None:
            del self._by_key[key]  # there may be as many keys as clients
        self._count -= 1
        connection.shelf = None
        return connection

    def put(self, connection: "ServerConnection", now: float) -> None:
        """Keep an idle connection, or close it if there are enough.

        Where they differ from client to client, the one that has waited longest makes room: its client may be gone.
        """
        if self._count >= self.maximum > 0 and self.key_of is not None:
            next(iter(next(iter(self._by_key.values())))).close()
        if self._count >= self.maximum or not self.open:
            connection.close()
            return
        connection.shelf = self
        connection.idle_since = now
        waiting = self._by_key.get(connection.key)
        if waiting is None:
            waiting = self._by_key[connection.key] = {}
        waiting[connection] = None
        self._count += 1
        if self._purge is None and self.idle_s is not None:
            self._purge = self._clock.callLater(self.idle_s, self._close_old)

    def forget(self, connection: "ServerConnection") -> None:
        """One of them has been closed."""
        waiting = self._by_key[connection.key]
        del waiting[connection]
        if not waiting:
            del self._by_key[connection.key]
        self._count -= 1

    def _close_old(self) -> None:
        self._purge = None
        assert self.idle_s is not None
        until = self._clock.seconds() - self.idle_s
        oldest = None
        for waiting in list(self._by_key.values()):
            for connection in list(waiting):
                if connection.idle_since > until:
                    oldest = connection.idle_since if oldest is None else min(oldest, connection.idle_since)
                    break
                connection.close()
        if oldest is not None:
            self._purge = self._clock.callLater(oldest - until, self._close_old)

    def close(self) -> None:
        """Close all of them, those of single clients too."""
        if self._purge is not None:
            self._purge.cancel()
            self._purge = None
        for connection in [*self._of_clients, *(one for waiting in self._by_key.values() for one in waiting)]:
            connection.close()

    def use(self, is_open: bool) -> None:
        """Say whether the server is in use; if not, all are closed, and none is kept."""
        self.open = is_open
        if not is_open:
            self.close()

    # Those of single clients, which ``Own`` keeps

    def lend(self, connection: "ServerConnection") -> None:
        """One client keeps an idle connection to this server; it is closed with all others."""
        self._of_clients.add(connection)

    def reclaim(self, connection: "ServerConnection") -> None:
        """It is not idle any more."""
        self._of_clients.discard(connection)


class Own:
    """Idle connections, to whatever servers, that belong to one client."""

    __slots__ = ("_waiting", "bound")

    def __init__(self) -> None:
        self._waiting: list[ServerConnection] = []
        self.bound = False
        """Whether one of them may be ``bound``: see ``ServerConnection``."""

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, home: Idle, key: Hashable = None) -> "ServerConnection | None":
        """Take one of that key to the server of ``home``, made under its settings; a bound one before all others.

        Who is behind a client that is a proxy may differ from request to request, and so may the key.
        """
        found = None
        for connection in self._waiting:
            if connection.home is home and connection.key == key and (found is None or connection.bound):
                found = connection
        if found is not None:
            self.forget(found)
            found.shelf = None
        return found

    def put(self, connection: "ServerConnection") -> None:
        """Keep an idle connection, or close it if there are enough or its server is not in use."""
        home = connection.home
        if len(self._waiting) >= MOST_OWN or home is None or not home.open:
            connection.close()
            return
        connection.shelf = self
        self._waiting.append(connection)
        home.lend(connection)
        self.bound = self.bound or connection.bound

    def insisted(self) -> "ServerConnection | None":
        """The one that is bound, and so has to carry the client's next request to its backend."""
        found = next((one for one in self._waiting if one.bound), None)
        self.bound = found is not None
        return found

    def forget(self, connection: "ServerConnection") -> None:
        """One of them has been closed."""
        self._waiting.remove(connection)
        if connection.home is not None:
            connection.home.reclaim(connection)

    def close(self) -> None:
        """Close all of them."""
        for connection in list(self._waiting):
            connection.close()


def belongs_to_one_client(outgoing: Outgoing | None) -> bool:
    """Whether connections come from the client's own address and port, which no other can have."""
    if outgoing is None or outgoing.source is None:
        return False
    address = outgoing.source.address
    return isinstance(address, ClientSource) and address.port


def key_for(target: Target, outgoing: Outgoing | None) -> KeyOf | None:
    """What works out how connections to ``target`` differ from client to client; ``None``: they do not.

    The name that a server is told in TLS belongs here too, once there is one.
    """
    parts: list[KeyOf] = []
    source = None if outgoing is None else outgoing.source
    if source is not None and isinstance(source.address, ClientSource | HeaderSource):
        parts.append(source.of_request)
    if outgoing is not None and outgoing.namespaces is not None:
        parts.append(lambda facts: facts.namespace)
    if isinstance(target, DestinationTarget):
        parts.append(lambda facts: facts.destination)
    elif isinstance(target, SocketTarget) and target.port_offset is not None:
        parts.append(lambda facts: facts.destination.port)
    if len(parts) > 1:
        return lambda facts: tuple(part(facts) for part in parts)
    return parts[0] if parts else None
