"""How the machine is looked at."""

from pathlib import Path

import pytest

from twisted_lb.doctor.machine import CannotLookError, Machine, inside


def test_a_command_that_is_not_there_is_named_with_its_package() -> None:
    with pytest.raises(CannotLookError, match="no-such-program is not installed") as caught:
        Machine().run(["no-such-program"])
    assert caught.value.commands == ("apt-get install no-such-program",)


def test_a_command_that_fails_is_quoted() -> None:
    with pytest.raises(CannotLookError, match="No such file"):
        Machine().run(["cat", "/no/such/file"])


def test_settings_are_read_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/a").mkdir(parents=True)
    (tmp_path / "proc/sys/a/b").write_text("7\n")
    assert (Machine(tmp_path).sysctl("a.b"), Machine(tmp_path).sysctl("a.c")) == ("7", None)


def test_commands_for_a_namespace_begin_with_what_enters_it() -> None:
    assert inside("blue", "x") == "ip netns exec blue x"
    assert inside("/proc/7/ns/net", "x") == "nsenter --net=/proc/7/ns/net x"
    assert inside(None, "x") == "x"
