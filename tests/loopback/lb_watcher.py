"""A plugin for tests: a validator that stays on the stream, and a policy that refuses in any way."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    NEED_MORE,
    Deny,
    IPolicy,
    IStreamValidator,
    IStreamWatch,
    IValidator,
    Options,
    Stage,
    Supply,
    Tarpit,
    hookimpl,
)


class WatcherOptions(Options, frozen=True):
    """``begins``: what the client's first bytes must be. ``evil``: what neither side may say, how it was cut or not."""

    begins: str = ""
    server_first: bool = False
    evil: str = "evil"
    farewell: str = ""
    how: Literal["close", "reset", "drop"] | None = None


@implementer(IStreamValidator)
class Watcher:
    """Watches every connection that it has allowed."""

    def __init__(self, options: WatcherOptions) -> None:
        self.server_first = options.server_first
        self.begins = options.begins.encode()
        self.evil = options.evil.encode()
        self.denial = Deny("evil", how=options.how, farewell=options.farewell.encode())

    def validate(self, data: bytes, facts: Any) -> Any:
        """See ``IValidator``."""
        if data.startswith(self.begins):
            return ALLOW
        return NEED_MORE if self.begins.startswith(data) else replace(self.denial, reason="begins otherwise")

    def watch(self, facts: Any) -> Any:
        """See ``IStreamValidator``."""
        return Watch(self)


@implementer(IStreamWatch)
class Watch:
    """Remembers as much of either side as a word may have been cut into."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.before = {"client": b"", "server": b""}

    def _said(self, side: str, data: bytes) -> Any:
        evil = self.watcher.evil
        said = self.before[side] + data
        self.before[side] = said[-len(evil) + 1 :]
        return self.watcher.denial if evil in said else ALLOW

    def client_said(self, data: bytes) -> Any:
        """See ``IStreamWatch``."""
        return self._said("client", data)

    def server_said(self, data: bytes) -> Any:
        """See ``IStreamWatch``."""
        return self._said("server", data)


class RefuserOptions(Options, frozen=True):
    """``how``: as in ``Deny``, or ``"tarpit"``."""

    how: Literal["close", "reset", "drop", "tarpit"] = "close"
    farewell: str = ""
    stage: Literal["admission", "policy"] = "policy"


@implementer(IPolicy)
class Refuser:
    """Lets nobody in."""

    def __init__(self, options: RefuserOptions) -> None:
        self.stage = Stage[options.stage.upper()]
        self.verdict: Any = Tarpit("closed")
        if options.how != "tarpit":
            self.verdict = Deny("closed", how=options.how, farewell=options.farewell.encode())

    def decide(self, facts: Any) -> Any:
        """See ``IPolicy``."""
        return self.verdict


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``watcher``, under two names."""
    return {"watcher": Supply(Watcher, WatcherOptions), "other": Supply(Watcher, WatcherOptions)}


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``refuser``."""
    return {"refuser": Supply(Refuser, RefuserOptions)}
