"""Verdicts are values: compared by what they say, and never changed."""

import dataclasses
from typing import Any

import pytest

from twisted_lb.verdicts import ALLOW, NEED_MORE, Allow, Deny, NeedMore


def test_verdicts_that_say_the_same_are_equal() -> None:
    assert (Allow(), Deny("no"), NeedMore(7), NeedMore()) == (ALLOW, Deny("no"), NeedMore(7), NEED_MORE)
    assert len({Deny("no"), Deny("no"), Deny("other"), ALLOW, NEED_MORE}) == 4


def test_a_verdict_of_one_kind_is_never_equal_to_one_of_another() -> None:
    kinds: list[Any] = [ALLOW, Deny(""), NEED_MORE]
    assert all(a != b for a in kinds for b in kinds if a is not b)


def test_a_verdict_cannot_be_changed() -> None:
    verdict: Any = Deny("no")
    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict.reason = "yes"
