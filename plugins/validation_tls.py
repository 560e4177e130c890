"""``use = "tls"``: the client must begin with a ClientHello, and the server must answer it as TLS does.

Source: RFC 8446, RFC 5246, RFC 6066; what is refused stands in ``TLS_RULES``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ALLOW_FINALLY,
    TLS_RULES,
    Alert,
    Allow,
    ClientHello,
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
    Supply,
    TlsSecondHello,
    TlsServerStart,
    Verdict,
    WireError,
    cipher_suite_names,
    group_names,
    hookimpl,
    is_host_name,
    is_known_answer,
    ja3,
    ja4,
    protocol_fact,
    protocol_names,
    read_client_hello,
    signature_algorithm_names,
    tls_alert,
    version_names,
)

TLS_1_3 = 0x0304
VERSIONS = {"1.0": 0x0301, "1.1": 0x0302, "1.2": 0x0303, "1.3": TLS_1_3}
DENIED = {number: tls_alert(Alert.ACCESS_DENIED, number) for number in range(0x0301, 0x0400)}
"""What tells a client that it is refused for what it asked for, by the version that its hello has in the old place."""
NAMES = {number: name for name, number in VERSIONS.items()}
CLIENT_HELLO = "tls.client_hello"
"""Where ``facts.learnt`` has the ``ClientHello``, for what few ask for."""


def _on_demand(name: str, compute: Callable[[ClientHello], Any]) -> Callable[[Facts], Any]:
    """Return what learns a fact of the ClientHello when it is first asked for."""

    def get(facts: Facts) -> Any:
        learnt = facts.learnt
        hello = learnt.get(CLIENT_HELLO)
        if hello is not None and name not in learnt:
            learnt[name] = compute(hello)
        return learnt.get(name)

    return get


def _strings(name: str, about: str, compute: Callable[[ClientHello], tuple[str, ...]]) -> Fact:
    return Fact(FactType.STRINGS, about, get=_on_demand(name, compute))


FACTS: Mapping[str, Fact] = {
    "protocol": protocol_fact("tls"),
    "tls.valid": Fact(FactType.BOOLEAN, "whether the client began as TLS does"),
    "tls.sni": Fact(
        FactType.STRING, "the server name that the client asks for, in small letters", host=True, folded=True
    ),
    "tls.alpn": Fact(FactType.STRINGS, "the protocols that the client offers inside, such as h2"),
    "tls.version": Fact(FactType.STRING, "the highest version offered, such as 1.3"),
    "tls.ech": Fact(FactType.BOOLEAN, "whether the ClientHello has another, encrypted one inside, or pretends to"),
    "tls.versions": _strings("tls.versions", "the versions offered", version_names),
    "tls.cipher_suites": _strings("tls.cipher_suites", "the cipher suites offered", cipher_suite_names),
    "tls.groups": _strings("tls.groups", "the groups offered for the exchange of keys", group_names),
    "tls.signature_algorithms": _strings(
        "tls.signature_algorithms", "the signature algorithms offered", signature_algorithm_names
    ),
    "tls.ja3": Fact(FactType.STRING, "the JA3 fingerprint, 32 hexadecimal digits", get=_on_demand("tls.ja3", ja3)),
    "tls.ja4": Fact(FactType.STRING, "the JA4 fingerprint", get=_on_demand("tls.ja4", ja4)),
}


class TlsOptions(Options, frozen=True):
    """``min_version``: below which neither client nor server may go. ``allowed_sni``: names, and ``*.`` with a name for
    all below it. ``require_sni``: whether there must be a name at all; without it, as ``allowed_sni`` is given or not.
    """

    min_version: Literal["1.0", "1.1", "1.2", "1.3"] = "1.2"
    require_sni: bool | None = None
    allowed_sni: tuple[str, ...] = ()
    check_server: bool = True
    accept_invalid: bool = False


@implementer(IStreamValidator)
class TlsValidator:
    """Lets pass what begins with a sound ClientHello; see the options."""

    server_first = False

    def __init__(self, options: TlsOptions) -> None:
        self._min_version = VERSIONS[options.min_version]
        self._names, self._suffixes = _split_names(options.allowed_sni)
        self._require_sni = bool(options.allowed_sni) if options.require_sni is None else options.require_sni
        self._check_server = options.check_server
        self._accept_invalid = options.accept_invalid
        if options.accept_invalid and self._require_sni:
            raise ConfigError(
                "accept_invalid: without effect where there must be a server name (require_sni, allowed_sni), which a "
                "broken hello has not: leave it out, or write require_sni = false"
            )
        self.takes_anything = options.accept_invalid

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Judge all that the client has said so far, and learn what its ClientHello says."""
        try:
            hello = read_client_hello(data)
        except WireError as error:
            return self._broken(error.reason, data, facts)
        if isinstance(hello, NeedMore):
            return hello
        name = hello.server_name
        if hello.version < self._min_version:
            return _refusal("tls-min-version", data)
        if name is None:
            if self._require_sni:
                return _refusal("tls-sni-missing", data)
        elif (self._names or self._suffixes) and not self._allows(name):
            return _refusal("tls-sni-not-allowed", data, f": {name}")
        facts.farewell = DENIED[hello.legacy_version]
        learnt = facts.learnt
        learnt["protocol"] = "tls"
        learnt["tls.valid"] = True
        learnt["tls.version"] = NAMES[hello.version]
        learnt["tls.ech"] = hello.ech
        learnt[CLIENT_HELLO] = hello
        if name is not None:
            learnt["tls.sni"] = name
        if hello.protocols:
            learnt["tls.alpn"] = protocol_names(hello)
        return ALLOW

    def _allows(self, name: str) -> bool:
        if name in self._names:
            return True
        suffixes = self._suffixes
        while suffixes and name:
            name = name.partition(".")[2]
            if name in suffixes:
                return True
        return False

    def _broken(self, rule: str, data: bytes, facts: Facts) -> Allow | Deny:
        """Refuse what broke a rule; with ``accept_invalid`` it passes, but as one that asks for no name."""
        if not self._accept_invalid:
            return _refusal(rule, data)
        facts.learnt["tls.valid"] = False
        if TLS_RULES[rule].alert is not None:
            facts.learnt["protocol"] = "tls"
        return ALLOW

    def watch(self, facts: Facts) -> "TlsWatch | None":
        """Watch the server's answer, if that is to be checked, and the client, if there may be a second ClientHello."""
        learnt = facts.learnt
        if learnt.get("protocol") != "tls":
            return None
        min_version = self._min_version if self._check_server else None
        hello = learnt.get(CLIENT_HELLO)
        if hello is not None and hello.version == TLS_1_3:
            return TlsWatchOfBoth(min_version, hello)
        return None if min_version is None else TlsWatch(min_version)


