"""Options of sockets."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from twisted_lb.config.section import Section
from twisted_lb.config.units import Duration
from twisted_lb.config.values import SocketBuffer


class Keepalive(Section, frozen=True, kw_only=True):
    """``keepalive``: when the kernel asks a silent peer whether it is still there; unset: as the kernel is set.

    Source: tcp(7), ``TCP_KEEPIDLE``, ``TCP_KEEPINTVL``, ``TCP_KEEPCNT``.
    """

    idle: Duration | UnsetType = UNSET
    interval: Duration | UnsetType = UNSET
    count: Annotated[int, Meta(ge=1, le=127)] | UnsetType = UNSET


class Tcp(Section, frozen=True, kw_only=True):
    """``tcp``: options of sockets, on either side. Unset: inherited key by key, in the end as the kernel is set.

    ``nodelay``: on unless it is set. ``max_segment``: bytes; negative: so many less than the path has room for.
    ``mark``, ``tos``, ``priority``: as ``SO_MARK``, ``IP_TOS`` (``IPV6_TCLASS``) and ``SO_PRIORITY`` take them.
    ``fin_wait``: how long a closed connection may wait for the other side's FIN. ``md5_key``: the secret of RFC 2385.
    Source: tcp(7), socket(7), ip(7).
    """

    nodelay: bool | UnsetType = UNSET
    quickack: bool | UnsetType = UNSET
    keepalive: bool | Keepalive | UnsetType = UNSET
    user_timeout: Duration | UnsetType = UNSET
    congestion: Annotated[str, Meta(min_length=1, max_length=15)] | UnsetType = UNSET
    max_segment: Annotated[int, Meta(ge=-32767, le=32767)] | UnsetType = UNSET
    receive_buffer: SocketBuffer | UnsetType = UNSET
    send_buffer: SocketBuffer | UnsetType = UNSET
    notsent_lowat: SocketBuffer | UnsetType = UNSET
    window_clamp: SocketBuffer | UnsetType = UNSET
    mark: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] | UnsetType = UNSET
    tos: Annotated[int, Meta(ge=0, le=255)] | UnsetType = UNSET
    priority: Annotated[int, Meta(ge=0, le=15)] | UnsetType = UNSET
    fin_wait: Duration | UnsetType = UNSET
    reset_on_close: bool | UnsetType = UNSET
    md5_key: Annotated[str, Meta(min_length=1, max_length=80)] | UnsetType = UNSET
    multipath: bool | UnsetType = UNSET
    busy_poll: Duration | UnsetType = UNSET


class ListenTcp(Tcp, frozen=True, kw_only=True):
    """``tcp`` of a frontend or a bind: of its listening sockets, and of the connections that they accept.

    ``defer_accept``: how long the kernel waits for the client's first bytes before it hands the connection over.
    ``fast_open``: the length of the queue of connections whose SYN carried data; ``true``: the backlog's.
    """

    defer_accept: Duration | UnsetType = UNSET
    fast_open: bool | Annotated[int, Meta(ge=1, le=65535)] | UnsetType = UNSET
    save_syn: bool | UnsetType = UNSET
    reuse_port: bool | UnsetType = UNSET


class ConnectTcp(Tcp, frozen=True, kw_only=True):
    """``tcp`` of a backend or a server: of the connections to it.

    ``fast_open``: what there is to say at once goes with the SYN.
    """

    fast_open: bool | UnsetType = UNSET
