"""The whole examination, subject by subject."""

from collections.abc import Iterable

from twisted_lb.config.model import Config
from twisted_lb.doctor import capabilities, congestion, descriptors, namespaces, routing, sysctls
from twisted_lb.doctor.findings import Finding, Severity
from twisted_lb.doctor.machine import Machine


def examine(config: Config, file: str, user: str | None, machine: Machine) -> dict[str, list[Finding]]:
    """Return what was found, by subject. ``file``: the configuration's; ``user``: twistd's ``--uid``."""
    found: dict[str, Iterable[Finding]] = {
        "capabilities": capabilities.examine(config, user),
        "namespaces": namespaces.examine(config, machine),
        "sysctls": sysctls.examine(config, machine),
        "congestion": congestion.examine(config, machine),
        "descriptors": descriptors.examine(config, machine),
        "routing": routing.examine(config, machine, file),
    }
    return {subject: list(dict.fromkeys(findings)) for subject, findings in found.items()}


def is_fit(found: dict[str, list[Finding]]) -> bool:
    """Whether nothing is missing."""
    return all(one.severity is not Severity.MISSING for findings in found.values() for one in findings)
