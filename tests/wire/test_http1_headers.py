"""Fields are found and edited in the bytes, and nothing can be put in that would be more than one field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.wire.http1 import Headers
from twisted_lb.wire.http1_request import RequestHead, parse_request

BLOCK = b"Host: a\r\nX-One:  1 \t\r\nxx-one: 2\r\nX-ONE:3\r\nEmpty:\r\n"


def test_fields_are_found_whatever_their_case() -> None:
    headers = Headers(BLOCK)
    assert headers.get(b"x-one") == b"1"
    assert headers.get_all(b"X-One") == [b"1", b"3"]
    assert headers.get(b"one") is None
    assert headers.get(b"one", b"none") == b"none"
    assert headers.get(b"Empty") == b""
    assert b"HOST" in headers
    assert b"os" not in headers
    assert list(headers.items()) == [
        *((b"Host", b"a"), (b"X-One", b"1"), (b"xx-one", b"2"), (b"X-ONE", b"3"), (b"Empty", b"")),
    ]
    assert not headers.edited


def test_fields_are_added_set_and_removed() -> None:
    headers = Headers(BLOCK)
    headers.add(b"X-One", b"4")
    assert headers.get_all(b"x-one") == [b"1", b"3", b"4"]
    headers.set(b"x-one", b"5")
    assert bytes(headers) == b"Host: a\r\nxx-one: 2\r\nEmpty:\r\nx-one: 5\r\n"
    assert headers.remove(b"Host") == 1
    assert headers.remove(b"Host") == 0
    assert bytes(headers) == b"xx-one: 2\r\nEmpty:\r\nx-one: 5\r\n"
    assert headers.edited


def test_removing_what_is_not_there_is_no_edit() -> None:
    headers = Headers(BLOCK)
    assert headers.remove(b"None") == 0
    assert not headers.edited
    assert Headers(b"").get(b"a") is None


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"\xe9"])
@pytest.mark.parametrize("edit", ["add", "set"])
def test_what_is_no_name_is_refused(name: bytes, edit: str) -> None:
    headers = Headers(BLOCK)
    with pytest.raises(ValueError, match="not the name"):
        getattr(headers, edit)(name, b"x")
    assert bytes(headers) == BLOCK


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\n", b"\r", b"\0", b"\x7f"])
@pytest.mark.parametrize("edit", ["add", "set"])
def test_what_is_no_value_is_refused(value: bytes, edit: str) -> None:
    headers = Headers(BLOCK)
    with pytest.raises(ValueError, match="not the value"):
        getattr(headers, edit)(b"Host", value)
    assert bytes(headers) == BLOCK


NAMES = st.sampled_from([b"a", b"A", b"b", b"ab", b"a-b"])


@given(st.lists(st.tuples(st.sampled_from(["add", "set", "remove"]), NAMES, st.sampled_from([b"", b"1", b"a: 2"]))))
def test_edits_do_what_they_do_to_a_list(edits: list[tuple[str, bytes, bytes]]) -> None:
    headers, wanted = Headers(b""), list[tuple[bytes, bytes]]()
    for action, name, value in edits:
        if action != "add":
            wanted = [field for field in wanted if field[0].lower() != name.lower()]
        if action == "remove":
            headers.remove(name)
        else:
            wanted.append((name, value))
            getattr(headers, action)(name, value)
    assert list(headers.items()) == wanted
    assert all(headers.get_all(name) == [v for n, v in wanted if n.lower() == name.lower()] for name, _ in wanted)


@pytest.mark.parametrize(("name", "value"), [("X-Text", b"x"), (b"X-Text", "x")])
def test_a_field_that_is_text_is_a_mistake_that_is_named(name: Any, value: Any) -> None:
    headers = Headers(b"Host: x\r\n")
    with pytest.raises(TypeError, match="are bytes, and not '"):
        headers.set(name, value)
    assert not headers.edited


def test_the_fields_of_a_head_are_made_when_they_are_asked_for_and_known_to_be_edited() -> None:
    head = parse_request(b"GET / HTTP/1.1\r\nHost: A\r\n\r\n")
    assert isinstance(head, RequestHead)
    assert not hasattr(head, "__dict__"), "what is shared takes no room in each"
    assert (head.edited_headers, head.folded) == (None, head.raw.lower())
    assert head.headers is head.headers
    assert bytes(head.headers) == b"Host: A\r\n"
    assert head.edited_headers is None
    head.headers.set(b"X-New", b"1")
    assert head.edited_headers is head.headers
