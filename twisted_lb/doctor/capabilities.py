"""Capabilities: those that the configuration needs after the start, and those that there are."""

import os
import pwd
from collections.abc import Iterator

from twisted_lb import privileges
from twisted_lb.config.model import Config
from twisted_lb.doctor.findings import Finding, advice, missing, ok
from twisted_lb.net import capabilities
from twisted_lb.net.capabilities import Capabilities, Capability


def examine(config: Config, user: str | None) -> Iterator[Finding]:
    """Compare with what this process has; with ``user``, with what root has before twistd changes to that user."""
    if user is None:
        yield from compare(config, capabilities.effective(), None)
        return
    try:
        number = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    except KeyError:
        yield missing(f'there is no user "{user}"', "--uid", f"useradd --system --shell /usr/sbin/nologin {user}")
        return
    # Whoever is not root sees what root can have at most.
    had_by_root = capabilities.permitted() if os.geteuid() == 0 else capabilities.bounding()
    yield from compare(config, had_by_root, user if number else None)


def compare(config: Config, available: Capabilities, user: str | None) -> Iterator[Finding]:
    """Say for each need whether it is met; ``user``: whom root is dropped for."""
    for any_of, wanted in privileges.grouped(privileges.needs(config)).items():
        why = "; ".join(dict.fromkeys(f"{need.key}: {need.why.rstrip(',')}" for need in wanted))
        name = privileges.spelt(any_of)
        if available.intersection(any_of):
            yield ok(f"{name} is there" + (f", and is kept when twistd changes to {user}" if user else ""), why)
            if user and any_of == (Capability.SYS_ADMIN,):
                yield advice(f"CAP_SYS_ADMIN, which {user} keeps, is not far from being root", why)
        elif any(need.required for need in wanted):
            yield missing(f"{name} is not there", why, *_ways(any_of[0]))
        else:
            yield advice(f"{name} is not there", why, *_ways(any_of[0]))


def _ways(capability: Capability) -> tuple[str, ...]:
    return (
        "# one of these:",
        "sudo twistd --uid USER twisted-lb --config FILE    # root at first; what is needed is kept, nothing else",
        f"AmbientCapabilities={capability}    # in the [Service] section of the systemd unit",
        f'setcap {str(capability).lower()}=ep "$(readlink -f "$(command -v python3)")"    # for every script it runs',
    )
