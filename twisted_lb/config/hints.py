"""What to tell an operator about a key that does not exist: the nearest name, or the table that it belongs in."""

from collections.abc import Iterable
from difflib import get_close_matches

import msgspec

from twisted_lb.config import model
from twisted_lb.config.proxy_header import AcceptProxy, SendProxy
from twisted_lb.config.tcp import ConnectTcp, Keepalive, ListenTcp, Tcp
from twisted_lb.config.timeouts import BackendTimeouts, FrontendTimeouts, Timeouts

_PLACES: dict[type[msgspec.Struct], str] = {
    model.Config: "the top of the file",
    model.Process: "[process]",
    model.Defaults: "[defaults]",
    Timeouts: "[defaults.timeouts]",
    model.Frontend: "[frontends.NAME]",
    FrontendTimeouts: "[frontends.NAME.timeouts]",
    model.Backend: "[backends.NAME]",
    BackendTimeouts: "[backends.NAME.timeouts]",
    model.Bind: "a table in bind",
    model.Server: "a table in servers",
    AcceptProxy: "accept_proxy",
    SendProxy: "send_proxy",
    model.Source: "source",
    Tcp: "tcp",
    ListenTcp: "tcp of a frontend or a bind",
    ConnectTcp: "tcp of a backend or a server",
    Keepalive: "keepalive, a table in tcp",
}


def _keys(table: type[msgspec.Struct]) -> set[str]:
    """The keys by which a table is known: what both kinds of ``tcp`` have belongs to neither alone."""
    keys = set(table.__struct_encode_fields__)
    return keys - _keys(Tcp) if table in (ListenTcp, ConnectTcp) else keys


def quoted(names: Iterable[str]) -> str:
    """Spell names as ``"a", "b"``."""
    return ", ".join(f'"{name}"' for name in names)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that ``name`` most probably misspells."""
    # HAProxy spells its words with "-", and newcomers shout.
    found = get_close_matches(name.replace("-", "_").lower(), list(known), n=1)
    return found[0] if found else None


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Say which name was meant, or which ones there are; starts with ``; ``."""
    names = list(known)
    found = nearest(name, names)
    if found is not None:
        return f'; did you mean "{found}"?'
    return f"; there are {quoted(names)}" if names else "; there are none"


def unknown_key(table: type[msgspec.Struct], key: str, known: Iterable[str]) -> str:
    """Say that ``key`` is unknown in ``table``, whose keys are ``known``, and what to do about it."""
    names = list(known)
    places = [place for struct, place in _PLACES.items() if key in _keys(struct)] if table in _PLACES else []
    if places:
        # Both, for either may be meant: "server" in a backend is "servers" or one of its timeouts.
        found = nearest(key, names)
        instead = f'; or did you mean "{found}"?' if found else ""
        return f"unknown key here; it belongs in {' or '.join(places)}{instead}"
    if not names:
        return "unknown key; no keys are known here"
    return "unknown key" + unknown_name(key, names).replace("there are", "the keys here are")
