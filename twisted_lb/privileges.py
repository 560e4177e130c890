"""What the configuration needs of root once twistd has dropped it, and how exactly that is kept.

Linux only; elsewhere nothing is needed, and the settings that would need it are refused where they are used.
Source: capabilities(7), ip(7), socket(7); HAProxy management.txt, section 13.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from msgspec import UnsetType

from twisted_lb.config import inherit
from twisted_lb.config.addresses import ClientSource, FixedSource, HeaderSource, IpAddress, parse_bind, parse_source
from twisted_lb.config.keys import ServerKeys, option_key
from twisted_lb.config.model import Config, Source
from twisted_lb.config.policies import Rule
from twisted_lb.config.tcp import Tcp
from twisted_lb.errors import ConfigError, found_in
from twisted_lb.net import capabilities
from twisted_lb.net.capabilities import Capabilities, Capability

PORT_START = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
ALLOWED_CONGESTION = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
RELEASE = Path("/proc/sys/kernel/osrelease")

_RAW = (Capability.NET_RAW, Capability.NET_ADMIN)
_PRIORITY_FREE = 6
"""Higher priorities need a capability; socket(7)."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something that takes a capability.

    ``any_of``: each of these is enough; the least powerful first. ``key``: the dotted key. ``why``: what for.
    ``required``: without it that setting does not work; else only some connections do not.
    ``at_open``: the listener finds out by itself, and may be open already.
    """

    any_of: tuple[Capability, ...]
    key: str
    why: str
    required: bool = True
    at_open: bool = False


def needs(config: Config) -> list[Need]:
    """Return what ``config`` needs after the start: for connections, and for listeners that a reload opens."""
    if sys.platform != "linux":
        return []
    return [*_of_frontends(config), *_of_backends(config)]


def to_keep(wanted: Iterable[Need], available: Capabilities) -> Capabilities:
    """Choose the fewest and least powerful of what is available that are enough for all that can be met."""
    kept: set[Capability] = set()
    for need in sorted(wanted, key=lambda need: len(need.any_of)):
        if not kept.intersection(need.any_of):
            kept.update([one for one in need.any_of if one in available][:1])
    return frozenset(kept)


def unmet(wanted: Iterable[Need], available: Capabilities) -> list[Need]:
    """Return the needs that ``available`` is not enough for."""
    return [need for need in wanted if not available.intersection(need.any_of)]


class Privileges:
    """The capabilities of a process that twistd may take root from.

    ``drops``: twistd changes the user, as its ``--uid`` says; ``effective_only``: and ``--euid`` with it. Without that
    nothing is touched. Call ``before_drop`` as root, ``after_drop`` as the user; ``check`` at the start and at each
    reload.
    """

    def __init__(self, drops: bool, effective_only: bool = False) -> None:
        self._drops = drops
        self._effective_only = effective_only
        self._dropped = False

    @classmethod
    def of_twistd(cls, uid: int | None, euid: bool, current: int) -> "Privileges":
        """Tell from twistd's ``--uid`` and ``--euid``; ``current``: the effective user at the start."""
        return cls(current == 0 and bool(uid) and sys.platform == "linux", euid)

    def before_drop(self) -> None:
        """See to it that the change of the user does not take everything."""
        if self._drops and not self._effective_only:
            capabilities.keep_across_setuid(True)

    def after_drop(self, config: Config) -> None:
        """Keep what ``config`` needs, and nothing else.

        With ``--euid`` the rest stays permitted, so that root can be regained, which is what that option is for.
        """
        if not self._drops:
            return
        kept = to_keep(needs(config), capabilities.permitted())
        if self._effective_only:
            capabilities.make_effective(kept)
        else:
            capabilities.reduce_to(kept)
            capabilities.keep_across_setuid(False)
        self._dropped = True

    def check(self, config: Config) -> None:
        """Find out whether this process may do what ``config`` needs. Raises: ConfigError with every setting."""
        wanted = [need for need in needs(config) if need.required and not need.at_open]
        if not wanted:
            return
        if self._dropped and self._effective_only:
            capabilities.make_effective(to_keep(needs(config), capabilities.permitted()))
        lacking = unmet(wanted, capabilities.effective())
        if lacking:
            raise ConfigError(*(self._problem(need) for need in lacking))

    def _problem(self, need: Need) -> str:
        name = str(need.any_of[0])
        gone = ", which this process gave up when it changed its user: restart it, or" if self._dropped else ":"
        return (
            f"{need.key}: {need.why} needs {spelt(need.any_of)}{gone} start it as root with --uid USER,"
            f" or with AmbientCapabilities={name} under systemd,"
            f" or give it to the interpreter with setcap, {name.lower()}=ep, and so to every script that it runs"
        )


def spelt(any_of: tuple[Capability, ...]) -> str:
    """Spell what is enough: ``CAP_NET_RAW or CAP_NET_ADMIN``."""
    return " or ".join(map(str, any_of))


# Frontends


