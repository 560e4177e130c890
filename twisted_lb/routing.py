"""Where a request, or a connection, goes: the first route whose conditions all hold.

Compiled at start-up. Routes are indexed by host (in TCP mode by ``tls.sni``): those of other hosts cost nothing. A
path that servers may read in several ways takes a route only if every reading of it takes the same.

Source: RFC 9110, sections 4.2.3 and 7.4; RFC 6066, section 3; ``wire.http1_path``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Generic, NamedTuple, TypeVar

from twisted_lb.declared import OWN_FACTS, Fact
from twisted_lb.errors import ConfigError, WireError
from twisted_lb.facts import Facts
from twisted_lb.patterns import LinearPattern
from twisted_lb.wire.http1_grammar import IS_TOKEN
from twisted_lb.wire.http1_path import path_readings, plain_path
from twisted_lb.wire.http1_request import RequestHead
from twisted_lb.wire.http1_target import read_authority

PROTOCOL = "protocol"
"""The one fact without a dot that only validators learn; whether one here does is asked when they are known."""
SNI = "tls.sni"
"""The fact that takes the place of the host where there is no HTTP."""
LONGEST_HOST = 255
"""Bytes; no name of the DNS is longer."""

T = TypeVar("T")

_FAMILIES = {name.partition(".")[0] for name in OWN_FACTS}


@dataclass(frozen=True, slots=True)
class Rule:
    """The conditions of one route, as the configuration spells them; all that are given must hold."""

    host: Sequence[str] = ()
    path: Sequence[str] = ()
    path_prefix: Sequence[str] = ()
    path_regex: str | None = None
    method: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


class _Route(Generic[T]):
    """One route, compiled; ``hosts``: names, or suffixes with their first dot. ``target``: what it leads to."""

    __slots__ = ("always", "facts", "headers", "hosts", "methods", "paths", "pattern", "prefixes", "target")

    def __init__(self, rule: Rule, target: T, http: bool, known: Mapping[str, Fact]) -> None:
        self.target = target
        problems: list[str] = []
        facts = dict(rule.facts)
        hosts: Sequence[str] = rule.host
        if not http and facts.get(SNI, "*") != "*":
            hosts = [facts.pop(SNI)]
        self.hosts = _collected(problems, "host" if http else "facts", _host, hosts)
        self.paths = frozenset(_collected(problems, "path", _path, rule.path))
        self.prefixes = tuple(_collected(problems, "path_prefix", _path, rule.path_prefix))
        pattern = [] if rule.path_regex is None else [rule.path_regex]
        self.pattern = next(iter(_collected(problems, "path_regex", LinearPattern, pattern)), None)
        self.methods = frozenset(_collected(problems, "method", _method, rule.method))
        self.headers = tuple((name.encode(), _any_or(value.encode())) for name, value in rule.headers.items())
        self.facts = tuple(_collected(problems, "facts", lambda item: _fact(item, known), facts.items()))
        given = [key for key in ("path", "path_prefix", "path_regex") if getattr(rule, key)]
        if len(given) > 1:
            problems.append(f"{given[1]}: not together with {given[0]}: write two routes")
        if problems:
            raise ConfigError(*problems)
        self.always = not (given or self.methods or self.headers or self.facts)

    @property
    def looks_at_path(self) -> bool:
        return bool(self.paths or self.prefixes or self.pattern)

    def takes(self, facts: Facts, head: RequestHead | None, path: bytes) -> bool:
        """Whether all conditions but the host's hold."""
        if self.always:
            return True
        if self.looks_at_path and not self._takes_path(path):
            return False
        if head is not None:
            if self.methods and head.method not in self.methods:
                return False
            for name, wanted in self.headers:
                values = head.headers.get_all(name)
                if not values or (wanted is not None and wanted not in values):
                    return False
        return all(condition(facts) for condition in self.facts)

    def _takes_path(self, path: bytes) -> bool:
        if self.paths:
            return path in self.paths
        if self.pattern is not None:
            return self.pattern.matches(path)
        for prefix in self.prefixes:
            # Segment by segment: "/api" is not the beginning of "/apix".
            if path.startswith(prefix) and (prefix[-1] == 0x2F or path[len(prefix) : len(prefix) + 1] in (b"", b"/")):
                return True
        return False


class _Choice(NamedTuple, Generic[T]):
    """The routes that are left when the host is known."""

    routes: tuple[_Route[T], ...]
    looks_at_path: bool


