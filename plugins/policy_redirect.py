"""Send clients to another scheme or host: the policy ``redirect``, for HTTP mode.

What the client asked for is kept but for the scheme, the host and the port. A request that is as it should be goes on.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ConfigError,
    Decision,
    Deny,
    Facts,
    IPolicy,
    Options,
    Redirect,
    Stage,
    Supply,
    hookimpl,
    path_fault,
    path_readings,
)

_HOST = r"^([0-9A-Za-z._~-]+|\[[0-9A-Fa-f:.]+\])(?![\s\S])"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class RedirectOptions(Options, frozen=True):
    """``scheme``, ``host``: what they should be; without, they may be anything. ``port``: the new one's, if unusual.

    ``except_``: beginnings of paths, segment by segment, that are left alone.
    """

    scheme: Literal["http", "https"] | None = None
    host: Annotated[str, Meta(pattern=_HOST, extra={"expected": "the name of a host, without a port"})] | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    status: Literal[301, 302, 303, 307, 308] = 302
    except_: list[str] = msgspec.field(name="except", default_factory=list)


@implementer(IPolicy)
class RedirectPolicy:
    """``prefixes``: without their last slash."""

    stage = Stage.POLICY

    def __init__(self, options: RedirectOptions, prefixes: tuple[bytes, ...]) -> None:
        self._options = options
        self._host = None if options.host is None else options.host.lower().encode()
        self._prefixes = prefixes

    def decide(self, facts: Facts) -> Decision:
        """Let on what is as it should be, and redirect the rest; what names no host cannot be redirected."""
        options, head = self._options, facts.http
        if head is None:
            return Deny("there is no request to redirect: the frontend's mode is tcp")
        scheme = "https" if facts.secure else "http"
        right_scheme = options.scheme in (None, scheme)
        if (right_scheme and self._host in (None, head.host)) or self._is_excepted(head.path):
            return ALLOW
        host = self._host or head.host
        if not host or not head.origin.startswith(b"/"):
            return Deny("it names no host or path to be redirected to", 400)
        port = options.port or (head.port if right_scheme else 0)
        wanted = options.scheme or scheme
        place = b"" if port in (0, _DEFAULT_PORTS[wanted]) else b":%d" % port
        location = b"%b://%b%b%b" % (wanted.encode(), host, place, head.origin)
        return Redirect(location, options.status, reason="not the scheme or host that it should be")

    def _is_excepted(self, path: bytes) -> bool:
        if not self._prefixes:
            return False
        readings = path_readings(path)
        return readings is not None and all(
            any(one == prefix or one.startswith(prefix + b"/") for prefix in self._prefixes) for one in readings
        )


def build(options: RedirectOptions) -> RedirectPolicy:
    """Build the policy of one entry. Raises: ConfigError with all that is wrong."""
    problems = [f"except: {fault}" for fault in map(path_fault, options.except_) if fault]
    if options.scheme is None and options.host is None:
        problems.append("give a scheme, a host, or both")
    if "/" in options.except_:
        problems.append('except: with "/" nobody is ever redirected')
    if problems:
        raise ConfigError(*problems)
    return RedirectPolicy(options, tuple(prefix.rstrip("/").encode() for prefix in options.except_))


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``redirect``."""
    return {"redirect": Supply(build, RedirectOptions, mode="http")}
