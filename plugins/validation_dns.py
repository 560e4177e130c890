"""``use = "dns"``: the client's first message must be a well-formed query of DNS over TCP, and the server's its answer.

Source: RFC 1035, section 4.2.2; RFC 7766, sections 6.2.1 and 7: queries may be pipelined, and answered in any order.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ALLOW_FINALLY,
    DNS_OPCODES,
    Allow,
    ConfigError,
    Deny,
    DnsMessages,
    Fact,
    Facts,
    FactType,
    IStreamValidator,
    IStreamWatch,
    IValidator,
    NeedMore,
    Options,
    Supply,
    Verdict,
    WireError,
    hookimpl,
    protocol_fact,
    read_dns_head,
    read_dns_query,
)

MOST_UNANSWERED = 1000
"""Queries that may be sent before the first answer; servers read fewer ahead."""
FACTS = {
    "protocol": protocol_fact("dns"),
    "dns.valid": Fact(FactType.BOOLEAN, "whether queries and first answer were as they must be"),
    "dns.name": Fact(FactType.STRING, "the name that the first query asks for, without its final dot", host=True),
    "dns.type": Fact(FactType.STRING, "the type that it asks for, such as AAAA or TYPE65280"),
    "dns.class": Fact(FactType.STRING, "the class that it asks for, such as IN"),
    "dns.opcode": Fact(FactType.INTEGER, "its operation: 0 is a query, 4 notify, 5 update", least=0, most=15),
}


class DnsOptions(Options, frozen=True):
    """``every_query``: all messages of the client are judged, not only the first. ``opcodes``: which may be sent."""

    opcodes: tuple[Literal["query", "notify", "update"], ...] = ("query",)
    max_query_bytes: Annotated[int, Meta(ge=64, le=60000)] = 4096
    every_query: bool = False
    accept_invalid: bool = False


@implementer(IStreamValidator)
class DnsValidator:
    """Lets pass what begins with a query; see the options."""

    server_first = False

    def __init__(self, options: DnsOptions) -> None:
        if not options.opcodes:
            raise ConfigError("opcodes: is empty, so that nobody may ask anything")
        self.opcodes = frozenset(DNS_OPCODES[name] for name in options.opcodes)
        self.max_query_bytes = options.max_query_bytes
        self.every_query = options.every_query
        self.accept_invalid = self.takes_anything = options.accept_invalid

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Judge the first query, as far as it has come, and learn what it asks."""
        try:
            query = read_dns_query(data, self.opcodes, self.max_query_bytes)
        except WireError as error:
            return self.broken(error.reason, facts, data)
        if isinstance(query, NeedMore):
            return query
        learnt = facts.learnt
        learnt["protocol"] = "dns"
        learnt["dns.valid"] = True
        learnt["dns.name"] = query.name
        learnt["dns.type"] = query.type
        learnt["dns.class"] = query.class_
        learnt["dns.opcode"] = query.opcode
        return ALLOW

    def watch(self, facts: Facts) -> "DnsWatch | None":
        """Watch until the first answer, or every query; what was let through in spite of all is not watched."""
        return None if facts.learnt.get("dns.valid") is False else DnsWatch(self, facts)

    def broken(self, reason: str, facts: Facts, query: bytes = b"") -> Allow | Deny:
        """Refuse what broke a rule, or look away from all that follows. A query is answered with FORMERR."""
        facts.learnt["dns.valid"] = False
        if self.accept_invalid:
            return ALLOW_FINALLY
        return Deny(reason, farewell=_formerr(query) if reason not in _NO_QUERY and len(query) > 4 else b"")


_NO_QUERY = ("dns-length", "dns-long", "dns-response")


def _formerr(query: bytes) -> bytes:
    """Answer a query that has a length prefix: its id and operation, as a response with code 1, and nothing more."""
    return b"\0\x0c" + query[2:4] + bytes((query[4] & 0x78 | 0x80, 1)) + bytes(8)


@implementer(IStreamWatch)
class DnsWatch:
    """One connection: which queries were sent, until one of them is answered.

    The first is judged here if ``validate`` could not: when a client is let on that was slow.
    """

    __slots__ = ("_answered", "_facts", "_ids", "_queries", "_responses", "_undecided", "_validator")

    def __init__(self, validator: DnsValidator, facts: Facts) -> None:
        self._validator = validator
        self._facts = facts
        self._undecided = "dns.valid" not in facts.learnt
        most = validator.max_query_bytes
        whole = validator.every_query or self._undecided
        self._queries = DnsMessages(most, most) if whole else DnsMessages()
        self._responses = DnsMessages()
        self._ids: set[int] = set()
        self._answered = False

    def client_said(self, data: bytes) -> Allow | Deny:
        """Note the queries' ids until one is answered; judge all queries if that is asked for."""
        validator = self._validator
        if self._answered and not validator.every_query:
            return ALLOW_FINALLY
        try:
            for message in self._queries.feed(data):
                if self._undecided:
                    self._undecided = False
                    verdict = validator.validate(message, self._facts)
                    if verdict is not ALLOW:
                        return verdict if isinstance(verdict, Deny) else ALLOW_FINALLY
                elif validator.every_query:
                    read_dns_query(message, validator.opcodes, validator.max_query_bytes)
                if not self._answered:
                    self._ids.add(read_dns_head(message).id)
            if len(self._ids) > MOST_UNANSWERED:
                raise WireError("dns-unanswered")
        except WireError as error:
            return validator.broken(error.reason, self._facts)
        return ALLOW

    def server_said(self, data: bytes) -> Allow | Deny:
        """The first message must answer one of the queries."""
        try:
            messages = self._responses.feed(data)
            if not messages:
                return ALLOW
            head = read_dns_head(messages[0])
            if not head.response or head.id not in self._ids:
                raise WireError("dns-answer")
        except WireError:
            return self._validator.broken("dns-answer", self._facts)
        self._answered = True
        self._ids.clear()
        return ALLOW_FINALLY


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``dns``."""
    return {"dns": Supply(DnsValidator, DnsOptions, mode="tcp", facts=FACTS)}
