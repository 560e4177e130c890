"""What every table of the file has in common."""

from typing import ClassVar

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every table of the file: immutable, and strict about its keys."""

    short_form: ClassVar[str] = ""
    """The field that a bare string stands for where the file may have a string in place of this table."""
