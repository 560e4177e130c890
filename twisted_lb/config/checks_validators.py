"""What must hold for the ``validators`` of a frontend, and for the time that they have; see ``checks``.

Each problem starts with its key.
"""

from collections.abc import Iterator

from twisted_lb.config.convert import INVALID
from twisted_lb.config.model import Frontend
from twisted_lb.config.uses import AnyOf


def check_validators(where: str, frontend: Frontend) -> Iterator[str]:
    """Find an ``any_of`` that leaves no choice, and settings that have no effect."""
    if frontend.validators is INVALID:
        return
    for index, entry in enumerate(frontend.validators):
        if isinstance(entry, AnyOf) and entry.any_of is not INVALID:
            at = f"{where}.validators[{index}].any_of"
            if len(entry.any_of) < 2:
                yield f"{at}: takes two validators at least"
            if frontend.mode == "http":
                yield f'{at}: only in mode = "tcp"; in HTTP mode all clients speak HTTP'
    if frontend.inspect_expired != "refuse":
        if frontend.mode == "http":
            yield f'{where}.inspect_expired: only in mode = "tcp"'
        elif not frontend.validators:
            yield f"{where}.inspect_expired: there are no validators that could be undecided"
