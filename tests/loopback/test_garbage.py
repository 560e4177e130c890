"""Connections leave nothing behind: no object, no timer, and nothing for the garbage collector to find."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.loopback import in_process

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort

CONNECTIONS = 200


class World(in_process.World):
    """With everything switched on that a connection can meet."""

    def connect(self, number: int) -> None:
        """One connection from its beginning to its end; each in another way than the one before."""
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            if number % 5 == 1:
                client.send(b"not what is served here")
            elif number % 5 != 2:
                client.send(b"x")
            server = self.accept()
            if server is not None:
                server.send(b"answer")
                self.turn()
                if number % 5 == 3:
                    server.close()
                    self.turn()
        self.end(server)


@pytest.fixture(params=in_process.KINDS)
def world(request: pytest.FixtureRequest, free_port: "FreePort", tmp_path: Path) -> Iterator[World]:
    """One of each kind."""
    one = World(
        request.param,
        free_port(),
        access_log={"use": "json", "path": str(tmp_path / "access.json")},
        validators=[{"use": "payload", "starts_with": "x"}],
        policies=[{"use": "source", "deny": ["192.0.2.0/24"]}],
    )
    yield one
    one.close()


def test_connections_leave_nothing_behind(world: World) -> None:
    world.leaves_nothing(20, CONNECTIONS)
