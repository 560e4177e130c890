"""``use = "ssh"``: client and server must begin with an SSH identification.

Source: RFC 4253, section 4.2.
"""

from collections.abc import Mapping

from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ALLOW_FINALLY,
    Allow,
    Deny,
    Fact,
    Facts,
    FactType,
    IStreamValidator,
    IStreamWatch,
    IValidator,
    NeedMore,
    Options,
    SshServerIdentification,
    Supply,
    Verdict,
    WireError,
    hookimpl,
    protocol_fact,
    read_ssh_client,
)

FACTS = {
    "protocol": protocol_fact("ssh"),
    "ssh.valid": Fact(FactType.BOOLEAN, "whether client and server began as SSH does"),
    "ssh.version": Fact(FactType.STRING, "the version of the protocol in the client's identification, such as 2.0"),
    "ssh.software": Fact(FactType.STRING, "what the client says it is, such as OpenSSH_9.2p1"),
}


class SshOptions(Options, frozen=True):
    """``server_first``: clients may wait for the server's identification before they send theirs, so no server is kept
    waiting for it; then what it says is not known when a policy decides.
    """

    server_first: bool = False
    accept_invalid: bool = False


@implementer(IStreamValidator)
class SshValidator:
    """Lets pass what begins with an SSH identification; see the options."""

    def __init__(self, options: SshOptions) -> None:
        self.server_first = options.server_first
        self.accept_invalid = self.takes_anything = options.accept_invalid

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Judge all that the client has said so far."""
        verdict = self.judge(data, facts)
        # Who is not waited for is watched: there the rest of the line is judged.
        return ALLOW if self.server_first and isinstance(verdict, NeedMore) else verdict

    def judge(self, data: bytes, facts: Facts) -> Verdict:
        """Judge the client's identification, as far as it has come, and learn what it says."""
        try:
            found = read_ssh_client(data)
        except WireError as error:
            facts.learnt["ssh.valid"] = False
            return ALLOW if self.accept_invalid else Deny(error.reason)
        if isinstance(found, NeedMore):
            return found
        learnt = facts.learnt
        learnt["protocol"] = "ssh"
        learnt["ssh.valid"] = True
        learnt["ssh.version"] = found.version
        learnt["ssh.software"] = found.software
        return ALLOW

    def watch(self, facts: Facts) -> "SshWatch":
        """Watch until the server has identified itself, and the client too."""
        return SshWatch(self, facts)


@implementer(IStreamWatch)
class SshWatch:
    """One connection. What of the client ``validate`` has not judged whole is judged here."""

    __slots__ = ("_facts", "_said", "_server", "_validator")

    def __init__(self, validator: SshValidator, facts: Facts) -> None:
        self._validator = validator
        self._facts = facts
        self._said = b""
        self._server = SshServerIdentification()

    def client_said(self, data: bytes) -> Allow | Deny:
        """Wait for the client's identification, unless it was judged before; the rest is encrypted soon."""
        if "ssh.valid" in self._facts.learnt:
            return ALLOW_FINALLY
        self._said += data
        verdict = self._validator.judge(self._said, self._facts)
        if isinstance(verdict, NeedMore):
            return ALLOW
        self._said = b""
        return verdict if isinstance(verdict, Deny) else ALLOW_FINALLY

    def server_said(self, data: bytes) -> Allow | Deny:
        """Wait for the server's identification."""
        try:
            return ALLOW if self._server.feed(data) is None else ALLOW_FINALLY
        except WireError as error:
            self._facts.learnt["ssh.valid"] = False
            return ALLOW_FINALLY if self._validator.accept_invalid else Deny(error.reason)


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``ssh``."""
    return {"ssh": Supply(SshValidator, SshOptions, mode="tcp", facts=FACTS)}
