"""gunicorn's own corpora, from its source archive: valid requests arrive equal in meaning, invalid ones are refused.

Each deviation is named here, with why we are stricter or otherwise than gunicorn.
"""

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec import structs

from tests.conftest import do_without
from tests.wire.http1_corpus.cases import Outcome, read_request
from twisted_lb.wire.http1 import Http1Settings, RequestHead

pytestmark = [pytest.mark.slow]

ARCHIVE = "gunicorn==27.0.1"

STRICTER = {
    # RFC 9112, section 3.2: a fragment is never sent.
    "005": "http1-target-bytes",
    # One Transfer-Encoding, and that is chunked: nobody here undoes others, nor counts codings over several lines.
    "025": "http1-coding-twice",
    "025_line": "http1-coding-known",
    "029": "http1-coding-twice",
    "030": "http1-coding-twice",
    "rfc9112_smuggle_gzip_chunked_01": "http1-coding-known",
    "rfc9112_smuggle_te_identity_chunked_01": "http1-coding-unknown",
    # gunicorn accepts these by settings that undo the RFC: a blank before the colon, obsolete folding.
    "028": "http1-space-before-colon",
    "compat_obs_fold": "http1-fold",
    "compat_obs_fold_huge": "http1-fold",
    # A password in a target: RFC 9110, section 4.2.4, asks to take it for an error.
    "rfc9112_target_absolute_userinfo_01": "http1-target-userinfo",
    # A PROXY header comes first: another module reads it, before HTTP is.
    "pp_01": "http1-version-malformed",
    "pp_02": "http1-version-malformed",
    "pp_04": "http1-empty-lines",
    "pp_05": "http1-empty-lines",
    # gunicorn takes the end of the data for the end of a body that was announced to be longer.
    "099": "more",
    # gunicorn hides Content_Length and Transfer_Encoding from its applications; here they are not passed on.
    "040": "headers",
    # gunicorn changes the method to capitals by a setting; a method is case-sensitive.
    "031compat": "method",
}
"""Valid for gunicorn, otherwise here: the rule that refuses it, or in what it differs."""
NOT_INVALID = {
    "001": "it ends within its head: not whole",
    "rfc9112_chunked_missing_final_crlf_01": "it ends within its body: not whole",
    "003c": "a method that begins with a dash is a token; gunicorn wants letters first",
    "006": "a request line of more than 4094 bytes: here only the head as a whole is limited",
    "007": "a field of more than 8190 bytes: likewise",
    "008": "likewise",
    "010": "a field longer than a setting of gunicorn's allows: likewise",
    "012": "likewise",
    "017": "likewise",
    "limit_header_default_01": "likewise",
    "019": "X-Forwarded-Ssl against X-Forwarded-Proto: what clients say of themselves is not believed, but replaced",
    "041": "two Content-Types: they decide on nothing here",
    "chunked_07": "Transfer_Encoding beside Transfer-Encoding: not passed on",
}
"""Invalid for gunicorn, but not here: why."""


