"""``use = "source"``: allow or deny by the client's address.

Source: HAProxy configuration.txt, ``tcp-request connection`` with the ACL ``src``.
"""

from collections.abc import Mapping, Sequence

from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ConfigError,
    Deny,
    Facts,
    IPolicy,
    Networks,
    Options,
    Stage,
    Supply,
    Verdict,
    hookimpl,
)


class SourceOptions(Options, frozen=True):
    """``allow`` and ``deny``: networks (``10.0.0.0/8``), addresses, or ``unix``.

    ``deny`` wins. With ``allow`` given, even empty, all that it does not contain is denied.
    """

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()


@implementer(IPolicy)
class SourcePolicy:
    """Judges the client's address; an IPv4 address mapped into IPv6 is the IPv4 address.

    A client of a Unix socket has no address: only the entry ``unix`` matches it. An address of any other kind cannot be
    judged, so it is denied.
    """

    stage = Stage.ADMISSION

    def __init__(self, allow: Networks | None, deny: Networks) -> None:
        self._allow = allow
        self._deny = deny
        self._listed = Deny("source is in deny")
        self._unlisted = Deny("source is not in allow")
        self._unknown = Deny("source is no IP address")

    def decide(self, facts: Facts) -> Verdict:
        """Answer at once; about 1 us."""
        number = Networks.number(facts.source.host)
        if number is None:
            return self._unknown
        if self._deny.holds(number):
            return self._listed
        if self._allow is None or self._allow.holds(number):
            return ALLOW
        return self._unlisted


def _networks(entries: Sequence[str], option: str, problems: list[str]) -> Networks:
    """Read one list; its problems are noted, not raised, so that those of both lists are told."""
    try:
        return Networks.parse(entries)
    except ConfigError as error:
        problems += [f"{option}: {problem}" for problem in error.problems]
        return Networks.parse(())


def build(options: SourceOptions) -> SourcePolicy:
    """Build the policy.

    Raises: ConfigError with each entry that is no network, or when there are no lists at all.
    """
    if options.allow is None and not options.deny:
        raise ConfigError('it needs "allow", "deny" or both')
    problems: list[str] = []
    allow = None if options.allow is None else _networks(options.allow, "allow", problems)
    deny = _networks(options.deny, "deny", problems)
    if problems:
        raise ConfigError(*problems)
    return SourcePolicy(allow, deny)


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``source``."""
    return {"source": Supply(build, SourceOptions)}
