"""What ends a benchmark, or one run of it, early."""


class MissingProgramError(Exception):
    """A program is not installed; the text names it and the Debian package that brings it."""


class LoadFailedError(Exception):
    """One run gave no figure worth keeping: an error, a refused connection, a wrong answer or a deadline overrun."""
