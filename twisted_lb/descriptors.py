"""Descriptors: how many the configuration takes, and whether this process may have as many."""

import resource
from collections.abc import Iterable

from twisted_lb.config import inherit
from twisted_lb.config.http import BufferRequest
from twisted_lb.config.model import Config
from twisted_lb.errors import ConfigError

SPARE_DESCRIPTORS = 64
"""Descriptors kept for everything but connections and listeners: logs, plugins, libraries, the reactor."""


def descriptors_each(config: Config) -> int:
    """How many descriptors a connection takes: the client's, the server's, and that of a body held in a file."""
    settings = (frontend.buffer_request for frontend in config.frontends.values())
    held = (BufferRequest() if one is True else one for one in settings)
    return 3 if any(one and one.max > one.memory for one in held) else 2


def idle_descriptors(config: Config) -> int:
    """How many descriptors the connections to servers take that wait for a request, at most."""
    frontends = [name for name, frontend in config.frontends.items() if frontend.mode == "http"]
    names = {backend for name in frontends for backend in inherit.reachable_from(config, name)}
    backends = [config.backends[name] for name in names]
    return sum(len(one.servers) * one.pool.max for one in backends if not one.http_server_close)


def policy_descriptors(policies: Iterable[object]) -> int:
    """How many descriptors policies take that ask others, at most; each says so itself, in ``most_descriptors``."""
    said = (getattr(policy, "most_descriptors", 0) for policy in policies)
    return sum(one for one in said if isinstance(one, int) and one > 0)


def fit_descriptors(
    maxconn: int | None, listeners: int, checks: int = 0, each: int = 2, idle: int = 0, asking: int = 0
) -> int:
    """Raise this process's descriptor limit as far as it goes, and return the ``maxconn`` that fits.

    ``each``: what a connection takes; a listener and a checked server take one. ``idle``: see ``idle_descriptors``.
    ``asking``: see ``policy_descriptors``.
    Raises: ConfigError if ``maxconn`` asks for more than there are.
    """
    spare = SPARE_DESCRIPTORS + listeners + checks + idle + asking
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard or hard == resource.RLIM_INFINITY:
        wanted = each * maxconn + spare if hard == resource.RLIM_INFINITY and maxconn else hard
        soft = _raise_soft_limit(wanted, hard) or soft
    fits = (soft - spare) // each
    if fits < 1 or (maxconn is not None and maxconn > fits):
        checked = f" {checks} for health checks," if checks else ""
        checked += f" {idle} for idle connections to servers," if idle else ""
        checked += f" {asking} for questions of policies," if asking else ""
        raise ConfigError(
            f"process.maxconn = {maxconn or 1} needs {each * (maxconn or 1) + spare} descriptors"
            f" ({'two' if each == 2 else 'three'} for each connection,"
            f" {listeners} for listeners,{checked} {SPARE_DESCRIPTORS} spare), but the limit is"
            f" {soft}: lower it, or raise the limit (ulimit -n; LimitNOFILE= under systemd; minfds under supervisord)"
        )
    return fits if maxconn is None else maxconn


def _raise_soft_limit(wanted: int, hard: int) -> int | None:
    if wanted == resource.RLIM_INFINITY:
        return None
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return None
    return wanted
