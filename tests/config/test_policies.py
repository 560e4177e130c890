"""Entries of ``policies`` that are rules."""

import msgspec

from twisted_lb.config.policies import RULE_ACTIONS, Rule


def test_a_rule_is_told_by_its_actions_which_are_keys_of_it() -> None:
    assert Rule.told_by == RULE_ACTIONS
    assert set(RULE_ACTIONS) < {field.encode_name for field in msgspec.structs.fields(Rule)}


def test_the_actions_of_a_rule_are_those_that_are_given() -> None:
    assert Rule().actions == []
    assert Rule(deny="source in @bad", status=403).actions == ["deny"]
    assert Rule(track="clients", allow="true", if_="true").actions == ["allow", "track"]
