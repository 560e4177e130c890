"""``use = "rdp"``: the client must ask for a Remote Desktop connection, and the server must confirm it.

Source: MS-RDPBCGR, sections 1.3.1.1, 2.2.1.1 and 2.2.1.2.
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
    NeedMore,
    Options,
    RdpRequest,
    Supply,
    TlsStart,
    Verdict,
    WireError,
    hookimpl,
    protocol_fact,
    rdp_refusal,
    read_rdp_confirmation,
    read_rdp_request,
)

FACTS = {
    "protocol": protocol_fact("rdp"),
    "rdp.valid": Fact(FactType.BOOLEAN, "whether client and server began as those of Remote Desktop do"),
    "rdp.cookie": Fact(FactType.STRING, "the mstshash cookie: the front of a user's name, as the client says it"),
    "rdp.token": Fact(FactType.STRING, "the routing token that a broker gave the client"),
    "rdp.protocols": Fact(FactType.STRINGS, "what the client can speak: rdp, tls, hybrid, rdstls, hybrid-ex, rdsaad"),
}
SSL_REQUIRED, INCONSISTENT_FLAGS = 1, 4
"""Codes of an RDP_NEG_FAILURE (section 2.2.1.2.2)."""
NOT_RDP = ("rdp-tpkt", "rdp-x224", "rdp-no-tls")
"""Who broke these rules would not understand an answer."""


class RdpOptions(Options, frozen=True):
    """``require_tls``: who can only do without is refused, and a server that wants to do without too."""

    require_tls: bool = False
    accept_invalid: bool = False


@implementer(IStreamValidator)
class RdpValidator:
    """Lets pass what begins with a connection request."""

    server_first = False

    def __init__(self, options: RdpOptions) -> None:
        if options.require_tls and options.accept_invalid:
            raise ConfigError(
                'accept_invalid: not beside "require_tls": what breaks a rule would pass without encryption'
            )
        self.require_tls = options.require_tls
        self._accept_invalid = self.takes_anything = options.accept_invalid

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Judge the request; what may follow it, and when, the watch knows."""
        try:
            request = read_rdp_request(data)
        except WireError as error:
            return self.broken(error.reason, facts) or ALLOW
        if isinstance(request, NeedMore):
            return request
        return self.judge(request, facts) or ALLOW

    def judge(self, request: RdpRequest, facts: Facts) -> Deny | None:
        """Learn what a request asks for; the answer is what the options have against it."""
        learnt = facts.learnt
        learnt.update({"protocol": "rdp", "rdp.valid": True, "rdp.protocols": request.protocols})
        for name, value in (("rdp.cookie", request.cookie), ("rdp.token", request.token)):
            if value is not None:
                learnt[name] = value
        return unencrypted(request) if self.require_tls and not request.requested else None

    def broken(self, reason: str, facts: Facts) -> Deny | None:
        """Note that a rule was broken; the answer is what the options have against it."""
        facts.learnt["rdp.valid"] = False
        if self._accept_invalid:
            return None
        return Deny(reason) if reason in NOT_RDP else Deny(reason, farewell=rdp_refusal(INCONSISTENT_FLAGS))

    def watch(self, facts: Facts) -> "RdpWatch | None":
        """Watch until the server has confirmed, and TLS has begun if that was agreed on.

        A client that was let on undecided is watched too; what was let through in spite of all is not.
        """
        return None if facts.learnt.get("rdp.valid") is False else RdpWatch(self, facts)


def unencrypted(request: RdpRequest) -> Deny:
    """Refuse to do without TLS."""
    return Deny("rdp-unencrypted", farewell=rdp_refusal(SSL_REQUIRED, request.source_ref))


@implementer(IStreamWatch)
class RdpWatch:
    """One connection, until the first byte behind the negotiation."""

    __slots__ = ("_confirmed", "_facts", "_over", "_plain", "_request", "_said", "_tls", "_validator")

    def __init__(self, validator: RdpValidator, facts: Facts) -> None:
        self._validator = validator
        self._facts = facts
        self._said = b""
        """What has come of the packet that is being waited for; 259 bytes at most are."""
        self._request: RdpRequest | None = None
        self._confirmed = self._plain = False
        """Whether the server has confirmed, and that for RDP's own encryption."""
        self._tls: TlsStart | None = None
        self._over = False

    def client_said(self, data: bytes) -> Allow | Deny:
        """Judge the request, and that nothing follows it before it is confirmed, but TLS behind that."""
        if self._over:
            return ALLOW_FINALLY
        try:
            if self._plain or self._tls is not None:
                self._over = self._tls is None or self._tls.feed(data)
                return ALLOW_FINALLY if self._over else ALLOW
            if self._request is not None:
                raise WireError("rdp-early")
            self._said += data
            request = read_rdp_request(self._said)
            if isinstance(request, NeedMore):
                return ALLOW
            if len(self._said) > request.length:
                raise WireError("rdp-early", request.length)
        except WireError as error:
            return self._broken(error.reason)
        self._request = request
        self._said = b""
        return self._validator.judge(request, self._facts) or ALLOW

    def server_said(self, data: bytes) -> Allow | Deny:
        """Judge the confirmation, and that nothing follows it before the client has said more."""
        if self._over:
            return ALLOW_FINALLY
        request = self._request
        try:
            if request is None or self._confirmed:
                raise WireError("rdp-server-early")
            self._said += data
            confirmation = read_rdp_confirmation(self._said, request)
            if isinstance(confirmation, NeedMore):
                return ALLOW
            if len(self._said) > confirmation.length:
                raise WireError("rdp-server-early", confirmation.length)
        except WireError as error:
            return self._broken(error.reason)
        self._confirmed = True
        self._said = b""
        if confirmation.selected:
            self._tls = TlsStart("rdp-no-tls")
        elif confirmation.selected == 0:
            if self._validator.require_tls:
                return unencrypted(request)
            self._plain = True
        return ALLOW

    def _broken(self, reason: str) -> Allow | Deny:
        self._over = True
        return self._validator.broken(reason, self._facts) or ALLOW_FINALLY


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``rdp``."""
    return {"rdp": Supply(RdpValidator, RdpOptions, mode="tcp", facts=FACTS)}
