"""The table store ``redis``: what is sent, how it connects again, and what the script does in a real Redis."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import TestCase

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.conftest import SYSTEM_PATH
from twisted_lb.api import ConfigError, ITableStore, Shared, TableBatch, TableEntry, TableReply
from twisted_lb.testing import TableStoreContract
from twisted_lb_plugins.table_store_redis import (
    SCRIPT,
    RedisOptions,
    RedisStore,
    endpoint_of,
    lb_table_stores,
)

BATCH = TableBatch("t", "one", 10_000, 60_000, 5_000, ["connection", "gpc0"], [TableEntry(b"k", 1, [2, 3])])
ASKED = b"EVAL"


class Transport(StringTransport):
    """A transport that can be aborted."""

    aborted = False

    def abortConnection(self) -> None:
        """See ``ITCPTransport``."""
        self.aborted = True


class Way:
    """An endpoint whose connections the test opens and closes; ``attempts`` wait."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Any, Deferred[Any]]] = []

    def connect(self, factory: Any) -> "Deferred[Any]":
        """See ``IStreamClientEndpoint``."""
        waiting: Deferred[Any] = Deferred()
        self.attempts.append((factory, waiting))
        return waiting

    def accept(self) -> Any:
        """Let the last attempt succeed; the protocol."""
        factory, waiting = self.attempts[-1]
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(Transport())  # type: ignore[no-untyped-call]
        waiting.callback(protocol)
        return protocol

    def refuse(self) -> None:
        """Let the last attempt fail."""
        self.attempts[-1][1].errback(ConnectionRefusedError("refused"))


class Setup:
    """A store with a clock and a way to connect."""

    def __init__(self, **options: Any) -> None:
        from txredisapi import RedisProtocol

        self.clock, self.way = Clock(), Way()
        endpoint: Any = self.way
        self.store = RedisStore(RedisOptions(**options), endpoint, RedisProtocol, self.clock)
        self.store.open()

    def connected(self) -> Any:
        protocol = self.way.accept()
        protocol.dataReceived(b"+PONG\r\n")
        protocol.transport.clear()
        return protocol

    def exchange(self) -> list[Any]:
        results: list[Any] = []
        self.last = self.store.exchange(BATCH)
        self.last.addBoth(results.append)
        return results


