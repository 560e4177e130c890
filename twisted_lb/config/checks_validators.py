"""What must hold for the ``validators`` of a frontend, and for the time that they have; see ``checks``.

Each problem starts with its key.
"""

from collections.abc import Iterator

from msgspec import UNSET

from twisted_lb.config.convert import INVALID, join
from twisted_lb.config.model import Frontend, ValidatorUse


def check_validators(where: str, frontend: Frontend) -> Iterator[str]:
    """Find entries that say nothing, or two things at once, and settings that have no effect."""
    if frontend.validators is INVALID:
        return
    for index, entry in enumerate(frontend.validators):
        if entry is not INVALID:
            yield from _check_entry(f"{where}.validators[{index}]", entry, frontend.mode)
    if frontend.inspect_expired != "refuse":
        if frontend.mode == "http":
            yield f'{where}.inspect_expired: only in mode = "tcp"'
        elif not frontend.validators:
            yield f"{where}.inspect_expired: there are no validators that could be undecided"


def _check_entry(where: str, entry: ValidatorUse, mode: object) -> Iterator[str]:
    if entry.use is INVALID or entry.any_of is INVALID:
        return
    if entry.any_of is UNSET:
        if not entry.use:
            yield f"{where}.use: is missing"
        return
    if entry.use:
        yield f"{where}: one of use and any_of is enough"
    for key in entry.options:
        yield f"{join(where, key)}: belongs to one of the validators of any_of, so write it into its table"
    if len(entry.any_of) < 2:
        yield f"{where}.any_of: takes two validators at least"
    if mode == "http":
        yield f'{where}.any_of: only in mode = "tcp"; in HTTP mode all clients speak HTTP'
