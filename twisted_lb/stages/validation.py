"""Is what came so far what this frontend serves?

Stage: validation.
In: a frontend's ``validators``, all bytes that came so far, and the facts, to which validators add.
Out: ``Allow`` when all of them have, the first ``Deny``, or ``NeedMore``.
Never: consumes a byte, keeps more than ``PEEK_LIMIT``, or lets a connection on because a validator failed.
Source: ``api.IValidator``.
"""

from collections.abc import Sequence
from typing import TypeAlias

from twisted_lb.contracts import IStreamValidator, IValidator
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.stages.recognition import AnyOf
from twisted_lb.stages.validator import PEEK_LIMIT, ask, is_server_first, recognised
from twisted_lb.verdicts import ALLOW, NEED_MORE, Allow, Deny, NeedMore, Verdict

Entry: TypeAlias = Built[IValidator] | AnyOf
"""An entry of a frontend's ``validators``."""


def validate(validators: Sequence[Entry], data: bytes, facts: Facts) -> Verdict:
    """Ask all validators in order about ``data``, which is not empty.

    Raises: PluginError.
    """
    return Inspection(validators, facts).look(data)


def waits(validators: Sequence[Entry]) -> bool:
    """Whether one of them has to see bytes of the client."""
    return any(isinstance(entry, AnyOf) or not is_server_first(entry) for entry in validators)


def watchers(validators: Sequence[Entry]) -> Sequence[Built[IStreamValidator]] | None:
    """Return those that may stay on a connection; ``None`` if that depends on what it is recognised as."""
    found: list[Built[IStreamValidator]] = []
    for entry in validators:
        members = entry.members if isinstance(entry, AnyOf) else (entry,)
        watching = [one for one in members if IStreamValidator.providedBy(one.object)]
        if watching and isinstance(entry, AnyOf):
            return None
        found += watching  # type: ignore[arg-type]
    return tuple(found)


class Inspection:
    """What validators make of one connection; they keep nothing themselves."""

    __slots__ = ("_chosen", "_facts", "_validators")

    def __init__(self, validators: Sequence[Entry], facts: Facts) -> None:
        self._validators = validators
        self._facts = facts
        self._chosen: dict[AnyOf, Built[IValidator]] | None = None

    def look(self, data: bytes) -> Verdict:
        """Ask all in order about ``data``, all that has come so far; not empty. Raises: PluginError."""
        facts = self._facts
        for entry in self._validators:
            verdict = self._ask_several(entry, data) if type(entry) is AnyOf else ask(entry, data, facts)  # type: ignore[arg-type]
            if verdict is not ALLOW and not isinstance(verdict, Allow):
                return verdict
        return ALLOW

    def expire(self, data: bytes, passes: bool) -> Verdict:
        """The client has had its time, and this is all that has come. ``passes``: who is undecided lets it pass.

        Returns: ``NeedMore`` if somebody is undecided and must not be.
        Raises: PluginError.
        """
        for entry in self._validators:
            if data:
                verdict = self._ask_several(entry, data) if isinstance(entry, AnyOf) else ask(entry, data, self._facts)
            else:
                verdict = ALLOW if self._takes_silence(entry) else NEED_MORE
            if isinstance(verdict, Deny) or (isinstance(verdict, NeedMore) and not passes):
                return verdict
        return ALLOW

    def skip(self) -> None:
        """The server speaks first: go on without a byte of the client."""
        for entry in self._validators:
            self._takes_silence(entry)

    def _takes_silence(self, entry: Entry) -> bool:
        """Whether a client that says nothing is one of those that it stands for."""
        if not isinstance(entry, AnyOf):
            silent = is_server_first(entry)
            if silent:
                recognised(entry, self._facts)
            return silent
        if entry.server_first is None:
            return False
        self._choose(entry, entry.server_first)
        recognised(entry.server_first, self._facts)
        return True

    def _ask_several(self, entry: AnyOf, data: bytes) -> Verdict:
        verdict, member = entry.ask(data, self._facts)
        if member is not None:
            self._choose(entry, member)
        return verdict

    def _choose(self, entry: AnyOf, member: Built[IValidator]) -> None:
        if self._chosen is None:
            self._chosen = {}
        self._chosen[entry] = member

    def watching(self) -> list[Built[IStreamValidator]]:
        """Return, in order, those that may stay on this connection; of an ``any_of`` the one that has recognised it."""
        chosen = self._chosen or {}
        made = [chosen.get(entry) if isinstance(entry, AnyOf) else entry for entry in self._validators]
        return [one for one in made if one is not None and IStreamValidator.providedBy(one.object)]  # type: ignore[misc]


__all__ = ["PEEK_LIMIT", "AnyOf", "Entry", "Inspection", "validate", "waits", "watchers"]
