"""The regular expressions accept what the RFCs do, byte by byte."""

from twisted_lb.wire.http1_grammar import IS_TOKEN, IS_VALUE, fields_pattern

TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_a_token_has_the_bytes_of_rfc_9110() -> None:
    assert bytes(byte for byte in range(256) if IS_TOKEN.fullmatch(bytes([byte]))) == bytes(sorted(TCHAR))


def test_a_value_has_no_control_characters_but_the_tabulator() -> None:
    refused = [byte for byte in range(256) if not IS_VALUE.fullmatch(bytes([byte]))]
    assert refused == [*range(9), *range(10, 32), 127]


def test_fields_are_found_by_their_whole_names_and_with_underscores() -> None:
    pattern = fields_pattern([b"te", b"test", b"a-b", b"a.b"])
    block = b"\nte: 1\r\ntes: 2\r\ntest:3\r\na-b: 4\r\na_b: 5\r\na.b: 6\r\naxb: 7\r\nx-te: 8\r\nt: te: 9\r\nte : 10\r\n"
    assert pattern.findall(block) == [b"\nte: 1", b"\ntest:3", b"\na-b: 4", b"\na_b: 5", b"\na.b: 6"]
