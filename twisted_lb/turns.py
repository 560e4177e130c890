"""Taking turns according to weights: what balancers do with servers of which none is better than another.

Source: nginx, ngx_http_upstream_round_robin.c, "smooth weighted round-robin".
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Weighted(Protocol):
    """Whoever may have a turn: a server."""

    name: str
    weight: int


W = TypeVar("W", bound=Weighted)


class Turns:
    """Smooth weighted round robin: weights 5, 1, 1 give ``a a b a c a a`` and never five times ``a`` in a row.

    Credit is kept per name, so one that is missing for a while (a server that is full, or down) comes back with what it
    had, and the others' turns are not disturbed.
    """

    __slots__ = ("_credit",)

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}

    def next(self, candidates: Sequence[W]) -> W:
        """Credit each candidate its weight, return the richest, and charge it what all were given.

        ``candidates`` is not empty; it need not be the same at each call. Cost: O(candidates).
        """
        chosen = candidates[0]
        if len(candidates) == 1:
            return chosen
        credit = self._credit
        total = 0
        most = None
        for candidate in candidates:
            name = candidate.name
            weight = candidate.weight
            total += weight
            credit[name] = have = credit.get(name, 0) + weight
            if most is None or have > most:
                most = have
                chosen = candidate
        credit[chosen.name] -= total
        return chosen
