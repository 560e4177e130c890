"""Why the beginning of a TLS connection is refused: every rule by name, with the alert that tells the client.

Source: RFC 8446 (TLS 1.3), sections 4 to 6; RFC 5246 (TLS 1.2); RFC 6066, section 3 (server names).
"""

from enum import IntEnum
from typing import Literal, NamedTuple

Option = Literal["", "accept_invalid", "min_version", "require_sni", "allowed_sni", "check_server"]


class Alert(IntEnum):
    """Descriptions of alerts, as RFC 8446, section 6, numbers them."""

    UNEXPECTED_MESSAGE = 10
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    ILLEGAL_PARAMETER = 47
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    PROTOCOL_VERSION = 70
    INTERNAL_ERROR = 80
    MISSING_EXTENSION = 109
    UNRECOGNIZED_NAME = 112


class TlsRule(NamedTuple):
    """One rule. ``alert``: what tells the client, ``None`` for one that speaks no TLS. ``option``: what changes it."""

    alert: Alert | None
    what: str
    option: Option = "accept_invalid"


RULES: dict[str, TlsRule] = {
    # Records
    "tls-no-tls": TlsRule(None, "the first bytes are no record of a TLS handshake"),
    "tls-sslv2": TlsRule(None, "a ClientHello in the format of SSLv2"),
    "tls-record-type": TlsRule(
        Alert.UNEXPECTED_MESSAGE, "a record of another type or version between two that hold the ClientHello"
    ),
    "tls-record-empty": TlsRule(Alert.UNEXPECTED_MESSAGE, "a record without a byte"),
    "tls-record-long": TlsRule(Alert.RECORD_OVERFLOW, "a record of more than 16384 bytes"),
    "tls-record-rest": TlsRule(
        Alert.UNEXPECTED_MESSAGE, "the ClientHello does not end where its record ends: RFC 8446, section 5.1"
    ),
    "tls-no-client-hello": TlsRule(Alert.UNEXPECTED_MESSAGE, "another handshake message in place of the ClientHello"),
    "tls-hello-long": TlsRule(Alert.DECODE_ERROR, "a ClientHello of more than 64 KiB with its records"),
    # The ClientHello
    "tls-length": TlsRule(Alert.DECODE_ERROR, "a length that reaches beyond what it is part of, or leaves bytes over"),
    "tls-sslv3": TlsRule(Alert.PROTOCOL_VERSION, "a ClientHello of SSLv3"),
    "tls-version": TlsRule(Alert.PROTOCOL_VERSION, "no known version of TLS is offered"),
    "tls-session-id": TlsRule(Alert.DECODE_ERROR, "a session id of more than 32 bytes"),
    "tls-ciphers": TlsRule(Alert.DECODE_ERROR, "no cipher suites, or half of one"),
    "tls-compression": TlsRule(
        Alert.ILLEGAL_PARAMETER, "no way without compression, or with TLS 1.3 any other than that"
    ),
    "tls-extension-twice": TlsRule(Alert.ILLEGAL_PARAMETER, "two extensions of the same type"),
    "tls-extension": TlsRule(Alert.DECODE_ERROR, "an extension whose content is not as its RFC says"),
    "tls-extension-missing": TlsRule(
        Alert.MISSING_EXTENSION, "TLS 1.3 without the extensions that RFC 8446, section 9.2, demands"
    ),
    "tls-psk-not-last": TlsRule(Alert.ILLEGAL_PARAMETER, "`pre_shared_key` is not the last extension"),
    "tls-renegotiation": TlsRule(
        Alert.HANDSHAKE_FAILURE, "`renegotiation_info` of a connection that was never negotiated before"
    ),
    "tls-key-share-twice": TlsRule(Alert.ILLEGAL_PARAMETER, "two key shares for the same group"),
    "tls-sni": TlsRule(Alert.DECODE_ERROR, "`server_name` is not a list of one host name"),
    "tls-sni-name": TlsRule(
        Alert.UNRECOGNIZED_NAME,
        "the server name is no host name: an address, a final dot, an empty or long label, or other characters than "
        "letters, digits, `-` (not at the ends of a label) and `_`",
    ),
    "tls-second-hello": TlsRule(
        Alert.ILLEGAL_PARAMETER,
        "a second ClientHello, after a HelloRetryRequest, that is broken or has not the server name of the first",
        "",
    ),
    # Policy
    "tls-min-version": TlsRule(Alert.PROTOCOL_VERSION, "every version offered is below `min_version`", "min_version"),
    "tls-sni-missing": TlsRule(Alert.MISSING_EXTENSION, "no server name", "require_sni"),
    "tls-sni-not-allowed": TlsRule(Alert.UNRECOGNIZED_NAME, "a server name outside `allowed_sni`", "allowed_sni"),
    # The server
    "tls-server-no-tls": TlsRule(
        Alert.INTERNAL_ERROR, "the server's first bytes are no record of a handshake or an alert", "check_server"
    ),
    "tls-server-record": TlsRule(
        Alert.INTERNAL_ERROR,
        "a server's record without a byte, of more than 16384 bytes, or of another type amid its ServerHello",
        "check_server",
    ),
    "tls-server-alert": TlsRule(
        Alert.INTERNAL_ERROR,
        "a server's alert that is not two bytes, or neither a warning nor fatal, or a fifth one",
        "check_server",
    ),
    "tls-server-hello": TlsRule(
        Alert.INTERNAL_ERROR, "the server's first message is no ServerHello, or a broken one", "check_server"
    ),
    "tls-server-version": TlsRule(
        Alert.INTERNAL_ERROR, "the server chooses SSLv3, an unknown version, or one below `min_version`", "check_server"
    ),
}
"""In the order in which the reference lists them."""


def tls_alert(alert: Alert, version: int = 0x0301) -> bytes:
    """Return a fatal alert as a record. ``version``: of the hello that it answers; a record never says 1.3."""
    return bytes((21, 3, min(max(version, 0x0300), 0x0303) & 0xFF, 0, 2, 2, alert))
