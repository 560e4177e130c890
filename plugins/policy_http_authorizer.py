"""``use = "http_authorizer"``: a service of the operator's decides, asked over HTTP.

Source: nginx, ngx_http_auth_request_module; Traefik, ForwardAuth; Envoy, HTTP external authorization.
"""

import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    OWN_FACTS,
    Answer,
    ConfigError,
    DecideAnswer,
    Decision,
    Deny,
    Duration,
    Facts,
    FilePath,
    IPolicy,
    Lookups,
    Options,
    RequestHead,
    Runtime,
    SeldomWarning,
    Size,
    Stage,
    Supply,
    UnansweredError,
    WebService,
    hookimpl,
    value_of,
)

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
FieldName = Annotated[
    str, Meta(pattern=rf"^{_TOKEN}(?![\s\S])", extra={"expected": "the name of an HTTP field, such as X-User"})
]
FieldValue = Annotated[
    str, Meta(pattern=r"^[\t\x20-\x7e]*(?![\s\S])", extra={"expected": "a value of an HTTP field, in ASCII"})
]
Url = Annotated[
    str,
    Meta(
        pattern=r"^https?://[A-Za-z0-9._:\[\]-]+(/[\x21-\x7e]*)?(?![\s\S])",
        extra={"expected": 'a URL such as "http://127.0.0.1:9090/authorize"'},
    ),
]
CACHE_SIZE = 1000
"""Answers that are remembered where nothing else is said."""
AtLeastOne = Annotated[int, Meta(ge=1, le=1000000)]

NOT_TO_BE_COPIED = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields of one connection, or of one message."""
OURS = ("x-forwarded-", "x-original-")
REDIRECTS = frozenset((301, 302, 303, 307, 308))
_OF_REQUEST = frozenset(f"http.{name}" for name in ("method", "host", "path", "query", "target", "version"))
_HEADER = re.compile(rf"http\.headers\['({_TOKEN})'\]")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class HttpAuthorizerOptions(Options, frozen=True):
    """``endpoint``: a Twisted endpoint in place of the URL's host and port. ``headers``: sent with every question.

    ``request_headers``: the client's that are sent along. ``response_headers``: the service's that the server gets when
    it allows; ``answer_headers``: its that the client gets when it denies, with the body, if that is no longer than
    ``max_body``. ``cache_key``: what answers are remembered by; unset, all that is sent. ``facts``: unset, all.
    """

    url: Url
    endpoint: str | None = None
    ca_file: FilePath | None = None
    headers: dict[FieldName, FieldValue] = msgspec.field(default_factory=dict)
    request_headers: list[FieldName] = msgspec.field(default_factory=lambda: ["Authorization", "Cookie"])
    response_headers: list[FieldName] = msgspec.field(default_factory=list)
    answer_headers: list[FieldName] = msgspec.field(
        default_factory=lambda: ["WWW-Authenticate", "Location", "Set-Cookie", "Content-Type", "Retry-After"]
    )
    facts: list[str] | None = None
    timeout: Duration = Duration(2)
    on_failure: Literal["deny", "allow"] = "deny"
    max_body: Annotated[Size, Meta(ge=0, le=1048576)] = Size(16 * 1024)
    max_requests: AtLeastOne = 100
    cache_ttl: Duration = Duration(0)
    cache_size: AtLeastOne = CACHE_SIZE
    cache_key: list[str] | None = None


class Question:
    """What the service is asked; two are the same if their ``identity`` is."""

    __slots__ = ("body", "fields", "identity")

    def __init__(self, identity: Hashable, fields: Sequence[tuple[bytes, bytes]], body: bytes | None) -> None:
        self.identity = identity
        self.fields = fields
        self.body = body

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Question) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)


class Said(NamedTuple):
    """What the service answered; ``body``: ``None`` if it is too long. ``fields``: those that are copied."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes | None


