"""Which requests share connections to a server, and what becomes of those that wait for a request."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback.http_site import Site, get, post
from tests.whole import run

pytestmark = pytest.mark.linux


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for running in run(tmp_path, monkeypatch):
        made = Site(running)
        yield made
        made.close()


def test_a_hundred_requests_of_one_client_take_one_connection(site: Site) -> None:
    server = site.upstream()
    site.start(server)
    client = site.client()
    assert [client.ask(get(f"/{number}")) for number in range(100)] == [200] * 100
    assert len(server.served) == 1
    assert len(server.asked) == 100


def test_a_hundred_clients_one_after_the_other_take_one_connection(site: Site) -> None:
    server = site.upstream()
    site.start(server)
    for _ in range(100):
        client = site.client()
        assert client.ask(get("/", "Connection: close")) == 200
        site.until(lambda client=client: client.ended, "the end of the connection")
    assert len(server.served) == 1
    assert len(server.asked) == 100
