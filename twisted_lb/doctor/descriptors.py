"""Descriptors: whether there are enough for ``process.maxconn``."""

import resource
from collections.abc import Iterator

from twisted_lb.config import inherit
from twisted_lb.config.addresses import IpAddress
from twisted_lb.config.model import Config
from twisted_lb.descriptors import SPARE_DESCRIPTORS, descriptors_each, idle_descriptors
from twisted_lb.doctor.findings import Finding, advice, missing, ok
from twisted_lb.doctor.machine import Machine
from twisted_lb.doctor.sites import listening


def needed(config: Config) -> int:
    """Count as the proxy does: connections, idle ones too, one for a listener and a checked server, some to spare.

    But for those of policies that ask others: how many they take only they know.
    """
    addresses = [one.address for one in listening(config)]
    listeners = sum(one.high - one.low + 1 if isinstance(one, IpAddress) else 1 for one in addresses)
    servers = [(backend, server) for backend in config.backends.values() for server in backend.servers.values()]
    checks = sum(inherit.check(*one) is not None for one in servers)
    others = listeners + checks + idle_descriptors(config) + SPARE_DESCRIPTORS
    return descriptors_each(config) * (config.process.maxconn or 1) + others


def examine(config: Config, machine: Machine, limit: int | None = None) -> Iterator[Finding]:
    """``limit``: the hard limit of a process; that of this one if not given."""
    there = resource.getrlimit(resource.RLIMIT_NOFILE)[1] if limit is None else limit
    wanted, why = needed(config), f"process.maxconn = {config.process.maxconn or 'as many as there is room for'}"
    if there != resource.RLIM_INFINITY and there < wanted:
        yield missing(
            f"a process that is started from here may have {there} descriptors, and {wanted} are needed",
            why,
            f"ulimit -n {wanted}    # as root; LimitNOFILE={wanted} in a systemd unit",
        )
    else:
        yield ok(f"a process that is started from here may have {there} descriptors ({wanted} are needed)", why)
    for name in ("fs.nr_open", "fs.file-max"):
        most = machine.sysctl(name)
        if most is not None and int(most) < wanted:
            yield missing(f"{name} = {most}, and at least {wanted} is needed", why, f"sysctl -w {name}={wanted}")
    if config.process.maxconn is None and there != resource.RLIM_INFINITY and there <= 4096:
        yield advice(
            f"{there} descriptors are enough for {(there - SPARE_DESCRIPTORS) // descriptors_each(config)} connections",
            why,
        )
