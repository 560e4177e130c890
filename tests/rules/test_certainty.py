"""Conditions that hold for everybody, or for nobody, are known as such before anybody is asked."""

import pytest

from twisted_lb.rules.certainty import certain_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("true", True),
        ("false", False),
        (" ( true ) ", True),
        ("not false", True),
        ("not not true", True),
        ("true or source == '::1'", True),
        ("source == '::1' or not (false or false)", True),
        ("source == '::1' and false", False),
        ("true and not false", True),
        ("true and source == '::1'", None),
        ("false or source == '::1'", None),
        ("not source == '::1'", None),
        ("source == '::1'", None),
        ("tls.ech", None),
        ("tls.ech == true", None),
        ("source in @true", None),
        ("@true", None),
        ("'true'", None),
        ("true or", None),
        ("true or " * 3000 + "true", None),
        ("not " * 2000 + "true", None),
        ("", None),
    ],
)
def test_what_a_condition_answers_to_everybody(text: str, answer: bool | None) -> None:
    assert certain_answer(text) is answer
