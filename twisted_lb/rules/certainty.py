"""Conditions whose answer is the same for everybody: ``true``, ``not false``, ``true or source == '::1'``."""

import ast

from twisted_lb.rules.text import Mistake, Text


def certain_answer(text: str) -> bool | None:
    """Return what a condition answers whoever is asked about; ``None`` if that depends, or if it is no condition.

    Only ``true`` and ``false`` and what joins them count: a comparison that always holds is a mistake of its own.
    """
    try:
        read = Text(text)
        return _answer(read, read.tree)
    except (Mistake, RecursionError):
        return None  # that is told where the condition is compiled


def _answer(text: Text, node: ast.expr) -> bool | None:
    match node:
        case ast.Name() if text.list_name(node) is None and text.of(node) in ("true", "false"):
            return text.of(node) == "true"
        case ast.UnaryOp(ast.Not(), operand):
            inner = _answer(text, operand)
            return None if inner is None else not inner
        case ast.BoolOp(operator, operands):
            answers = [_answer(text, one) for one in operands]
            decisive = isinstance(operator, ast.Or)
            if decisive in answers:
                return decisive
            return None if None in answers else not decisive
    return None
