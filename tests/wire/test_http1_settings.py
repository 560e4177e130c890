"""The defaults are the strict ones."""

from twisted_lb.wire.http1 import STRICT, Http1Settings


def test_nothing_is_relaxed_by_default() -> None:
    assert Http1Settings() == STRICT
    assert (STRICT.max_head_bytes, STRICT.max_fields) == (16384, 100)
    assert not STRICT.accept_invalid
    assert not STRICT.body_with_any_method
    assert STRICT.odd_names == "preserve"


def test_a_head_is_allowed_by_its_bytes_and_by_its_lines() -> None:
    limits = Http1Settings(max_head_bytes=40, max_fields=2)
    head = b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n"
    assert limits.allows(head, 0, len(head))
    assert limits.allows(b"xx" + head + b"\n" * 9, 2, 2 + len(head)), "what is before or behind it does not count"
    assert not limits.allows(head[:-2] + b"E: f\r\n\r\n", 0, len(head) + 6)
    assert not limits.allows(head.replace(b"/", b"/" * 12, 1), 0, len(head) + 11)