def ours(theirs: dict[str, Any]) -> Http1Settings:
    """Translate the settings with which gunicorn reads a request."""
    return Http1Settings(
        max_fields=theirs.get("limit_request_fields", 100),
        max_head_bytes=32768 if "limit_request_line" in theirs else 16384,
        body_with_any_method=True,
    )


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with gunicorn's requests; pip fetches it, so this takes a package index."""
    folder = tmp_path_factory.mktemp("gunicorn")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps", ARCHIVE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    archives = list(folder.glob("gunicorn-*.tar.gz"))
    if not archives:
        do_without(f"needs the source archive of {ARCHIVE}, which pip cannot get: {done.stderr[-300:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("gunicorn-*/tests/requests"))


def data_of(path: Path) -> bytes:
    """Return the bytes that a file of the corpora stands for, as its own reader does."""
    data = path.read_bytes().replace(b"\n", b"").replace(b"\\r\\n", b"\r\n")
    data = data.replace(b"\\0", b"\0").replace(b"\\n", b"\n").replace(b"\\t", b"\t")
    out, rest = b"", data
    while b"\\x" in rest:
        before, _, rest = rest.partition(b"\\x")
        out += before + bytes.fromhex(rest[:2].decode())
        rest = rest[2:]
    return out + rest


class Config:
    """Notes what a file sets; gunicorn's own would need gunicorn."""

    def __init__(self) -> None:
        self.was_set: dict[str, Any] = {}

    def set(self, name: str, value: object) -> None:
        self.was_set[name] = value


def expectation(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the requests that a file expects, and the settings with which gunicorn accepts them."""
    for name in ("gunicorn", "gunicorn.config", "gunicorn.http", "gunicorn.http.errors", "gunicorn.util"):
        module = ModuleType(name)
        module.__dict__.update({"Config": Config, "__getattr__": lambda name: name})
        monkeypatch.setitem(sys.modules, name, module)
    names: dict[str, Any] = {"uri": lambda raw: raw, "cfg": Config()}
    exec(compile(path.read_text(), str(path), "exec"), names)  # it is gunicorn's data, in its own language
    expected = names["request"]
    return expected if isinstance(expected, list) else [expected], names["cfg"].was_set


def outcomes(data: bytes, how: Http1Settings) -> Iterator[Outcome]:
    """Read one request after the other, as they come on one connection."""
    while data:
        outcome = read_request([data], how)
        yield outcome
        if outcome.head is None or not outcome.head.keep_alive:
            return
        data = outcome.rest


def with_host(data: bytes) -> bytes:
    """Give each request that lacks it a Host; the rest stays."""
    out = b""
    while data:
        refused = read_request([data]).refused
        if refused is not None and refused[0] == "http1-host-missing":
            line, _, rest = data.partition(b"\r\n")
            data = b"%b\r\nHost: added\r\n%b" % (line, rest)
        outcome = read_request([data])
        if outcome.head is None:
            return out + data
        out += data[: len(data) - len(outcome.rest)]
        data = outcome.rest
    return out


def difference(outcome: Outcome, expected: dict[str, Any]) -> list[str]:
    """Name in what a request does not mean what gunicorn says."""
    head = outcome.head
    assert isinstance(head, RequestHead)
    fields = [(name.decode("latin-1").upper(), value.decode("latin-1")) for name, value in head.headers.items()]
    trailers = [line.partition(b":") for line in outcome.trailers.split(b"\r\n") if line]
    means = {
        "method": head.method.decode("latin-1"),
        "uri": head.target.decode("latin-1"),
        "version": tuple(map(int, head.version.split(b"."))),
        "headers": [field for field in fields if field != ("HOST", "added")],
        "body": outcome.body,
        "trailers": [(name.decode().upper(), value.decode().strip()) for name, _, value in trailers],
    }
    wanted = {"trailers": [], **expected, "body": expected["body"] or b""}
    return [name for name, value in means.items() if value != wanted[name]]


def test_valid_requests_arrive_equal_in_meaning(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((corpora / "valid").glob("*.http"))
    assert len(paths) > 50
    wrong, met = [], set()
    for path in paths:
        expected, theirs = expectation(path.with_suffix(".py"), monkeypatch)
        results = list(outcomes(with_host(data_of(path)), ours(theirs)))
        differs = [outcome.refused[0] for outcome in results if outcome.refused]
        differs += ["more" for outcome in results if outcome.more]
        if not differs and len(results) != len(expected):
            differs = [f"{len(results)} requests"]
        if not differs:
            differs = [name for pair in zip(results, expected, strict=True) for name in difference(*pair)]
        if differs:
            met.add(path.stem)
        wanted = STRICTER.get(path.stem)
        if differs != ([] if wanted is None else [wanted]):
            wrong.append(f"{path.stem}: {differs}")
    assert not wrong, "\n".join(wrong)
    assert met == set(STRICTER), "each deviation is met"


def test_invalid_requests_are_refused(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((corpora / "invalid").glob("*.http"))
    assert len(paths) > 50
    passed = set()
    for path in paths:
        _, theirs = expectation(path.with_suffix(".py"), monkeypatch)
        how = structs.replace(ours(theirs), body_with_any_method=False)
        if not any(outcome.refused for outcome in outcomes(with_host(data_of(path)), how)):
            passed.add(path.stem)
    assert passed == set(NOT_INVALID)