def reply(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def test_it_is_a_table_store() -> None:
    assert verifyObject(ITableStore, Setup().store)
    assert lb_table_stores()["redis"].runtime


def test_it_says_who_it_is_before_it_asks() -> None:
    setup = Setup(username="lb", password="sesame", db=3)
    protocol = setup.way.accept()
    said = b""
    for _ in range(3):
        said += protocol.transport.value()
        protocol.transport.clear()
        protocol.dataReceived(b"+OK\r\n")
    assert [word for word in said.split(b"\r\n") if word.isalpha() or word == b"3"] == [
        *(b"AUTH", b"lb", b"sesame"),
        *(b"SELECT", b"3"),
        b"PING",
    ]


def test_an_exchange_is_one_command_and_its_reply_is_read() -> None:
    setup = Setup(prefix="lb")
    protocol = setup.connected()
    results = setup.exchange()
    words = protocol.transport.value().split(b"\r\n")
    assert ASKED in words
    for word in (
        b"lb:{t:10000}:k",
        b"lb:{t:10000}:",
        b"one",
        b"10000",
        b"60000",
        b"5000",
        b"connection gpc0",
        b"1 1 2 3",
    ):
        assert word in words
    protocol.dataReceived(reply(b"2500 1 4 10 7 3 20 8 2"))
    assert results == [TableReply(2500, True, [Shared(4, [10, 20], [7, 8], [3, 2])])]


@pytest.mark.parametrize("text", [b"", b"1 1", b"1 1 2 3 4", b"a b c", b"1 1 " + b"1 " * 8])
def test_nonsense_from_redis_is_a_failure(text: bytes) -> None:
    setup = Setup()
    protocol = setup.connected()
    results = setup.exchange()
    protocol.dataReceived(reply(text))
    assert isinstance(results[0], Failure)


def test_an_error_from_redis_is_a_failure() -> None:
    setup = Setup()
    protocol = setup.connected()
    results = setup.exchange()
    protocol.dataReceived(b"-OOM command not allowed\r\n")
    assert "OOM" in str(results[0].value)


def test_what_is_asked_at_the_start_waits_for_the_first_connection() -> None:
    setup = Setup()
    results = setup.exchange()
    assert results == []
    protocol = setup.connected()
    assert results == []
    protocol.dataReceived(reply(b"0 1 0 0 0 0 0 0 0"))
    assert isinstance(results[0], TableReply)


def test_without_a_connection_it_fails_at_once_and_says_why() -> None:
    setup = Setup()
    setup.way.refuse()
    assert "not connected to Redis: ConnectionRefusedError" in str(setup.exchange()[0].value)


def test_it_connects_again_with_bounded_pauses() -> None:
    setup = Setup()
    pauses = []
    for _ in range(12):
        setup.way.refuse()
        made, began = len(setup.way.attempts), setup.clock.seconds()
        while len(setup.way.attempts) == made:
            setup.clock.advance(0.01)
        pauses.append(setup.clock.seconds() - began)
    assert pauses[0] < 0.2
    assert 3 < pauses[-1] < 7
    protocol = setup.connected()
    protocol.connectionLost(Failure(ConnectionError("lost")))
    setup.clock.advance(0.2)
    assert len(setup.way.attempts) == 14, "after a connection that worked it is quick again"


def test_who_accepts_and_says_nothing_is_given_up() -> None:
    setup = Setup()
    protocol = setup.way.accept()
    setup.clock.advance(5.1)
    assert protocol.transport.aborted
    assert "TimeoutError" in str(setup.exchange()[0].value)


def test_a_wrong_password_is_the_reason_and_tried_again() -> None:
    setup = Setup(password="wrong")
    protocol = setup.way.accept()
    protocol.dataReceived(b"-WRONGPASS invalid\r\n")
    assert protocol.transport.aborted
    assert "WRONGPASS" in str(setup.exchange()[0].value)
    setup.clock.advance(1)
    assert len(setup.way.attempts) == 2


def test_an_exchange_that_is_given_up_costs_the_connection() -> None:
    setup = Setup()
    protocol = setup.connected()
    setup.exchange()
    setup.last.cancel()
    assert protocol.transport.aborted


def test_a_lost_connection_fails_what_was_under_way() -> None:
    setup = Setup()
    protocol = setup.connected()
    results = setup.exchange()
    protocol.connectionLost(Failure(ConnectionError("lost")))
    assert isinstance(results[0], Failure)
    assert isinstance(setup.exchange()[0], Failure)


@pytest.mark.parametrize("state", ["connecting", "introducing", "connected", "pausing"])
def test_closed_it_leaves_nothing_behind(state: str) -> None:
    setup = Setup()
    protocol = None
    if state == "introducing":
        protocol = setup.way.accept()
    elif state == "connected":
        protocol = setup.connected()
    elif state == "pausing":
        setup.way.refuse()
    setup.store.close()
    setup.clock.advance(60)
    assert setup.clock.getDelayedCalls() == []
    assert len(setup.way.attempts) == 1
    assert protocol is None or protocol.transport.aborted


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1:6379", HostnameEndpoint),
        ("[::1]:6379", HostnameEndpoint),
        ("redis.example:6379", HostnameEndpoint),
        ("unix:/run/redis.sock", UNIXClientEndpoint),
    ],
)
def test_an_address_may_be_spelt_in_several_ways(address: str, kind: type) -> None:
    from twisted.internet.testing import MemoryReactorClock

    assert isinstance(endpoint_of(address, MemoryReactorClock()), kind)


@pytest.mark.parametrize("address", ["redis.example", "nothing:x", "127.0.0.1:66666", ":6379"])
def test_what_is_no_address_is_an_error(address: str) -> None:
    from twisted.internet.testing import MemoryReactorClock

    with pytest.raises(ConfigError, match="neither HOST:PORT nor a client's endpoint"):
        endpoint_of(address, MemoryReactorClock())


# The script, in a real Redis


