"""``use = "mysql"``: a server of MySQL or MariaDB must greet, and its client must answer the greeting.

Source: MySQL's source documentation, "Client/Server Protocol", "Connection Phase".
"""

from collections.abc import Mapping

from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ALLOW_FINALLY,
    Allow,
    ConfigError,
    Deny,
    Fact,
    Facts,
    FactType,
    IStreamValidator,
    IStreamWatch,
    IValidator,
    MysqlError,
    MysqlGreeting,
    NeedMore,
    Options,
    Pieces,
    Stage,
    Supply,
    TlsStart,
    Verdict,
    WireError,
    hookimpl,
    mysql_error,
    protocol_fact,
    read_mysql_greeting,
    read_mysql_response,
)

FACTS = {
    "protocol": protocol_fact("mysql"),
    "mysql.valid": Fact(FactType.BOOLEAN, "whether server and client began as MySQL's do", Stage.RELAY),
    "mysql.server_version": Fact(FactType.STRING, "the version in the server's greeting", Stage.RELAY),
    "mysql.user": Fact(FactType.STRING, "the user, if the client does not ask for TLS", Stage.RELAY),
    "mysql.database": Fact(FactType.STRING, "the database that the client begins with, likewise", Stage.RELAY),
}
NOT_MYSQL = ("mysql-no-tls",)
"""Who broke these rules would not understand an error."""
HANDSHAKE_ERROR, NEEDS_TLS = 1043, 3159
"""ER_HANDSHAKE_ERROR, ER_SECURE_TRANSPORT_REQUIRED."""


class MysqlOptions(Options, frozen=True):
    """What it takes to be let through."""

    require_ssl: bool = False
    accept_invalid: bool = False


@implementer(IStreamValidator)
class MysqlValidator:
    """Watches the greeting and its answer: before the server has spoken, the client has nothing to say."""

    server_first = True

    def __init__(self, options: MysqlOptions) -> None:
        if options.require_ssl and options.accept_invalid:
            raise ConfigError(
                'accept_invalid: not beside "require_ssl": what breaks a rule would pass without encryption'
            )
        self.require_ssl = options.require_ssl
        self.accept_invalid = self.takes_anything = options.accept_invalid

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Refuse who speaks first."""
        facts.learnt["mysql.valid"] = False
        if self.accept_invalid:
            return ALLOW
        return Deny("mysql-early", farewell=mysql_error(0, HANDSHAKE_ERROR, "", "Bad handshake"))

    def watch(self, facts: Facts) -> "MysqlWatch | None":
        """Watch until the client has answered, or TLS has begun."""
        return None if "mysql.valid" in facts.learnt else MysqlWatch(self, facts)


@implementer(IStreamWatch)
class MysqlWatch:
    """One connection, until the client has answered the greeting."""

    __slots__ = ("_facts", "_greeting", "_over", "_pieces", "_sequence", "_tls", "_validator")

    def __init__(self, validator: MysqlValidator, facts: Facts) -> None:
        self._validator = validator
        self._facts = facts
        self._pieces = Pieces()
        self._greeting: MysqlGreeting | MysqlError | None = None
        self._sequence = 0
        """The number of the packet that the server would say next."""
        self._tls: TlsStart | None = None
        self._over = False

    def server_said(self, data: bytes) -> Allow | Deny:
        """Wait for the greeting; what comes behind it, the client has to ask for."""
        if self._over:
            return ALLOW_FINALLY
        if self._greeting is not None:
            return self._broken("mysql-greeting-rest")
        packet = self._pieces.add(data)
        if packet is None:
            return ALLOW
        try:
            greeting = read_mysql_greeting(packet)
        except WireError as error:
            return self._broken(error.reason)
        if isinstance(greeting, NeedMore):
            self._pieces.wait(greeting)
            return ALLOW
        learnt = self._facts.learnt
        learnt["protocol"] = "mysql"
        if isinstance(greeting, MysqlGreeting):
            learnt["mysql.server_version"] = greeting.version
        if len(packet) > greeting.length:
            return self._broken("mysql-greeting-rest")
        self._greeting = greeting
        self._pieces.clear()
        return ALLOW

    def client_said(self, data: bytes) -> Allow | Deny:
        """Wait for the answer to the greeting."""
        if self._over:
            return ALLOW_FINALLY
        if not isinstance(self._greeting, MysqlGreeting):  # not there yet, or an error, which has no answer
            return self._broken("mysql-early")
        self._sequence = 2
        try:
            if self._tls is not None:
                self._over = self._tls.feed(data)
                return ALLOW_FINALLY if self._over else ALLOW
            return self._answered(data, self._greeting)
        except WireError as error:
            return self._broken(error.reason)

    def _answered(self, data: bytes, greeting: MysqlGreeting) -> Allow | Deny:
        packet = self._pieces.add(data)
        if packet is None:
            return ALLOW
        response = read_mysql_response(packet, greeting.capabilities)
        if isinstance(response, NeedMore):
            self._pieces.wait(response)
            return ALLOW
        self._pieces.clear()
        learnt = self._facts.learnt
        learnt["mysql.valid"] = True
        if response.ssl:
            self._tls = TlsStart("mysql-no-tls")
            self._over = self._tls.feed(packet[response.length :])
            return ALLOW_FINALLY if self._over else ALLOW
        learnt["mysql.user"] = response.user
        if response.database:
            learnt["mysql.database"] = response.database
        if self._validator.require_ssl:
            message = "Connections using insecure transport are prohibited"
            return Deny("mysql-unencrypted", farewell=mysql_error(self._sequence, NEEDS_TLS, "HY000", message))
        self._over = True
        return ALLOW_FINALLY

    def _broken(self, reason: str) -> Allow | Deny:
        self._over = True
        self._facts.learnt["mysql.valid"] = False
        if self._validator.accept_invalid:
            return ALLOW_FINALLY
        if reason in NOT_MYSQL:
            return Deny(reason)
        sqlstate = "08S01" if self._sequence else ""
        return Deny(reason, farewell=mysql_error(self._sequence, HANDSHAKE_ERROR, sqlstate, "Bad handshake"))


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``mysql``."""
    return {"mysql": Supply(MysqlValidator, MysqlOptions, mode="tcp", facts=FACTS)}
