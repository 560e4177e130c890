"""What the validators of line protocols in which the server speaks first have in common; see ``wire.first_lines``."""

from collections.abc import Mapping

from zope.interface import implementer

from twisted_lb.contracts import IStreamValidator, IStreamWatch
from twisted_lb.declared import Fact, FactType, protocol_fact
from twisted_lb.endings import Stage
from twisted_lb.errors import WireError
from twisted_lb.facts import Facts
from twisted_lb.verdicts import ALLOW, ALLOW_FINALLY, Allow, Deny
from twisted_lb.wire.first_lines import FirstLines, LineProtocol


def facts_of_greeted(name: str) -> Mapping[str, Fact]:
    """Return the facts that a ``GreetedValidator`` of the protocol of that name learns, but for its own."""
    return {
        "protocol": protocol_fact(name),
        f"{name}.valid": Fact(FactType.BOOLEAN, "whether greeting and first command were as they must be", Stage.RELAY),
        f"{name}.command": Fact(FactType.STRING, "the verb of the first command, in capitals", Stage.RELAY),
    }


@implementer(IStreamValidator)
class GreetedValidator:
    """Whose clients must be silent until the server has greeted them; satisfies ``IStreamValidator``.

    ``accept_invalid``: nothing is refused; what was wrong is in the fact ``PROTOCOL.valid``.
    """

    server_first = True

    def __init__(self, protocol: LineProtocol, *, accept_invalid: bool = False) -> None:
        self.protocol = protocol
        self.accept_invalid = self.takes_anything = accept_invalid

    def validate(self, data: bytes, facts: Facts) -> Allow | Deny:
        """Refuse: the server is not even connected."""
        return self.broken(f"{self.protocol.name}-before-greeting", facts)

    def watch(self, facts: Facts) -> "GreetedWatch":
        """Watch until the client's first command is whole."""
        return GreetedWatch(self, facts)

    def broken(self, reason: str, facts: Facts) -> Allow | Deny:
        """Refuse what broke a rule, or look away from all that follows."""
        facts.learnt[f"{self.protocol.name}.valid"] = False
        return ALLOW_FINALLY if self.accept_invalid else Deny(reason, farewell=self.protocol.refusal)


@implementer(IStreamWatch)
class GreetedWatch:
    """One connection; satisfies ``IStreamWatch``."""

    __slots__ = ("_facts", "_first", "_validator")

    def __init__(self, validator: GreetedValidator, facts: Facts) -> None:
        self._validator = validator
        self._facts = facts
        self._first = FirstLines(validator.protocol)

    def server_said(self, data: bytes) -> Allow | Deny:
        """Wait for the end of the greeting."""
        try:
            return ALLOW_FINALLY if self._first.server_said(data) else ALLOW
        except WireError as error:
            return self._validator.broken(error.reason, self._facts)

    def client_said(self, data: bytes) -> Allow | Deny:
        """Wait for the first command."""
        try:
            found = self._first.client_said(data)
        except WireError as error:
            return self._validator.broken(error.reason, self._facts)
        if found is None:
            return ALLOW
        name = self._validator.protocol.name
        learnt = self._facts.learnt
        learnt.setdefault(f"{name}.valid", True)
        learnt.update({"protocol": name, **found})
        return ALLOW_FINALLY
