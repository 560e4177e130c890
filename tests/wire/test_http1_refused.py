"""What is kept of a message that was refused is bounded, and shows where it went wrong."""

from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.wire.http1_refused import KEPT_AROUND, RefusedMessage, excerpt


def shown(data: bytes, offset: int, at: int = 0) -> str:
    return str(RefusedMessage(0.0, "web", "192.0.2.1:1", "", "http1-rule", offset, *excerpt(data, offset, at)))


def test_the_offending_byte_is_marked() -> None:
    head = b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"
    assert shown(head, head.index(b" :")).splitlines() == [
        "web: request of 192.0.2.1:1: http1-rule at byte 20",
        r"      0 | GET / HTTP/1.1\r\n",
        r"     16 | Host : x\r\n",
        "              ^",
        r"     26 | \r\n",
    ]


def test_what_cannot_be_printed_does_not_shift_the_mark() -> None:
    *_, line, mark = shown(b"a: \x00\xffb", 5).splitlines()
    assert line[mark.index("^")] == "b"


def test_a_response_names_its_server() -> None:
    message = RefusedMessage(0.0, "web", "192.0.2.1:1", "app/a", "http1-rule", 0, b"x", 0)
    assert str(message).startswith("web: response of app/a to 192.0.2.1:1: ")


@given(st.binary(max_size=5000), st.integers(0, 6000), st.integers(0, 3000))
def test_little_is_kept_whatever_came(data: bytes, offset: int, at: int) -> None:
    kept, kept_at = excerpt(data, offset, at)
    assert len(kept) <= 2 * KEPT_AROUND
    assert kept == data[kept_at - at : kept_at - at + len(kept)]
    if at <= offset < at + len(data):
        assert kept[offset - kept_at : offset - kept_at + 1] == data[offset - at : offset - at + 1]
        assert shown(data, offset, at).count("^\n") + shown(data, offset, at).endswith("^") >= 1
