"""What the settings of HTTP mode become, and what stops the start."""

from pathlib import Path
from typing import Any

import pytest

from twisted_lb.config.load import load_dict
from twisted_lb.errors import ConfigError
from twisted_lb.frontend import HttpFrontend
from twisted_lb.http_assembly import MAX_ERROR_FILE, http_backend, http_frontend
from twisted_lb.testing import make_request


def load(of_frontend: dict[str, Any] | None = None, **of_backend: Any) -> Any:
    frontend = {"bind": "127.0.0.1:0", "backend": "app", "mode": "http", **(of_frontend or {})}
    backends = {name: {"servers": {"a": "127.0.0.1:1"}, **of_backend} for name in ("app", "other")}
    return load_dict({"frontends": {"web": frontend}, "backends": backends}, "lb.toml")


def frontend(**settings: Any) -> HttpFrontend:
    return http_frontend(load(settings), "web")


def test_how_strictly_messages_are_read_is_set() -> None:
    parsing = frontend(max_head="8KiB", max_fields=7, restrict_header_names="reject").parsing
    assert (parsing.max_head_bytes, parsing.max_fields, parsing.odd_names) == (8192, 7, "reject")
    assert http_backend(load(accept_invalid_http_response=True).backends["app"]).parsing.accept_invalid


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("503.html", b"text/html; charset=utf-8"),
        ("503.HTM", b"text/html; charset=utf-8"),
        ("503.json", b"application/json"),
        ("503.txt", b"text/plain; charset=utf-8"),
    ],
)
def test_the_name_of_an_error_file_tells_its_type(tmp_path: Path, name: str, kind: bytes) -> None:
    (tmp_path / name).write_bytes(b"a page")
    said = frontend(error_files={"503": str(tmp_path / name)}).answers.error(503, make_request(), True)
    assert b"\r\nContent-Type: %b\r\n" % kind in said
    assert said.endswith(b"\r\n\r\na page")


def test_every_error_file_that_is_not_to_be_had_is_told(tmp_path: Path) -> None:
    (tmp_path / "big.html").write_bytes(b"x" * (MAX_ERROR_FILE + 1))
    (tmp_path / "page.php").write_bytes(b"x")
    files = {"502": "none.html", "503": "big.html", "504": "page.php"}
    with pytest.raises(ConfigError) as caught:
        frontend(error_files={status: str(tmp_path / name) for status, name in files.items()})
    missing, big, odd = caught.value.problems
    assert missing == f"error_files.502: {tmp_path}/none.html: No such file or directory"
    assert big.startswith("error_files.503: ")
    assert "has more than 65536 bytes" in big
    assert odd == f"error_files.504: {tmp_path}/page.php must end with .html, .htm, .json, .txt: it tells the type"


def test_there_is_a_plan_for_every_backend_that_routes_or_policies_may_lead_to() -> None:
    plain = frontend()
    assert set(plain._plans) == {"app"}
    routed = frontend(routes=[{"path": "/a", "backend": "other"}, {"refuse": True}])
    assert set(routed._plans) == {"app", "other"}
    asked = frontend(policies=[{"use": "source", "deny": ["192.0.2.1"]}])
    assert set(asked._plans) == {"app", "other"}


def test_a_body_that_is_held_takes_no_more_memory_than_it_may_be_long() -> None:
    for held, expected in (
        (True, (16 << 10, 1 << 20)),
        ({"max": "1KiB"}, (1024, 1024)),
        ({"memory": "2KiB", "max": "8KiB"}, (2048, 8192)),
    ):
        bodies = frontend(buffer_request=held).bodies
        assert bodies is not None
        assert bodies.buffering is not None
        assert (bodies.buffering.memory, bodies.buffering.maximum) == expected
