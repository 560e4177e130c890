"""The service of ``docs/how-to/police-clients.md`` decides as the page says, with the configuration beside it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.loopback.conftest import FreePort, StartProxy, Wait
from tests.loopback.servers import connect, hear
from tests.loopback.web import Recorder, get, statuses

pytestmark = pytest.mark.linux

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "police-clients.md").read_text()


def test_the_service_of_the_page_decides(proxy: StartProxy, free_port: FreePort, wait: Wait, tmp_path: Path) -> None:
    source = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    config = re.search(r"```toml\n(\[frontends\.site\].*?)```", PAGE, re.DOTALL)
    assert source is not None
    assert config is not None
    recorder, port, asked = Recorder(), free_port(), free_port()
    (tmp_path / "authorizer.py").write_text(source[1].replace("9090", str(asked)))
    ports = {"8080": port, "9090": asked, "9001": recorder.port}
    whole = re.sub("8080|9090|9001", lambda found: str(ports[found[0]]), config[1])
    service = subprocess.Popen(
        [sys.executable, tmp_path / "authorizer.py"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:

        def asks(*fields: str) -> bytes:
            with connect(port) as client:
                client.sendall(get("/a", *fields, "Connection: close", host="www.example.org"))
                return hear(client)

        def serves() -> bool:
            try:
                connect(asked).close()
            except ConnectionRefusedError:
                return False
            return True

        wait(serves, "the service")
        proxy(tomllib.loads(whole))
        refused = asks()
        assert statuses(refused) == [302]
        assert b"\r\nLocation: https://login.example.org/?back=http://www.example.org/a\r\n" in refused
        assert statuses(asks("Cookie: session=7f3a")) == [200]
        assert statuses(asks("Cookie: session=7f3a", "X-User: root")) == [200]
        assert recorder.raw.lower().count(b"\r\nx-user: alice\r\n") == 2
        assert b"root" not in recorder.raw
    finally:
        service.kill()
        service.wait(10)
    assert statuses(asks("Cookie: session=7f3a")) == [503]
    recorder.close()
