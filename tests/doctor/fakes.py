"""A machine that is a folder and a table of commands' answers. Imported by tests, runs no test itself."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted_lb.config.load import load_dict
from twisted_lb.config.model import Config
from twisted_lb.doctor.findings import Finding, Severity
from twisted_lb.doctor.machine import CannotLookError, Machine

SOUND = {
    "net.core.somaxconn": "4096",
    "net.ipv4.tcp_fastopen": "3",
    "net.ipv4.ip_local_port_range": "32768\t60999",
    "net.ipv4.tcp_sack": "1",
    "net.ipv4.tcp_ecn": "2",
    "net.ipv4.ip_nonlocal_bind": "0",
    "net.ipv4.tcp_available_congestion_control": "reno cubic bbr",
    "net.ipv4.tcp_allowed_congestion_control": "reno cubic",
}
LOCAL = '[{"type":"local","dst":"127.0.0.0/8","dev":"lo"}]'


def machine(root: Path, sysctls: Mapping[str, str] = {}, answers: Mapping[str, str] = {}) -> Machine:
    """Make one whose kernel settings are ``SOUND`` but for ``sysctls``; commands without an answer are missing."""
    for name, value in {**SOUND, **sysctls}.items():
        path = root / "proc/sys" / name.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    known = {"ip -j -4 route show table local": LOCAL, **answers}

    def run(command: Sequence[str]) -> str:
        if shlex.join(command) not in known:
            raise CannotLookError(f"the program {command[0]} is not installed", f"apt-get install {command[0]}")
        return known[shlex.join(command)]

    return Machine(root, run)


def config(bind: Any = "127.0.0.1:8080", server: Any = "127.0.0.1:9001", **more: Any) -> Config:
    """Make a configuration of one bind and one server. ``more``: further tables."""
    web = {"bind": bind if isinstance(bind, list) else [bind], "backend": "app"}
    return load_dict({"frontends": {"web": web}, "backends": {"app": {"servers": {"a": server}}}, **more}, "x")


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """Return all that is not well."""
    return [one for one in findings if one.severity is not Severity.OK]
