"""TLS on top of any server endpoint: what Twisted's ``ssl:`` does for TCP alone."""

import re
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.ssl import Certificate, CertificateOptions, PrivateCertificate
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@implementer(IStreamServerEndpoint)
class TlsServerEndpoint:
    """Listens at ``endpoint``, and speaks TLS with whoever connects there."""

    def __init__(
        self, reactor: IReactorTime, endpoint: IStreamServerEndpoint, options: IOpenSSLServerConnectionCreator
    ) -> None:
        self._clock = reactor
        self._endpoint = endpoint
        self._options = options

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        """See ``IStreamServerEndpoint``."""
        port: Deferred[IListeningPort] = self._endpoint.listen(
            TLSMemoryBIOFactory(self._options, False, protocolFactory, self._clock)
        )
        return port


def load_certificate(private_key: str, certificate: str | None = None, chain: str | None = None) -> CertificateOptions:
    """Load PEM files, given by their paths; without ``certificate`` the key's file has it too.

    Raises: OSError, or ValueError for a file that does not have what it should.
    """
    above = [] if chain is None else _CERTIFICATE.findall(Path(chain).read_bytes())
    if chain is not None and not above:
        raise ValueError(f"{chain} has no certificate in it")
    # OpenSSL takes the first of each kind that it finds.
    own = PrivateCertificate.loadPEM(
        Path(certificate or private_key).read_bytes() + b"\n" + Path(private_key).read_bytes()
    )
    return CertificateOptions(
        privateKey=own.privateKey.original,
        certificate=own.original,
        extraCertChain=[Certificate.loadPEM(one).original for one in above] or None,
    )
