"""The text of a rule: read into Python's syntax tree with exact positions, and shown with what is wrong marked.

Python's parser reads a copy that is as long as the text, character by character: in it stand stand-ins for strings,
for the names of lists and for words that Python reserves. So nothing in a string is an escape, ``@name`` is a name, and
every position in the tree is one in the text. Nothing is ever evaluated.
"""

import ast
import keyword
import re
import warnings

from twisted_lb.errors import ConfigError

LONGEST = 10_000
"""Characters of a rule."""
DEEPEST = 50
"""So deep may what a rule is made of be nested."""

_PIECE = re.compile(
    r"""(?P<string>'[^'\n]*'|"[^"\n]*")|(?P<list>@[A-Za-z0-9_-]+)|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"""
    r"""|(?P<space>\s+)|(?P<other>[0-9]+|[=!<>]=|[<>.,()\[\]-])"""
)
_OPERATORS = frozenset(("and", "or", "not", "in"))
_IN_QUOTES = "texts, as networks, paths and names are, stand in quotes"
_INSTEAD = {
    "/": _IN_QUOTES,
    ":": _IN_QUOTES,
    "*": _IN_QUOTES,
    "=": 'compare with "=="',
    "!": 'write "not", or "!=" to compare',
    "&": 'write "and"',
    "|": 'write "or"',
    "~": "write .matches('...')",
    "@": 'behind "@" stands the name of a list',
    "'": "this string has no end",
    '"': "this string has no end",
    "#": "comments belong into the file, outside of the rule",
}


class Mistake(Exception):  # noqa: N818  whose it is: the operator's
    """What is wrong with a rule, and from which character of its text up to which."""

    def __init__(self, what: str, start: int, end: int) -> None:
        super().__init__(what)
        self.what = what
        self.start = start
        self.end = end


def mistake_at(what: str, node: ast.expr) -> Mistake:
    """Make a mistake of what stands at ``node``."""
    return Mistake(what, *span(node))


def span(node: ast.expr) -> tuple[int, int]:
    """Return from which character up to which ``node`` goes."""
    return node.col_offset, node.end_col_offset or node.col_offset + 1


class Text:
    """A rule's text, scanned. Raises Mistake.

    ``tree``: as Python reads it; take what strings and names say from here, by their nodes.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._strings: dict[int, int] = {}
        self._lists: set[int] = set()
        if len(text) > LONGEST:
            raise Mistake(f"is longer than {LONGEST} characters", 0, 0)
        if not text.strip():
            raise Mistake("is empty: write true for every connection", 0, 0)
        self.tree = _parsed(self._replaced())

    def _replaced(self) -> str:
        pieces: list[str] = []
        at = 0
        while at < len(self.text):
            match = _PIECE.match(self.text, at)
            if match is None:
                found = self.text[at]
                for unquoted in _UNQUOTED.finditer(self.text):
                    if unquoted.start() <= at < unquoted.end():
                        raise Mistake(f"write it in quotes: '{unquoted[0]}'", *unquoted.span())
                if self.text.strip() == "*":
                    raise Mistake("write true for every connection", at, at + 1)
                raise Mistake(_INSTEAD.get(found, f"{found!r} means nothing here"), at, at + 1)
            piece, end = match[0], match.end()
            if match.lastgroup == "string":
                self._strings[at] = end
                piece = f"'{'x' * (end - at - 2)}'"
            elif match.lastgroup == "list":
                self._lists.add(at)
                piece = "_" * (end - at)
            elif match.lastgroup == "space":
                piece = " " * (end - at)
            elif keyword.iskeyword(piece) and (piece not in _OPERATORS or self.text[at - 1 : at] == "."):
                piece = "_" * (end - at)
            pieces.append(piece)
            at = end
        return "".join(pieces)

    def of(self, node: ast.expr) -> str:
        """Return the text of ``node``."""
        return self.text[slice(*span(node))]

    def string(self, node: ast.Constant) -> str:
        """Return what a string says. Raises Mistake for two that Python would join, or one with a prefix."""
        start, end = span(node)
        if self._strings.get(start) != end:
            raise Mistake("a string stands by itself here: there is no operator, or a letter too much", start, end)
        return self.text[start + 1 : end - 1]

    def list_name(self, node: ast.expr) -> str | None:
        """Return the name of the list that stands there, without its ``@``; ``None`` if none does."""
        return self.of(node)[1:] if isinstance(node, ast.Name) and node.col_offset in self._lists else None

    def attribute(self, node: ast.Attribute) -> str:
        """Return what stands behind the dot."""
        end = span(node)[1]
        return self.text[end - len(node.attr) : end]

    def marked(self, mistake: Mistake) -> str:
        """Say what is wrong, show the line of the text where it is, and mark the place below it."""
        start = self.text.rfind("\n", 0, mistake.start) + 1
        line = self.text[start:].partition("\n")[0]
        shown = "".join(one if one.isprintable() else " " for one in line)
        width = max(1, min(mistake.end - start, len(line)) - (mistake.start - start))
        return f"{mistake.what}\n    {shown}\n    {' ' * (mistake.start - start)}{'^' * width}"


def _parsed(replaced: str) -> ast.expr:
    blank = len(replaced) - len(replaced.lstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # such as 1in: what is meant is told below
            tree = ast.parse(replaced[blank:], mode="eval").body
    except SyntaxError as error:
        at = blank + (error.offset or 0) - 1
        if at < blank or at >= len(replaced.rstrip()):
            raise Mistake("something is missing at the end", len(replaced.rstrip()), 0) from None
        end = max(blank + (error.end_offset or 0) - 1, at + 1)
        raise _not_understood(replaced, at, end, error.msg.endswith("was never closed")) from None
    except (RecursionError, MemoryError, ValueError):
        raise Mistake("is nested too deeply, or has a number of too many digits", 0, 0) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            node.col_offset += blank
            node.end_col_offset = (node.end_col_offset or 0) + blank
    return tree


def _not_understood(text: str, start: int, end: int, unclosed: bool) -> Mistake:
    """Say what is meant instead, if that can be told. ``unclosed``: a bracket opens there that nothing closes."""
    if unclosed:
        return Mistake(f'"{text[start]}" is never closed', start, start + 1)
    for found in _ADDRESS.finditer(text):
        if found.start() <= start <= found.end():
            return Mistake(f"write it in quotes: '{found[0]}'", *found.span())
    for found in re.finditer(r"\b(AND|OR|NOT|IN)\b", text):
        if found.start() - 1 <= start <= found.end() + 1:
            return Mistake(f"write {found[0].lower()}", *found.span())
    for found in re.finditer(r"\b(startswith|endswith|matches|contains|starts_with|ends_with)\b", text):
        if found.start() - 1 <= start <= found.end() + 1:
            return Mistake("write FACT.startswith('...'), .endswith('...') or .matches('...')", *found.span())
    return Mistake("this is not understood here", start, end)


_UNQUOTED = re.compile(
    r"(?<![\w'\".])(?:[0-9]+(?:\.[0-9]+){3}/[0-9]+|[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:/[0-9]+)?)"
)
"""A network, or an IPv6 address, without quotes."""
_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+){2,3}")


def complaint(text: str, mistakes: list[Mistake]) -> ConfigError:
    """Make one error of all mistakes in a text, in their order; each is shown with the place marked."""
    shown = object.__new__(Text)
    shown.text = text
    return ConfigError(*(shown.marked(one) for one in sorted(mistakes, key=lambda one: one.start)))
