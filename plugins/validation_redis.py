"""``use = "redis"``: what the client says must begin with a command of Redis.

Source: Redis' documentation, "Redis serialization protocol specification".
"""

from collections.abc import Mapping

from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    NEED_MORE,
    Deny,
    Fact,
    Facts,
    FactType,
    IValidator,
    Options,
    RedisReader,
    Supply,
    Verdict,
    WireError,
    hookimpl,
    protocol_fact,
)

FACTS = {
    "protocol": protocol_fact("redis"),
    "redis.valid": Fact(FactType.BOOLEAN, "whether the client began as Redis' clients do"),
    "redis.command": Fact(FactType.STRING, "the first command, in upper case"),
}


class RedisOptions(Options, frozen=True):
    """``inline``: commands may be lines of text, as people write them, and not only arrays."""

    inline: bool = True
    accept_invalid: bool = False


@implementer(IValidator)
class RedisValidator:
    """Lets pass what begins with a command; what the commands may be, ``redis_commands`` says."""

    def __init__(self, options: RedisOptions) -> None:
        self._inline = options.inline
        self._accept_invalid = self.takes_anything = options.accept_invalid

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Wait for the first command's name, and the front of its second word."""
        try:
            if not self._inline and data[:1] != b"*":
                raise WireError("redis-inline")
            command = next(RedisReader().feed(data), None)
        except WireError as error:
            return self._broken(error.reason, facts)
        if command is None:
            return NEED_MORE
        facts.learnt.update({"protocol": "redis", "redis.valid": True, "redis.command": command.name})
        return ALLOW

    def _broken(self, reason: str, facts: Facts) -> Verdict:
        facts.learnt["redis.valid"] = False
        if self._accept_invalid:
            return ALLOW
        return Deny(reason, farewell=f"-ERR Protocol error: {reason}\r\n".encode())


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``redis``."""
    return {"redis": Supply(RedisValidator, RedisOptions, mode="tcp", facts=FACTS)}
