"""A refusal comes with its likely cause."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.wire.proxy_causes import EXPLANATIONS, explain

PLUGINS = Path(__file__).parents[2] / "plugins"
V2 = b"\r\n\r\n\0\r\nQUIT\n"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "a TLS ClientHello"),
        (b"\x16", "a TLS ClientHello"),
        (b"\x80\x2e\x01\x03\x01\x00\x15", "an SSLv2 ClientHello"),
        (b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", "an HTTP request"),
        (b"GET /a", "an HTTP request"),
        (b"PROPFIND /dav HTTP/1.1\r\n", "an HTTP request"),
        (b"CONNECT example.org:443 HTTP/1.1\r\n", "an HTTP request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 in clear text"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH client"),
        (b"EHLO client.example\r\n", "an SMTP client"),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "a PostgreSQL client"),
        (b"*1\r\n$4\r\nPING\r\n", "a Redis client"),
        (b"\x10\x1a\0\x04MQTT\x04\x02\0\x3c", "an MQTT client"),
        (b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0", "an RDP client"),
        (b"\x05\x01\x00", "a SOCKS5 client"),
        (b"\x04\x01\x00\x50\xc0\0\2\1\0", "a SOCKS4 client"),
        (b"hello world\r\n", "plain text"),
    ],
)
def test_a_protocol_without_header_is_recognised(data: bytes, what: str) -> None:
    assert explain(data) == f"looks like {what}: the sender does not send PROXY headers"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (
            b"PROXY TCP4 192.0.2.10 198.51.100.20 1 2\r\n",
            "a PROXY v1 header: the sender sends v1, which is not accepted",
        ),
        (V2 + b"\x21\x11", "a PROXY v2 header: the sender sends v2, which is not accepted"),
        (b"proxy TCP4 192.0.2.10", "a damaged PROXY header"),
        (b" PROXY TCP4", "a damaged PROXY header"),
        (b"PROXY\tTCP4", "a damaged PROXY header"),
        (b"\r\n\r\n\0\n", "a damaged PROXY header"),
    ],
)
def test_a_header_that_is_not_accepted_is_recognised(data: bytes, what: str) -> None:
    assert explain(data).startswith(f"looks like {what}")


def test_a_header_that_was_recognised_and_is_wrong_is_explained_by_the_reason() -> None:
    assert explain(V2 + b"\x21\x11", "proxy-v2-crc32c") == EXPLANATIONS["proxy-v2-crc32c"]


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\xff\xfe", b"ab"])
def test_there_is_no_guess_about_other_bytes(data: bytes) -> None:
    assert explain(data) == ""


@given(st.binary(max_size=600))
def test_any_bytes_can_be_asked_about(data: bytes) -> None:
    assert "\n" not in explain(data)


def test_every_reason_of_the_bundled_codecs_is_explained() -> None:
    sources = [*PLUGINS.glob("proxy_header_v*.py"), *(PLUGINS.parent / "twisted_lb" / "wire").glob("proxy_tlvs.py")]
    text = "".join(path.read_text() for path in sources)
    reasons = set(re.findall(r'"(proxy-v\d-[a-z0-9-]+)"', text))
    assert reasons - {"proxy-v1-signature", "proxy-v2-signature"} == set(EXPLANATIONS)


def test_the_documentation_has_every_reason_with_its_explanation() -> None:
    page = PLUGINS.parent / "docs" / "reference" / "proxy-header.md"
    rows = dict(re.findall(r"^\| `(proxy-v\d-[a-z0-9-]+)` \| (.+) \|$", page.read_text(), re.MULTILINE))
    assert rows == EXPLANATIONS
