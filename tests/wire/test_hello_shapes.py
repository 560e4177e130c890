"""Whoever was met before is known again, and only then; what is remembered has a bound."""

import weakref

from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.wire.hello_shapes import MOST, Shapes

KEY, HELLO, OWN = b"key", b"fixed random fixed name fixed", [(6, 12), (19, 23)]


def shapes() -> Shapes[str]:
    made = Shapes[str]()
    made.learn(KEY, HELLO, OWN, "value")
    return made


@given(st.binary(min_size=6, max_size=6), st.binary(min_size=4, max_size=4), st.binary(max_size=9))
def test_what_is_a_connections_own_may_be_anything_and_anything_may_follow(a: bytes, b: bytes, rest: bytes) -> None:
    assert shapes().find(KEY, HELLO[:6] + a + HELLO[12:19] + b + HELLO[23:] + rest) == "value"


def test_every_other_byte_must_be_as_it_was() -> None:
    own = {place for start, end in OWN for place in range(start, end)}
    for place in range(len(HELLO)):
        changed = HELLO[:place] + b"!" + HELLO[place + 1 :]
        assert shapes().find(KEY, changed) == ("value" if place in own else None)


def test_one_byte_less_is_not_enough() -> None:
    assert shapes().find(KEY, HELLO[:-1]) is None


def test_another_key_is_another_shape() -> None:
    assert shapes().find(b"other", HELLO) is None


def test_a_hello_is_worth_learning_when_two_in_a_row_were_alike() -> None:
    made = Shapes[str]()
    assert [made.met(KEY, sign) for sign in "abaabb"] == [False, False, False, True, False, True]
    assert not made.met(b"other", "b")


def test_of_what_was_met_once_nothing_is_kept() -> None:
    class Sign:
        pass

    made, sign = Shapes[str](), Sign()
    gone = weakref.ref(sign)
    assert not made.met(KEY, sign)
    assert made.met(KEY, sign)
    del sign
    assert gone() is None


def test_there_are_never_more_than_the_most_and_the_oldest_goes() -> None:
    made = shapes()
    keys = [b"%d" % number for number in range(MOST)]
    for key in keys[:-1]:
        made.learn(key, HELLO, OWN, "another")
    assert made.find(KEY, HELLO) == "value"
    made.learn(keys[-1], HELLO, OWN, "another")
    assert made.find(KEY, HELLO) is None
    assert all(made.find(key, HELLO) for key in keys)
    for key in [*keys, KEY]:
        made.met(key, "sign")
    assert not made.met(keys[0], "sign")
    assert made.met(KEY, "sign")
