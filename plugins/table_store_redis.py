"""``store = "redis"``: machines that share a table tell each other through Redis what they have counted.

An entry is a hash: ``b``, the number of its current bucket; ``t:``, ``c:`` and ``p:`` with the name of an event, how
many there were in all, in this bucket and in the one before; ``m:`` with the name of a machine, its open connections.
These count as long as the machine's own key lives. Redis' clock is the only one: those of the machines need not agree.

Source: Redis' documentation of EVALSHA, HGETALL, TIME and PEXPIRE, and of hash tags, which keep a table on one node.
"""

import re
from collections.abc import Generator, Mapping
from random import uniform
from typing import Annotated, Any

from msgspec import Meta
from twisted.internet.defer import Deferred, fail, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from zope.interface import implementer

from twisted_lb.api import (
    ConfigError,
    ITableStore,
    Options,
    Runtime,
    Shared,
    Supply,
    TableBatch,
    TableReply,
    hookimpl,
)

SCRIPT = """
local machine, window, expire, lease, prefix = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local events = {}
for name in string.gmatch(ARGV[6], '%S+') do events[#events + 1] = name end
local next = string.gmatch(ARGV[7], '%d+')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bucket = math.floor(now / window)
local function spelt(number) return string.format('%.0f', number) end
local mine = prefix .. 'machine:' .. machine
local out = {spelt(now - bucket * window), spelt(redis.call('EXISTS', mine))}
redis.call('SET', mine, 1, 'PX', lease)
local alive = {}
local function lives(name)
  if alive[name] == nil then alive[name] = redis.call('EXISTS', prefix .. 'machine:' .. name) == 1 end
  return alive[name]
end
for _, key in ipairs(KEYS) do
  local flat, fields, changed, changes = redis.call('HGETALL', key), {}, {}, false
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  local function set(name, value)
    fields[name] = value
    changed[#changed + 1] = name
    changed[#changed + 1] = value
  end
  local behind = bucket - tonumber(fields.b or bucket)
  if behind ~= 0 then
    local current = {}
    for name, value in pairs(fields) do
      if string.sub(name, 1, 2) == 'c:' then current[string.sub(name, 3)] = value end
    end
    for name, value in pairs(current) do
      set('p:' .. name, behind == 1 and value or '0')
      set('c:' .. name, '0')
    end
  end
  local open, fresh = next(), next() == '1'
  local own, others, gone = 'm:' .. machine, 0, {}
  for name, value in pairs(fields) do
    if string.sub(name, 1, 2) == 'm:' and name ~= own then
      if lives(string.sub(name, 3)) then others = others + tonumber(value) else gone[#gone + 1] = name end
    end
  end
  if open ~= '0' then
    changes = true
    if fields[own] ~= open then set(own, open) end
  elseif fields[own] then
    gone[#gone + 1] = own
  end
  out[#out + 1] = spelt(others)
  for _, event in ipairs(events) do
    local more = tonumber(next())
    if more > 0 then
      changes = true
      set('t:' .. event, spelt((fields['t:' .. event] or 0) + more))
      if fresh then set('c:' .. event, spelt((fields['c:' .. event] or 0) + more)) end
    end
    out[#out + 1] = fields['t:' .. event] or '0'
    out[#out + 1] = fields['c:' .. event] or '0'
    out[#out + 1] = fields['p:' .. event] or '0'
  end
  for _, name in ipairs(gone) do redis.call('HDEL', key, name) end
  if changes then
    set('b', spelt(bucket))
    redis.call('HSET', key, unpack(changed))
    redis.call('PEXPIRE', key, expire)
  end
end
return table.concat(out, ' ')
"""
"""Adds what a machine has counted, and returns what all have: numbers, as text, for that is read fastest."""

CONNECT_S = 5.0
"""How long a connection, and what is said first on it, may take."""
SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
"""Between two attempts to connect; it doubles with each that comes to nothing."""


class RedisOptions(Options, frozen=True):
    """``address``: ``HOST:PORT``, ``unix:/PATH``, or a client's endpoint as Twisted describes it, such as
    ``tls:HOST:PORT``. ``db``: the number of the database. ``prefix``: of all keys.
    """

    address: Annotated[str, Meta(min_length=1)] = "127.0.0.1:6379"
    username: str | None = None
    password: str | None = None
    db: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    prefix: Annotated[str, Meta(pattern=r"^[^{}]*(?![\s\S])", extra={"expected": "a text without braces"})] = (
        "twisted-lb"
    )


class _Connecting(Factory):
    noisy = False

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def buildProtocol(self, address: Any) -> Any:
        protocol = self._protocol(charset=None, convertNumbers=False)
        protocol.factory = self
        return protocol