@implementer(IStreamWatch)
class TlsWatch:
    """One connection, until its server has answered the ClientHello; with anything if ``min_version`` is ``None``."""

    __slots__ = ("_min_version", "_start", "over")

    def __init__(self, min_version: int | None) -> None:
        self._min_version = min_version
        self._start: TlsServerStart | None = None
        self.over = False
        """Whether a ServerHello has come that is no HelloRetryRequest."""

    client_said: Callable[[bytes], Allow | Deny] | None = None
    """``validate`` has seen what there is to see."""

    def server_said(self, data: bytes) -> Allow | Deny:
        """Wait for the whole ServerHello, or an alert."""
        min_version, start = self._min_version, self._start
        if min_version is None:
            return ALLOW_FINALLY
        if start is None:
            if is_known_answer(data, min_version):
                self.over = True
                return ALLOW_FINALLY
            start = self._start = TlsServerStart(min_version)
            passed = False
        else:
            passed = True
        try:
            if not start.feed(data):
                return ALLOW
        except WireError as error:
            # Behind a part of a record, an alert would be no alert.
            return Deny(error.reason, farewell=b"" if passed else _alert(error.reason))
        self.over = start.is_last
        return ALLOW_FINALLY


@implementer(IStreamWatch)
class TlsWatchOfBoth(TlsWatch):
    """One connection whose client may have to say its ClientHello again; not even ``accept_invalid`` lets it change."""

    __slots__ = ("_hello", "_second", "_to_come")

    def __init__(self, min_version: int | None, hello: ClientHello) -> None:
        self._min_version = min_version
        self._start = None
        self.over = False
        self._hello = hello
        self._to_come = hello.size
        self._second: TlsSecondHello | None = None

    def client_said(self, data: bytes) -> Allow | Deny:
        """Wait until there can be no second ClientHello, or it has come and asks for the same name."""
        to_come = self._to_come
        if to_come:
            self._to_come = max(to_come - len(data), 0)
            if len(data) <= to_come:
                return ALLOW
            data = data[to_come:]
        if self.over:
            return ALLOW_FINALLY
        if self._second is None:
            self._second = TlsSecondHello(self._hello)
        try:
            return ALLOW_FINALLY if self._second.feed(data) else ALLOW
        except WireError as error:
            # The server has said a HelloRetryRequest: what follows it is still in the clear.
            return Deny(error.reason, farewell=_alert(error.reason))


def _refusal(rule: str, data: bytes, more: str = "") -> Deny:
    # The alert has to carry a version that the client knows: that of its hello, as far as that can be seen.
    seen = len(data) > 10 and data[0] == 22 and data[3:5] > b"\x00\x05" and data[5] == 1
    return Deny(rule + more, farewell=_alert(rule, data[9] << 8 | data[10] if seen else VERSIONS["1.0"]))


def _alert(rule: str, version: int = VERSIONS["1.2"]) -> bytes:
    alert = TLS_RULES[rule].alert
    return b"" if alert is None else tls_alert(alert, version)


def _split_names(entries: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the exact names, and those that follow a ``*.``, in small letters.

    Raises: ConfigError.
    """
    wrong = [entry for entry in entries if not is_host_name(entry.removeprefix("*.").encode())]
    if wrong:
        raise ConfigError(*(f'allowed_sni: neither a host name nor "*." and a host name: "{one}"' for one in wrong))
    names = [entry.lower() for entry in entries]
    below = frozenset(name[2:] for name in names if name.startswith("*."))
    return frozenset(name for name in names if not name.startswith("*.")), below


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``tls``."""
    return {"tls": Supply(TlsValidator, TlsOptions, mode="tcp", facts=FACTS)}
