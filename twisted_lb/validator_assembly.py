"""What the entries of ``validators`` become, and what is wrong in how they stand together."""

from collections.abc import Callable, Iterator, Sequence

from twisted_lb.config import model
from twisted_lb.config.convert import convert
from twisted_lb.config.hints import quoted
from twisted_lb.config.uses import AnyOf as SeveralUses
from twisted_lb.config.uses import Use
from twisted_lb.contracts import IStreamValidator, IValidator
from twisted_lb.plugin_host import Built, PluginHost
from twisted_lb.problems import Problems
from twisted_lb.stages.recognition import AnyOf
from twisted_lb.stages.validation import Entry
from twisted_lb.stages.validator import PROTOCOL

Build = Callable[[Use], Sequence[Built[IValidator]]]
"""Builds one validator; none if it cannot be built, which is told then."""


class ValidatorAssembly:
    """The validators of one frontend. ``where``: its key; ``problems``: where what is wrong with them is told."""

    def __init__(self, host: PluginHost, where: str, settings: model.Frontend, problems: Problems) -> None:
        self._host = host
        self._where = where
        self._settings = settings
        self._problems = problems

    def build(self, build: Build) -> list[Entry]:
        """Build all; those of an ``any_of`` become one."""
        made: list[Entry] = []
        for entry in self._settings.validators:
            if isinstance(entry, Use):
                made += self._single(entry, build(entry))
            else:
                made += self._several(entry, build)
        self._note(self._exclusive())
        self._note(
            self._same([one for one in self._settings.validators if isinstance(one, Use)], "it is asked already")
        )
        return made

    def _note(self, problems: Iterator[str]) -> None:
        self._problems.extend(problem for problem in problems if problem not in self._problems)

    def _single(self, use: Use, built: Sequence[Built[IValidator]]) -> Sequence[Built[IValidator]]:
        if self._settings.mode == "http" and any(IStreamValidator.providedBy(one.object) for one in built):
            self._problems.append(f'{use.where}: "{use.use}" stays on the stream: only in mode = "tcp"')
        return built

    def _several(self, entry: SeveralUses, build: Build) -> list[AnyOf]:
        where = entry.any_of[0].where.removesuffix("[0]")
        members = [(use, build(use)) for use in entry.any_of]
        self._note(self._same(entry.any_of, "it would deny what that has denied"))
        self._note(_hidden(members))
        watching = [one.name for _, built in members for one in built if IStreamValidator.providedBy(one.object)]
        if watching and self._settings.inspect_expired == "pass":
            self._note(iter([self._unwatched(where, watching)]))
        with self._problems.collected(where):
            return [AnyOf([one for _, built in members for one in built])]
        return []

    def _unwatched(self, where: str, watching: Sequence[str]) -> str:
        key = where.rpartition(".validators")[2].removesuffix(".any_of")
        names = quoted(dict.fromkeys(watching))
        return (
            f'{self._where}.inspect_expired: with "pass", who says too little in time gets past validators{key}.any_of,'
            f' and nobody watches what it says then, though {names} would: write "refuse"; if clients wait for the'
            " server to speak first, give any_of a validator of their protocol, such as smtp, which takes who is silent"
        )

    def _exclusive(self) -> Iterator[str]:
        """Find entries that nobody gets past, because each lets pass a protocol of its own."""
        seen: list[tuple[int, frozenset[str]]] = []
        for index, entry in enumerate(self._settings.validators):
            passing = [self._passing(use) for use in ([entry] if isinstance(entry, Use) else entry.any_of)]
            protocols = frozenset[str]().union(*passing) if all(passing) else frozenset[str]()
            for before, others in seen:
                if protocols and protocols.isdisjoint(others):
                    here, there = (" and ".join(sorted(one)) for one in (protocols, others))
                    yield (
                        f"{self._where}.validators[{index}]: lets only {here} pass, and validators[{before}] only"
                        f" {there}, so nobody gets past both: for either write any_of = [...]"
                    )
                    break
            if protocols:
                seen.append((index, protocols))

    def _passing(self, use: Use) -> frozenset[str]:
        """Return the protocols that a validator lets pass; none if that may be anything, or is not known."""
        supplied = self._host.supplies("validators").get(use.use)
        fact = None if supplied is None else supplied.supply.facts.get(PROTOCOL)
        if fact is None or use.options.get("accept_invalid") is True:
            return frozenset()
        return frozenset(fact.values)

    def _same(self, uses: Sequence[Use], why: str) -> Iterator[str]:
        """Find validators that stand there twice, with options that say the same."""
        known = self._host.supplies("validators")
        seen: list[tuple[Use, object]] = []
        for use in uses:
            if use.use not in known:
                continue
            options, problems = convert(use.options, known[use.use].supply.options, use.where, use.folder)
            if problems:
                continue
            first = next((one for one, other in seen if one.use == use.use and other == options), None)
            if first is None:
                seen.append((use, options))
            else:
                place = first.where.rpartition(".")[2]
                yield f'{use.where}: is the same "{use.use}" as {place}: {why}, so leave it out'


def _hidden(members: Sequence[tuple[Use, Sequence[Built[IValidator]]]]) -> Iterator[str]:
    """Find members of an ``any_of`` behind one that lets pass whatever comes."""
    last: Use | None = None
    for use, built in members:
        if last is not None:
            place = last.where.rpartition(".")[2]
            yield f'{use.where}: is never reached: {place}, "{last.use}", takes whatever comes: let that be the last'
        elif any(getattr(one.object, "takes_anything", False) is True for one in built):
            last = use
