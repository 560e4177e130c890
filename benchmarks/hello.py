"""What a real client of TLS says first: made by Python's own."""

import ssl

from benchmarks.errors import LoadFailedError

NAME = "www.example.org"


def client_hello() -> bytes:
    """Return some 500 bytes: a ClientHello that asks for ``NAME`` and offers HTTP."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    sent = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=NAME).do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise LoadFailedError("Python's TLS wants no answer to its ClientHello")


CLIENT_HELLO = client_hello()
