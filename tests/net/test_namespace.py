"""Sockets in other network namespaces: where they are, where the thread stays, and what is said when it cannot be."""

import contextlib
import gc
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twisted_lb.errors import ConfigError
from twisted_lb.net import namespace
from twisted_lb.net.namespace import Namespaces, path_of

pytestmark = pytest.mark.linux
in_namespaces = [pytest.mark.root, pytest.mark.daemon("ip")]

HERE = "/proc/thread-self/ns/net"
COUNT = 10_000

Make = Callable[[], str]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=20)


@pytest.fixture
def make() -> Iterator[Make]:
    """Make network namespaces, with their loopback interfaces up: ``make()`` returns a new one's name."""
    numbers, made = itertools.count(), list[str]()

    def making() -> str:
        name = f"lbt{os.getpid()}n{next(numbers)}"
        ip("netns", "add", name)
        made.append(name)
        ip("-n", name, "link", "set", "lo", "up")
        return name

    yield making
    for name in made:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def run_python(program: str, *arguments: str, via: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*via, sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def problem(name: str) -> str:
    """What is said about a namespace that cannot be opened."""
    with pytest.raises(ConfigError) as caught:
        Namespaces().open(name)
    (text,) = caught.value.problems
    assert text.startswith(f'namespace "{name}": ')
    return text


def test_a_name_is_one_of_ip_netns_and_what_begins_with_a_slash_is_a_path() -> None:
    assert path_of("blue") == "/run/netns/blue"
    assert path_of("/proc/1/ns/net") == "/proc/1/ns/net"


class TestInside:
    """With a namespace that exists."""

    pytestmark = in_namespaces

    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
    def test_a_socket_is_there_and_the_thread_is_here(self, make: Make, family: int) -> None:
        name = make()
        home = os.readlink(HERE)
        with contextlib.closing(
            Namespaces().open(name).socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        ) as sock:
            assert os.readlink(HERE) == home
            assert namespace_of(sock) == os.stat(f"/run/netns/{name}").st_ino
            assert sock.family == family
            assert sock.gettimeout() == 0
            assert not os.get_inheritable(sock.fileno())

    def test_listener_and_client_meet_there_and_not_here(self, make: Make) -> None:
        there = Namespaces().open(make())
        with contextlib.closing(there.socket(socket.AF_INET, socket.SOCK_STREAM)) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            address = listener.getsockname()
            with socket.socket() as outside:
                assert outside.connect_ex(address) != 0
            with contextlib.closing(there.socket(socket.AF_INET, socket.SOCK_STREAM)) as inside:
                assert inside.connect_ex(address) == 0

    def test_after_10000_sockets_the_thread_is_in_its_own_and_no_descriptor_is_left(self, make: Make) -> None:
        home, before = os.readlink(HERE), descriptors()
        there = Namespaces().open(make())
        for _ in range(COUNT):
            there.socket(socket.AF_INET, socket.SOCK_STREAM).close()
        assert os.readlink(HERE) == home
        with socket.socket() as plain:
            assert namespace_of(plain) == os.stat(HERE).st_ino
        del there
        assert descriptors() == before

    def test_the_thread_comes_back_when_there_is_no_socket(self, make: Make) -> None:
        there = Namespaces().open(make())
        home, before = os.readlink(HERE), descriptors()
        with pytest.raises(OSError, match=r"not supported|[Pp]rotocol"):
            there.socket(socket.AF_INET, socket.SOCK_STREAM, 255)
        assert os.readlink(HERE) == home
        assert descriptors() == before

    def test_a_path_will_do(self, make: Make) -> None:
        path = f"/run/netns/{make()}"
        with contextlib.closing(Namespaces().open(path).socket(socket.AF_INET, socket.SOCK_STREAM)) as sock:
            assert namespace_of(sock) == os.stat(path).st_ino

    def test_unchanged_it_is_the_same_object(self, make: Make) -> None:
        namespaces, name = Namespaces(), make()
        first, before = namespaces.open(name), descriptors()
        assert namespaces.open(name) is first
        assert descriptors() == before

    def test_made_anew_under_the_same_name_it_is_opened_anew(self, make: Make) -> None:
        namespaces, name = Namespaces(), make()
        old = namespaces.open(name)
        ip("netns", "del", name)
        ip("netns", "add", name)
        new = namespaces.open(name)
        assert new is not old
        assert new.identity != old.identity
        with contextlib.closing(new.socket(socket.AF_INET, socket.SOCK_STREAM)) as sock:
            assert namespace_of(sock) == os.stat(f"/run/netns/{name}").st_ino == new.identity[1]
        with contextlib.closing(old.socket(socket.AF_INET, socket.SOCK_STREAM)) as sock:
            assert namespace_of(sock) == old.identity[1]
        assert namespaces.open(name) is new

    def test_the_identity_is_that_of_the_file(self, make: Make) -> None:
        name = make()
        status = os.stat(f"/run/netns/{name}")
        there = Namespaces().open(name)
        assert there.identity == (status.st_dev, status.st_ino)
        assert not there.is_home

    def test_its_own_one_is_known(self) -> None:
        home = Namespaces().open("/proc/self/ns/net")
        assert home.is_home
        with contextlib.closing(home.socket(socket.AF_INET, socket.SOCK_STREAM)) as sock:
            assert namespace_of(sock) == os.stat(HERE).st_ino

    def test_one_that_nobody_has_any_more_is_closed(self, make: Make) -> None:
        namespaces = Namespaces()
        keep = namespaces.open(make())
        before = descriptors()
        namespaces.open(make())
        assert descriptors() == before
        assert keep.name

    def test_the_descriptors_are_not_for_other_programs(self, make: Make) -> None:
        before = open_namespaces()
        there = Namespaces().open(make())
        opened = open_namespaces() - before
        assert len(opened) == 2, "itself and the way back"
        assert not any(os.get_inheritable(fd) for fd in opened)
        assert there.name

    def test_without_a_way_back_the_process_ends(self, make: Make) -> None:
        done = run_python(NO_WAY_BACK, make())
        assert done.returncode == -signal.SIGABRT, done.stderr
        assert re.search(r"cannot come back from namespace lbt\w+: (Bad file descriptor|Invalid argument)", done.stderr)
        assert "still here" not in done.stdout

    def test_a_way_back_that_leads_elsewhere_is_not_taken(self, make: Make) -> None:
        done = run_python(WRONG_WAY_BACK, make())
        assert done.returncode == -signal.SIGABRT, done.stderr
        assert "cannot come back from namespace" in done.stderr
        assert "still here" not in done.stdout

    def test_without_the_privilege_it_cannot_be_opened(self, make: Make) -> None:
        name = make()
        done = run_python(OPEN, name, via=UNPRIVILEGED)
        assert done.stdout == f'namespace "{name}": entering it needs root or CAP_SYS_ADMIN\n', done.stderr

    def test_when_the_privilege_is_given_up_later_only_that_socket_fails(self, make: Make) -> None:
        done = run_python(GIVE_UP_LATER, make())
        assert done.stdout == "PermissionError\nat home\n", done.stderr


UNPRIVILEGED = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--")
OPEN = """
import sys
from twisted_lb.errors import ConfigError
from twisted_lb.net.namespace import Namespaces
try:
    Namespaces().open(sys.argv[1])
except ConfigError as error:
    print(error)
"""
NO_WAY_BACK = """
import os, socket, sys
from twisted_lb.net.namespace import Namespaces
there = Namespaces().open(sys.argv[1])
os.close(there._home.fd)
there.socket(socket.AF_INET, socket.SOCK_STREAM)
print("still here", flush=True)
"""
WRONG_WAY_BACK = """
import os, socket, sys
from twisted_lb.net.namespace import Namespaces
there = Namespaces().open(sys.argv[1])
mount = os.open("/proc/self/ns/mnt", os.O_RDONLY)
os.dup2(mount, there._home.fd)
there.socket(socket.AF_INET, socket.SOCK_STREAM)
print("still here", flush=True)
"""
GIVE_UP_LATER = """
import os, socket, sys
from twisted_lb.net.namespace import Namespaces
there = Namespaces().open(sys.argv[1])
home = os.readlink("/proc/thread-self/ns/net")
os.setresuid(65534, 65534, 65534)
try:
    there.socket(socket.AF_INET, socket.SOCK_STREAM)
except PermissionError as error:
    print(type(error).__name__)
print("at home" if os.readlink("/proc/thread-self/ns/net") == home else "lost")
"""

SIOCGSKNS = 0x894C


def namespace_of(sock: socket.SocketType) -> int:
    """The inode of the network namespace that a socket is in, as the kernel says; needs CAP_NET_ADMIN."""
    import fcntl

    fd = fcntl.ioctl(sock.fileno(), SIOCGSKNS)
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def open_namespaces() -> set[int]:
    """The descriptors of namespaces that this process has open."""
    found = set()
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # that of the folder itself is closed by now
            if os.readlink(f"/proc/self/fd/{fd}").startswith(("net:", "/run/netns/", "/var/run/netns/")):
                found.add(fd)
    return found


# What cannot be opened


def test_a_missing_one_is_named_with_what_would_make_it() -> None:
    assert problem("lbt-missing").endswith("there is no /run/netns/lbt-missing; make it with: ip netns add lbt-missing")
    assert problem("/nowhere/ns").endswith("there is no /nowhere/ns")


@pytest.mark.root
def test_what_is_no_network_namespace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "file", tmp_path / "fifo", tmp_path, Path("/proc/self/ns/mnt"), Path("/dev/null")):
        assert problem(str(path)).endswith(f"{path} is no network namespace")


def test_one_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert "Too many levels of symbolic links" in problem(str(tmp_path / "loop"))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../etc", "a\0b", "/run/a\0b"])
def test_what_is_neither_name_nor_path_is_refused(name: str) -> None:
    assert "neither a name" in problem(name)


def test_a_failure_leaves_no_descriptor(tmp_path: Path) -> None:
    namespaces = Namespaces()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError):
        namespaces.open(str(tmp_path / "file"))  # the way back is open from now on
    before = descriptors()
    for _ in range(100):
        with pytest.raises(ConfigError):
            namespaces.open(str(tmp_path / "file"))
    assert descriptors() == before


def test_without_proc_there_would_be_no_way_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(namespace, "_OWN", "/nowhere")
    (tmp_path / "file").write_text("")
    assert "there would be no way back: /nowhere: No such file or directory" in problem(str(tmp_path / "file"))


def test_other_systems_are_told_that_they_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert problem("blue").endswith("network namespaces need Linux, and this is darwin")
