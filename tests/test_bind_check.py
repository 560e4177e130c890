"""A ``bind`` entry's settings are tried before it listens, and what is wrong begins with its setting."""

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from twisted_lb.bind_check import check_bind, whole_bind
from twisted_lb.config.model import Bind, Frontend
from twisted_lb.config.tcp import ListenTcp
from twisted_lb.errors import ConfigError
from twisted_lb.net.poll import Poller
from twisted_lb.process import Process

pytestmark = pytest.mark.linux


@pytest.fixture
def process() -> Iterator[Process]:
    clock = Clock()
    poller = Poller(clock)
    yield Process(MemoryReactorClock(), clock, poller)
    poller.epoll.close()


def test_a_frontends_options_are_for_its_tcp_sockets() -> None:
    frontend = Frontend(bind=[], backend="app", tcp=ListenTcp(mark=1, priority=2))
    whole = whole_bind(frontend, Bind(address="*:80", tcp=ListenTcp(mark=3)))
    assert whole.tcp == ListenTcp(mark=3, priority=2)
    assert whole_bind(frontend, Bind(address="unix:/x")) == Bind(address="unix:/x")


def test_what_is_not_there_is_an_error_of_the_check_already(process: Process) -> None:
    with pytest.raises(ConfigError, match='namespace: "lbt-no-such": there is no'):
        check_bind(Bind(address="*:80", namespace="lbt-no-such"), process)
    with pytest.raises(ConfigError, match=r'interface: there is no "eth77" here, only .*lo'):
        check_bind(Bind(address="*:80", interface="eth77"), process)
    with pytest.raises(ConfigError, match=r"tcp\.congestion"):
        check_bind(Bind(address="*:80", tcp=ListenTcp(congestion="nope")), process)


def test_without_streams_of_ours_each_setting_is_refused() -> None:
    clock = Clock()
    bind = Bind(
        address="127.0.0.1:80",
        transparent=True,
        original_dst=True,
        interface="lo",
        namespace="x",
        tcp=ListenTcp(mark=1),
    )
    with pytest.raises(ConfigError) as caught:
        check_bind(bind, Process(MemoryReactorClock(), clock, None))
    keys = [problem.partition(": needs Linux")[0] for problem in caught.value.problems]
    assert keys == ["transparent", "original_dst", "interface", "namespace", "tcp"]
    check_bind(Bind(address="127.0.0.1:80", tcp=ListenTcp()), Process(MemoryReactorClock(), clock, None))
