"""The PROXY protocol, both ways: believing what a proxy before us says, and telling the server who the client is.

Stage: proxy header.
In: a connection on a bind with ``accept_proxy``, its first bytes, the codecs that the configuration names.
Out: the header and how many bytes it took, ``NeedMore``, or an error; and the bytes that a server gets first.
Never: guesses whether a header is there, or looks for one in the bytes of a source that is not trusted.
Source: HAProxy proxy-protocol.txt, sections 2 to 2.2.
"""

from collections.abc import Mapping, Sequence, Set
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from twisted_lb.config.templates import LEARNT, render
from twisted_lb.config.tlvs import Computed, TlvValue
from twisted_lb.contracts import IProxyCodec
from twisted_lb.errors import PluginError, WireError, shown
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.networks import Networks
from twisted_lb.plugin_host import Built
from twisted_lb.verdicts import ALLOW, Deny, NeedMore, Verdict
from twisted_lb.wire.proxy_causes import explain
from twisted_lb.wire.proxy_header import ProxyHeader, Tlv, TlvType, recognise
from twisted_lb.wire.proxy_tlvs import fields_of

LEARNT_FROM_HEADER = "proxy."
"""What the names begin with under which ``Facts.learnt`` has what a header's TLVs say: ``proxy.authority``."""
SHOWN = 32
"""Bytes of a broken header that the log shows."""


class Trust(Enum):
    """What a source has to do."""

    MUST_SEND = "must send a header"
    DIRECT = "is a client itself"
    REFUSED = "is refused"


_MUST_SEND = Trust.MUST_SEND  # looking it up on its Enum is a call of a Python function on 3.11


