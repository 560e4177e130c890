"""Congestion controls: those that the configuration names, and those that the kernel has."""

from collections.abc import Iterator

from msgspec import UnsetType

from twisted_lb.config.model import Config
from twisted_lb.doctor.findings import Finding, missing, ok
from twisted_lb.doctor.machine import Machine
from twisted_lb.doctor.sites import connecting, listening


def examine(config: Config, machine: Machine) -> Iterator[Finding]:
    """Look whether each is loaded; whether everybody may use it is a matter of capabilities."""
    named = {one.option("congestion"): one.tcp.congestion for one in listening(config)}
    named |= {to.option("congestion"): to.tcp.congestion for to in connecting(config)}
    loaded = (machine.sysctl("net.ipv4.tcp_available_congestion_control") or "").split()
    allowed = (machine.sysctl("net.ipv4.tcp_allowed_congestion_control") or "").split()
    for key, name in named.items():
        if isinstance(name, UnsetType):
            continue
        if name not in loaded:
            what = f'the congestion control "{name}" is not loaded (there are: {", ".join(loaded)})'
            yield missing(what, key, f"modprobe tcp_{name}")
        else:
            yield ok(f'the congestion control "{name}" is {"allowed" if name in allowed else "loaded"}', key)
