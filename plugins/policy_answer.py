"""Answer in place of a server: the policy ``answer``, for HTTP mode. Maintenance, robots.txt, paths that are closed."""

from collections.abc import Iterator, Mapping, Sequence
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
    FieldName,
    FieldValue,
    IPolicy,
    Options,
    Stage,
    Supply,
    hookimpl,
    path_fault,
    path_readings,
)

NOT_TO_BE_SAID = frozenset(
    ("connection", "content-length", "date", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
"""Fields that the proxy writes itself."""
PLAIN_TEXT = "text/plain; charset=utf-8"


class AnswerOptions(Options, frozen=True):
    """``path``, ``path_prefix``: which requests; without either, all. ``body``: without it a status of 400 or more has
    the frontend's error page, any other none.
    """

    path: list[str] = msgspec.field(default_factory=list)
    path_prefix: list[str] = msgspec.field(default_factory=list)
    status: Annotated[int, Meta(ge=200, le=599)] = 200
    body: str | None = None
    content_type: FieldValue = PLAIN_TEXT
    headers: dict[FieldName, FieldValue] = msgspec.field(default_factory=dict)


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
    """Build the policy of one entry. Raises: ConfigError with all that is wrong."""
    problems = list(_faults(options))
    if problems:
        raise ConfigError(*problems)
    fields = list(options.headers.items())
    verdict: Decision
    if options.body is None and options.status >= 400:
        verdict = Deny("answered by a policy", options.status, fields)
    else:
        body = (options.body or "").encode()
        verdict = Answer(options.status, body, [("Content-Type", options.content_type), *fields])
    paths = frozenset(path.encode() for path in options.path)
    return AnswerPolicy(verdict, paths, tuple(prefix.rstrip("/").encode() for prefix in options.path_prefix))


def _faults(options: AnswerOptions) -> Iterator[str]:
    for name, paths in (("path", options.path), ("path_prefix", options.path_prefix)):
        yield from (f"{name}: {fault}" for fault in map(path_fault, paths) if fault)
    prefixes = [prefix.rstrip("/") for prefix in options.path_prefix]
    yield from (f'path: "{path}" is among path_prefix already' for path in options.path if _is_below(path, prefixes))
    yield from (
        f"headers: {name} is written by the proxy itself" for name in options.headers if name.lower() in NOT_TO_BE_SAID
    )
    if options.body is not None and options.status in (204, 205, 304):
        yield f"body: an answer with status {options.status} has none"
    if options.body is None and options.content_type != PLAIN_TEXT:
        yield "content_type: there is no body: give one, or leave it out"


def _is_below(path: str, prefixes: Sequence[str]) -> bool:
    return any(prefix and (path == prefix or path.startswith(prefix + "/")) for prefix in prefixes)


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``answer``."""
    return {"answer": Supply(build, AnswerOptions, mode="http")}
