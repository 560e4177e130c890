"""Which facts there are, of which type each is, and from which stage on it is known.

Rules, routes and tables are checked against this at start-up. What validators and policies learn they declare in their
``Supply``; what the proxy itself knows of every connection is declared here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from twisted_lb.endings import Stage
from twisted_lb.facts import Facts


class FactType(Enum):
    """What values a fact has; the value says it for people. A fact that is not known has no value at all."""

    STRING = "a string"
    """``str``."""
    INTEGER = "a whole number"
    """``int``."""
    BOOLEAN = "true or false"
    """``bool``."""
    ADDRESS = "an address"
    """``str``: an IP address, or what else a ``SocketAddress`` has for a host."""
    STRINGS = "a list of strings"
    """``tuple`` of ``str``."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact. ``about``: a few words for people.

    ``stage``: the first in which it is known. ``mode``: of the frontends whose connections have it, if there is one.
    ``get``: where it comes from, or ``None`` back; without it, it is in ``facts.learnt`` under its name.
    ``host``: of strings that name hosts: rules compare them without regard to case and to a final dot. ``folded``: such
    values come in small letters and without a final dot already.
    ``least``, ``most``: of whole numbers, if there are bounds. ``values``: of strings that are one of a few, all of
    them; rules and routes with any other are a mistake.
    """

    type: FactType
    about: str
    stage: Stage = Stage.POLICY
    mode: Literal["tcp", "http"] | None = None
    get: Callable[[Facts], Any] | None = None
    host: bool = False
    folded: bool = False
    least: int | None = None
    most: int | None = None
    values: tuple[str, ...] = ()


def protocol_fact(*names: str) -> Fact:
    """Declare the fact ``protocol``, as every validator does that learns it; ``names``: all that it may say."""
    return Fact(FactType.STRING, "the protocol that the client speaks", values=names)


def _of_connection(type_: FactType, about: str, get: Callable[[Facts], Any]) -> Fact:
    return Fact(type_, about, Stage.ADMISSION, None, get)


def _port(about: str, get: Callable[[Facts], Any]) -> Fact:
    return Fact(FactType.INTEGER, about, Stage.ADMISSION, None, get, least=0, most=65535)


def _credential(what: str, name: str) -> Fact:
    def get(facts: Facts) -> Any:
        return getattr(facts.credentials, name, None)

    return _of_connection(FactType.INTEGER, f"the {what} of who connected to us over a Unix socket", get)


OWN_FACTS: Mapping[str, Fact] = {
    "source": _of_connection(FactType.ADDRESS, "the client's address", lambda facts: facts.source.host),
    "source.host": _of_connection(FactType.STRING, "the client's address as text", lambda facts: facts.source.host),
    "source.port": _port("the client's port", lambda facts: facts.source.port),
    "peer": _of_connection(FactType.ADDRESS, "who connected to us", lambda facts: facts.peer.host),
    "peer.host": _of_connection(FactType.STRING, "who connected to us, as text", lambda facts: facts.peer.host),
    "peer.port": _port("the port of who connected to us", lambda facts: facts.peer.port),
    "destination": _of_connection(
        FactType.ADDRESS, "the address that the client connected to", lambda facts: facts.destination.host
    ),
    "destination.host": _of_connection(
        FactType.STRING, "the address that the client connected to, as text", lambda facts: facts.destination.host
    ),
    "destination.port": _port("the port that the client connected to", lambda facts: facts.destination.port),
    "bind": _of_connection(FactType.STRING, "the bind entry, as spelt", lambda facts: facts.bind),
    "frontend": _of_connection(FactType.STRING, "the frontend's name", lambda facts: facts.frontend),
    "namespace": _of_connection(
        FactType.STRING, "the network namespace that the client came in by", lambda facts: facts.namespace
    ),
    "unix.uid": _credential("user's number", "uid"),
    "unix.gid": _credential("group's number", "gid"),
    "unix.pid": _credential("process's number", "pid"),
}
"""What is known of every connection."""


def _of_header(type_: FactType, about: str, name: str = "", host: bool = False) -> Fact:
    """Declare what a TLV says; bytes become text."""

    def text(facts: Facts) -> Any:
        value = facts.learnt.get(name)
        return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value

    return Fact(type_, about, Stage.ADMISSION, get=text if name else None, host=host)


_STRING, _INTEGER = FactType.STRING, FactType.INTEGER

PROXY_FACTS: Mapping[str, Fact] = {
    "proxy.authority": _of_header(_STRING, "the name that the client asked the proxy before us for", host=True),
    "proxy.alpn": _of_header(_STRING, "the protocol that the client and the proxy before us chose"),
    "proxy.unique_id": _of_header(_STRING, "what the proxy before us calls the connection", "proxy.unique_id"),
    "proxy.netns": _of_header(_STRING, "the network namespace that the proxy before us names"),
    "proxy.crc32c": _of_header(_INTEGER, "the header's checksum"),
    "proxy.noop": _of_header(_STRING, "what fills the header", "proxy.noop"),
    "proxy.aws.vpce_id": _of_header(_STRING, "Amazon's VPC endpoint"),
    "proxy.azure.link_id": _of_header(_INTEGER, "Azure's private endpoint"),
    "proxy.gcp.psc_connection_id": _of_header(_INTEGER, "Google's Private Service Connect connection"),
    "proxy.ssl.client": _of_header(_INTEGER, "bits: the client spoke TLS (1), gave a certificate (2), earlier (4)"),
    "proxy.ssl.verify": _of_header(_INTEGER, "0 if the client's certificate was found good"),
    "proxy.ssl.version": _of_header(_STRING, "the version of TLS between the client and the proxy before us"),
    "proxy.ssl.cn": _of_header(_STRING, "the name in the client's certificate"),
    "proxy.ssl.cipher": _of_header(_STRING, "the cipher between the client and the proxy before us"),
    "proxy.ssl.sig_alg": _of_header(_STRING, "how the proxy's certificate is signed"),
    "proxy.ssl.key_alg": _of_header(_STRING, "the key of the proxy's certificate"),
    "proxy.ssl.group": _of_header(_STRING, "the group of their key exchange"),
    "proxy.ssl.sig_scheme": _of_header(_STRING, "the scheme of the proxy's signature"),
    "proxy.ssl.client_cert": _of_header(_STRING, "the client's certificate", "proxy.ssl.client_cert"),
}
"""What the TLVs of a PROXY header say, where ``accept_proxy`` takes one; see ``wire.proxy_tlvs.fields_of``."""

SYN_FACTS: Mapping[str, Fact] = {
    "tcp.saved_syn": Fact(
        _STRING,
        "the client's SYN, its IP and TCP headers, in hexadecimal digits",
        Stage.ADMISSION,
        get=lambda facts: facts.learnt["tcp.saved_syn"].hex() if "tcp.saved_syn" in facts.learnt else None,
    )
}
"""What is known where ``tcp.save_syn`` is set."""


def value_of(facts: Facts, name: str) -> Any:
    """Return the value of a connection's fact, ``None`` if it has none."""
    own = OWN_FACTS.get(name)
    return facts.learnt.get(name) if own is None or own.get is None else own.get(facts)
