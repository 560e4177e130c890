"""``use = "dnsbl"``: deny whom a DNS blocklist lists.

Source: RFC 5782, sections 2.1 and 2.4 on names and answers; RFC 2308, section 5, on how long "no such name" holds.
"""

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReadDescriptor
from twisted.names import dns
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ConfigError,
    DecideAnswer,
    Decision,
    Deny,
    Duration,
    Fact,
    Facts,
    FactType,
    IPolicy,
    Lookups,
    Networks,
    Options,
    Runtime,
    SeldomWarning,
    Stage,
    Supply,
    UnansweredError,
    hookimpl,
)

ZONE, CODE = "dnsbl.zone", "dnsbl.code"
FACTS: Mapping[str, Fact] = {
    ZONE: Fact(FactType.STRING, "the DNS blocklist that lists the client", Stage.ADMISSION),
    CODE: Fact(FactType.STRING, "what that list says of it, an address such as 127.0.0.2", Stage.ADMISSION),
}
NOT_LISTED_S = 60.0
"""How long "no such name" holds if the answer does not say it."""
LONGEST = 4096
"""Bytes of a datagram."""
CODES = "127.0.0.0/8"
"""What lists answer; anything else is a failure."""
RESOLV_CONF = "/etc/resolv.conf"

Zone = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_-]{1,63}\.?(?![\s\S])",
        max_length=180,
        extra={"expected": "the name of a DNS zone"},
    ),
]
AtLeastOne = Annotated[int, Meta(ge=1, le=1000000)]


class DnsblOptions(Options, frozen=True):
    """``zones``: each is asked. ``return_codes``: the answers, addresses or networks, that mean "listed".

    ``failure_codes``: the answers that mean "you may not ask", as any does that is not of 127.0.0.0/8. ``resolvers``:
    ``HOST`` or ``HOST:PORT``; unset, those of ``/etc/resolv.conf``. ``listed``: "allow" only lets those behind know.
    ``max_ttl``: how long an answer is believed at most, whatever it says; ``cache_size``: how many answers are kept;
    ``max_queries``: how many are waited for at once.
    """

    zones: Annotated[list[Zone], Meta(min_length=1, max_length=16, extra={"single": True})]
    return_codes: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.0/8"])
    failure_codes: list[str] = msgspec.field(default_factory=lambda: ["127.255.255.0/24"])
    listed: Literal["deny", "allow"] = "deny"
    on_failure: Literal["deny", "allow"] = "deny"
    timeout: Duration = Duration(2)
    resolvers: Annotated[list[str], Meta(extra={"single": True})] = msgspec.field(default_factory=list)
    max_ttl: Duration = Duration(3600)
    cache_size: AtLeastOne = 10000
    max_queries: AtLeastOne = 100


