"""Named lists are files with one entry a line; what is bad in them is named."""

import time
from pathlib import Path

import pytest

from twisted_lb.config.model import ListFile
from twisted_lb.errors import ConfigError
from twisted_lb.rules import lists
from twisted_lb.rules.lists import MOST_NAMED, ListFiles, load_list, signature_of
from twisted_lb.rules.scope import ListKind


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        ("networks", "10.1.2.3", "192.0.2.1"),
        ("hosts", "www.example.org", "example.org"),
        ("strings", "A b", "a b"),
        ("small", "a b", "A b"),
        ("integers", 7005, 7100),
    ],
)
def test_entries_are_taken_for_what_they_are_needed_as(
    kind: ListKind, inside: object, outside: object, tmp_path: Path
) -> None:
    entries = {"networks": "10.0.0.0/8", "hosts": "*.Example.ORG.", "integers": "7000-7099"}.get(kind, "A b")
    path = write(tmp_path / "list", f"# of all\r\n\n  {entries}   # why\n{entries}")
    loaded = load_list(path, kind)
    assert loaded.contains(inside)
    assert not loaded.contains(outside)
    assert (loaded.entries, loaded.signature) == (2, signature_of(path))


def test_a_hash_within_an_entry_is_part_of_it(tmp_path: Path) -> None:
    contains = load_list(write(tmp_path / "list", "a#b\n#c\n"), "strings").contains
    assert contains("a#b")
    assert not contains("#c")


def test_an_empty_file_contains_nothing(tmp_path: Path) -> None:
    assert not load_list(write(tmp_path / "list", "# nobody yet\n"), "networks").contains("10.0.0.1")


@pytest.mark.parametrize(
    ("kind", "line", "what"),
    [
        ("networks", "10.0.0.1/8", '"10.0.0.1/8" is no network: '),
        ("hosts", "a b", '"a b": no host is spelt like that'),
        ("hosts", ".a", "\".a\": write '*.a' for all hosts below it"),
        ("integers", "x", '"x" is neither a whole number nor a range'),
    ],
)
def test_a_bad_line_is_named_with_its_number(kind: ListKind, line: str, what: str, tmp_path: Path) -> None:
    good = {"networks": "10.0.0.0/8", "hosts": "a", "integers": "1"}[kind]
    path = write(tmp_path / "list", f"{good}\n\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load_list(path, kind)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:3: {what}")


@pytest.mark.parametrize("kind", ["networks", "hosts", "integers"])
def test_so_many_bad_lines_are_named_and_no_more(kind: ListKind, tmp_path: Path) -> None:
    path = write(tmp_path / "list", "! !\n" * 50)
    with pytest.raises(ConfigError) as caught:
        load_list(path, kind)
    assert len(caught.value.problems) == MOST_NAMED + 1
    assert caught.value.problems[-1] == f"{path}: and more lines are bad"


def test_what_is_no_text_or_not_there_or_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_list(str(path), "strings")
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(ConfigError, match=r"list:2: is not UTF-8 text: a byte is 0xff"):
        load_list(str(path), "strings")
    monkeypatch.setattr(lists, "LARGEST_BYTES", 3)
    with pytest.raises(ConfigError, match="has more than"):
        load_list(str(path), "strings")


def test_the_signature_changes_with_the_file(tmp_path: Path) -> None:
    path, other, link = tmp_path / "list", tmp_path / "other", tmp_path / "link"
    seen = {signature_of(str(path))}
    write(path, "a")
    write(other, "a")
    link.symlink_to(path)
    seen |= {signature_of(str(link))}
    link.unlink()
    link.symlink_to(other)
    seen |= {signature_of(str(link))}
    write(other, "ab")
    seen |= {signature_of(str(link))}
    assert len(seen) == 4
    assert None in seen


def test_a_list_is_read_once_and_shared_with_the_next_configuration(tmp_path: Path) -> None:
    settings = {"bad": ListFile(file=write(tmp_path / "list", "10.0.0.0/8"))}
    before = ListFiles(settings)
    view = before.view("bad", "networks")
    assert before.view("bad", "networks") is view
    after = ListFiles(settings, before)
    assert after.view("bad", "networks") is view
    assert after.view("bad", "strings") is not view
    assert ListFiles(settings).view("bad", "networks") is not view


def test_problems_are_told_with_the_name_of_the_list_also_of_one_that_nobody_uses(tmp_path: Path) -> None:
    path = write(tmp_path / "list", "x")
    files = ListFiles({"bad": ListFile(file=path), "gone": ListFile(file="/no/such"), "fine": ListFile(file=path)})
    files.view("bad", "networks")
    files.check_unused()
    assert [problem.partition(": ")[0] for problem in files.problems] == ["lists.bad", "lists.gone"]
    assert files.problems[1] == "lists.gone: /no/such: cannot be read"


def test_a_large_list_is_looked_up_in_microseconds(tmp_path: Path) -> None:
    """The bound is far above the microsecond that was measured, so that a busy machine does not fail it."""
    networks = (f"10.{number >> 12}.{number >> 4 & 255}.{(number & 15) << 4}/29" for number in range(200_000))
    contains = load_list(write(tmp_path / "list", "\n".join(networks)), "networks").contains
    assert contains("10.1.2.3")
    assert not contains("10.1.2.8")
    best_s = 1.0
    for _ in range(5):
        started = time.thread_time()
        for _ in range(1000):
            contains("10.20.30.40")
        best_s = min(best_s, (time.thread_time() - started) / 1000)
    assert best_s < 20e-6
