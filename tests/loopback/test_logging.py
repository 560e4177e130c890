"""Where lines go when the whole process runs, and that an ordinary user's logs hold no noise."""

import json
import os
import re
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import twisted_lb
from tests.loopback.servers import Echo, ask, echo

TWISTD = os.path.join(sysconfig.get_path("scripts"), "twistd")
ORDINARY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture
def server() -> Iterator[Echo]:
    with echo() as made:
        yield made


def test_application_events_are_json_lines_if_asked_for(
    proxy: Any, tcp_config: Any, free_port: Any, server: Echo
) -> None:
    port = free_port()
    config = tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}")
    running = proxy({**config, "process": {"log_format": "json"}})
    ask(port)
    running.stop()
    events = [json.loads(line) for line in running.stderr().splitlines()]
    assert {"time", "level", "namespace", "message"} <= set(events[0])
    serving = next(event for event in events if event["message"].startswith("serving on"))
    assert serving["binds"] == f"127.0.0.1:{port}"


def test_application_events_are_text_for_people_otherwise(
    proxy: Any, tcp_config: Any, free_port: Any, server: Echo
) -> None:
    running = proxy(tcp_config(f"127.0.0.1:{free_port()}", f"127.0.0.1:{server.port}"))
    running.stop()
    for line in running.stderr().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} \w+ \[[\w.]+\] ", line)


def test_a_level_leaves_out_what_is_below_it(tcp_config: Any, proxy: Any, free_port: Any, server: Echo) -> None:
    config = tcp_config(f"127.0.0.1:{free_port()}", f"127.0.0.1:{server.port}")
    running = proxy(config)
    running.reload({**config, "process": {"log_level": "info"}})
    running.stop()
    assert {line.split(" ")[1] for line in running.stderr().splitlines()} == {"info"}


def test_access_records_go_to_standard_output_in_haproxys_form_unless_told_otherwise(
    proxy: Any, tcp_config: Any, free_port: Any, server: Echo, wait: Any
) -> None:
    port = free_port()
    running = proxy(tcp_config(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}", access_log="text"))
    assert ask(port) == b"ping"
    output = running.folder / "stdout.txt"
    wait(lambda: output.read_bytes().endswith(b"\n"), "a record")
    pattern = r"127\.0\.0\.1:\d+ \[.*\] web app/s1 0/\d+/\d+ 4 -- 1/1/1/1/0 0/0\n"
    assert re.fullmatch(pattern, output.read_text())


def test_a_reader_of_standard_output_that_stalls_does_not_stall_the_proxy(
    tmp_path: Path, free_port: Any, server: Echo, wait: Any
) -> None:
    port = free_port()
    command = [TWISTD, "-n", "twisted-lb", "--listen", f"127.0.0.1:{port}", "--server", f"127.0.0.1:{server.port}"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait(lambda: listening(port), "a listener")
        for _ in range(1000):  # some hundred bytes each; a pipe holds 64 KiB
            assert ask(port) == b"ping"
        running.send_signal(signal.SIGTERM)
        output, errors = running.communicate(timeout=15)
    finally:
        running.kill()
        running.wait(15)
    assert running.returncode == 0
    lines = output.splitlines()
    assert 100 < len(lines) < 1000
    assert all(line.count(b"127.0.0.1:") == 1 and b" main main/s1 " in line for line in lines), "a line was torn"
    assert b"Traceback" not in errors


def listening(port: int) -> bool:
    """Whether somebody answers on ``port``."""
    try:
        return ask(port) == b"ping"
    except ConnectionRefusedError:
        return False


def test_it_runs_from_any_folder_and_leaves_nothing_behind(free_port: Any, server: Echo, wait: Any) -> None:
    port = free_port()
    before = set(os.listdir("/"))
    command = [TWISTD, "-n", "twisted-lb", "--listen", f"127.0.0.1:{port}", "--server", f"127.0.0.1:{server.port}"]
    running = subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait(lambda: listening(port), "a listener")
        assert set(os.listdir("/")) == before
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=15)
    finally:
        running.kill()
        running.wait(15)
    assert running.returncode == 0
    assert b"Traceback" not in errors


@pytest.mark.root
@pytest.mark.linux
@pytest.mark.daemon("setpriv")
def test_an_ordinary_user_with_a_read_only_installation_sees_no_noise(free_port: Any, server: Echo, wait: Any) -> None:
    package = os.path.dirname(twisted_lb.__file__)
    for path in (TWISTD, package):
        if subprocess.run([*ORDINARY, "test", "-r", path], check=False).returncode:
            pytest.skip(f"no ordinary user can read {path}")
    assert subprocess.run([*ORDINARY, "test", "-w", package], check=False).returncode, "it is writable for everybody"
    port = free_port()
    command = [TWISTD, "-n", "twisted-lb", "--listen", f"127.0.0.1:{port}", "--server", f"127.0.0.1:{server.port}"]
    running = subprocess.Popen(
        [*ORDINARY, *command], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        wait(lambda: listening(port), "a listener")
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=15)
    finally:
        running.kill()
        running.wait(15)
    assert running.returncode == 0
    assert "cache" not in errors
    assert {line.split(" ")[1] for line in errors.splitlines()} == {"info"}, errors
