"""``use = "postgresql"``: the client must begin as PostgreSQL's do, and the server must answer likewise.

Source: PostgreSQL's documentation, chapter "Frontend/Backend Protocol", "Message Flow": "Start-up", "SSL Session
Encryption", "GSSAPI Session Encryption", "Canceling Requests in Progress".
"""

from collections.abc import Iterator, Mapping

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
    NeedMore,
    Options,
    Pieces,
    PostgresqlPacket,
    Supply,
    TlsStart,
    Verdict,
    WireError,
    hookimpl,
    postgresql_error,
    protocol_fact,
    read_postgresql_startup,
)

FACTS = {
    "protocol": protocol_fact("postgresql"),
    "postgresql.valid": Fact(FactType.BOOLEAN, "whether client and server began as PostgreSQL's do"),
    "postgresql.request": Fact(FactType.STRING, 'what the client asks for first: "startup", "ssl", "gss" or "cancel"'),
    "postgresql.user": Fact(FactType.STRING, "the user, if the client names it before it asks for encryption"),
    "postgresql.database": Fact(FactType.STRING, "the database, likewise; by default the user's name"),
    "postgresql.replication": Fact(FactType.BOOLEAN, "whether it asks for replication, likewise"),
}
NOT_POSTGRESQL = ("postgresql-length", "postgresql-no-tls")
"""Who broke these rules would not understand an error."""
ANSWERS = {"startup": b"REvN", "ssl": b"SNE", "gss": b"GNE", "cancel": b"E"}
"""What the server's first byte may be: of an authentication request, an error, a version to go on with, a notice; yes
or no to encryption."""


class PostgresqlOptions(Options, frozen=True):
    """``allowed_users``, ``allowed_databases``: nothing else may be asked for, nor encryption, which would hide it."""

    require_ssl: bool = False
    allowed_users: tuple[str, ...] | None = None
    allowed_databases: tuple[str, ...] | None = None
    accept_invalid: bool = False


def _faults(options: PostgresqlOptions, encrypts: bool) -> Iterator[str]:
    if options.require_ssl and not encrypts:
        yield (
            "require_ssl: not beside allowed_users or allowed_databases: encryption would hide both, so nobody could "
            "connect"
        )
    if options.accept_invalid:
        without = {
            "require_ssl": (options.require_ssl, " without encryption"),
            "allowed_users": (options.allowed_users is not None, ", whoever the user is"),
            "allowed_databases": (options.allowed_databases is not None, ", whatever the database is"),
        }
        for name, (given, what) in without.items():
            if given:
                yield f'accept_invalid: not beside "{name}": what breaks a rule would pass{what}'


