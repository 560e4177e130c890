"""TLS behind a header, and a header within TLS."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.protocol import Factory
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.interop.certificates import certificate
from twisted_lb.endpoints.descriptions import ProxyProtocolServerParser
from twisted_lb.endpoints.proxied_transport import IProxiedTransport
from twisted_lb.endpoints.proxy_protocol_server import ProxyProtocolServerEndpoint
from twisted_lb.endpoints.tls import TlsServerEndpoint, load_certificate

if TYPE_CHECKING:
    from tests.endpoints.conftest import Shore

V1 = b"PROXY TCP4 192.0.2.10 198.51.100.20 56324 443\r\n"


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of PEM files: ``key``, ``certificate``, and ``both`` in one."""
    folder = tmp_path_factory.mktemp("pems")
    both = certificate("localhost", folder / "both").read_text()
    begins = both.index("-----BEGIN CERTIFICATE")
    (folder / "key").write_text(both[:begins])
    (folder / "certificate").write_text(both[begins:])
    return {file: str(folder / file) for file in ("key", "certificate", "both")}


def over_tls(shore: "Shore", client: Any) -> Any:
    """Wrap a client's protocol in TLS."""
    factory = Factory.forProtocol(lambda: client)
    return TLSMemoryBIOFactory(CertificateOptions(), True, factory, shore.clock).buildProtocol(None)


class Preceded:
    """A protocol that sends ``header`` before it lets ``protocol`` begin."""

    def __init__(self, header: bytes, protocol: Any) -> None:
        self._header = header
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    def makeConnection(self, transport: Any) -> None:
        transport.write(self._header)
        self._protocol.makeConnection(transport)


def test_tls_begins_behind_the_header(shore: "Shore", witnesses: Any, witness: Any, pems: dict[str, str]) -> None:
    factory = witnesses()
    proxied = ProxyProtocolServerEndpoint(shore.clock, shore)
    TlsServerEndpoint(shore.clock, proxied, load_certificate(pems["both"])).listen(factory)
    shore.arrive(Preceded(V1, over_tls(shore, client := witness())))  # type: ignore[arg-type]
    shore.settle()
    client.transport.write(b"secret")
    shore.settle()
    (made,) = factory.made
    assert made.received == b"secret"
    assert made.seen[0][1][0].host == "192.0.2.10"
    assert IProxiedTransport(made.transport).getProxyHeader().source.port == 56324
    client.transport.loseConnection()
    shore.settle()
    assert made.events[-1] == "lost"


def test_a_header_can_be_within_tls(shore: "Shore", witnesses: Any, witness: Any, pems: dict[str, str]) -> None:
    factory = witnesses()
    ProxyProtocolServerEndpoint(
        shore.clock, TlsServerEndpoint(shore.clock, shore, load_certificate(pems["both"]))
    ).listen(factory)
    shore.arrive(over_tls(shore, client := witness()))
    shore.settle()
    client.transport.write(V1 + b"secret")
    shore.settle()
    (made,) = factory.made
    assert made.received == b"secret"
    assert made.seen[0][1][0].host == "192.0.2.10"


def test_a_broken_header_within_tls_ends_the_connection(
    shore: "Shore", witnesses: Any, witness: Any, pems: dict[str, str]
) -> None:
    factory = witnesses()
    ProxyProtocolServerEndpoint(
        shore.clock, TlsServerEndpoint(shore.clock, shore, load_certificate(pems["both"]))
    ).listen(factory)
    shore.arrive(over_tls(shore, client := witness()))
    shore.settle()
    client.transport.write(b"GET / HTTP/1.1\r\n")
    shore.settle()
    assert client.events == ["made", "lost"]
    assert factory.asked == []


def test_a_header_where_tls_should_begin_is_told_in_the_log(
    shore: "Shore", witnesses: Any, witness: Any, pems: dict[str, str], log: list[str]
) -> None:
    inner = TlsServerEndpoint(shore.clock, shore, load_certificate(pems["both"]))
    ProxyProtocolServerEndpoint(shore.clock, inner).listen(factory := witnesses())
    shore.arrive(client := witness())
    client.transport.write(V1)
    shore.settle()
    assert client.events[-1] == "lost"
    assert factory.asked == []
    assert any(line.startswith("info") and "wrong version number" in line for line in log)


def test_a_source_that_is_refused_within_tls_is_gone(
    shore: "Shore", witnesses: Any, witness: Any, pems: dict[str, str], log: list[str]
) -> None:
    inner = TlsServerEndpoint(shore.clock, shore, load_certificate(pems["both"]))
    ProxyProtocolServerEndpoint(shore.clock, inner, from_=["::1"]).listen(factory := witnesses())
    shore.arrive(over_tls(shore, client := witness()))
    shore.settle()
    assert client.events == ["made", "lost"]
    assert factory.asked == []
    assert not any("critical" in line for line in log)


@pytest.mark.parametrize(
    "files", [("both",), ("key", "certificate"), ("key", "both", "certificate")], ids=lambda files: "+".join(files)
)
def test_key_and_certificates_may_be_in_one_file_or_in_several(files: tuple[str, ...], pems: dict[str, str]) -> None:
    options = load_certificate(*(pems[file] for file in files))
    assert options.certificate is not None
    assert options.certificate.to_cryptography().subject.rfc4514_string() == "CN=localhost"
    assert len(options.extraCertChain) == (len(files) == 3)
    assert options.getContext() is not None


def test_a_chain_without_a_certificate_is_refused(pems: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="has no certificate in it"):
        load_certificate(pems["both"], None, pems["key"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pem"):
        load_certificate(str(tmp_path / "none.pem"))


def test_a_description_with_a_key_has_tls_behind_the_header(pems: dict[str, str]) -> None:
    endpoint = ProxyProtocolServerParser().parseStreamServer(
        MemoryReactorClock(), "tcp:8443", privateKey=pems["key"], certKey=pems["certificate"]
    )
    assert isinstance(endpoint, TlsServerEndpoint)
    assert isinstance(endpoint._endpoint, ProxyProtocolServerEndpoint)
