"""The defaults are the strict ones."""

from twisted_lb.wire.http1 import STRICT, Http1Settings


def test_nothing_is_relaxed_by_default() -> None:
    assert Http1Settings() == STRICT
    assert (STRICT.max_head_bytes, STRICT.max_fields) == (16384, 100)
    assert not STRICT.accept_invalid
    assert not STRICT.body_with_any_method
    assert STRICT.odd_names == "preserve"
