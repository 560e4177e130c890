"""What is wrong with a configuration: collected, so that all of it can be told at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from twisted_lb.errors import ConfigError


class Problems(list[str]):
    """All that is wrong so far, each problem once, in the order in which it was found."""

    @contextmanager
    def collected(self, where: str = "") -> Iterator[None]:
        """Go on behind this if a ConfigError ends it; ``where``, the key, is put before its problems.

        If that ends with a dot, each of them begins with the rest of its key.
        """
        try:
            yield
        except ConfigError as error:
            start = where if not where or where.endswith(".") else f"{where}: "
            told = [start + problem for problem in error.problems]
            # What is wrong with something inherited is told once.
            self.extend(problem for problem in told if problem not in self)
