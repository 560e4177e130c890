"""How a client of HTTP/2 begins: 24 bytes that no other protocol begins with, and its settings; pure.

Source: RFC 9113, sections 3.4, 4.1, 6.5 and 6.8.
"""

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_SETTINGS = 64
"""In the first frame. Seven are registered; browsers send five or so, and some that mean nothing."""

_FRAME_HEADER_BYTES = 9
_SETTING_BYTES = 6
_SETTINGS, _ACK = 4, 1
_WINDOW = 4
_LIMITS = {2: (0, 1), _WINDOW: (0, 2**31 - 1), 5: (2**14, 2**24 - 1), 8: (0, 1)}
"""The least and the most of ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE and ENABLE_CONNECT_PROTOCOL."""
_ERROR_CODES = {"http2-frame-size": 6, "http2-window": 3}
_PROTOCOL_ERROR = 1


def read_http2_preface(data: bytes) -> tuple[tuple[int, int], ...] | NeedMore:
    """Read preface and settings.

    Returns: identifiers and values of the settings, in their order; what follows them stays the caller's.
    Raises: WireError ``http2-preface`` at the first byte that is wrong; ``http2-frame`` if what follows is no SETTINGS
        frame of the connection; ``http2-frame-size``; ``http2-setting`` and ``http2-window`` for a value that may not
        be. No other exception.
    """
    end = len(PREFACE)
    if data[:end] != PREFACE[: len(data)]:
        raise WireError("http2-preface", next(at for at, byte in enumerate(data) if byte != PREFACE[at]))
    start = end + _FRAME_HEADER_BYTES
    header = data[end:start]
    _check_type(header, end)
    if len(header) < _FRAME_HEADER_BYTES:
        return NeedMore(start)
    length = int.from_bytes(header[:3], "big")
    if length % _SETTING_BYTES or length > MAX_SETTINGS * _SETTING_BYTES:
        raise WireError("http2-frame-size", end)
    if len(data) < start + length:
        return NeedMore(start + length)
    return tuple(_read_setting(data, at) for at in range(start, start + length, _SETTING_BYTES))


def _check_type(header: bytes, at: int) -> None:
    """Refuse a frame header, as far as it is there, that is not one of settings for the whole connection."""
    if len(header) > 3 and header[3] != _SETTINGS:
        raise WireError("http2-frame", at + 3)
    if len(header) > 4 and header[4] & _ACK:
        raise WireError("http2-frame", at + 4)
    stream = header[5:_FRAME_HEADER_BYTES]
    # The first bit means nothing, and is to be ignored.
    if any(byte & (0x7F if place == 0 else 0xFF) for place, byte in enumerate(stream)):
        raise WireError("http2-frame", at + 5)


def _read_setting(data: bytes, at: int) -> tuple[int, int]:
    identifier = int.from_bytes(data[at : at + 2], "big")
    value = int.from_bytes(data[at + 2 : at + 6], "big")
    least, most = _LIMITS.get(identifier, (0, value))
    if not least <= value <= most:
        raise WireError("http2-window" if identifier == _WINDOW else "http2-setting", at)
    return identifier, value


def http2_refusal(reason: str) -> bytes:
    """Return what a server says to a client of HTTP/2 whose settings broke that rule: its own settings, and GOAWAY.

    A client that sent no preface does not speak it, and is told nothing.
    """
    if reason == "http2-preface":
        return b""
    code = _ERROR_CODES.get(reason, _PROTOCOL_ERROR)
    return b"\0\0\0\4\0\0\0\0\0" + b"\0\0\x08\7\0\0\0\0\0" + bytes(4) + code.to_bytes(4, "big")
