"""Settings of HTTP mode that are tables of their own."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from twisted_lb.config.section import Section
from twisted_lb.config.units import Duration, Size
from twisted_lb.config.values import FieldName, FieldValue, ZeroOrMore


class Fields(Section, frozen=True, kw_only=True):
    """``request_headers`` and ``response_headers``: fields that are removed first, then set, then added."""

    remove: list[FieldName] = []
    set: dict[FieldName, FieldValue] = {}
    add: dict[FieldName, FieldValue] = {}


Speaks = Literal["pass", "remove", "set", "append"]


class Forwarded(Section, frozen=True, kw_only=True):
    """``forwarded``: the fields in which servers are told who the client is; see ``wire.http1_forward.Speak``.

    ``except_``: proxies whose word counts, as ``Networks.parse`` takes them: what they say is passed on as it is.
    """

    x_forwarded_for: Speaks = "append"
    x_forwarded_proto: Speaks = "set"
    x_forwarded_host: Speaks = "set"
    x_forwarded_port: Speaks = "set"
    rfc7239: Speaks = "remove"
    except_: Annotated[list[str], Meta(min_length=1)] = msgspec.field(name="except", default_factory=list)


class MinRate(Section, frozen=True, kw_only=True):
    """``min_rate``: how slowly a client may send a body: ``rate`` bytes per second, on average, ``after`` a while."""

    rate: Annotated[Size, Meta(ge=1, le=2147483647)]
    after: Duration = Duration(5)


class BufferRequest(Section, frozen=True, kw_only=True):
    """``buffer_request``: no server is chosen before the body is here. Beyond ``memory`` it goes to a temporary file.

    ``max``: longer bodies are refused with 413; no more memory than that is used either.
    """

    memory: Size = Size(16 * 1024)
    max: Size = Size(1024 * 1024)


class Pool(Section, frozen=True, kw_only=True):
    """``pool``: connections to each server that wait for their next request; HAProxy's ``pool-max-conn``."""

    max: ZeroOrMore = 100
    idle_timeout: Duration | None = Duration(5)
