"""``use = "http2"``: the client must begin with the connection preface of HTTP/2, and its first frame be its settings.

The requests are not looked at: their heads are compressed.
Source: RFC 9113, section 3.4.
"""

from collections.abc import Mapping

from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    Deny,
    Fact,
    Facts,
    FactType,
    IValidator,
    NeedMore,
    Options,
    Supply,
    Verdict,
    WireError,
    hookimpl,
    http2_refusal,
    protocol_fact,
    read_http2_preface,
)

FACTS = {
    "protocol": protocol_fact("http2"),
    "http2.valid": Fact(FactType.BOOLEAN, "whether the client began as HTTP/2 does"),
    "http2.settings": Fact(
        FactType.STRINGS, "identifiers and values of the client's settings in their order, such as 4:65535"
    ),
}


class Http2Options(Options, frozen=True):
    """How strict it is."""

    accept_invalid: bool = False


@implementer(IValidator)
class Http2Validator:
    """Lets pass what begins with the preface and settings that may be."""

    def __init__(self, options: Http2Options) -> None:
        self._accept_invalid = self.takes_anything = options.accept_invalid

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Judge preface and settings, as far as they have come."""
        try:
            settings = read_http2_preface(data)
        except WireError as error:
            facts.learnt["http2.valid"] = False
            return ALLOW if self._accept_invalid else Deny(error.reason, farewell=http2_refusal(error.reason))
        if isinstance(settings, NeedMore):
            return settings
        facts.learnt["protocol"] = "http2"
        facts.learnt["http2.valid"] = True
        facts.learnt["http2.settings"] = tuple(f"{identifier}:{value}" for identifier, value in settings)
        return ALLOW


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``http2``."""
    return {"http2": Supply(Http2Validator, Http2Options, mode="tcp", facts=FACTS)}
