"""nginx behind the proxy, with listeners of its http and of its stream module that receive PROXY headers."""

import os
from pathlib import Path

import pytest

from tests.interop.daemons import Daemons
from tests.interop.ways import FAMILIES, VERSIONS, Before, FreePort, PutBefore, fresh_payload, hear_all

STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
"""Where Debian puts the stream module, if it is not part of the program."""
pytestmark = [pytest.mark.linux, pytest.mark.daemon("nginx")]

CONFIG = """\
{first}
daemon off;
pid nginx.pid;
error_log errors.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fast; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{http} proxy_protocol;
        set_real_ip_from 127.0.0.1;
        real_ip_header proxy_protocol;
        return 200 "client=$proxy_protocol_addr:$proxy_protocol_port, taken for $remote_addr";
    }}
}}
stream {{
    server {{
        listen 127.0.0.1:{stream} proxy_protocol;
        set_real_ip_from 127.0.0.1;
        return "client=$proxy_protocol_addr:$proxy_protocol_port, taken for $remote_addr";
    }}
}}
"""


@pytest.fixture(scope="module")
def ways(daemons: Daemons, put_before: PutBefore, free_port: FreePort) -> dict[str, Before]:
    """The ways to nginx's two listeners."""
    folder = daemons.folder()
    ports = {"http": free_port(), "stream": free_port()}
    first = "user nobody nogroup;\n" if os.geteuid() == 0 else ""
    first += f"load_module {STREAM_MODULE};" if STREAM_MODULE.exists() else ""
    (folder / "nginx.conf").write_text(CONFIG.format(first=first, **ports))
    daemons.start(
        "nginx", "nginx", "-p", folder, "-e", "errors.log", "-c", "nginx.conf", folder=folder, ports=[*ports.values()]
    )
    return {name: put_before(port) for name, port in ports.items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("listener", ["http", "stream"])
def test_nginx_learns_the_client_from_us(listener: str, version: str, family: str, ways: dict[str, Before]) -> None:
    with ways[listener].client(version, family) as (client, (address, port)):
        if listener == "http":
            client.sendall(fresh_payload())
        assert hear_all(client).decode().endswith(f"client={address}:{port}, taken for {address}")