class Reception:
    """What a bind with ``accept_proxy`` expects. ``trusted``: ``None`` for every source.

    ``timeout_s``: from accept to the whole header. ``max_header``: bytes. ``namespaces``: those that a header may
    choose, by name; without any none is looked for.
    """

    def __init__(
        self,
        codecs: Sequence[Built[IProxyCodec]],
        trusted: Networks | None,
        others: Trust,
        timeout_s: float,
        max_header: int,
        namespaces: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.timeout_s = timeout_s
        self._max_header = max_header
        self._namespaces = namespaces  # keeps them open
        self._trusted = trusted
        self._others = others
        self._codecs = [codec.object for codec in codecs]
        self._plugins = {id(codec.object): codec for codec in codecs}

    def expects(self, source: str) -> Trust:
        """What the source of that address has to do; an address that is none is not trusted."""
        if self._trusted is None or self._trusted.contains(source):
            return _MUST_SEND
        return self._others

    def take(self, data: bytes, facts: Facts) -> tuple[Verdict, int]:
        """Judge the header at the front of ``data``: all bytes that came so far, never empty.

        Returns: the verdict, and with ``Allow`` how many bytes the header took; the rest is the client's. ``facts`` say
            then what the header claims.
        Raises: PluginError for a codec that fails.
        """
        try:
            answer = self.read(data)
        except WireError as error:
            return Deny(describe(error, data)), 0
        if isinstance(answer, NeedMore):
            return answer, 0
        header, used = answer
        facts.proxy_header = header
        if self._namespaces and not header.local:
            refused = self._choose_namespace(header, facts)
            if refused is not None:
                return refused, 0
        for name, value in fields_of(header.tlvs):
            facts.learnt.setdefault(LEARNT_FROM_HEADER + name, value)
        if header.source is not None and header.destination is not None:
            facts.source, facts.destination = header.source, header.destination
        return ALLOW, used

    def _choose_namespace(self, header: ProxyHeader, facts: Facts) -> Deny | None:
        chosen = header.tlv(TlvType.NETNS)
        if chosen is None:
            return None
        name = chosen.decode("utf-8", "backslashreplace")
        if name not in self._namespaces:
            return Deny(f"proxy-netns: the header's namespace {name!a} is not in accept_proxy.namespaces")
        facts.namespace = name
        return None

    def read(self, data: bytes) -> tuple[ProxyHeader, int] | NeedMore:
        """Read the header at the front of ``data``: all bytes that came so far, never empty.

        Returns: the header, and how many bytes it took; the rest is the client's.
        Raises: WireError for what is no header, or a broken or too long one; PluginError for a codec that fails.
        """
        codec = recognise(self._codecs, data)
        if isinstance(codec, NeedMore):
            return codec
        try:
            answer: Any = codec.decode(data)
        except (WireError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._blame(codec, f"raised {shown(error)} in decode") from error
        if _is_header(answer, len(data)):
            length = answer[1]
        elif isinstance(answer, NeedMore):
            length = max(answer.at_least, len(data) + 1)
        else:
            raise self._blame(codec, f"answered {shown(answer)} in decode")
        if length > self._max_header or length > codec.max_length:
            raise WireError("proxy-header-too-long", min(self._max_header, codec.max_length))
        result: tuple[ProxyHeader, int] | NeedMore = answer
        return result

    def _blame(self, codec: IProxyCodec, what: str) -> PluginError:
        built = self._plugins[id(codec)]
        return PluginError(built.plugin, f"PROXY codec {built.name!r} {what}")


def _is_header(answer: Any, limit: int) -> bool:
    """Whether a codec answered with a header and how many of at most ``limit`` bytes it took.

    No pattern of a ``match``, which takes twice as long.
    """
    return (
        isinstance(answer, tuple)
        and len(answer) == 2
        and isinstance(answer[0], ProxyHeader)
        and isinstance(answer[1], int)
        and 0 < answer[1] <= limit
    )


def describe(error: WireError, data: bytes) -> str:
    """Say for the log what is wrong with ``data``: the reason, where, its first bytes escaped, and the likely cause."""
    start = data[:SHOWN].decode("latin-1").encode("unicode_escape").decode()
    cause = explain(data, error.reason)
    return f'{error}; it begins "{start}"{cause and f"; {cause}"}'


class Sender:
    """What a server with ``send_proxy`` gets first.

    ``own``: what goes into which TLV. ``forwarded``: types that are passed on from a received header, unless they are
    among ``own``. The client's namespace goes into a NETNS TLV, unless one of these gives one.
    """

    def __init__(
        self, codec: Built[IProxyCodec], own: Mapping[int, TlvValue] | None = None, forwarded: Set[int] = frozenset()
    ) -> None:
        self._codec = codec
        self._own = tuple((own or {}).items())
        self._forwarded = forwarded - {kind for kind, _ in self._own}
        self._own_netns = any(kind == TlvType.NETNS for kind, _ in self._own)

    def preface(self, facts: Facts) -> bytes:
        """The header for one connection.

        Raises: PluginError, also when the addresses or the TLVs do not fit into a header.
        """
        tlvs = self._tlvs(facts) if self._own or self._forwarded or facts.namespace is not None else ()
        return self._encode(ProxyHeader(source=facts.source, destination=facts.destination, tlvs=tlvs))

    def local(self) -> bytes:
        """The header of a connection that nobody is behind, such as a health check: LOCAL, or v1's UNKNOWN.

        Of the TLVs, which speak of a client, it has at most the checksum. Raises: PluginError.
        """
        checksum = [kind for kind, value in self._own if value is Computed.CHECKSUM]
        return self._encode(ProxyHeader(local=True, tlvs=tuple(Tlv(kind, b"") for kind in checksum)))

    def _encode(self, header: ProxyHeader) -> bytes:
        try:
            encoded: Any = self._codec.object.encode(header)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._blame(f"raised {shown(error)} in encode") from error
        if not isinstance(encoded, bytes):
            raise self._blame(f"answered {shown(encoded)} in encode, which is no bytes")
        return encoded

    def _blame(self, what: str) -> PluginError:
        return PluginError(self._codec.plugin, f"PROXY codec {self._codec.name!r} {what}")

    def _tlvs(self, facts: Facts) -> tuple[Tlv, ...]:
        own = ((kind, tlv_bytes(kind, value, facts)) for kind, value in self._own)
        tlvs = [Tlv(kind, value) for kind, value in own if value is not None]
        if facts.proxy_header is not None:
            tlvs += [tlv for tlv in facts.proxy_header.tlvs if tlv.type in self._forwarded]
        if facts.namespace is not None and not self._own_netns and all(tlv.type != TlvType.NETNS for tlv in tlvs):
            tlvs.append(Tlv(TlvType.NETNS, facts.namespace.encode()))
        return tuple(tlvs)


def tlv_bytes(kind: int, value: TlvValue, facts: Facts) -> bytes | None:
    """Work out a TLV's value for one connection; ``None`` if there is nothing to say."""
    match value:
        case Computed.CHECKSUM:
            return b""  # the codec computes it, over all of the header
        case Computed.UUID:
            return uuid4().hex.encode()
        case Computed.SNI:
            name = facts.learnt.get("tls.sni")
            if name is None and facts.proxy_header is not None:
                received: bytes | None = facts.proxy_header.tlv(kind)
                return received
            return None if name is None else str(name).encode()
    return render(value, partial(_field, facts)).encode() or None


def _field(facts: Facts, name: str) -> object:
    if name.startswith(LEARNT):
        learnt = facts.learnt.get(name.removeprefix(LEARNT), "")
        return learnt.decode("utf-8", "backslashreplace") if isinstance(learnt, bytes) else learnt
    base, _, port = name.partition("_")
    value = getattr(facts, base)
    if isinstance(value, SocketAddress):
        return value.port if port else value.host
    return value
