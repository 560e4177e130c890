"""Files of lists that change are read again, in one step, and bad versions change nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from twisted_lb.config.model import ListFile
from twisted_lb.rules.list_watch import EVERY_S, ListWatch, in_thread_of
from twisted_lb.rules.lists import ListFiles, Loaded, signature_of


class World:
    """One list of networks, ``10.0.0.0/8``, that is watched."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("10.0.0.0/8\n")
        self.clock = Clock()
        self.lists = ListFiles({"bad": ListFile(file=str(path))})
        self.view = self.lists.view("bad", "networks")
        self.runs = 0
        self.watch = ListWatch(self.lists, self.clock, self._run)
        self.watch.start()

    def _run(self, call: Callable[[], Loaded]) -> "Deferred[Loaded]":
        self.runs += 1
        read = maybeDeferred(call)
        self.meanwhile()
        return read

    def meanwhile(self) -> None:
        """What happens while the file is read."""

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.advance(EVERY_S)

    def replace(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.rename(self.path)

    @property
    def blocks(self) -> list[str]:
        return [host for host in ("10.0.0.1", "192.0.2.1") if self.view.contains(host)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "list")
    yield made
    made.watch.stop()
    assert not made.clock.getDelayedCalls()


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        if str(event.get("log_namespace")).startswith("twisted_lb."):
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    yield lines
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]


def test_a_file_that_stays_is_not_read_again(world: World) -> None:
    world.look(5)
    assert world.runs == 0
    assert world.blocks == ["10.0.0.1"]


def test_a_new_version_is_in_force_when_it_has_looked_the_same_twice(world: World, log: list[str]) -> None:
    world.replace("192.0.2.0/24\n")
    world.look()
    assert world.blocks == ["10.0.0.1"]
    world.look()
    assert world.blocks == ["192.0.2.1"]
    assert log == ["list bad: read anew, 1 entries"]
    world.look(3)
    assert world.runs == 1


def test_a_file_that_is_being_written_is_left_alone(world: World) -> None:
    for number in range(5):
        with world.path.open("a") as file:
            file.write(f"192.0.{number}.0/24\n")
        world.look()
    assert world.runs == 0
    world.look()
    assert world.blocks == ["10.0.0.1", "192.0.2.1"]


def test_a_version_that_changed_while_it_was_read_is_not_put_in_force(world: World, log: list[str]) -> None:
    """Of a list that is written in place, a part was in force for two seconds: of those to be denied, say."""

    def more() -> None:
        with world.path.open("a") as file:
            file.write("10.0.0.0/8\n")
        world.meanwhile = lambda: None  # type: ignore[method-assign]

    world.meanwhile = more  # type: ignore[method-assign]
    world.replace("192.0.2.0/24\n")
    world.look(2)
    assert world.blocks == ["10.0.0.1"]
    world.look(2)
    assert world.blocks == ["10.0.0.1", "192.0.2.1"]
    assert log == ["list bad: read anew, 2 entries"]


def test_a_link_that_leads_elsewhere_is_a_new_version(world: World) -> None:
    other = world.path.with_suffix(".other")
    other.write_text("192.0.2.0/24\n")
    world.path.unlink()
    world.path.symlink_to(other)
    world.look(2)
    assert world.blocks == ["192.0.2.1"]


def test_a_bad_version_leaves_the_one_before_in_force_and_is_told_once(world: World, log: list[str]) -> None:
    world.replace("192.0.2.0/24\nx\n")
    world.look(6)
    assert world.blocks == ["10.0.0.1"]
    assert log == [
        f"list bad: {world.path}:2: \"x\" is no network: 'x' does not appear to be an IPv4 or IPv6 network",
        "list bad: the version before stays in force",
    ]
    world.replace("192.0.2.0/24\n")
    world.look(2)
    assert world.blocks == ["192.0.2.1"]


def test_a_file_that_goes_leaves_the_one_before_in_force_and_is_told_once(world: World, log: list[str]) -> None:
    world.path.unlink()
    world.look(5)
    assert world.blocks == ["10.0.0.1"]
    assert len(log) == 2
    world.path.write_text("192.0.2.0/24\n")
    world.look(2)
    assert world.blocks == ["192.0.2.1"]


def test_at_the_start_what_has_changed_is_read_at_once(tmp_path: Path) -> None:
    world = World(tmp_path / "list")
    world.watch.stop()
    world.replace("192.0.2.0/24\n")
    world.watch.start()
    assert world.blocks == ["192.0.2.1"]
    world.watch.stop()


def test_while_a_version_is_read_no_other_is(tmp_path: Path) -> None:
    world = World(tmp_path / "list")
    world.watch.stop()
    waiting: list[Deferred[Loaded]] = []

    def run(call: Callable[[], Loaded]) -> "Deferred[Loaded]":
        waiting.append(Deferred())
        return waiting[-1]

    watch = ListWatch(world.lists, world.clock, run)
    watch.start()
    world.replace("192.0.2.0/24\n")
    world.look(5)
    assert len(waiting) == 1
    waiting[0].callback(Loaded(lambda host: True, 1, signature_of(str(world.path))))
    assert world.blocks == ["10.0.0.1", "192.0.2.1"]
    watch.stop()


def test_a_defect_in_reading_is_logged_and_changes_nothing(tmp_path: Path, log: list[str]) -> None:
    world = World(tmp_path / "list")
    world.watch.stop()
    watch = ListWatch(world.lists, world.clock, lambda call: fail(OSError("gone")))
    watch.start()
    world.replace("192.0.2.0/24\n")
    world.look(2)
    watch.stop()
    assert world.blocks == ["10.0.0.1"]
    assert log == ["list bad: reading it failed"]


def test_without_a_list_in_use_nothing_is_watched() -> None:
    clock = Clock()
    watch = ListWatch(ListFiles({"bad": ListFile(file="/x")}), clock, maybeDeferred)
    watch.start()
    assert not clock.getDelayedCalls()
    watch.stop()


def test_files_are_read_in_a_thread_of_the_reactors_pool() -> None:
    asked: list[object] = []
    pool = SimpleNamespace(callInThreadWithCallback=lambda done, call: asked.append(call))
    call = lambda: None  # noqa: E731
    in_thread_of(SimpleNamespace(getThreadPool=lambda: pool))(call)  # type: ignore[arg-type]
    assert asked == [call]
