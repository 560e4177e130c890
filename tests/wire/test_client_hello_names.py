"""Numbers have IANA's names, and their own where there is none."""

import re
import ssl

from tests.wire.hellos import alpn, groups, hello, replaced, usual, versions
from twisted_lb.wire.client_hello import ClientHello, read_client_hello
from twisted_lb.wire.client_hello_names import (
    CIPHER_SUITES,
    GROUPS,
    SIGNATURE_ALGORITHMS,
    cipher_suite_names,
    group_names,
    protocol_names,
    signature_algorithm_names,
    version_names,
)


def read(data: bytes) -> ClientHello:
    found = read_client_hello(data)
    assert isinstance(found, ClientHello)
    return found


def test_what_is_offered_has_names_in_its_order_without_grease() -> None:
    found = read(hello([*usual(), alpn(b"h2")], suites=(0x3A3A, 0x1302, 0xC02B, 0x00FF, 0xABCD)))
    assert cipher_suite_names(found) == (
        "TLS_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
        "0xABCD",
    )
    assert group_names(found) == ("x25519", "secp256r1")
    assert signature_algorithm_names(found) == ("ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256", "rsa_pkcs1_sha256")
    assert version_names(found) == ("1.3", "1.2")


def test_unknown_numbers_are_hexadecimal() -> None:
    assert version_names(read(hello(replaced(43, versions(0x0A0A, 0x7F1C, 0x0304))))) == ("0x7F1C", "1.3")
    assert group_names(read(hello(replaced(10, groups(0x0B0B, 0x11EC))))) == ("0x0B0B", "X25519MLKEM768")


def test_protocols_are_spelt_as_text_however_many() -> None:
    assert protocol_names(read(hello([*usual(), alpn(b"h2", b"http/1.1")]))) == ("h2", "http/1.1")
    assert protocol_names(read(hello([*usual(), alpn(b"\xff\x00")]))) == ("\\xff\0",)
    assert protocol_names(read(hello([*usual(), alpn(*[b"x"] * 40)]))) == ("x",) * 40
    assert protocol_names(read(hello())) == ()


def test_no_name_stands_for_two_numbers() -> None:
    for names in (CIPHER_SUITES, GROUPS, SIGNATURE_ALGORITHMS):
        assert len(set(names.values())) == len(names)
    assert all(re.fullmatch(r"TLS_[A-Za-z0-9_]+", name) for name in CIPHER_SUITES.values())


def test_every_suite_that_python_offers_has_a_name() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL")
    missing = [one["name"] for one in context.get_ciphers() if one["id"] & 0xFFFF not in CIPHER_SUITES]
    assert not missing