class Routes(Generic[T]):
    """All routes of one frontend. ``default``: where what no route takes goes.

    ``known``: the facts of which it is known where they come from; all others are looked for in ``facts.learnt``.

    Raises: ConfigError, with keys such as ``routes[0].host``, for everything that is wrong.
    """

    def __init__(
        self,
        routes: Iterable[tuple[Rule, T]],
        default: T,
        http: bool = True,
        known: Mapping[str, Fact] = OWN_FACTS,
    ) -> None:
        self._default = default
        compiled: list[_Route[T]] = []
        problems: list[str] = []
        for index, (rule, target) in enumerate(routes):
            try:
                route = _Route(rule, target, http, known)
            except ConfigError as error:
                problems.extend(f"routes[{index}].{problem}" for problem in error.problems)
            else:
                problems.extend(f"routes[{index}]{problem}" for problem in _unreachable(route, compiled))
                compiled.append(route)
        if problems:
            raise ConfigError(*problems)
        self._index(compiled)

    def _index(self, routes: list[_Route[T]]) -> None:
        named: dict[bytes, list[int]] = {}
        for number, route in enumerate(routes):
            for host in route.hosts:
                named.setdefault(host, []).append(number)
        anywhere = [number for number, route in enumerate(routes) if not route.hosts]
        self._elsewhere = _choice(routes, anywhere)
        self._by_host = {
            host: _choice(routes, {*anywhere, *(number for name in _names(host) for number in named.get(name, ()))})
            for host in named
        }
        self._deepest = max((host.count(b".") for host in named if host.startswith(b".")), default=0)

    def knows(self, host: bytes) -> bool:
        """Whether any route names this host; in small letters, without port."""
        return self._choice_for(host) is not self._elsewhere

    def _choice_for(self, host: bytes) -> "_Choice[T]":
        found = self._by_host.get(host)
        if found is not None and not host.startswith(b"."):
            return found
        if self._deepest and len(host) <= LONGEST_HOST:
            labels = host.split(b".")
            for start in range(max(1, len(labels) - self._deepest), len(labels)):
                found = self._by_host.get(b"." + b".".join(labels[start:]))
                if found is not None:
                    return found
        return self._elsewhere

    def find(self, facts: Facts) -> T:
        """Return where it goes.

        Raises: WireError if that depends on how a server reads the path, or if the path makes no sense.
        """
        head = facts.http
        if head is None:
            sni = facts.learnt.get(SNI)
            host, path = b"" if sni is None else _text(sni).lower().removesuffix(".").encode(), b""
        else:
            host, path = host_of(head), head.path
        routes, looks_at_path = self._choice_for(host)
        if not looks_at_path:
            return self._first(routes, facts, head, path)
        readings = path_readings(path)
        if readings is None:
            raise WireError("path-senseless")
        targets = [self._first(routes, facts, head, reading) for reading in readings]
        if any(target is not targets[0] for target in targets):
            raise WireError("path-ambiguous")
        return targets[0]

    def _first(self, routes: Iterable[_Route[T]], facts: Facts, head: RequestHead | None, path: bytes) -> T:
        for route in routes:
            if route.takes(facts, head, path):
                return route.target
        return self._default


def host_of(head: RequestHead) -> bytes:
    """Return the host that the server will be asked for: the client's, or what policies have set instead."""
    edited = head.edited_headers
    if edited is not None:
        for value in reversed(edited.get_all(b"host")):
            authority = read_authority(value)
            if authority is not None:
                return authority.host
    return head.host


def _choice(routes: Sequence[_Route[T]], numbers: Iterable[int]) -> _Choice[T]:
    """What follows a route that takes everything is left out."""
    chosen: list[_Route[T]] = []
    for number in sorted(numbers):
        chosen.append(routes[number])
        if routes[number].always:
            break
    return _Choice(tuple(chosen), any(route.looks_at_path for route in chosen))


def _names(host: bytes) -> Iterator[bytes]:
    """Yield everything by which a route may name this host, or the hosts under this suffix."""
    yield host
    labels = host.split(b".")
    for start in range(1, len(labels)):
        suffix = b"." + b".".join(labels[start:])
        if suffix != host:
            yield suffix


def _unreachable(route: _Route[T], before: Sequence[_Route[T]]) -> Iterator[str]:
    """A route that never takes anything is a mistake of order."""
    for number, other in enumerate(before):
        if other.always and not other.hosts:
            yield f": is never reached: routes[{number}] takes everything"
            return
        if other.always and route.hosts and all(set(_names(host)) & set(other.hosts) for host in route.hosts):
            yield f": is never reached: routes[{number}] takes everything of its hosts"
            return


def _collected(problems: list[str], key: str, read: Callable[[Any], T], values: Iterable[Any]) -> list[T]:
    found: list[T] = []
    for value in values:
        try:
            found.append(read(value))
        except ConfigError as error:
            problems.extend(f"{key}: {problem}" for problem in error.problems)
        except ValueError as error:
            problems.append(f"{key}: {error}")
    return found


def _host(text: str) -> bytes:
    name = text.removeprefix("*.")
    authority = read_authority(name.encode())
    if authority is None or "*" in name:
        raise ValueError(f'neither a host nor "*." and a host: "{text}"')
    if name.rpartition("]")[2].count(":"):
        raise ValueError(f'the port does not matter, so leave it out: "{text}"')
    return b"." + authority.host if name != text else authority.host


def _path(text: str) -> bytes:
    if not text.startswith("/"):
        raise ValueError(f'a path begins with a slash: "{text}"')
    return plain_path(text)


def _method(text: str) -> bytes:
    if not IS_TOKEN.fullmatch(text.encode()):
        raise ValueError(f'no method: "{text}"')
    if text.upper() != text and text.upper() in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        raise ValueError(f'methods are written in capitals: "{text.upper()}"')
    return text.encode()


def _fact(item: tuple[str, str], known: Mapping[str, Fact]) -> Callable[[Facts], bool]:
    name, wanted = item
    if name not in known and name != PROTOCOL and ("." not in name or name.partition(".")[0] in _FAMILIES):
        near = get_close_matches(name, known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(known)}"
        raise ValueError(f'there is no fact "{name}"; {hint}')
    fact = known.get(name)
    get = (fact and fact.get) or (lambda facts: facts.learnt.get(name))
    suffix = wanted[1:].lower() if name == SNI and wanted.startswith("*.") else ""
    same = wanted.lower() if name == SNI else wanted

    def holds(facts: Facts) -> bool:
        value = get(facts)
        if value is None:
            return False
        if wanted == "*":
            return True
        texts = [_text(one) for one in value] if isinstance(value, tuple | list | frozenset | set) else [_text(value)]
        if name == SNI:
            texts = [text.lower().removesuffix(".") for text in texts]
        return any(text.endswith(suffix) for text in texts) if suffix else same in texts

    return holds


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _any_or(value: bytes) -> bytes | None:
    return None if value == b"*" else value
