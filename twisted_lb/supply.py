"""What a hook supplies under each name, with which options, and the process that it is built for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any, Generic, Literal, TypeVar

import msgspec
from twisted.internet import interfaces

from twisted_lb.declared import Fact

T = TypeVar("T")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of a plugin's options: subclass it, one annotated field per option.

    The configuration is checked against it before the plugin sees it, and the JSON schema of the configuration
    contains it. What types cannot say belongs in ``build``, which raises ``ConfigError``.
    """


@dataclass(frozen=True, slots=True)
class Runtime:
    """The process that a supply is built for; ``twisted_lb.testing.make_runtime`` makes one for tests.

    ``reactor``: the one that runs, or will. ``clock``: for deadlines and ages; its seconds begin anywhere.
    ``wall_clock``: seconds since 1970, UTC, for dates and times of day.
    """

    reactor: Any
    clock: interfaces.IReactorTime
    wall_clock: Callable[[], float] = time


@dataclass(frozen=True, slots=True)
class Supply(Generic[T]):
    """What a hook supplies under one name.

    ``build(options)`` is called once per use in the configuration, at start-up and at reload, with an instance of
    ``options``; it returns the object that the proxy will call, or raises ``ConfigError``. ``mode``: that of the
    frontends that it is of use in, if there is one; in a frontend of the other mode it is an error at start.
    ``facts``: what it adds to ``facts.learnt``, by name; rules, routes and tables can use these and no others.
    ``runtime``: whether ``build(options, runtime)`` is to be called instead, with a ``Runtime``.
    """

    build: Callable[..., T]
    options: type[Options] = Options
    mode: Literal["tcp", "http"] | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    runtime: bool = False