@implementer(ITableStore)
class RedisStore:
    """One table's connection to Redis. ``redis_protocol``: txredisapi's, built without any argument but ours."""

    def __init__(self, options: RedisOptions, endpoint: IStreamClientEndpoint, redis_protocol: Any, clock: Any) -> None:
        self._options = options
        self._endpoint = endpoint
        self._redis_protocol = redis_protocol
        self._clock = clock
        self._protocol: Any = None
        self._connecting: Deferred[None] | None = None
        self._closed = False
        self._first: list[Deferred[None]] | None = []
        self._why = ""

    def open(self) -> None:
        """See ``ITableStore``."""
        self._connecting = self._keep_connected()

    def close(self) -> None:
        """See ``ITableStore``."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.addErrback(lambda _: None)  # it was cancelled while it paused
            self._connecting.cancel()

    @inlineCallbacks
    def _keep_connected(self) -> Generator["Deferred[Any]", Any, None]:
        # Twisted's ClientService would do, but it stumbles over connections that end before they are prepared.
        pause_s = SHORTEST_PAUSE_S
        while True:
            protocol = None
            try:
                protocol = yield self._endpoint.connect(_Connecting(self._redis_protocol))
                yield self._introduce(protocol).addTimeout(CONNECT_S, self._clock)
                self._protocol = protocol
                pause_s = SHORTEST_PAUSE_S
                self._first_is_over()
                yield protocol.whenDisconnected()
                self._why = "the connection was lost"
            except Exception as error:
                self._why = " ".join(f"{type(error).__name__}: {error}".split())
            finally:
                self._protocol = None
                if protocol is not None:
                    protocol.transport.abortConnection()
                self._first_is_over()
            if self._closed:
                return
            yield deferLater(self._clock, pause_s * uniform(0.7, 1.3))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    @inlineCallbacks
    def _introduce(self, protocol: Any) -> Generator["Deferred[Any]", Any, None]:
        options = self._options
        if options.password is not None:
            yield protocol.auth(options.password, options.username)
        if options.db:
            yield protocol.select(options.db)
        yield protocol.ping()  # who accepts connections need not be awake

    def _first_is_over(self) -> None:
        waiting, self._first = self._first or [], None
        for one in waiting:
            if not one.called:
                one.callback(None)

    def exchange(self, batch: TableBatch) -> "Deferred[TableReply]":
        """See ``ITableStore``. A reply that does not come in time costs the connection: who knows what hangs there."""
        protocol = self._protocol
        if self._first is not None:  # at the start that it takes a moment is no reason to say that Redis is away
            connected: Deferred[Any] = Deferred()
            self._first.append(connected)
            return connected.addCallback(lambda _: self.exchange(batch))
        if protocol is None or not protocol.connected:
            return fail(ConnectionLost(f"not connected to Redis: {self._why}"))
        prefix = b"%s:{%s:%d}:" % (self._options.prefix.encode(), batch.table.encode(), batch.window_ms)
        arguments = [
            batch.machine,
            batch.window_ms,
            batch.expire_ms,
            batch.lease_ms,
            prefix,
            " ".join(batch.events),
            " ".join([f"{one.connections} {one.fresh:d} {' '.join(map(str, one.counted))}" for one in batch.entries]),
        ]
        answer: Deferred[TableReply] = Deferred(lambda _: protocol.transport.abortConnection())
        asked = protocol.eval(SCRIPT, [prefix + one.key for one in batch.entries], arguments)
        asked.addCallback(_reply_of, len(batch.entries), len(batch.events))
        asked.addBoth(lambda result: None if answer.called else answer.callback(result))
        return answer


def _reply_of(said: bytes, entries: int, events: int) -> TableReply:
    """Read what the script returned. Raises: ValueError."""
    numbers = [int(one) for one in said.split()]
    width = 1 + 3 * events
    if len(numbers) != 2 + entries * width:
        raise ValueError(f"Redis returned {len(numbers)} numbers for {entries} entries")
    shared = [
        Shared(
            numbers[at],
            numbers[at + 1 : at + width : 3],
            numbers[at + 2 : at + width : 3],
            numbers[at + 3 : at + width : 3],
        )
        for at in range(2, len(numbers), width)
    ]
    return TableReply(numbers[0], bool(numbers[1]), shared)


def build_redis(options: RedisOptions, runtime: Runtime) -> RedisStore:
    """Make a store of its options. Raises: ConfigError."""
    if options.username is not None and options.password is None:
        raise ConfigError('username: only beside a "password": without one nobody is named to the server')
    try:
        # Imported here, as it imports the reactor.
        from txredisapi import RedisProtocol
    except ImportError:
        raise ConfigError('it needs the package txredisapi: pip install "twisted-lb[redis]"') from None
    return RedisStore(options, endpoint_of(options.address, runtime.reactor), RedisProtocol, runtime.clock)


def endpoint_of(address: str, reactor: Any) -> IStreamClientEndpoint:
    """Return where Redis is. Raises: ConfigError."""
    plain = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})", address)
    if plain is not None and int(plain[3]) <= 65535:
        return HostnameEndpoint(reactor, plain[1] or plain[2], int(plain[3]), timeout=CONNECT_S)
    try:
        endpoint: IStreamClientEndpoint = clientFromString(reactor, address)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f'address: "{address}" is neither HOST:PORT nor a client\'s endpoint: {error}') from None
    return endpoint


@hookimpl
def lb_table_stores() -> Mapping[str, Supply[ITableStore]]:
    """Supply ``redis``."""
    return {"redis": Supply(build_redis, RedisOptions, runtime=True)}
