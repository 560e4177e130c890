"""A plugin whose policies do in HTTP mode what a test tells them by ``do``; and a validator that learns a name."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    Answer,
    Deny,
    Fact,
    Facts,
    FactType,
    IPolicy,
    IValidator,
    NeedMore,
    Options,
    Redirect,
    Stage,
    Supply,
    Tarpit,
    Verdict,
    hookimpl,
)

waiting: "list[Deferred[None]]" = []
"""What policies that answer late wait for; the test's own business, so that it says when."""


class DoOptions(Options, frozen=True):
    """``do``: what; ``early``: at admission already."""

    do: str
    early: bool = False


@implementer(IPolicy)
class Does:
    """Does one thing to requests whose path names it, and to connections."""

    def __init__(self, options: DoOptions) -> None:
        self.stage = Stage.ADMISSION if options.early else Stage.POLICY
        self._do = options.do

    def decide(self, facts: Facts) -> Any:
        """Do what the option says."""
        if facts.http is not None and facts.http.path not in (b"/" + self._do.encode(), b"/all"):
            return ALLOW
        return getattr(self, self._do)(facts)

    def deny(self, facts: Facts) -> Any:
        """Deny, with another status than usual."""
        return Deny("too often", 429, [("Retry-After", "7")])

    def answer(self, facts: Facts) -> Any:
        """Answer in place of a server."""
        return Answer(201, b"made up", [("Content-Type", "text/plain"), ("X-Made", b"1")])

    def redirect(self, facts: Facts) -> Any:
        """Send elsewhere."""
        return Redirect("https://elsewhere.example/x", 308)

    def tarpit(self, facts: Facts) -> Any:
        """Deny, but not at once."""
        return Tarpit("a bot", 503)

    def choose(self, facts: Facts) -> Any:
        """Choose another backend."""
        facts.backend = "other"
        return ALLOW

    def misspell(self, facts: Facts) -> Any:
        """Choose a backend that does not exist."""
        facts.backend = "otter"
        return ALLOW

    def edit(self, facts: Facts) -> Any:
        """Change what the server sees."""
        headers = facts.http.headers
        headers.remove(b"X-Gone")
        headers.set(b"X-User", b"alice")
        headers.add(b"X-More", b"1")
        headers.set(b"Content-Length", b"99")
        headers.remove(b"Host")
        return ALLOW

    def wait(self, facts: Facts) -> Any:
        """Never answer."""
        return Deferred()

    async def late(self, facts: Facts) -> Any:
        """Answer what the query says, when a test lets it."""
        waiting.append(Deferred())
        await waiting[-1]
        return {b"allow": ALLOW, b"answer": Answer(body=b"late"), b"tarpit": Tarpit("slow")}[facts.http.query]


@implementer(IValidator)
class LearnsName:
    """Takes the first line for the name that TLS would tell."""

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Wait for the line."""
        line, end, _ = data.partition(b"\n")
        if not end:
            return NeedMore()
        name, _, protocol = line.decode().partition(" ")
        facts.learnt["tls.sni"] = name
        facts.learnt["tls.alpn"] = (protocol,)
        return ALLOW


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``does``."""
    return {"does": Supply(Does, DoOptions)}


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``learns_name``."""
    name, protocol = Fact(FactType.STRING, "the name", host=True), Fact(FactType.STRINGS, "the protocol")
    facts = {"tls.sni": name, "tls.alpn": protocol}
    return {"learns_name": Supply(lambda options: LearnsName(), facts=facts)}
