"""Network namespaces: whether those that the configuration names exist."""

import shlex
from collections.abc import Iterator

from twisted_lb.config import inherit
from twisted_lb.config.model import Config
from twisted_lb.doctor.findings import Finding, missing, ok
from twisted_lb.doctor.machine import Machine
from twisted_lb.doctor.sites import connecting, listening
from twisted_lb.net.namespace import FOLDER, path_of


def named(config: Config) -> dict[str, str]:
    """Map each namespace to the first key that names it."""
    found: dict[str, str] = {}
    for one in listening(config):
        if one.namespace is not None:
            found.setdefault(one.namespace, f"{one.key}.namespace")
        accept = inherit.accept_proxy(config, one.frontend, one.bind)
        for name in accept.namespaces if accept else []:
            found.setdefault(name, f"frontends.{one.frontend}.accept_proxy.namespaces")
    for to in connecting(config):
        for where in to.namespaces:
            if where is not None:
                found.setdefault(where, f"{to.key}.namespace")
    return found


def examine(config: Config, machine: Machine) -> Iterator[Finding]:
    """Look for the file of each."""
    for name, key in named(config).items():
        path = path_of(name)
        if (machine.root / path.lstrip("/")).exists():
            yield ok(f'the network namespace "{name}" exists', key)
        elif path.startswith(f"{FOLDER}/"):
            command = f"ip netns add {shlex.quote(path.removeprefix(f'{FOLDER}/'))}"
            yield missing(f'the network namespace "{name}" does not exist', key, command)
        else:
            yield missing(f'the network namespace "{name}" does not exist: there is no {path}', key)
