"""Answer in place of a server: the policy ``answer``, for HTTP mode. Maintenance, robots.txt, paths that are closed."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    Answer,
    ConfigError,
    Decision,
    Deny,
    Facts,
    IPolicy,
    Options,
    Stage,
    Supply,
    hookimpl,
    path_readings,
)


class AnswerOptions(Options, frozen=True):
    """``path``, ``path_prefix``: which requests; without either, all. ``body``: without it a status of 400 or more has
    the frontend's error page, any other none.
    """

    path: list[str] = msgspec.field(default_factory=list)
    path_prefix: list[str] = msgspec.field(default_factory=list)
    status: Annotated[int, Meta(ge=200, le=599)] = 200
    body: str | None = None
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = msgspec.field(default_factory=dict)


@implementer(IPolicy)
class AnswerPolicy:
    """``verdict``: what it answers. ``paths``, ``prefixes``: see ``AnswerOptions``; prefixes without the last slash.

    ``always_decides``: it answers all requests, so that nobody behind it is asked.
    """

    stage = Stage.POLICY

    def __init__(self, verdict: Decision, paths: frozenset[bytes], prefixes: tuple[bytes, ...]) -> None:
        self._verdict = verdict
        self._paths = paths
        self._prefixes = prefixes
        self.always_decides = not paths and not prefixes

    def decide(self, facts: Facts) -> Decision:
        """Answer if the path is among those meant, however a server might read it; a path without sense is refused."""
        if facts.http is None:
            return Deny("there is no request to answer: the frontend's mode is tcp")
        if self.always_decides:
            return self._verdict
        readings = path_readings(facts.http.path)
        if readings is None:
            return Deny("path-senseless", 400)
        return self._verdict if any(self._means(reading) for reading in readings) else ALLOW

    def _means(self, path: bytes) -> bool:
        if path in self._paths:
            return True
        return any(path == prefix or path.startswith(prefix + b"/") for prefix in self._prefixes)


def build(options: AnswerOptions) -> AnswerPolicy:
    """Build the policy of one entry."""
    for path in (*options.path, *options.path_prefix):
        if not path.startswith("/"):
            raise ConfigError(f'a path begins with a slash: "{path}"')
    fields = list(options.headers.items())
    verdict: Decision
    if options.body is None and options.status >= 400:
        verdict = Deny("answered by a policy", options.status, fields)
    else:
        body = (options.body or "").encode()
        verdict = Answer(options.status, body, [("Content-Type", options.content_type), *fields])
    paths = frozenset(path.encode() for path in options.path)
    return AnswerPolicy(verdict, paths, tuple(prefix.rstrip("/").encode() for prefix in options.path_prefix))


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``answer``."""
    return {"answer": Supply(build, AnswerOptions, mode="http")}