@implementer(IPolicy)
class HttpAuthorizer:
    """``identify``: what a question is remembered by; ``None`` for all of it."""

    stage = Stage.POLICY

    def __init__(
        self,
        options: HttpAuthorizerOptions,
        runtime: Runtime,
        service: WebService,
        identify: Callable[[Facts], Hashable] | None,
    ) -> None:
        self._constant = [(name.encode(), value.encode()) for name, value in options.headers.items()]
        self._sent = [name.encode() for name in options.request_headers]
        self._replaced = [name.encode() for name in options.response_headers]
        self._answered = [name.encode() for name in options.answer_headers]
        self._facts = options.facts
        self._failure_allows = options.on_failure == "allow"
        self._remembers = options.cache_ttl > 0
        self._ttl_s = float(options.cache_ttl)
        self._identify = identify
        self._service = service
        self.most_descriptors = options.max_requests
        self._warn = SeldomWarning(runtime.clock, f"policy http_authorizer, {options.url}")
        kept = options.cache_size if self._remembers else 0
        self._lookups: Lookups[Question, Said] = Lookups(
            runtime.clock, self._ask, options.timeout, options.max_requests, kept
        )

    def decide(self, facts: Facts) -> DecideAnswer:
        """Ask about a request, or in TCP mode about a connection."""
        head = facts.http
        fields = [*self._constant]
        body = None
        if head is None:
            body = json.dumps(self._told(facts)).encode()
            fields.append((b"content-type", b"application/json"))
        else:
            fields += _about(facts, head)
            fields += [(name, value) for name in self._sent for value in head.headers.get_all(name)]
        identity: Hashable = object()  # nobody else's
        if self._remembers:
            identity = (tuple(fields), body) if self._identify is None else self._identify(facts)
        answer = self._lookups.get(Question(identity, fields, body))
        if isinstance(answer, Deferred):
            return answer.addCallbacks(self._judge, self._failed, callbackArgs=(facts,), errbackArgs=(facts,))
        return self._judge(answer, facts)

    def _ask(self, question: Question) -> Deferred[tuple[Said, float]]:
        return Deferred.fromCoroutine(self._asked(question))

    async def _asked(self, question: Question) -> tuple[Said, float]:
        answer = await self._service.ask(question.fields, question.body)
        status = answer.status
        allowed = 200 <= status < 300
        if not (allowed or 400 <= status < 500 or (status in REDIRECTS and answer.headers.hasHeader(b"location"))):
            raise UnansweredError(f"the answer is {status}")
        fields = []
        for name in self._replaced if allowed else self._answered:
            for value in answer.headers.getRawHeaders(name, ()):
                if not _VALUE.fullmatch(value):
                    raise UnansweredError(f"the answer's field {name.decode()} has control characters")
                fields.append((name, value))
        said = Said(status, tuple(fields), b"" if allowed else answer.body)
        # A cookie or a place to go to is meant for one client, and a long page is not worth its room.
        own = not allowed and any(name.lower() in (b"set-cookie", b"location") for name, _ in fields)
        return said, 0.0 if own or said.body is None else self._ttl_s

    def _told(self, facts: Facts) -> dict[str, Any]:
        names = [*OWN_FACTS, *facts.learnt] if self._facts is None else self._facts
        values = {name: value_of(facts, name) for name in names}
        return {name: value for name, value in values.items() if isinstance(value, str | int | tuple)}

    def _judge(self, said: Said, facts: Facts) -> Decision:
        if said.status < 300:
            self._replace(facts, said.fields)
            return ALLOW
        reason = f"the authorizer says {said.status}"
        if facts.http is None:
            return Deny(reason)
        if said.body or said.status < 400:
            return Answer(said.status, said.body or b"", said.fields, reason)
        return Deny(reason, said.status, [field for field in said.fields if field[0].lower() != b"content-type"])

    def _failed(self, failure: Failure, facts: Facts) -> Decision:
        if failure.check(CancelledError):
            return Deny("nobody waits for it any more")
        reason = f"the authorizer cannot be asked: {failure.getErrorMessage()}"
        if not self._failure_allows:
            return Deny(reason, 503)
        self._warn(f"{reason}; clients are let in")
        self._replace(facts, ())
        return ALLOW

    def _replace(self, facts: Facts, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Put the service's fields in place of the client's, which may have sent some of these names itself."""
        if facts.http is not None:
            for name in self._replaced:
                facts.http.headers.remove(name)
            for name, value in fields:
                facts.http.headers.add(name, value)


def _about(facts: Facts, head: RequestHead) -> list[tuple[bytes, bytes]]:
    """Return what services of this kind go by: Traefik's fields, and those that are usual with nginx."""
    scheme = b"https" if facts.secure else b"http"
    uri = head.origin if head.origin.startswith(b"/") else head.target
    fields = [
        (b"X-Forwarded-Method", head.method),
        (b"X-Forwarded-Proto", scheme),
        (b"X-Forwarded-Uri", uri),
        (b"X-Original-Method", head.method),
        (b"X-Original-URI", uri),
    ]
    if head.authority:
        fields.append((b"X-Forwarded-Host", head.authority))
        if uri.startswith(b"/"):
            fields.append((b"X-Original-URL", b"%b://%b%b" % (scheme, head.authority, uri)))
    if not facts.source.host.startswith("un"):  # neither unix: nor unknown:
        fields.append((b"X-Forwarded-For", facts.source.host.encode()))
    return fields


def _reader(name: str) -> Callable[[Facts], Hashable]:
    """Return what reads one thing that ``cache_key`` may name. Raises ValueError if there is no such thing."""
    header = _HEADER.fullmatch(name)
    if header is not None:
        field = header[1].encode()
        return lambda facts: None if facts.http is None else tuple(facts.http.headers.get_all(field))
    if name in _OF_REQUEST:
        attribute = name.partition(".")[2]
        return lambda facts: None if facts.http is None else getattr(facts.http, attribute)
    if name not in OWN_FACTS and ("." not in name or name.startswith("http.")):
        raise ValueError(name)
    return lambda facts: value_of(facts, name)


def _identifier(names: Sequence[str], problems: list[str]) -> Callable[[Facts], Hashable]:
    readers = []
    for index, name in enumerate(names):
        try:
            readers.append(_reader(name))
        except ValueError:
            problems.append(f'cache_key[{index}]: there is no fact "{name}"')
    return lambda facts: tuple([read(facts) for read in readers])


def build(options: HttpAuthorizerOptions, runtime: Runtime) -> HttpAuthorizer:
    """Build the policy.

    Raises: ConfigError for fields that cannot be copied, facts that do not exist, and an endpoint that is none.
    """
    problems: list[str] = []
    for option in ("headers", "request_headers", "response_headers", "answer_headers"):
        for name in getattr(options, option):
            if name.lower() in NOT_TO_BE_COPIED:
                problems.append(f"{option}: {name} is of one connection or message, and cannot be copied")
            elif name.lower().startswith(OURS) and option == "request_headers":
                problems.append(f"{option}: {name} is what we tell the service, and not for clients to say")
    for index, name in enumerate(options.facts or ()):
        if name not in OWN_FACTS and ("." not in name or name.startswith("http.")):
            problems.append(f'facts[{index}]: there is no fact "{name}"')
    if options.timeout <= 0:
        problems.append("timeout: must be more than nothing")
    if options.cache_ttl <= 0:
        beside = {"cache_size": options.cache_size != CACHE_SIZE, "cache_key": options.cache_key is not None}
        without = 'only with a "cache_ttl": nothing is remembered without'
        problems += [f"{name}: {without}" for name, given in beside.items() if given]
    elif options.cache_key == []:
        problems.append("cache_key: is empty, so that all would get the first answer")
    identify = None if options.cache_key is None else _identifier(options.cache_key, problems)
    try:
        service = WebService(
            runtime.reactor,
            options.url,
            options.timeout,
            options.max_requests,
            options.max_body,
            options.endpoint,
            options.ca_file,
        )
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return HttpAuthorizer(options, runtime, service, identify)


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``http_authorizer``."""
    return {"http_authorizer": Supply(build, HttpAuthorizerOptions, runtime=True)}