@implementer(IReadDescriptor)
class Query:
    """One question to one resolver, on a port of its own, which hears nobody else.

    A socket on the reactor: Twisted's UDP ports have something to log about each of them.
    """

    def __init__(self, reactor: Any, name: bytes, resolver: tuple[str, int]) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._question = dns.Query(name, dns.A)
        self._id = dns.randomSource()
        self._socket: socket.socket | None = None
        self.answer: Deferred[dns.Message] = Deferred()

    def begin(self) -> None:
        """Connect, so that the kernel drops what others send, and ask. Raises: OSError."""
        made = socket.socket(socket.AF_INET6 if ":" in self._resolver[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket = made
        made.setblocking(False)
        made.connect(self._resolver)
        message = dns.Message(self._id, recDes=1)
        message.queries = [self._question]
        made.send(message.toStr())
        self._reactor.addReader(self)

    def fileno(self) -> int:
        """See ``IReadDescriptor``."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "dnsbl"

    def doRead(self) -> None:
        """See ``IReadDescriptor``: take the answer, and nothing that is not the answer to this question."""
        while self._socket is not None and not self.answer.called:
            try:
                datagram = self._socket.recv(LONGEST)
            except BlockingIOError:
                return
            except OSError:  # the resolver's machine says that nobody is there
                self.give_up("nobody answers")
                return
            message = self._read(datagram)
            if message is not None:
                self._fire(message)

    def _read(self, datagram: bytes) -> dns.Message | None:
        message = dns.Message()
        try:
            message.fromStr(datagram)
        except Exception:  # whatever a parser of strangers' bytes may raise
            return None
        if int.from_bytes(datagram[6:8]) != len(message.answers):
            return None  # cut off: the parser takes what is there, and a missing address would be "not listed"
        right = message.id == self._id and message.answer
        return message if right and list(map(_asked, message.queries)) == [_asked(self._question)] else None

    def connectionLost(self, reason: Failure) -> None:
        """See ``IReadDescriptor``: reactors that go by epoll say so that nobody is there."""
        self.give_up("nobody answers")

    def give_up(self, why: str) -> None:
        """Wait no longer."""
        self._fire(Failure(UnansweredError(f"{why} at {self._resolver[0]}:{self._resolver[1]}")))

    def _fire(self, result: Any) -> None:
        if not self.answer.called:
            self.answer.callback(result)

    def close(self) -> None:
        """Give back the port."""
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None


def _asked(query: dns.Query) -> tuple[bytes, int, int]:
    return query.name.name.lower(), query.type, query.cls


class Resolver:
    """Asks the resolvers one after the other, each for a share of ``timeout_s``, until one answers."""

    def __init__(self, runtime: Runtime, resolvers: Sequence[tuple[str, int]], timeout_s: float) -> None:
        self._runtime = runtime
        self._attempts = [*resolvers] * (2 if len(resolvers) < 3 else 1)
        self._each_s = timeout_s / len(self._attempts)

    async def ask(self, name: bytes) -> dns.Message:
        """Return the answer. Raises: UnansweredError."""
        last = UnansweredError("nobody was asked")
        for resolver in self._attempts:
            try:
                message = await self._ask_one(Query(self._runtime.reactor, name, resolver))
            except UnansweredError as error:
                last = error
                continue
            if message.rCode in (dns.OK, dns.ENAME):
                return message
            last = UnansweredError(f"answer {message.rCode} of {resolver[0]}:{resolver[1]}")
        raise last

    async def _ask_one(self, query: Query) -> dns.Message:
        giving_up = self._runtime.clock.callLater(self._each_s, query.give_up, "no answer")
        try:
            query.begin()
            return await query.answer
        except ConnectionRefusedError:
            raise UnansweredError("nobody answers") from None
        except OSError as error:  # no descriptors, or no way to that network
            raise UnansweredError(error.strerror or "it cannot be reached") from None
        finally:
            query.close()
            if giving_up.active():
                giving_up.cancel()


@implementer(IPolicy)
class Dnsbl:
    """Asks about the client's address; who comes by a Unix socket has none that could be listed, and is allowed."""

    stage = Stage.ADMISSION

    def __init__(self, options: DnsblOptions, runtime: Runtime, resolver: Resolver) -> None:
        self._zones = [zone.strip(".").lower() for zone in options.zones]
        self._listed = Networks.parse(options.return_codes)
        self._refused = Networks.parse(options.failure_codes)
        self._any_code = Networks.parse([CODES])
        self._denies = options.listed == "deny"
        self._failure_denies = options.on_failure == "deny"
        self._max_ttl_s = float(options.max_ttl)
        self._resolver = resolver
        self.most_descriptors = options.max_queries
        self._warn = SeldomWarning(runtime.clock, "policy dnsbl")
        self._lookups: Lookups[str, str] = Lookups(
            runtime.clock, self._ask, options.timeout, options.max_queries, options.cache_size
        )

    def decide(self, facts: Facts) -> DecideAnswer:
        """Ask every zone; at once if all answers are known."""
        host = facts.source.host
        if host.startswith("unix:"):
            return ALLOW
        try:
            name = _reversed(host)
        except ValueError:
            return Deny("source is no IP address")
        answers = [self._lookups.get(f"{name}.{zone}") for zone in self._zones]
        if not any(isinstance(answer, Deferred) for answer in answers):
            return self._judge([(True, answer) for answer in answers], facts)
        waiting = [answer if isinstance(answer, Deferred) else succeed(answer) for answer in answers]
        return DeferredList(waiting, consumeErrors=True).addCallback(self._judge, facts)

    def _judge(self, answers: Sequence[tuple[bool, Any]], facts: Facts) -> Decision:
        """``answers``: of each zone whether it answered, and its code or the failure."""
        failed = ""
        for zone, (answered, answer) in zip(self._zones, answers, strict=True):
            if not answered:
                if answer.check(CancelledError):
                    return Deny("nobody waits for it any more")
                failed = failed or f"{zone} cannot be asked: {answer.getErrorMessage()}"
            elif answer:
                facts.learnt[ZONE], facts.learnt[CODE] = zone, answer
                return Deny(f"listed by {zone} as {answer}") if self._denies else ALLOW
        if failed and self._failure_denies:
            return Deny(failed, 503)
        if failed:
            self._warn(f"{failed}; clients are let in")
        return ALLOW

    def _ask(self, name: str) -> Deferred[tuple[str, float]]:
        return Deferred.fromCoroutine(self._code(name))

    async def _code(self, name: str) -> tuple[str, float]:
        """Return the code under which a name is listed, empty if it is not, and for how long that holds."""
        message = await self._resolver.ask(name.encode())
        records: list[Any] = message.answers
        found = {one.payload.dottedQuad(): one.ttl for one in records if one.type == dns.A}
        for code in found:
            if self._refused.contains(code) or not self._any_code.contains(code):
                raise UnansweredError(f"it answers {code}")
        if not found and message.trunc:
            raise UnansweredError("its answer is too long")
        listed = [code for code in found if self._listed.contains(code)]
        ttl_s = min(found.values(), default=None)
        return listed[0] if listed else "", min(_negative_ttl_s(message) if ttl_s is None else ttl_s, self._max_ttl_s)


def _negative_ttl_s(message: dns.Message) -> float:
    records: list[Any] = message.authority
    of_zones = (one for one in records if one.type == dns.SOA)
    return min((min(one.ttl, one.payload.minimum) for one in of_zones), default=NOT_LISTED_S)


def _reversed(host: str) -> str:
    """Return an address as it stands in such zones: its bytes, or nibbles, the last one first. Raises ValueError."""
    address: Any = ip_address(host.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    name: str = address.reverse_pointer
    return name.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def _resolver(text: str) -> tuple[str, int]:
    """Read ``HOST``, ``HOST:PORT`` or ``[V6]:PORT``. Raises ValueError."""
    host, port = text, "53"
    if text.startswith("["):
        host, closed, behind = text[1:].partition("]")
        if not closed or (behind and behind[0] != ":"):
            raise ValueError(text)
        port = behind[1:] if behind else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    ip_address(host)
    if not (port.isdecimal() and port.isascii() and 0 < int(port) < 65536):
        raise ValueError(port)
    return host, int(port)


def _system_resolvers(path: str = RESOLV_CONF) -> list[str]:
    """Return what resolv.conf(5) names."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        lines = [line.split() for line in file]
        return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver" and "%" not in words[1]][:3]
    return []


def build(options: DnsblOptions, runtime: Runtime) -> Dnsbl:
    """Build the policy.

    Raises: ConfigError for resolvers and codes that are no addresses, or when there is no resolver.
    """
    problems = []
    resolvers = []
    for index, text in enumerate(options.resolvers or _system_resolvers()):
        try:
            resolvers.append(_resolver(text))
        except ValueError:
            problems.append(f'resolvers[{index}]: expected an address, or an address with a port, got "{text}"')
    if not resolvers and not problems:
        problems.append(f"resolvers: none is given, and {RESOLV_CONF} names none")
    if options.timeout <= 0:
        problems.append("timeout: must be more than nothing")
    for name, codes in (("return_codes", options.return_codes), ("failure_codes", options.failure_codes)):
        try:
            Networks.parse(codes)
        except ConfigError as error:
            problems += [f"{name}: {problem}" for problem in error.problems]
    problems += _faults(options)
    if problems:
        raise ConfigError(*problems)
    return Dnsbl(options, runtime, Resolver(runtime, resolvers, options.timeout))


def _faults(options: DnsblOptions) -> Iterator[str]:
    """Find what could never list anybody."""
    zones = [zone.strip(".").lower() for zone in options.zones]
    yield from (f'zones: "{zone}" is there twice' for zone in dict.fromkeys(zones) if zones.count(zone) > 1)
    codes = options.return_codes
    if not codes:
        yield "return_codes: is empty, so that nobody is listed"
    sound, possible = Networks.within(codes, codes), Networks.within(codes, [CODES])
    failures = Networks.within(codes, options.failure_codes)
    for code in codes:
        if code in failures:
            yield f'return_codes: "{code}" is within "{failures[code]}" of failure_codes, which wins'
        elif code in sound and code not in possible:
            yield f'return_codes: "{code}" is not within {CODES}, and any other answer is a failure'


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``dnsbl``."""
    return {"dnsbl": Supply(build, DnsblOptions, facts=FACTS, runtime=True)}