def _of_frontends(config: Config) -> Iterator[Need]:
    for name, frontend in config.frontends.items():
        for index, bind in enumerate(frontend.bind):
            key = f"frontends.{name}.bind[{index}]"
            if bind.transparent:
                yield Need(_RAW, f"{key}.transparent", "to listen for addresses of others, also at a reload,")
            if bind.namespace is not None:
                yield _entering(f"{key}.namespace")
            if bind.interface is not None:
                yield from _of_interface(f"{key}.interface")
            parsed = parse_bind(bind.address)
            # In another namespace the limit may be another one, which only who is inside can read.
            limit = 1024 if bind.namespace is not None else port_start()
            if isinstance(parsed, IpAddress) and 0 < parsed.low < limit:
                why = f"to listen on port {parsed.low}, below {limit}, also at a reload,"
                required = bind.namespace is None
                yield Need((Capability.NET_BIND_SERVICE,), f"{key}.address", why, required, at_open=True)
            accept = inherit.accept_proxy(config, name, bind)
            if accept is not None and accept.namespaces:
                yield _entering(f"frontends.{name}.accept_proxy.namespaces")
            where = partial(option_key, bind.tcp, key, f"frontends.{name}")
            yield from _of_tcp(inherit.listen_tcp(frontend, bind), where)
        for index, policy in enumerate(frontend.policies):
            if isinstance(policy, Rule) and "drop" in (policy.action, *policy.actions):
                why = "to drop connections without a RST"
                yield Need((Capability.NET_ADMIN,), f"frontends.{name}.policies[{index}]", why, required=False)


def _entering(key: str) -> Need:
    return Need((Capability.SYS_ADMIN,), key, "to enter a network namespace")


# Backends


def _of_backends(config: Config) -> Iterator[Need]:
    for name, backend in config.backends.items():
        of_backend = f"backends.{name}"
        found: list[Need] = []
        for server_name, server in backend.servers.items():
            keys = ServerKeys(of_backend, server_name, server)
            source = inherit.source(backend, server)
            if source is not None:
                found += _of_source(source, keys.of("source"))
            namespace = inherit.namespace(backend, server)
            if namespace not in (None, "*"):  # the client's own: whatever lets it come in by one needs it already
                found.append(_entering(keys.of("namespace")))
            where = partial(option_key, server.tcp, keys.entry, of_backend)
            found += _of_tcp(inherit.connect_tcp(backend, server), where)
        yield from dict.fromkeys(found)


def is_transparent(source: Source) -> bool:
    """Whether connections from ``source`` may bear an address of somebody else."""
    return source.transparent or _is_clients(source)


def _is_clients(source: Source) -> bool:
    return source.address is not None and isinstance(parse_source(source.address), ClientSource | HeaderSource)


def _of_source(source: Source, key: str) -> Iterator[Need]:
    if is_transparent(source):
        yield Need(_RAW, key, "to connect from an address that is not this machine's")
    if source.interface is not None:
        yield from _of_interface(f"{key}.interface")
    if source.address == "client":
        why = f"to connect from a client's own port where that is below {port_start()}"
        yield Need((Capability.NET_BIND_SERVICE,), key, why, required=False)
    elif source.address is not None:
        parsed = parse_source(source.address)
        if isinstance(parsed, FixedSource) and 0 < parsed.low < port_start():
            why = f"to connect from port {parsed.low}, below {port_start()},"
            yield Need((Capability.NET_BIND_SERVICE,), key, why)


# Socket options


def _of_interface(key: str) -> Iterator[Need]:
    if kernel() < (5, 7):
        yield Need((Capability.NET_RAW,), key, f"to choose an interface before Linux 5.7, and this is {_release()},")


def _of_tcp(tcp: Tcp, where: Callable[[str], str]) -> Iterator[Need]:
    """Yield what the options of a socket need; ``where``: the key that an option's value comes from."""
    raw = _RAW if kernel() >= (5, 17) else (Capability.NET_ADMIN,)
    if not isinstance(tcp.mark, UnsetType):
        yield Need(raw, where("mark"), "to mark packets")
    if not isinstance(tcp.priority, UnsetType) and tcp.priority > _PRIORITY_FREE:
        yield Need(raw, where("priority"), f"a priority above {_PRIORITY_FREE}")
    if not isinstance(tcp.congestion, UnsetType) and tcp.congestion not in _allowed_congestion():
        why = f'"{tcp.congestion}", which net.ipv4.tcp_allowed_congestion_control does not list,'
        yield Need((Capability.NET_ADMIN,), where("congestion"), why)


# The kernel


def port_start() -> int:
    """Return the first port that everybody may listen on, in this process's namespace."""
    return int(_read(PORT_START) or 1024)


def kernel() -> tuple[int, int]:
    """Return the kernel's version."""
    found = re.match(r"(\d+)\.(\d+)", _release())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _release() -> str:
    return _read(RELEASE)


def _allowed_congestion() -> list[str]:
    return _read(ALLOWED_CONGESTION).split()


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def grouped(wanted: Iterable[Need]) -> dict[tuple[Capability, ...], list[Need]]:
    """Group needs by what is enough for them."""
    ordered = sorted(wanted, key=lambda need: need.any_of)
    return {any_of: list(group) for any_of, group in groupby(ordered, key=lambda need: need.any_of)}


Load = Callable[[], Config]


def checked(load: Load, privileges: Privileges, source: str = "") -> Load:
    """Return ``load``, which reads ``source``, with a look whether this process may do that. It raises ConfigError."""

    def read() -> Config:
        config = load()
        with found_in(source):
            privileges.check(config)
        return config

    return read
