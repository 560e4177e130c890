"""What becomes of a request at a server, and of the two connections afterwards."""

from tests.http_sessions.conftest import GET, OK, HttpWorld, Said, world
from twisted_lb.backends.http_connection import HttpBackend

__all__ = ["world"]


def test_a_connection_whose_server_wants_no_more_is_not_used_again(world: HttpWorld) -> None:
    upstream, client = world.site(reuse=HttpBackend())
    said = Said(client)
    last = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    for response in (OK, last, OK):
        world.ask(client, upstream).send(response)
        assert said() == OK, "how the server ends its connection is not the client's business"
    assert len(upstream.peers) == 2


def test_a_refused_connect_is_the_last_request(world: HttpWorld) -> None:
    # What follows it may be meant for the other end of the tunnel that is not to be.
    upstream, client = world.site()
    server = world.ask(client, upstream, b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n")
    server.send(OK.replace(b"200 OK", b"403 Forbidden"))
    assert b"Connection: close\r\n" in client.read()
    assert client.ended()


def test_a_request_that_follows_at_once_waits_for_its_turn(world: HttpWorld) -> None:
    upstream, client = world.site(reuse=HttpBackend())
    server = world.ask(client, upstream, GET + GET.replace(b"/", b"/second", 1))
    heard = Said(server)
    assert b"/second" not in heard()
    server.send(OK)
    assert heard().startswith(b"GET /second ")
    server.send(OK)
    assert client.read() == 2 * OK
