"""The policy of ``docs/how-to/write-a-plugin.md`` works as the page shows it."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import TestCase

import pytest

from tests.loopback.http_site import Site, get
from tests.plugins.shown import HOW_TO, shows
from tests.whole import run
from twisted_lb.api import IPolicy
from twisted_lb.testing import PolicyContract

EXAMPLE = HOW_TO / "example-http-policy"


@pytest.fixture(autouse=True)
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python finds the example."""
    monkeypatch.syspath_prepend(str(EXAMPLE))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for running in run(tmp_path, monkeypatch):
        made = Site(running)
        yield made
        made.close()


class TestContract(PolicyContract, TestCase):
    """What every policy promises."""

    mode = "http"

    def make_policy(self) -> IPolicy:
        module: Any = importlib.import_module("lb_api_keys")
        policy: IPolicy = module.ApiKeys(module.ApiKeysOptions(keys={"k": "alice"}))
        return policy


def test_the_page_shows_the_module_as_it_is() -> None:
    assert shows((HOW_TO / "write-a-plugin.md").read_text(), EXAMPLE / "lb_api_keys.py")


@pytest.mark.linux
def test_it_does_what_the_page_says(site: Site) -> None:
    app, fast = site.upstream(), site.upstream()
    policy = {
        "use": "api_keys",
        "keys": {"k-7f3a": "alice", "k-91c2": "bob"},
        "premium": ["bob"],
        "premium_backend": "fast",
    }
    config = site.config(app, of_frontend={"policies": [policy], "timeouts": {"tarpit": "1s"}})
    config["backends"]["fast"] = {"servers": {"s": fast.address}}
    site.running.start({"plugins": ["lb_api_keys"], **config})
    client = site.client()
    assert client.ask(get("/")) == 302
    said = client.send(get("/x")).answer()
    assert said.startswith(b"HTTP/1.1 401 ")
    assert b'\r\nWWW-Authenticate: ApiKey realm="api"\r\n' in said
    assert client.ask(get("/x", "X-API-Key: k-7f3a", "X-Customer: bob")) == 200
    assert client.ask(get("/x", "x-api-key: k-91c2")) == 200
    (of_alice,), (of_bob,) = app.asked, fast.asked
    assert b"\r\nX-Customer: alice\r\n" in of_alice
    assert b"\r\nX-Customer: bob\r\n" in of_bob
    assert b"api-key" not in (of_alice + of_bob).lower()
    assert b"bob" not in of_alice
    client.send(get("/x", "X-API-Key: wrong"))
    site.pass_time(0.9)
    assert not client.heard
    site.pass_time(0.3)
    assert client.status() == 401
    endings = [record["ending"] for record in site.running.records(5)]
    assert endings == ["LR", "PR", "--", "--", "PT"]
