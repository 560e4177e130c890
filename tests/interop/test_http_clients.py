"""Web clients in front of the proxy: curl, wrk, ab, h11, Node.js and Python's own, with nginx behind it."""

import hashlib
import http.client
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h11
import pytest

from tests.interop.daemons import Daemons
from tests.interop.ways import FreePort
from tests.interop.web_servers import start_nginx
from tests.loopback.servers import connect
from tests.loopback.web import http_config

if TYPE_CHECKING:
    from tests.loopback.conftest import StartProxy

pytestmark = [pytest.mark.linux, pytest.mark.daemon("nginx")]

BIG = os.urandom(3_000_001)
TEXT = b"the same line again and again\n" * 1000
NGINX = """\
    access_log off;
    gzip on;
    gzip_types text/plain;
    default_type text/plain;
    keepalive_requests 100000;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 100m;
        location / {{ root files; }}
        location = /seen {{ return 200 "here"; }}
        location = /moved {{ return 302 /seen; }}
        location /kept {{ root files; dav_methods PUT DELETE; }}
    }}
"""


class Site:
    """nginx behind the proxy: its folder of files, and the URL to reach it through the proxy."""

    def __init__(self, daemons: Daemons, start_proxy: "StartProxy", free_port: FreePort) -> None:
        folder, server = daemons.folder(), free_port()
        self.files = folder / "files"
        (self.files / "kept").mkdir(parents=True)
        (self.files / "kept").chmod(0o777)
        (self.files / "big").write_bytes(BIG)
        (self.files / "text").write_bytes(TEXT)
        start_nginx(daemons, folder, NGINX.format(port=server), server)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.proxy = start_proxy(http_config(self.port, f"127.0.0.1:{server}"))


@pytest.fixture(scope="module")
def site(daemons: Daemons, module_proxy: "StartProxy", free_port: FreePort) -> Site:
    return Site(daemons, module_proxy, free_port)


