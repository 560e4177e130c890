"""What ends a benchmark, or one run of it, early."""


class MissingProgramError(Exception):
    """A program, or a right, is missing; the text names it and says how to get it."""


class LoadFailedError(Exception):
    """One run gave no figure worth keeping: an error, a refused connection, a wrong answer or a deadline overrun."""
