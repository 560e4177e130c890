"""JA3 and JA4: short names for the way in which a client's TLS library puts its ClientHello together.

Source: github.com/salesforce/ja3, README and python/ja3/ja3.py (JA3); github.com/FoxIO-LLC/ja4,
technical_details/JA4.md (JA4; BSD licence, as far as TLS clients are concerned). Both leave GREASE out.
"""

from collections.abc import Iterable
from hashlib import md5, sha256

from twisted_lb.wire.client_hello import ClientHello, is_grease, numbers_of
from twisted_lb.wire.client_hello_extensions import ALPN, SNI

_JA4_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_NOTHING = "000000000000"


def ja3_text(hello: ClientHello) -> str:
    """Return the text whose MD5 is the JA3 fingerprint."""
    extensions = [kind for kind in hello.extensions if not is_grease(kind)]
    lists = (numbers_of(hello.cipher_suites), extensions, numbers_of(hello.groups), hello.point_formats)
    return ",".join([str(hello.legacy_version), *("-".join(map(str, numbers)) for numbers in lists)])


def ja3(hello: ClientHello) -> str:
    """Return the JA3 fingerprint: 32 hexadecimal digits."""
    return md5(ja3_text(hello).encode(), usedforsecurity=False).hexdigest()


def ja4(hello: ClientHello) -> str:
    """Return the JA4 fingerprint, such as ``t13d1516h2_8daaf6152771_e5627efa2ab1``."""
    suites = numbers_of(hello.cipher_suites)
    extensions = [kind for kind in hello.extensions if not is_grease(kind)]
    versions = [version for version in hello.versions if not is_grease(version)]
    version = _JA4_VERSIONS.get(max(versions, default=0), "00")
    name = "d" if SNI in extensions else "i"
    start = f"t{version}{name}{min(len(suites), 99):02}{min(len(extensions), 99):02}{_ja4_alpn(hello.protocols)}"
    kinds = _hexadecimal(sorted(kind for kind in extensions if kind not in (SNI, ALPN)))
    algorithms = _hexadecimal(numbers_of(hello.signature_algorithms))
    return f"{start}_{_short(_hexadecimal(sorted(suites)))}_{_short('_'.join(filter(None, (kinds, algorithms))))}"


def _ja4_alpn(protocols: tuple[bytes, ...]) -> str:
    """Return the first and last character of the first protocol, of its hexadecimal digits if either is no letter."""
    if not protocols:
        return "00"
    first = protocols[0]
    ends = first[:1] + first[-1:]
    if ends.isalnum():
        return ends.decode()
    digits = first.hex()
    return digits[0] + digits[-1]


def _hexadecimal(numbers: Iterable[int]) -> str:
    return ",".join(f"{number:04x}" for number in numbers)


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12] if text else _NOTHING