def run(*words: object, given: bytes = b"") -> bytes:
    """Run a program, and return what it writes to its standard output."""
    done = subprocess.run(list(map(str, words)), input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def curl(*words: object, given: bytes = b"") -> bytes:
    return run("curl", "-sS", "--fail", "--max-time", 30, *words, given=given)


def code_of(site: Site, path: str, *words: object) -> str:
    """Ask for something with curl; return the status alone."""
    return curl("-o", "/dev/null", "-w", "%{http_code}", *words, site.url + path).decode()


@pytest.mark.daemon("curl")
class TestCurl:
    """Everything that curl does by itself."""

    def test_one_connection_is_enough_for_many_requests(self, site: Site) -> None:
        wanted = [word for _ in range(5) for word in ("-o", os.devnull, f"{site.url}/seen")]
        assert curl("-w", "%{num_connects}%{http_code} ", *wanted) == b"1200 0200 0200 0200 0200 "

    def test_http_10_is_answered_and_closed(self, site: Site) -> None:
        said = curl("--http1.0", "-i", f"{site.url}/seen").decode()
        assert said.startswith("HTTP/1.1 200 OK")
        assert "\r\nConnection: close\r\n" in said
        assert said.endswith("\r\n\r\nhere")

    def test_http_10_may_keep_its_connection(self, site: Site) -> None:
        wanted = [word for _ in range(3) for word in ("-o", os.devnull, f"{site.url}/seen")]
        said = curl("--http1.0", "-H", "Connection: keep-alive", "-w", "%{num_connects}", *wanted)
        assert said == b"100"

    def test_a_download_is_whole(self, site: Site) -> None:
        assert hashlib.sha256(curl(f"{site.url}/big")).digest() == hashlib.sha256(BIG).digest()

    def test_an_upload_waits_for_100_continue(self, site: Site) -> None:
        words = ("-v", "--stderr", "-", "-H", "Expect: 100-continue", "-T", site.files / "big", f"{site.url}/kept/up")
        said = curl("--expect100-timeout", 30, *words).decode("latin-1")
        assert "< HTTP/1.1 100 Continue" in said
        assert "< HTTP/1.1 201 Created" in said
        assert (site.files / "kept" / "up").read_bytes() == BIG

    def test_an_upload_of_unknown_length_is_sent_in_chunks(self, site: Site) -> None:
        curl("-H", "Expect:", "-T", "-", f"{site.url}/kept/chunked", given=BIG)
        assert (site.files / "kept" / "chunked").read_bytes() == BIG

    def test_an_upload_from_http_10_arrives(self, site: Site) -> None:
        curl("--http1.0", "-T", site.files / "text", f"{site.url}/kept/old")
        assert (site.files / "kept" / "old").read_bytes() == TEXT

    def test_an_upload_that_is_refused_early_is_answered(self, site: Site) -> None:
        words = ("-o", os.devnull, "-w", "%{http_code}", "--data-binary", f"@{site.files / 'big'}", f"{site.url}/big")
        assert run("curl", "-sS", "--max-time", 30, *words) == b"405"

    def test_head_says_what_get_would_bring(self, site: Site) -> None:
        said = curl("-I", f"{site.url}/big").decode()
        assert f"\r\nContent-Length: {len(BIG)}\r\n" in said

    def test_a_download_is_resumed(self, site: Site) -> None:
        assert curl("-C", 1_000_000, f"{site.url}/big") == BIG[1_000_000:]
        assert code_of(site, "/big", "-C", 1_000_000) == "206"

    def test_several_ranges_at_once(self, site: Site) -> None:
        said = curl("-r", "0-9,100-109", f"{site.url}/big")
        assert BIG[:10] in said
        assert BIG[100:110] in said

    def test_what_has_not_changed_is_not_sent_again(self, site: Site, tmp_path: Path) -> None:
        tag = tmp_path / "tag"
        curl("--etag-save", tag, "-o", os.devnull, f"{site.url}/text")
        assert code_of(site, "/text", "--etag-compare", tag) == "304"

    def test_a_compressed_answer(self, site: Site) -> None:
        plain, packed = (
            curl("-o", os.devnull, "-w", "%{size_download}", *more, f"{site.url}/text")
            for more in ((), ("-H", "Accept-Encoding: gzip"))
        )
        assert int(packed) < int(plain) == len(TEXT)
        assert curl("--compressed", f"{site.url}/text") == TEXT

    def test_a_redirection_is_followed(self, site: Site) -> None:
        assert curl("-L", f"{site.url}/moved") == b"here"

    def test_many_at_once(self, site: Site, tmp_path: Path) -> None:
        curl("-Z", "--parallel-max", 20, f"{site.url}/text?[1-40]", "-o", tmp_path / "#1")
        assert [(tmp_path / str(number)).read_bytes() == TEXT for number in range(1, 41)] == [True] * 40

    def test_a_download_that_is_broken_off_leaves_the_proxy_whole(self, site: Site) -> None:
        done = subprocess.run(
            ["curl", "-sS", "--max-filesize", "1000", f"{site.url}/big"], capture_output=True, check=False
        )
        assert done.returncode == 63
        assert curl(f"{site.url}/seen") == b"here"


@pytest.mark.daemon("wrk")
def test_wrk_finds_no_fault(site: Site) -> None:
    said = run("wrk", "-t", 1, "-c", 32, "-d", "1s", f"{site.url}/seen").decode()
    found = re.search(r"(\d+) requests in", said)
    assert found is not None
    assert int(found[1]) > 100
    assert "Socket errors" not in said
    assert "Non-2xx" not in said


@pytest.mark.daemon("ab")
@pytest.mark.parametrize("more", [(), ("-k",)], ids=["a connection each", "kept"])
def test_ab_finds_no_fault(more: Sequence[str], site: Site) -> None:
    said = run("ab", "-q", *more, "-n", 400, "-c", 16, f"{site.url}/seen").decode()
    assert re.search(r"Complete requests: +400\n", said)
    assert re.search(r"Failed requests: +0\n", said)
    assert "Non-2xx" not in said
    kept = re.search(r"Keep-Alive requests: +(\d+)\n", said)
    assert (kept[1] if kept else None) == ("400" if more else None)


@pytest.mark.daemon("ab")
def test_ab_uploads(site: Site) -> None:
    said = run("ab", "-q", "-k", "-u", site.files / "text", "-n", 100, "-c", 8, f"{site.url}/kept/ab").decode()
    assert re.search(r"Complete requests: +100\n", said)
    assert "Non-2xx" not in said
    assert (site.files / "kept" / "ab").read_bytes() == TEXT


def test_h11_talks_a_whole_conversation(site: Site) -> None:
    ours = h11.Connection(h11.CLIENT)
    host = ("Host", f"127.0.0.1:{site.port}")
    with connect(site.port) as sock:
        for number in range(3):
            put = h11.Request(
                method="PUT", target=f"/kept/h11-{number}", headers=[host, ("Transfer-Encoding", "chunked")]
            )
            for event in (put, h11.Data(data=TEXT), h11.Data(data=TEXT), h11.EndOfMessage()):
                sock.sendall(ours.send(event) or b"")
            while (heard := ours.next_event()) is h11.NEED_DATA:
                ours.receive_data(sock.recv(65536))
            assert isinstance(heard, h11.Response)
            assert heard.status_code == 201
            while not isinstance(heard, h11.EndOfMessage):
                heard = ours.next_event()
            ours.start_next_cycle()
            assert (site.files / "kept" / f"h11-{number}").read_bytes() == TEXT * 2


def test_python_s_own_client(site: Site) -> None:
    ours = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    for _ in range(3):
        ours.request("GET", "/text")
        assert ours.getresponse().read() == TEXT
    ours.request("PUT", "/kept/python", body=iter([TEXT, TEXT]), encode_chunked=True)
    answer = ours.getresponse()
    assert (answer.status, answer.read()) == (201, b"")
    assert (site.files / "kept" / "python").read_bytes() == TEXT * 2
    ours.close()


NODE = """\
const url = process.argv[1];
(async () => {
  for (let n = 0; n < 3; n++) {
    const put = await fetch(`${url}/kept/node`, {method: "PUT", body: "x".repeat(100000)});
    if (put.status !== (n ? 204 : 201)) throw new Error(`PUT: ${put.status}`);
    const got = await (await fetch(`${url}/kept/node`)).text();
    if (got !== "x".repeat(100000)) throw new Error(`GET: ${got.length}`);
  }
  const all = await Promise.all(Array.from({length: 20}, () => fetch(`${url}/text`).then((one) => one.text())));
  console.log(all.map((one) => one.length).join());
})();
"""


@pytest.mark.daemon("node")
def test_node_s_fetch(site: Site) -> None:
    assert run("node", "-e", NODE, site.url).decode() == ",".join([str(len(TEXT))] * 20) + "\n"
