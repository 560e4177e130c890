"""``python -m benchmarks`` as a user runs it; its figures are nobody's business here."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.errors import MissingProgramError
from benchmarks.programs import find_program

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks", *arguments]


def environment(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary)}


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def programs() -> None:
    """Skip, naming what to install, where a load tool or the peer to compare with is missing."""
    for name in ("nginx", "haproxy", "wrk", "ab"):
        try:
            find_program(name)
        except MissingProgramError as missing:
            pytest.skip(str(missing))


def is_installed(program: str) -> bool:
    """Whether the benchmarks find ``program``."""
    try:
        find_program(program)
    except MissingProgramError:
        return False
    return True


def left_behind(temporary: Path) -> list[str]:
    """Files in the temporary folder, and processes that work in it or inherited it as theirs."""
    found = [str(path) for path in temporary.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            traces = os.readlink(process / "cwd") + (process / "environ").read_text(errors="replace")
            program = (process / "cmdline").read_text()
        except OSError:
            continue  # It ended meanwhile, or is another user's.
        if str(temporary) in traces:
            found.append(f"{process.name} {program}")
    return found


@pytest.mark.usefixtures("programs")
@pytest.mark.linux
def test_a_quick_run_measures_every_peer_and_leaves_nothing_behind(tmp_path: Path, temporary: Path) -> None:
    report = tmp_path / "report.md"
    ended = subprocess.run(
        command(
            *("--quick", "--only", "ka,conn,proxy,bulk1,idle"),
            *("--peers", "ours,ours-json-log,ours-tcp-options,haproxy,portforward"),
            *("--markdown", str(report)),
        ),
        cwd=ROOT,
        env=environment(temporary),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert report.read_text() == ended.stdout.removesuffix("\n")
    assert "- Note:" not in ended.stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ended.stdout.splitlines() if line[:1] == "|"]
    for peer, workloads in {"ours": 5, "haproxy": 5, "portforward": 4}.items():
        found = [row for row in rows if row[0] == peer]
        assert len(found) == workloads, (peer, found)
        assert not any("-" in row for row in found), found
    for variant in ("ours-json-log", "ours-tcp-options"):
        assert any(row[0] == f"conn, connections/s: {variant}" and float(row[-1]) > 0 for row in rows)
    assert left_behind(temporary) == []


@pytest.mark.usefixtures("programs")
@pytest.mark.linux
def test_http_mode_is_measured_in_every_peer_that_is_there(temporary: Path) -> None:
    workloads = ("http-ka", "http-browser", "http-conn", "http-bulk", "http-uploads")
    variants = ["ours-buffer-request", "nginx-request-buffering"]
    peers = ["ours", "haproxy", "nginx", *variants, *(["envoy"] if is_installed("envoy") else [])]
    ended = subprocess.run(
        command("--quick", "--only", ",".join(workloads), "--peers", ",".join(peers)),
        cwd=ROOT,
        env=environment(temporary),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "- Note:" not in ended.stdout
    for peer in peers:
        found = [line for line in ended.stdout.splitlines() if line.startswith(f"| {peer} ")]
        assert len(found) == (1 if peer in variants else len(workloads)), (peer, found)
    assert left_behind(temporary) == []


@pytest.mark.usefixtures("programs")
@pytest.mark.linux
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_a_run_stops_everything(number: signal.Signals, status: int, temporary: Path) -> None:
    with subprocess.Popen(
        command("--seconds", "60", "--only", "ka", "--peers", "haproxy,nginx,portforward"),
        cwd=ROOT,
        env=environment(temporary),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        said = ""
        while "round 1 of" not in said:
            line = running.stderr.readline()
            assert line, f"it ended by itself: {said}"
            said += line
        running.send_signal(number)
        running.communicate(timeout=60)
    assert running.returncode == status
    assert left_behind(temporary) == []


def test_what_is_missing_is_named_with_its_debian_package(temporary: Path) -> None:
    script = (
        "import sys; from benchmarks import programs; programs.SEARCH_PATH = '';"
        "from benchmarks.__main__ import main; sys.exit(main(['--quick']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment(temporary),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    for text in (
        "haproxy is left out: haproxy is not installed: apt install haproxy",
        "nginx is left out: nginx is not installed: apt install nginx-light",
        "ka is left out: wrk is not installed: apt install wrk",
        "conn is left out: ab is not installed: apt install apache2-utils",
        "nothing to measure with",
    ):
        assert text in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--only", "kb"], "'kb' is not one of ka, ka1, conn"),
        (["--peers", "squid"], "'squid' is not one of ours"),
        (["--rounds", "0"], "must be at least 1"),
        (["--also", "x=y {prot}"], "unknown placeholder"),
    ],
)
def test_a_bad_option_is_explained(arguments: list[str], complaint: str) -> None:
    ended = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert complaint in ended.stderr