@implementer(IStreamValidator)
class PostgresqlValidator:
    """Lets pass what begins with a packet that a PostgreSQL server reads."""

    server_first = False

    def __init__(self, options: PostgresqlOptions) -> None:
        self.options = options
        self.takes_anything = options.accept_invalid
        self.encrypts = options.allowed_users is None and options.allowed_databases is None
        problems = list(_faults(options, self.encrypts))
        if problems:
            raise ConfigError(*problems)

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Judge the first packet; what may follow it, and when, the watch knows."""
        try:
            packet = read_postgresql_startup(data)
        except WireError as error:
            return self.broken(error.reason, facts) or ALLOW
        if isinstance(packet, NeedMore):
            return packet
        return self.judge(packet, facts) or ALLOW

    def judge(self, packet: PostgresqlPacket, facts: Facts) -> Deny | None:
        """Learn what a packet asks for; the answer is what the options have against it."""
        if "postgresql.request" not in facts.learnt:
            facts.learnt.update({"protocol": "postgresql", "postgresql.valid": True, "postgresql.request": packet.kind})
        if packet.kind != "startup":
            return None
        options = self.options
        user, database = packet.user, packet.database
        facts.learnt.update({"postgresql.user": user, "postgresql.replication": packet.replication})
        if database is not None:
            facts.learnt["postgresql.database"] = database
        if options.require_ssl:
            return _refused("postgresql-unencrypted", "28000", "encryption is required")
        if options.allowed_users is not None and user not in options.allowed_users:
            return _refused("postgresql-user-denied", "28000", "this user is not allowed here")
        if options.allowed_databases is not None and database not in options.allowed_databases:
            return _refused("postgresql-database-denied", "28000", "this database is not allowed here")
        return None

    def broken(self, reason: str, facts: Facts) -> Deny | None:
        """Note that a rule was broken; the answer is what the options have against it."""
        facts.learnt["postgresql.valid"] = False
        if self.options.accept_invalid:
            return None
        if reason in NOT_POSTGRESQL:
            return Deny(reason)
        return _refused(reason, "08P01", f"protocol violation: {reason}")

    def watch(self, facts: Facts) -> "PostgresqlWatch | None":
        """Watch until the server has answered the startup message, or encryption has begun.

        A client that was let on undecided is watched too; what was let through in spite of all is not.
        """
        return None if facts.learnt.get("postgresql.valid") is False else PostgresqlWatch(self, facts)


def _refused(reason: str, sqlstate: str, message: str) -> Deny:
    return Deny(reason, farewell=postgresql_error(sqlstate, message))


@implementer(IStreamWatch)
class PostgresqlWatch:
    """One connection, until the startup message is answered; packets that ask for encryption may come before it."""

    __slots__ = ("_asked", "_facts", "_over", "_pieces", "_refusals", "_tls", "_validator")

    def __init__(self, validator: PostgresqlValidator, facts: Facts) -> None:
        self._validator = validator
        self._facts = facts
        self._pieces = Pieces()
        self._asked: str | None = None
        """The kind of the packet that the server has not answered."""
        self._refusals: set[str] = set()
        """The kinds of encryption that the server does not want."""
        self._tls: TlsStart | None = None
        self._over = False

    def client_said(self, data: bytes) -> Allow | Deny:
        """Judge packets until one is a startup message, or TLS or GSSAPI have begun."""
        try:
            return self._client_said(data)
        except WireError as error:
            return self._broken(error.reason)

    def _client_said(self, data: bytes) -> Allow | Deny:
        if self._over:
            return ALLOW_FINALLY
        if self._tls is not None:
            self._over = self._tls.feed(data)
            return ALLOW_FINALLY if self._over else ALLOW
        if self._asked is not None:  # what is said behind a question would be read with its answer, or without
            raise WireError("postgresql-early")
        whole = self._pieces.add(data)
        if whole is None:
            return ALLOW
        packet = read_postgresql_startup(whole)
        if isinstance(packet, NeedMore):
            self._pieces.wait(packet)
            return ALLOW
        if packet.kind in self._refusals:
            raise WireError("postgresql-asked-twice")
        if packet.kind != "startup" and len(whole) > packet.length:
            raise WireError("postgresql-early", packet.length)
        self._pieces.clear()
        self._asked = packet.kind
        denied = self._validator.judge(packet, self._facts)
        if denied is not None:
            return denied
        return ALLOW_FINALLY if packet.kind == "startup" else ALLOW

    def server_said(self, data: bytes) -> Allow | Deny:
        """Judge the first byte of each answer."""
        try:
            return self._server_said(data)
        except WireError as error:
            return self._broken(error.reason)

    def _server_said(self, data: bytes) -> Allow | Deny:
        if self._over:
            return ALLOW_FINALLY
        asked, self._asked = self._asked, None
        answer = data[:1]
        if asked is None or answer not in ANSWERS[asked]:
            raise WireError("postgresql-answer")
        if asked == "startup" or answer == b"E":
            # Whoever is told of an error has nothing more to say: "asked" stays, for the client's side.
            self._asked = asked
            return ALLOW_FINALLY
        if len(data) > 1:  # it would be read as if it had come encrypted
            raise WireError("postgresql-answer", 1)
        if answer == b"N":
            self._refusals.add(asked)
        elif not self._validator.encrypts:
            return _refused("postgresql-encrypted", "28000", "encryption is not allowed here")
        elif answer == b"S":
            self._tls = TlsStart("postgresql-no-tls")
        else:
            self._over = True
        return ALLOW

    def _broken(self, reason: str) -> Allow | Deny:
        self._over = True
        return self._validator.broken(reason, self._facts) or ALLOW_FINALLY


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``postgresql``."""
    return {"postgresql": Supply(PostgresqlValidator, PostgresqlOptions, mode="tcp", facts=FACTS)}
