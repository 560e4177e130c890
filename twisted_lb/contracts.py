"""What the objects that plugins build must be able to do: one interface for each kind of them."""
# ruff: noqa: N805 - a zope interface's methods have no ``self``: they are written as they are called

from collections.abc import Awaitable
from typing import Any

from zope.interface import Attribute, Interface

from twisted_lb.endings import Stage
from twisted_lb.verdicts import Decision


class IServer(Interface):
    """A server as balancers and observers see it; they only read it."""

    name: str = Attribute("its name in the configuration")
    weight: int = Attribute("1..256; servers of weight 0 are never candidates")
    connections: int = Attribute("connections open or being opened to it now")
    maxconn: int = Attribute("most connections at once, 0 for no limit")
    failures: int = Attribute("attempts to connect to it that came to nothing, since it exists")


class IBalancer(Interface):
    """Chooses a server; one object per backend.

    An object whose attribute ``blind`` is true promises that ``choose`` does not look at ``facts``: in HTTP mode the
    request's need not be made up for it then.
    """

    def choose(candidates: Any, facts: Any) -> Any:
        """Return one member of ``candidates``: a non-empty sequence of ``IServer`` in the configuration's order,
        every one usable and below its ``maxconn``. ``facts``: the connection's ``Facts``.

        Raising, or returning anything else, ends that connection as ``Ending(INTERNAL, BALANCE)``.
        """


class IPolicy(Interface):
    """Decides whether a connection, in HTTP mode each request, may go on; one object per entry of a frontend's
    ``policies``.

    In HTTP mode ``facts.http`` is the ``RequestHead``; edits of its ``headers`` are what goes to the server. In both
    modes ``facts.backend`` may be set to the name of the backend to go to, and ``facts.priority``.

    Four more attributes are optional. ``only_refuses``, ``True``: it never allows finally, and changes nothing; then,
    if its stage is admission, it may be asked before entries that only refuse as well. ``label``: what the log calls
    it where it denies without a reason; else its name. ``most_descriptors``: how many sockets of its own it may have
    open at once, a whole number; so many are kept for it. ``always_decides``, ``True``: nobody goes on behind it, be it
    that it refuses, answers or allows finally; then entries behind it are an error at the start.
    """

    stage: Stage = Attribute(
        "Stage.ADMISSION if the source and the destination are all it needs, else Stage.POLICY. Entries are asked in "
        "the order in which the configuration lists them, as far as anybody could tell the difference."
    )

    def decide(facts: Any) -> Any:
        """Answer ``Allow``, ``Deny`` or ``Tarpit``, now or later: a verdict, or a ``Deferred`` or coroutine of one.
        About a request ``Answer`` and ``Redirect`` are possible too.

        Raising, answering anything else, naming a backend that does not exist, or taking longer than the frontend's
        ``timeouts.policy`` denies.
        """


DecideAnswer = Decision | Awaitable[Decision]
"""What ``IPolicy.decide`` may return; a ``Deferred`` is awaitable."""


class IFactPolicy(IPolicy):
    """A policy whose options name facts; it learns here which there are where its entry stands."""

    def use_facts(find: Any) -> None:
        """Called once, right after it was built; ``stage`` is read afterwards.

        ``find(name)``: returns the ``Fact`` of that name, and what gets its value out of a connection's ``Facts``,
            ``None`` where it has none; raises ConfigError that says what is wrong with the name.
        Raises: ConfigError, each problem of which begins with the option; that is an error at the start.
        """


class IValidator(Interface):
    """Looks at a connection's first bytes; one object per entry of a frontend's ``validators``.

    ``takes_anything``, if it has such an attribute and that is ``True``: it lets pass what is none of its protocol as
    well, so in an ``any_of`` nobody behind it is ever asked, which is an error at the start.
    """

    def validate(data: bytes, facts: Any) -> Any:
        """Answer a ``Verdict`` about ``data``: all that has come so far, never empty.

        ``NeedMore(at_least)`` asks again when more has come; what is learnt goes into ``facts.learnt``. Must not keep
        state between calls: the object serves every connection of its frontend. Raising denies.
        """


class IStreamValidator(IValidator):
    """TCP mode: a validator that may stay on the connection behind its first bytes.

    A frontend none of whose validators is one pays nothing for it; nor does a connection that is not watched.
    ``speaks``, if it has such an attribute: the protocol's name, for the fact ``protocol`` of a client that says
    nothing; by default that of the validator.
    """

    server_first: bool = Attribute(
        "whether in this protocol the server speaks first: then no byte of the client is waited for, and ``validate`` "
        "is asked only if some came."
    )

    def watch(facts: Any) -> Any:
        """Return an ``IStreamWatch`` for this connection, or ``None``; called once, when the server is connected."""


class IStreamWatch(Interface):
    """Looks at what passes on one connection, in both directions, from the first byte on; one object per connection.

    ``data``: bytes, never empty, each byte once and in its order, cut anywhere. Answers: ``Allow`` to let it pass and
    go on watching, ``Deny`` to end the connection before any of ``data`` passes, ``Allow(final=True)`` to let this and
    all that follows in this direction pass unseen. Raising, or answering anything else, denies.

    ``None`` in place of a method: nothing that is said in this direction matters.
    """

    def client_said(data: bytes) -> Any:
        """Judge what the client sent, first of all what ``validate`` has seen."""

    def server_said(data: bytes) -> Any:
        """Judge what the server sent."""


