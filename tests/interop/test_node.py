"""Node.js behind the proxy, with two modules that receive PROXY headers."""

import ipaddress
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import do_without
from tests.interop.daemons import Daemons
from tests.interop.ways import FAMILIES, VERSIONS, Before, FreePort, PutBefore, fresh_payload, hear_all

pytestmark = [pytest.mark.linux, pytest.mark.daemon("node", "npm")]

MODULES = ("proxy-protocol-js@4.0.6", "findhit-proxywrap@0.3.13")


def install_modules(folder: Path) -> None:
    """Let npm install the modules into ``folder``, from its cache or from the network; skip the test if it cannot."""
    quietly = ("--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--fetch-retries=1")
    done = subprocess.run(
        ["npm", "install", *quietly, "--prefix", folder, *MODULES],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        do_without(f"needs the npm modules {', '.join(MODULES)}, which cannot be got: {done.stderr}")


@pytest.fixture(scope="module")
def ways(daemons: Daemons, put_before: PutBefore, free_port: FreePort) -> dict[str, Before]:
    """The ways to a server with each module."""
    folder = daemons.folder()
    install_modules(folder)
    ports = {"proxy-protocol-js": free_port(), "findhit-proxywrap": free_port()}
    shutil.copy(Path(__file__).with_name("node_server.js"), folder)
    program = os.path.realpath(shutil.which("node") or "node")
    daemons.start("node", program, "node_server.js", *map(str, ports.values()), folder=folder, ports=[*ports.values()])
    return {name: put_before(port) for name, port in ports.items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_with_proxy_protocol_js_learns_the_client_from_us(
    version: str, family: str, ways: dict[str, Before]
) -> None:
    with ways["proxy-protocol-js"].client(version, family) as (client, (address, port)):
        said = hear_all(client).decode()
    spoken, _, known_by = said.removeprefix("client=").partition(" ")
    host, _, number = known_by.rpartition(":")
    assert spoken == version
    assert (ipaddress.ip_address(host), int(number)) == (ipaddress.ip_address(address), port)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_web_server_with_findhit_proxywrap_learns_the_client_from_us(family: str, ways: dict[str, Before]) -> None:
    with ways["findhit-proxywrap"].client("v1", family) as (client, (address, port)):
        client.sendall(fresh_payload())
        assert f"client={address}:{port}".encode() in hear_all(client)
