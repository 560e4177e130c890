"""Fixtures to put a system that speaks the PROXY protocol before or behind the proxy.

A test that fails shows what the daemons that ran meanwhile have written.
"""

import functools
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.certificates import certificate
from tests.interop.daemons import Daemons
from tests.interop.ways import Before, Behind, PutBefore
from tests.loopback.conftest import free_port, module_proxy, proxy

__all__ = ["free_port", "module_proxy", "proxy"]

_started: list[Daemons] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of every running daemon to the report of a test that failed."""
    report = yield
    if report.failed:
        for daemons in _started:
            report.sections += [(f"logs of {one.name}", one.logs()) for one in daemons.running]
    return report


@pytest.fixture(scope="module")
def daemons() -> Iterator[Daemons]:
    """Start daemons that live until the end of the module."""
    made = Daemons()
    _started.append(made)
    yield made
    _started.remove(made)
    made.stop()


@pytest.fixture(scope="module")
def behind(module_proxy: Any, free_port: Any) -> Iterator[Behind]:
    """The way for senders: the proxy, which wants a header, and a server behind it that records what it hears."""
    made = Behind(module_proxy, free_port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def put_before(module_proxy: Any, free_port: Any) -> PutBefore:
    """Put the proxy before a receiver: ``put_before(port)`` gives the way for clients."""
    return functools.partial(Before, module_proxy, free_port)


@pytest.fixture(scope="session")
def server_pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of a server."""
    return certificate("server.test", tmp_path_factory.mktemp("pem") / "server.pem")


@pytest.fixture(scope="session")
def client_pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of a client."""
    return certificate("client.test", tmp_path_factory.mktemp("pem") / "client.pem")
