"""The tutorial shows what really happens; its commands are followed here step by step, on other ports."""

import re
import signal
import socket
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twisted_lb.config.load import load_dict

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Wait

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial" / "first-proxy.md").read_text()
FOLDER = "/tmp/tutorial"
BIN = ".venv/bin/"
TIMEOUT_S = 30


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class Learner:
    """Somebody who follows the tutorial. ``place``: what they put in place of its folder, ports and environment."""

    def __init__(self, folder: Path, free_port: "FreePort") -> None:
        self.place = {FOLDER: str(folder), BIN: f"{sysconfig.get_path('scripts')}/"}
        self.place |= {port: str(free_port()) for port in ("8080", "9001", "9002")}
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []

    def here(self, text: str) -> str:
        for there, here in self.place.items():
            text = text.replace(there, here)
        return text

    def run(self, command: str) -> str:
        """Run a command to its end; returns what it prints."""
        done = subprocess.run(
            self.here(command), shell=True, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        return done.stdout + done.stderr

    def start(self, command: str, name: str) -> "subprocess.Popen[bytes]":
        """Start a command that goes on; what it prints goes to ``name``."""
        with (self.folder / name).open("wb") as output:
            words = self.here(command).replace(" &", "").split()
            started = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
        self.running.append(started)
        return started

    def write(self, configuration: str) -> None:
        (self.folder / "lb.toml").write_text(self.here(configuration))

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def answers(self, port: str) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.place[port]))) == 0


@pytest.fixture
def learner(tmp_path: Path, free_port: "FreePort") -> Iterator[Learner]:
    learner = Learner(tmp_path, free_port)
    yield learner
    for process in learner.running:
        process.kill()
        process.wait(TIMEOUT_S)


@pytest.mark.linux
@pytest.mark.daemon("curl")
def test_the_tutorial_s_steps_have_the_results_that_it_shows(learner: Learner, wait: "Wait") -> None:
    commands = blocks("sh")
    (_, servers, smallest, ask_twice, check, run, reload, ask_from_two) = commands
    first_file, second_file, redispatch = blocks("toml")
    _, valid, misspelt = blocks("text")

    *preparations, serve_a, serve_b = servers.splitlines()
    learner.run("\n".join(preparations))
    server_a = learner.start(serve_a, "a.txt")
    learner.start(serve_b, "b.txt")
    wait(lambda: learner.answers("9001") and learner.answers("9002"), "both servers")

    proxy = learner.start(smallest, "smallest.txt")
    wait(lambda: "serving on" in learner.read("smallest.txt"), "the smallest proxy")
    ask_quietly = ask_twice.replace("curl", "curl -s")
    assert learner.run(ask_quietly) == "I am a\nI am b\n"
    wait(lambda: " main main/s2 " in learner.read("smallest.txt"), "the records")
    proxy.send_signal(signal.SIGINT)
    assert proxy.wait(TIMEOUT_S) == 0

    learner.write(first_file.replace("weight", "weigth"))
    assert learner.run(check) == learner.here(misspelt)
    learner.write(first_file)
    assert learner.run(check) == learner.here(valid)
    proxy = learner.start(run, "proxy.txt")
    wait(lambda: "serving on" in learner.read("proxy.txt"), "the proxy with a file")
    assert sorted(learner.run(ask_quietly * 2).split("\n")) == ["", "I am a", *["I am b"] * 3]

    learner.write(second_file)
    learner.run(reload)
    wait(lambda: "reloaded; serving on" in learner.read("proxy.txt"), "the reload")
    allowed, denied = ask_from_two.replace("curl", "curl -s").splitlines()
    assert learner.run(allowed).startswith("I am ")
    assert learner.run(denied) == ""
    (shown,) = blocks("json")
    wait(lambda: learner.read("access.json").count("\n") == 2, "both records")
    for field in shown.strip("{}\n").split(", "):
        assert field.replace('": ', '":') in learner.read("access.json").splitlines()[1]

    server_a.kill()
    server_a.wait(TIMEOUT_S)
    assert learner.run(ask_quietly * 2) == "I am b\n" * 4
    wait(lambda: '"retries":3,"redispatched":true' in learner.read("access.json"), "the record of a redispatch")

    data = tomllib.loads(learner.here(second_file))
    data["backends"]["app"] |= tomllib.loads(redispatch)["backends"]["app"]
    assert load_dict(data, "lb.toml").backends["app"].redispatch == 1
    learner.write(second_file.replace("[backends.app.servers]", redispatch + "[backends.app.servers]"))
    learner.run(reload)
    wait(lambda: learner.read("proxy.txt").count("reloaded; serving on") == 2, "the second reload")
    assert learner.run(ask_quietly * 2) == "I am b\n" * 4
    wait(lambda: '"retries":1,"redispatched":true' in learner.read("access.json"), "the record of a quick redispatch")
    proxy.terminate()
    assert proxy.wait(TIMEOUT_S) == 0
