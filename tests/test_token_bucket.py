"""A bucket lets no more pass than it says, over any schedule, and shapings add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.token_bucket import SMALLEST, Shaping, TokenBucket


def test_a_new_bucket_is_full_whatever_the_clock_says() -> None:
    assert TokenBucket(10, 100).room(0.0) == 100
    assert TokenBucket(10, 100).room(1e9) == 100


def test_time_fills_it_up_to_the_burst() -> None:
    bucket = TokenBucket(10, 100)
    bucket.room(50.0)
    bucket.take(100)
    assert bucket.room(50.0) == 0
    assert bucket.room(51.55) == 15
    assert bucket.room(1000.0) == 100


def test_time_that_goes_backwards_neither_fills_nor_empties_it() -> None:
    bucket = TokenBucket(10, 100)
    bucket.room(50.0)
    bucket.take(60)
    assert bucket.room(40.0) == 40
    assert bucket.room(51.0) == 50


def test_what_was_taken_beyond_the_room_is_waited_for() -> None:
    bucket = TokenBucket(10, 100)
    bucket.room(0.0)
    bucket.take(130)
    assert bucket.room(0.0) == -30
    assert bucket.wait_s(20, 0.0) == pytest.approx(5.0)
    assert bucket.room(5.0) == 20
    assert bucket.wait_s(20, 5.0) == 0.0


def test_nobody_waits_for_more_than_can_ever_be_there() -> None:
    bucket = TokenBucket(10, 100)
    bucket.room(0.0)
    bucket.take(100)
    assert bucket.wait_s(10_000, 0.0) == pytest.approx(10.0)
    assert bucket.least == 50
    assert TokenBucket(1, 1).least == 1
    assert TokenBucket(10, 10 * SMALLEST).least == SMALLEST


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bucket_that_would_let_nothing_pass_is_refused(rate: int, burst: int) -> None:
    with pytest.raises(ValueError, match="never"):
        TokenBucket(rate, burst)


@given(
    rate=st.integers(1, 10**9),
    burst=st.integers(1, 10**7),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**8)), max_size=50),
)
def test_over_any_schedule_no_more_passes_than_the_burst_and_what_the_time_brings(
    rate: int, burst: int, steps: list[tuple[float, int]]
) -> None:
    bucket = TokenBucket(rate, burst)
    now = start = 1000.0
    passed = 0
    for pause_s, wanted in steps:
        now += pause_s
        taken = min(wanted, bucket.room(now))
        bucket.take(taken)
        passed += taken
        assert taken >= 0
        assert passed <= burst + rate * (now - start) * (1 + 1e-9) + 1


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.lists(st.floats(0.01, 10), min_size=1, max_size=50))
def test_whoever_waits_as_long_as_it_says_finds_room(rate: int, burst: int, pauses: list[float]) -> None:
    bucket = TokenBucket(rate, burst)
    now = 1000.0
    for pause_s in pauses:
        now += pause_s
        bucket.take(max(bucket.room(now), 0))
        now += bucket.wait_s(bucket.least, now)
        assert bucket.room(now + 2 / rate + 1e-6) >= bucket.least


def test_shapings_add_up_and_count_each_bucket_once() -> None:
    a, b = TokenBucket(1, 1), TokenBucket(1, 1)
    first = Shaping().plus(a, None)
    both = first.plus(b, a).plus(a, a)
    assert (first.in_, first.out) == ((a,), ())
    assert (both.in_, both.out) == ((a, b), (a,))
