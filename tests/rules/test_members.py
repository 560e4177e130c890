"""Sets of whole numbers and of hosts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.rules.members import Hosts, Integers, host_entry_fault, read_integers

RANGES = st.tuples(st.integers(-20, 20), st.integers(1, 8)).map(lambda one: range(one[0], one[0] + one[1]))


@given(st.lists(RANGES, max_size=6), st.integers(-25, 35))
def test_a_number_is_in_the_set_if_it_is_in_one_of_the_ranges(ranges: list[range], number: int) -> None:
    assert Integers(ranges).contains(number) is any(number in one for one in ranges)


def test_what_is_not_known_is_in_no_set() -> None:
    assert not Integers([range(5)]).contains(None)
    assert not Hosts(["a"]).contains(None)


@pytest.mark.parametrize(("text", "found"), [("7", range(7, 8)), ("7-9", range(7, 10)), ("-3 - -1", range(-3, 0))])
def test_numbers_and_ranges_are_read(text: str, found: range) -> None:
    assert read_integers(text) == found


@pytest.mark.parametrize("text", ["", "x", "1-", "9-3", "1..2", "1" * 20])
def test_what_is_neither_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither a whole number|is empty"):
        read_integers(text)


LABELS = st.lists(st.sampled_from(["a", "b", "www"]), min_size=1, max_size=5).map(".".join)


@given(st.lists(LABELS | LABELS.map("*.{}".format), max_size=5), LABELS)
def test_a_host_is_in_the_set_by_its_name_or_below_a_wildcard(entries: list[str], host: str) -> None:
    expected = any(host.endswith(one[1:]) if one.startswith("*.") else host == one for one in entries)
    assert Hosts(entries).contains(host) is expected


def test_a_host_of_many_labels_costs_no_more_than_the_longest_wildcard() -> None:
    assert Hosts(["*.example.org"]).contains("a." * 100_000 + "example.org")


@pytest.mark.parametrize(
    ("entry", "fault"), [("*.a", ""), ("a.b", ""), (".a", "write '*.a'"), ("*", "no host"), ("A", "small")]
)
def test_entries_are_hosts_with_or_without_a_wildcard(entry: str, fault: str) -> None:
    found = host_entry_fault(entry)
    assert fault in found
    assert bool(found) is bool(fault)
