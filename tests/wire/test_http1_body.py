"""Bodies by length and until the connection closes."""

import pytest

from twisted_lb.wire.http1 import Http1Error, LengthBody, NoBody, UntilCloseBody


def test_a_body_ends_after_its_length_and_the_rest_stays_the_callers() -> None:
    body = LengthBody(7)
    data = b"hello"
    (passed,), taken = body.feed(data)
    assert passed is data
    assert (taken, body.done, body.remaining) == (5, False, 2)
    passed_on, taken = body.feed(b"abcd")
    assert ([bytes(piece) for piece in passed_on], taken, body.done) == ([b"ab"], 2, True)
    assert body.feed(b"more") == ((), 0)
    body.finish()


def test_the_last_data_are_passed_on_as_they_came_when_nothing_follows() -> None:
    data = memoryview(b"hello")
    (passed,), _ = LengthBody(5).feed(data)
    assert passed is data


def test_an_empty_body_is_done() -> None:
    assert LengthBody(0).done
    assert LengthBody(3).feed(b"") == ((), 0)
    assert NoBody.done
    assert NoBody().feed(b"x") == ((), 0)
    NoBody().finish()


@pytest.mark.parametrize(("response", "status"), [(False, 400), (True, 502)])
def test_a_body_that_is_too_short_is_refused(response: bool, status: int) -> None:
    body = LengthBody(7, response=response)
    body.feed(b"hello")
    with pytest.raises(Http1Error, match="http1-body-truncated at byte 5") as caught:
        body.finish()
    assert caught.value.status == status


def test_a_body_until_the_connection_closes_takes_everything() -> None:
    body = UntilCloseBody()
    assert body.feed(b"hello") == ((b"hello",), 5)
    assert not body.done
    body.finish()
    assert body.done
