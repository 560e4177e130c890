"""The facts about a request: what rules of frontends in HTTP mode can ask besides what is known of the connection.

Texts are the request's bytes taken for UTF-8; what is none is spelt with backslashes. ``http.path`` is decoded, and a
rule that uses it is asked about every reading of the path: see ``expression``.
"""

from collections.abc import Mapping
from typing import Any

from twisted_lb.declared import Fact, FactType
from twisted_lb.facts import Facts
from twisted_lb.routing import host_of
from twisted_lb.rules.values import FactUse, FindFault, Place
from twisted_lb.wire.http1_grammar import IS_TOKEN
from twisted_lb.wire.http1_path import plain_path

HEADERS = "http.headers"
"""The fact with an index: ``http.headers['user-agent']``."""
PATH = "http.path"

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"))


def text_of(value: bytes) -> str:
    """Return bytes of a request as text."""
    return value.decode("utf-8", "backslashreplace")


def _of_request(about: str, attribute: str, host: bool = False) -> Fact:
    def get(facts: Facts) -> str | None:
        head = facts.http
        return None if head is None else text_of(getattr(head, attribute))

    return Fact(FactType.STRING, about, mode="http", get=get, host=host)


def _host(facts: Facts) -> str | None:
    return None if facts.http is None else text_of(host_of(facts.http)) or None


def _path(facts: Facts) -> str | None:
    return None if facts.http is None else text_of(facts.http.path) or None


def _fields(facts: Facts) -> Any:
    head = facts.http
    return None if head is None else tuple(f"{text_of(name)}: {text_of(value)}" for name, value in head.headers.items())


HTTP_FACTS: Mapping[str, Fact] = {
    "http.method": _of_request("the method, such as GET", "method"),
    "http.host": Fact(FactType.STRING, "the host, without port", mode="http", get=_host, host=True),
    "http.path": Fact(FactType.STRING, "the path, decoded, without query", mode="http", get=_path),
    "http.query": _of_request("what follows the ? of the target, as it was sent", "query"),
    "http.target": _of_request("the target as it was sent", "target"),
    "http.version": _of_request("1.0 or 1.1", "version"),
    "http.headers": Fact(FactType.STRINGS, "the fields; the values of one with ['name']", mode="http", get=_fields),
}
"""What is known of every request."""


def header_use(name: str) -> FactUse:
    """Make the use of the fields of that name: their values, each a text. Raises ValueError if it is no name."""
    wanted = name.encode()
    if not IS_TOKEN.fullmatch(wanted):
        raise ValueError(f"no field has the name {name!r}")

    def get(facts: Facts) -> tuple[str, ...] | None:
        head = facts.http
        values = () if head is None else head.headers.get_all(wanted)
        return tuple([text_of(value) for value in values]) if values else None

    return FactUse(f"http.headers['{name.lower()}']", HTTP_FACTS[HEADERS], get)


def _method_fault(text: str, place: Place) -> str:
    if text != text.upper() and text.upper() in _METHODS:
        return f"methods are written in capitals: '{text.upper()}'"
    return "" if IS_TOKEN.fullmatch(text.encode()) else "no method is spelt like that"


def _version_fault(text: str, place: Place) -> str:
    if place != "whole" or text in ("1.0", "1.1"):
        return ""
    return "it is '1.0' or '1.1', and nothing else"


def _path_fault(text: str, place: Place) -> str:
    if place == "end" or (text == "*" and place == "whole"):
        return ""
    if not text.startswith("/"):
        return "a path begins with a slash"
    try:
        plain = text_of(plain_path(text))
    except ValueError:
        return "it can be read in several ways, and paths are compared decoded and resolved"
    return "" if plain == text else f"paths are compared decoded: write '{plain}'"


def _target_fault(text: str, place: Place) -> str:
    return "" if all("!" <= one <= "~" for one in text) else "no target has such a character in it"


def _field_fault(text: str, place: Place) -> str:
    if place != "whole" or ": " in text:
        return ""
    name = text if IS_TOKEN.fullmatch(text.encode()) else "NAME"
    return f"each of them is 'name: value'; write known(http.headers['{name}']), or compare http.headers['{name}']"


FAULTS: Mapping[str, FindFault] = {
    "http.method": _method_fault,
    "http.version": _version_fault,
    "http.path": _path_fault,
    "http.target": _target_fault,
    "http.query": _target_fault,
    "http.headers": _field_fault,
}
"""Why no request has a text there."""