class Redis:
    """A connection to a Redis, and what machines tell it."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rwb")

    def command(self, *words: Any) -> Any:
        spelt = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self._file.write(b"*%d\r\n" % len(spelt) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in spelt))
        self._file.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        assert kind != b"-", line
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        if kind != b"$":
            return int(rest) if kind == b":" else rest
        data = self._file.read(int(rest) + 2) if rest != b"-1" else b"\r\n"
        return data[:-2]

    def tell(
        self,
        machine: str,
        counted: str,
        window_ms: int = 10**9,
        expire_ms: int = 60_000,
        lease_ms: int = 60_000,
        events: str = "gpc0",
    ) -> list[int]:
        """Tell of one key: connections, whether fresh, and counts; what is answered, without what changes with time."""
        said = self.command(*("EVAL", SCRIPT, 1, "p:k", machine, window_ms, expire_ms, lease_ms, "p:", events, counted))
        return [int(number) for number in said.split()[1:]]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="twisted-lb-") as folder:
        path = f"{folder}/redis.sock"
        arguments = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env={"PATH": SYSTEM_PATH}) as process:
            deadline = time.monotonic() + 10
            while True:
                probe = socket.socket(socket.AF_UNIX)
                try:
                    probe.connect(path)
                    break
                except OSError:
                    assert time.monotonic() < deadline, "redis-server does not listen"
                    time.sleep(0.01)
                finally:
                    probe.close()
            yield path
            process.terminate()


@pytest.fixture
def redis(server: str) -> Iterator[Redis]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(server)
        made = Redis(connection)
        made.command("FLUSHALL")
        yield made


needs_redis = pytest.mark.daemon("redis-server")


@needs_redis
def test_counts_of_all_machines_are_added(redis: Redis) -> None:
    assert redis.tell("one", "0 1 5") == [0, 0, 5, 5, 0]
    assert redis.tell("two", "0 1 2") == [0, 0, 7, 7, 0]
    assert redis.tell("one", "0 1 0") == [1, 0, 7, 7, 0]


@needs_redis
def test_what_is_old_counts_in_all_but_in_no_rate(redis: Redis) -> None:
    assert redis.tell("one", "0 0 5") == [0, 0, 5, 0, 0]


@needs_redis
def test_large_counts_stay_exact(redis: Redis) -> None:
    redis.tell("one", "0 1 5000000000000000")
    assert redis.tell("one", "0 1 1")[2:] == [5000000000000001, 5000000000000001, 0]


@needs_redis
def test_connections_of_the_others_count_until_their_lease_ends(redis: Redis) -> None:
    redis.tell("one", "3 1 0", lease_ms=150)
    assert redis.tell("two", "1 1 0")[1] == 3
    assert redis.tell("three", "0 1 0")[1] == 4
    deadline = time.monotonic() + 5
    while redis.tell("two", "1 1 0")[1]:
        assert time.monotonic() < deadline
    assert redis.command("HGET", "p:k", "m:one") == b"", "it is forgotten"
    assert redis.tell("one", "0 1 0")[:2] == [0, 1], "which it is told"


@needs_redis
def test_connections_that_ended_are_forgotten(redis: Redis) -> None:
    redis.tell("one", "3 1 0")
    redis.tell("one", "0 1 0")
    assert redis.tell("two", "0 1 0")[1] == 0
    assert redis.command("HKEYS", "p:k") == [b"b"]
    assert redis.command("PTTL", "p:k") > 0


@needs_redis
def test_a_question_makes_no_entry_and_keeps_none_alive(redis: Redis) -> None:
    redis.tell("one", "0 1 0")
    assert redis.command("EXISTS", "p:k") == 0
    redis.tell("one", "0 1 1", expire_ms=60_000)
    redis.tell("one", "0 1 0", expire_ms=120_000)
    assert 0 < redis.command("PTTL", "p:k") <= 60_000


@needs_redis
def test_an_entry_expires(redis: Redis) -> None:
    redis.tell("one", "0 1 1", expire_ms=20)
    deadline = time.monotonic() + 5
    while redis.tell("one", "0 1 0")[2]:
        assert time.monotonic() < deadline


@needs_redis
def test_buckets_turn_by_the_clock_of_redis_also_those_that_this_machine_does_not_count(redis: Redis) -> None:
    window_ms = 400

    def at_the_beginning() -> None:
        while True:
            seconds, micros = redis.command("TIME")
            if (int(seconds) * 1000 + int(micros) // 1000) % window_ms < 50:
                return
            time.sleep(0.005)

    at_the_beginning()
    redis.tell("one", "0 1 5 7", window_ms, events="gpc0 gpc1")
    time.sleep(0.06)
    at_the_beginning()
    assert redis.tell("two", "0 1 1", window_ms) == [0, 0, 6, 1, 5]
    assert redis.tell("one", "0 1 0 0", window_ms, events="gpc0 gpc1")[2:] == [6, 1, 5, 7, 0, 7]
    deadline = time.monotonic() + 5
    while redis.tell("one", "0 1 0 0", window_ms, events="gpc0 gpc1")[2:] != [6, 0, 0, 7, 0, 0]:
        assert time.monotonic() < deadline, "the bucket before fades too"


@needs_redis
class TestContract(TableStoreContract, TestCase):
    """It keeps the contract, with a real Redis at the other end of its transport."""

    @pytest.fixture(autouse=True)
    def _redis(self, redis: Redis, server: str) -> None:
        self._server = server
        self._pumps: list[tuple[Any, socket.socket]] = []

    def make_stores(self, count: int) -> Sequence[ITableStore]:
        """See ``TableStoreContract``."""
        setups = [Setup() for _ in range(count)]
        for setup in setups:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(10)
            connection.connect(self._server)
            self.addCleanup(connection.close)
            self._pumps.append((setup.way.accept(), connection))
            self.settle(None)
        stores: list[Any] = [setup.store for setup in setups]
        return stores

    def settle(self, answer: Any) -> None:
        """See ``TableStoreContract``: carry over what was said, and one answer to it."""
        for protocol, connection in self._pumps:
            said = protocol.transport.value()
            if said:
                protocol.transport.clear()
                connection.sendall(said)
                protocol.dataReceived(connection.recv(65536))
