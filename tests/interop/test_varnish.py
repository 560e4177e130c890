"""Varnish behind the proxy, with a listener that receives PROXY headers."""

import pytest

from tests.interop.daemons import Daemons
from tests.interop.ways import FAMILIES, VERSIONS, Before, FreePort, PutBefore, fresh_payload, hear_all

pytestmark = [pytest.mark.linux, pytest.mark.daemon("varnishd")]

PROGRAM = """\
vcl 4.1;
backend default none;
sub vcl_recv { return (synth(200)); }
sub vcl_synth { set resp.body = "client=" + client.ip; return (deliver); }
"""


@pytest.fixture(scope="module")
def way(daemons: Daemons, put_before: PutBefore, free_port: FreePort) -> Before:
    """The way to a Varnish that says whom it takes for the client."""
    folder = daemons.folder()
    port = free_port()
    (folder / "client.vcl").write_text(PROGRAM)
    listener = f"127.0.0.1:{port},PROXY"
    files = ("-n", folder / "work", "-f", folder / "client.vcl")
    no_more = ("-T", "none", "-s", "default,1m", "-p", "vsl_space=1M", "-p", "thread_pools=1")
    daemons.start("varnish", "varnishd", "-F", "-a", listener, *files, *no_more, folder=folder, ports=[port])
    return put_before(port)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_varnish_learns_the_client_from_us(version: str, family: str, way: Before) -> None:
    with way.client(version, family) as (client, (address, _)):
        client.sendall(fresh_payload())
        assert hear_all(client).endswith(f"client={address}".encode())
