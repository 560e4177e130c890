"""``use = "source"``: allow or deny by the client's address.

Source: HAProxy configuration.txt, ``tcp-request connection`` with the ACL ``src``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ConfigError,
    Deny,
    Facts,
    FilePath,
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

    ``allow_file`` and ``deny_file``: files with more of them, one a line, read at start-up and at reload.

    ``deny`` wins. With either ``allow`` given, even empty, all that it does not contain is denied.
    """

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    allow_file: FilePath | None = None
    deny_file: FilePath | None = None


@implementer(IPolicy)
class SourcePolicy:
    """Judges the client's address; an IPv4 address mapped into IPv6 is the IPv4 address.

    ``allow``: sets of which one must hold it, ``None`` for everybody; ``deny``: sets none of which may. A client of a
    Unix socket has no address: only the entry ``unix`` matches it. An address of any other kind cannot be judged, so it
    is denied.
    """

    stage = Stage.ADMISSION
    only_refuses = True

    def __init__(self, allow: tuple[Networks, ...] | None, deny: tuple[Networks, ...]) -> None:
        self._allow = allow
        self._deny = deny
        self._listed = Deny("source is in deny")
        self._unlisted = Deny("source is not in allow")
        self._unknown = Deny("source is no IP address")

    def decide(self, facts: Facts) -> Verdict:
        """Answer at once; about 1 us for each list."""
        number = Networks.number(facts.source.host)
        if number is None:
            return self._unknown
        for networks in self._deny:
            if networks.holds(number):
                return self._listed
        if self._allow is None:
            return ALLOW
        for networks in self._allow:
            if networks.holds(number):
                return ALLOW
        return self._unlisted


def build(options: SourceOptions) -> SourcePolicy:
    """Build the policy.

    Raises: ConfigError with each entry and line that is no network, or when there are no lists at all.
    """
    lists: tuple[tuple[str, Any, Callable[[Any], Networks]], ...] = (
        ("allow", options.allow, Networks.parse),
        ("allow_file", options.allow_file, Networks.read),
        ("deny", options.deny or None, Networks.parse),
        ("deny_file", options.deny_file, Networks.read),
    )
    problems: list[str] = []
    read = {
        option: _networks(partial(parse, given), option, problems)
        for option, given, parse in lists
        if given is not None
    }
    if not read:
        raise ConfigError('it needs "allow", "deny", "allow_file" or "deny_file"')
    problems += [
        f'allow: "{entry}" is within "{other}" of deny, which wins, so it is never allowed'
        for entry, other in Networks.within(options.allow or (), options.deny).items()
    ]
    if problems:
        raise ConfigError(*problems)
    allow = tuple(read[option] for option in ("allow", "allow_file") if option in read)
    deny = tuple(read[option] for option in ("deny", "deny_file") if option in read)
    return SourcePolicy(allow or None, deny)


def _networks(parse: Callable[[], Networks], option: str, problems: list[str]) -> Networks:
    """Read one list; its problems are noted, not raised, so that those of every list are told."""
    try:
        return parse()
    except ConfigError as error:
        problems += [f"{option}: {problem}" for problem in error.problems]
        return Networks.parse(())


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``source``."""
    return {"source": Supply(build, SourceOptions)}
