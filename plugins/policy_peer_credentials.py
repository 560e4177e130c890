"""``use = "peer_credentials"``: who may connect over a Unix socket, by user and group; the kernel says who it is.

Source: unix(7), ``SO_PEERCRED``.
"""

import grp
import pwd
from collections.abc import Iterable, Mapping

import msgspec
from zope.interface import implementer

from twisted_lb.api import ALLOW, ConfigError, Deny, Facts, IPolicy, Options, Stage, Supply, Verdict, hookimpl

_HIGHEST = 0xFFFFFFFE


class PeerCredentialsOptions(Options, frozen=True):
    """``users``, ``groups``: names, or numbers. In one of them is enough; ``deny`` wins."""

    users: list[int | str] = msgspec.field(default_factory=list)
    groups: list[int | str] = msgspec.field(default_factory=list)
    deny_users: list[int | str] = msgspec.field(default_factory=list)
    deny_groups: list[int | str] = msgspec.field(default_factory=list)


@implementer(IPolicy)
class PeerCredentials:
    """Judges the process at the other end; who has no credentials, because it came over TCP say, is denied."""

    stage = Stage.ADMISSION
    only_refuses = True

    def __init__(
        self,
        users: frozenset[int],
        groups: frozenset[int],
        deny_users: frozenset[int],
        deny_groups: frozenset[int],
    ) -> None:
        self._users = users
        self._groups = groups
        self._deny_users = deny_users
        self._deny_groups = deny_groups
        self._all = not users and not groups

    def decide(self, facts: Facts) -> Verdict:
        """Answer at once; about 1 us."""
        peer = facts.credentials
        if peer is None:
            return Deny("who connected is unknown: it is no Unix socket")
        groups = {peer.gid, *(peer.groups or ())}
        if peer.groups is None and self._deny_groups:
            return Deny(f"the groups of user {peer.uid} are unknown")
        if peer.uid in self._deny_users or not self._deny_groups.isdisjoint(groups):
            return Deny(f"user {peer.uid} is denied")
        if self._all or peer.uid in self._users or not self._groups.isdisjoint(groups):
            return ALLOW
        return Deny(f"user {peer.uid} is not among those allowed")


def _user(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _group(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def build(options: PeerCredentialsOptions) -> PeerCredentials:
    """Build the policy; names are looked up now, and again at a reload.

    Raises: ConfigError with each name that this machine does not have, or when no list is given.
    """
    problems: list[str] = []

    def numbers(option: str, kind: str, given: Iterable[int | str]) -> Mapping[int, int | str]:
        found: dict[int, int | str] = {}
        for one in given:
            try:
                number = one if isinstance(one, int) else _user(one) if kind == "user" else _group(one)
            except (KeyError, ValueError):
                problems.append(f'{option}: there is no {kind} "{one}"')
                continue
            if 0 <= number <= _HIGHEST:
                found[number] = one
            else:
                problems.append(f"{option}: {number} is no {kind}'s number")
        return found

    users, deny_users = numbers("users", "user", options.users), numbers("deny_users", "user", options.deny_users)
    groups = numbers("groups", "group", options.groups)
    deny_groups = numbers("deny_groups", "group", options.deny_groups)
    for option, allowed, denied in (("users", users, deny_users), ("groups", groups, deny_groups)):
        for number in allowed.keys() & denied.keys():
            spelt = f'"{allowed[number]}"' if isinstance(allowed[number], str) else number
            problems.append(f"{option}: {spelt} is in deny_{option} too, which wins, so it is never allowed")
    if problems:
        raise ConfigError(*problems)
    if not (users or groups or deny_users or deny_groups):
        raise ConfigError('it needs "users", "groups", "deny_users" or "deny_groups"')
    return PeerCredentials(*map(frozenset, (users, groups, deny_users, deny_groups)))


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``peer_credentials``."""
    return {"peer_credentials": Supply(build, PeerCredentialsOptions)}