class IProxyCodec(Interface):
    """Reads and writes one version of the PROXY header; one object per use in the configuration. Keeps no state."""

    signature: bytes = Attribute("what every header of this version begins with, and nothing else does")
    max_length: int = Attribute("the most bytes that a header of this version can have; more are refused")

    def decode(data: bytes) -> Any:
        """Decode the header at the front of ``data``, all that has come so far.

        Returns: the ``ProxyHeader`` and how many bytes it used; the rest stays the caller's. ``NeedMore(at_least)``
            while it is incomplete; ``at_least`` never exceeds the header's length.
        Raises: WireError, at the first byte that is wrong; no other exception, whatever the bytes.
        """

    def encode(header: Any) -> Any:
        """Return a ``ProxyHeader`` as bytes; what this version has no room for, such as TLVs in v1, is left out.

        Raises: WireError if the header cannot be expressed at all.
        """


class IAccessLog(Interface):
    """Turns records into lines; one object per frontend that uses it."""

    def format(record: Any) -> Any:
        """Return the line for a ``SessionRecord`` as bytes, without the line end."""


class IObserver(Interface):
    """Is told of a connection's life, and of servers that go up and down; one object per entry of a frontend's
    ``observers``. Answers are ignored.
    """

    def session_opened(facts: Any) -> None:
        """A connection was accepted."""

    def session_routed(facts: Any, backend: str, server: Any) -> None:
        """The connection to ``server`` (an ``IServer``) of the backend of that name is open."""

    def session_closed(facts: Any, record: Any) -> None:
        """A connection ended; ``record`` is its ``SessionRecord``. Called exactly once per ``session_opened``."""

    def request_closed(facts: Any, record: Any) -> None:
        """HTTP mode: a request of the connection ended; ``record`` is its ``HttpRecord``. ``facts.http`` is its head,
        ``None`` if it could not be read. Called before ``session_closed``, any number of times.
        """

    def message_refused(facts: Any, message: Any) -> None:
        """HTTP mode: a request or a response broke a rule; ``message`` is a ``RefusedMessage``, with the bytes."""

    def server_state_changed(backend: str, server: Any, state: str, reason: str) -> None:
        """``server`` (an ``IServer``) of the frontend's backend, whose name is ``backend``, has gone ``"up"`` or
        ``"down"``; ``reason`` is for people. Called after the change; servers begin up.
        """


class IBodyFilter(Interface):
    """Looks at the messages of HTTP mode and may change their bodies; one object per entry of a frontend's
    ``body_filters``.

    ``facts.http`` is the request's head, ``response`` the response's: their ``headers`` may be edited here, and only
    here, for the heads are sent before the bodies. Length and framing are written anew; leave them alone.
    """

    def filter_request(facts: Any) -> Any:
        """Called once per request, also for one without a body, before a server is chosen.

        Returns: an ``IBodyStream`` for its body, ``None`` to let the body pass as it is, or ``Deny``.
        """

    def filter_response(facts: Any, response: Any) -> Any:
        """Called once per response that a server gives, but not for 1xx, and not when the protocol changes.

        Returns: as ``filter_request``. A response that has no body (to HEAD, 204, 304) loses its Content-Length if a
            stream is returned that does not keep the length.
        """


class IBodyStream(Interface):
    """One body on its way through a filter, without its framing, in pieces of any size.

    What each call returns is bytes, or a list or tuple of them, 1 MiB at most; or ``Deny``: the client gets that answer
    if it has no part of the response yet, and is cut off if it has. Raising, or returning anything else, ends this
    exchange likewise, with 500. Nothing is called after that.
    """

    keeps_length: bool = Attribute(
        "True promises as many bytes in all as came in, and never more than came so far: Content-Length then stays. "
        "Otherwise the body is sent in chunks, or until the connection closes to clients of HTTP/1.0."
    )

    def feed(data: bytes) -> Any:
        """Return what is to go on of ``data``, never empty, and of what came before."""

    def end() -> Any:
        """Return what is left; called once when the body has come whole, and not if it never does."""


class ITableStore(Interface):
    """Where machines that share a table tell each other what they have counted; one object per table with a ``store``.

    It connects by itself, and again when the connection is lost, with bounded pauses. It keeps nothing that was not
    answered: the proxy tells it again.
    """

    def open() -> None:
        """Begin to connect; called when the configuration is in force."""

    def close() -> None:
        """Close everything; called once, and nothing is after that."""

    def exchange(batch: Any) -> Any:
        """Add what a ``TableBatch`` tells, and answer what all machines together have then, with a ``Deferred`` or
        coroutine of a ``TableReply``. Its ``entries`` may be none, to ask whether anybody is there.

        Failing, and answering nothing in time, mean that the store is away; then it is cancelled. Without a connection
        it should fail at once.
        """
