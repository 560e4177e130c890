"""PROXY headers: which are read, and which are written."""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from twisted_lb.config.section import Section
from twisted_lb.config.units import Duration, Size
from twisted_lb.config.values import HeaderSize, NamespaceName


class AcceptProxy(Section, frozen=True, kw_only=True):
    """``accept_proxy``: which PROXY headers clients must send, and who must.

    ``versions``: names of the codecs that plugins supply. ``from_``: the networks whose clients must send a header, as
    ``Networks.parse`` takes them; empty: every client must. ``others``: as the file has it, see ``direct``.
    ``namespaces``: the network namespaces that a header may choose.
    """

    versions: Annotated[list[str], Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["v1", "v2"])
    from_: Annotated[list[str], Meta(min_length=1)] = msgspec.field(name="from", default_factory=list)
    others: Literal["reject", "direct"] | None = None
    timeout: Duration = Duration(3)
    max_header: HeaderSize = Size(4096)
    namespaces: list[NamespaceName] = []

    @property
    def direct(self) -> bool:
        """Whether clients outside ``from_`` are served, without a look for a header, rather than refused."""
        return self.others == "direct"


class SendProxy(Section, frozen=True, kw_only=True):
    """``send_proxy``: the PROXY header that servers get; the name of a codec, or a table with ``version``.

    ``tlvs``: see ``proxy.own_tlvs``. ``forward_tlvs``: see ``proxy.forwarded_types``. ``proxy_v2_options``: what
    HAProxy's options of these names send.
    """

    short_form: ClassVar[str] = "version"

    version: str
    tlvs: dict[str, str | bool] = {}
    forward_tlvs: list[str] = []
    proxy_v2_options: list[
        Literal["ssl", "cert-cn", "ssl-cipher", "cert-sig", "cert-key", "authority", "crc32c", "unique-id"]
    ] = []
