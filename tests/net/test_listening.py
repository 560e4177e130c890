"""Listening sockets of every kind: what they are bound to, what they refuse, and what they leave behind."""

import contextlib
import errno
import fcntl
import os
import pwd
import resource
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twisted_lb.errors import ConfigError
from twisted_lb.net import listening
from twisted_lb.net.listening import (
    UnixOptions,
    blamed_on,
    identity_of,
    open_inherited,
    open_tcp,
    open_unix_abstract,
    open_unix_path,
    owner_of,
    remove_unix_path,
)

Keep = Callable[[socket.SocketType], socket.SocketType]
PLAIN = UnixOptions()


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Close these sockets at the end."""
    kept: list[socket.SocketType] = []

    def add(sock: socket.SocketType) -> socket.SocketType:
        kept.append(sock)
        return sock

    yield add
    for sock in kept:
        sock.close()


def reaches(listener: socket.SocketType, address: Any) -> bool:
    """Whether a client that connects to ``address`` arrives at this listener and no other."""
    with socket.socket(listener.family) as client:
        client.settimeout(5)
        client.connect(address)
        fd, _ = listener._accept()  # type: ignore[attr-defined]
        with socket.socket(fileno=fd) as accepted:
            accepted.sendall(b"!")
            return client.recv(1) == b"!"


# TCP


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_it_listens_over_ip(keep: Keep, family: int, host: str) -> None:
    listener = keep(open_tcp(family, (host, 0), 16))
    assert listener.family == family
    assert listener.gettimeout() == 0
    assert not os.get_inheritable(listener.fileno())
    assert reaches(listener, listener.getsockname())


def test_accepted_sockets_inherit_that_small_pieces_do_not_wait(keep: Keep) -> None:
    listener = keep(open_tcp(socket.AF_INET, ("127.0.0.1", 0), 16))
    with socket.create_connection(listener.getsockname()):
        fd, _ = listener._accept()  # type: ignore[attr-defined]
        with socket.socket(fileno=fd) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_an_ipv6_address_leaves_ipv4_alone(keep: Keep) -> None:
    for _ in range(20):  # which port of IPv4 another process has the kernel does not look at here
        own = keep(open_tcp(socket.AF_INET6, ("::", 0), 16))
        assert own.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        with contextlib.suppress(OSError):
            keep(open_tcp(socket.AF_INET, ("0.0.0.0", own.getsockname()[1]), 16))
            return
    pytest.fail("none of twenty ports could be had over IPv4 as well")


def test_a_port_in_use_is_refused_and_nothing_stays_open(keep: Keep) -> None:
    first = keep(open_tcp(socket.AF_INET, ("127.0.0.1", 0), 16))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="in use") as caught:
        open_tcp(socket.AF_INET, first.getsockname(), 16)
    assert caught.value.errno == errno.EADDRINUSE
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_port_whose_connections_still_linger_can_be_opened_again(keep: Keep) -> None:
    """After a restart there are connections in TIME_WAIT on it."""
    listener = open_tcp(socket.AF_INET, ("127.0.0.1", 0), 16)
    address = listener.getsockname()
    client = socket.create_connection(address)
    fd, _ = listener._accept()  # type: ignore[attr-defined]
    os.close(fd)  # the server's side closes first: TIME_WAIT is here
    client.close()
    listener.close()
    keep(open_tcp(socket.AF_INET, address, 16))


def test_2000_ports_open_in_under_a_second(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2300:
        pytest.skip(f"needs 2300 descriptors, and this process may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2300), hard))
    try:
        begin = time.thread_time()
        listeners = [open_tcp(socket.AF_INET, ("127.7.7.7", 10_000 + number), 1024) for number in range(2000)]
        took_s = time.thread_time() - begin
        for listener in listeners:
            listener.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with capsys.disabled():
        print(f" [2000 ports in {took_s:.3f} s]", end="")
    assert took_s < 1.0


# Unix paths


def test_it_listens_at_a_path(keep: Keep, tmp_path: Path) -> None:
    path = tmp_path / "s"
    listener = keep(open_unix_path(str(path), 16, PLAIN))
    assert reaches(listener, str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]


def test_a_stale_path_is_replaced(keep: Keep, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    listener = keep(open_unix_path(path, 16, PLAIN))
    assert reaches(listener, path)


def test_a_stale_path_is_replaced_without_a_moment_in_which_it_is_missing(keep: Keep, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    looks, missing, done = 0, 0, threading.Event()

    def look() -> None:
        nonlocal looks, missing
        while not done.is_set():
            looks += 1
            missing += not os.path.lexists(path)

    watching = threading.Thread(target=look)
    watching.start()
    for _ in range(300):
        open_unix_path(path, 16, PLAIN).close()  # closing leaves a stale path behind
    done.set()
    watching.join()
    assert looks > 300
    assert missing == 0


def test_a_live_path_is_refused_and_lives_on(keep: Keep, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    live = keep(open_unix_path(path, 16, PLAIN))
    with pytest.raises(OSError, match="in use") as caught:
        open_unix_path(path, 16, PLAIN)
    assert caught.value.errno == errno.EADDRINUSE
    live._accept()[0]  # type: ignore[attr-defined]  # the question itself is a connection that was closed at once
    assert reaches(live, path)


def test_a_live_path_whose_backlog_is_full_is_refused_too(keep: Keep, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    keep(open_unix_path(path, 0, PLAIN))
    for _ in range(5):
        sock = keep(socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        if sock.connect_ex(path) == errno.EAGAIN:
            break
    with pytest.raises(OSError, match="in use"):
        open_unix_path(path, 16, PLAIN)


@pytest.mark.parametrize("length", [95, 96, 107])
def test_a_path_may_have_107_bytes(keep: Keep, length: int) -> None:
    """Seen: its temporary name was too long from 96 bytes on."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = f"{folder}/".ljust(length, "s")
        listener = keep(open_unix_path(path, 16, UnixOptions(mode=0o600)))
        assert reaches(listener, path)
        assert os.listdir(folder) == [os.path.basename(path)]
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_of_two_at_one_stale_path_one_is_refused(keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen: both looked before either had renamed; the first then listened where nobody could reach it."""
    path, looked = str(tmp_path / "s"), threading.Barrier(2)
    outcomes: list[Any] = []
    look = listening._refuse_to_replace

    def slow(path: str) -> None:
        look(path)
        with contextlib.suppress(threading.BrokenBarrierError):
            looked.wait(0.2)  # for the other one, which must not have come so far

    def start() -> None:
        try:
            outcomes.append(keep(open_unix_path(path, 16, PLAIN)))
        except OSError as error:
            outcomes.append(error.errno)

    monkeypatch.setattr(listening, "_refuse_to_replace", slow)
    both = [threading.Thread(target=start) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert outcomes.count(errno.EADDRINUSE) == 1


def test_one_who_keeps_the_folder_locked_does_not_keep_us_from_opening(
    keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "LOCK_S", 0.02)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    path = str(tmp_path / "s")
    assert reaches(keep(open_unix_path(path, 16, PLAIN)), path)
    os.close(descriptor)


@pytest.mark.parametrize("kind", ["file", "folder", "fifo", "symlink"])
def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case _:
            path.symlink_to("/etc/passwd")
    before = os.lstat(path)
    with pytest.raises(FileExistsError, match="another kind"):
        open_unix_path(str(path), 16, PLAIN)
    assert os.lstat(path).st_ino == before.st_ino
    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]


def test_the_mode_is_set_before_anybody_can_connect(keep: Keep, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    keep(open_unix_path(path, 16, UnixOptions(mode=0o640)))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640


@pytest.mark.root
def test_the_owner_is_set_by_name_or_number(keep: Keep, tmp_path: Path) -> None:
    somebody = pwd.getpwnam("nobody")
    path = str(tmp_path / "s")
    keep(open_unix_path(path, 16, UnixOptions(user="nobody", group="12345")))
    status = os.stat(path)
    assert (status.st_uid, status.st_gid) == (somebody.pw_uid, 12345)


def test_one_may_give_a_socket_to_oneself(keep: Keep, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    keep(open_unix_path(path, 16, UnixOptions(user=str(os.getuid()), group=str(os.getgid()))))
    assert os.stat(path).st_uid == os.getuid()


@pytest.mark.parametrize(("user", "group"), [("no-such-user", None), (None, "no-such-group")])
def test_an_unknown_owner_is_an_error_that_leaves_nothing_behind(
    tmp_path: Path, user: str | None, group: str | None
) -> None:
    """Seen: the socket under its temporary name stayed."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError, match=r"no user|no group"):
        open_unix_path(str(tmp_path / "s"), 16, UnixOptions(user=user, group=group))
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_who_is_meant_can_be_asked_without_a_socket() -> None:
    assert owner_of(PLAIN) == (-1, -1)
    assert owner_of(UnixOptions(user="root", group="7")) == (0, 7)
    with pytest.raises(ConfigError, match="no-such-user"):
        owner_of(UnixOptions(user="no-such-user"))


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_unix_path(str(tmp_path / "missing" / "s"), 16, PLAIN)


def test_a_path_is_removed_by_the_one_who_made_it_only(keep: Keep, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    open_unix_path(path, 16, PLAIN).close()
    first = identity_of(path)
    successor = keep(open_unix_path(path, 16, PLAIN))
    remove_unix_path(path, first)
    assert reaches(successor, path), "another process has taken the path over: it is left alone"
    remove_unix_path(path, identity_of(path))
    remove_unix_path(path, first)
    assert not os.path.exists(path)


# Abstract names


def test_an_abstract_name_has_its_exact_length(keep: Keep) -> None:
    name = f"twisted-lb-test-{os.getpid()}"
    listener = keep(open_unix_abstract(name, 16))
    assert listener.getsockname() == b"\0" + name.encode()
    assert reaches(listener, b"\0" + name.encode())
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(b"\0" + name.encode() + b"\0")


def test_an_abstract_name_in_use_is_refused(keep: Keep) -> None:
    name = f"twisted-lb-test-{os.getpid()}"
    keep(open_unix_abstract(name, 16))
    with pytest.raises(OSError, match="in use"):
        open_unix_abstract(name, 16)


# Inherited descriptors


@pytest.mark.parametrize("listening", [True, False], ids=["listening already", "only bound"])
def test_an_inherited_socket_is_listened_on_and_the_original_stays(keep: Keep, listening: bool) -> None:
    with socket.socket() as original:
        original.bind(("127.0.0.1", 0))
        if listening:
            original.listen(16)
        listener = keep(open_inherited(original.fileno(), 16))
        assert listener.gettimeout() == 0
        assert not os.get_inheritable(listener.fileno())
        assert listener.fileno() != original.fileno()
        assert reaches(listener, original.getsockname())
        listener.close()
        assert original.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1, "a reload may ask for it again"


def test_what_is_no_stream_socket_is_refused_and_nothing_stays_open(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, (tmp_path / "f").open("w") as file:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="no stream socket"):
            open_inherited(datagrams.fileno(), 16)
        with pytest.raises(OSError, match="socket"):
            open_inherited(file.fileno(), 16)
        with pytest.raises(OSError, match="descriptor"):
            open_inherited(9_999_999, 16)
        assert len(os.listdir("/proc/self/fd")) == before


# Errors


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EADDRINUSE, "another process listens there"),
        (errno.EACCES, "CAP_NET_BIND_SERVICE"),
        (errno.EADDRNOTAVAIL, "no interface"),
        (errno.EMFILE, "raise the descriptor limit"),
        (errno.EBADF, "no such descriptor"),
        (errno.ENOTSOCK, "no socket"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_an_error_names_the_address_and_what_to_do(code: int, advice: str) -> None:
    with pytest.raises(ConfigError) as caught, blamed_on("127.0.0.1:80"):
        raise OSError(code, os.strerror(code))
    assert caught.value.problems[0].startswith(f"cannot listen on 127.0.0.1:80: {os.strerror(code)}")
    assert advice in caught.value.problems[0]


def test_a_port_in_use_names_the_address(keep: Keep) -> None:
    host, port = keep(open_tcp(socket.AF_INET, ("127.0.0.1", 0), 16)).getsockname()
    with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: Address already in use"), blamed_on(f"{host}:{port}"):
        open_tcp(socket.AF_INET, (host, port), 16)
