"""A body's rate is that of the time in which the client could send."""

from math import inf

from twisted_lb.stages.body_rate import BodyRate, LeastRate

LEAST = LeastRate(rate=100, after_s=5)


def test_nothing_is_asked_before_reading_begins() -> None:
    assert BodyRate(LEAST).left_s(1000, 0) == inf


def test_the_grace_period_comes_first() -> None:
    rate = BodyRate(LEAST)
    rate.resume(1000)
    assert rate.left_s(1000, 0) == 5
    assert rate.left_s(1005, 0) == 0


def test_what_has_come_buys_time() -> None:
    rate = BodyRate(LEAST)
    rate.resume(1000)
    assert rate.left_s(1005, 700) == 2
    assert rate.left_s(1007, 700) == 0
    assert rate.left_s(1007, 10000) == 93


def test_the_time_in_which_it_is_not_read_does_not_count() -> None:
    rate = BodyRate(LEAST)
    rate.resume(1000)
    rate.pause(1004)
    rate.pause(1005)
    assert rate.left_s(1500, 0) == inf
    rate.resume(2000)
    rate.resume(2000.5)
    assert rate.left_s(2000.5, 0) == 0.5
