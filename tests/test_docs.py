"""The documentation is true as far as a machine can tell: links, configurations, commands, tables and drawings."""

import ast
import re
import shlex
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import twisted_lb
from twisted_lb.api import HttpRecord, SessionRecord
from twisted_lb.config.load import load_dict
from twisted_lb.endings import Cause, Ending, Stage
from twisted_lb.http_endings import STATUS
from twisted_lb.tap import Options
from twisted_lb.walk import HTTP_TRANSITIONS, TRANSITIONS, Event
from twisted_lb_plugins.access_log_json import JsonLog
from twisted_lb_plugins.access_log_text import TextLog

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

BASE: dict[str, Any] = {
    "frontends": {"web": {"bind": ["127.0.0.1:8080"], "backend": "app"}},
    "backends": {"app": {"servers": {"a": "127.0.0.1:9001"}}},
}
"""What the fragments of configurations in the documentation are part of."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return [text for _, tag, text in BLOCK.findall(page.read_text()) if tag == language]


def rows(page: Path) -> list[list[str]]:
    """The cells of every table's every line."""
    lines = (line for line in page.read_text().splitlines() if line.startswith("| "))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


# Links


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page get."""
    prose = BLOCK.sub("", page.read_text())
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", BLOCK.sub("", page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in links(page):
        assert "://" not in link, f"{link} cannot be checked without a network"
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{relative(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{relative(page)} links to {link}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.is_relative_to(DOCS)], ids=relative)
def test_every_page_can_be_reached_from_the_index(page: Path) -> None:
    reached, new = {DOCS / "README.md"}, [DOCS / "README.md"]
    while new:
        here = new.pop()
        there = {(here.parent / link.partition("#")[0]).resolve() for link in links(here)}
        new += [one for one in there - reached if one.suffix == ".md" and one.exists()]
        reached |= there
    assert page in reached or page.parent.name == "changelog"


# Configurations and commands


def merge(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    both = {key: merge(base[key], value) for key, value in more.items() if isinstance(base.get(key), dict)}
    return base | more | both


def as_a_whole(fragment: dict[str, Any]) -> dict[str, Any]:
    """Complete a fragment; a whole configuration stays as it is."""
    if "frontends" in fragment and all("servers" in backend for backend in fragment.get("backends", {"": ""}).values()):
        return fragment
    whole = merge(BASE, fragment)
    for name, frontend in whole["frontends"].items():
        frontend.setdefault("bind", f"unix:/run/{name}.sock")
        frontend.setdefault("backend", "app")
    for backend in whole["backends"].values():
        backend.setdefault("servers", {"a": "127.0.0.1:9001"})
    return whole


def page_only(value: Any) -> str:
    return relative(value) if isinstance(value, Path) else ""


CONFIGURATIONS = [(page, text) for page in PAGES for text in blocks(page, "toml") if "[build-system]" not in text]


@pytest.mark.parametrize(("page", "text"), CONFIGURATIONS, ids=page_only)
def test_every_configuration_is_valid(page: Path, text: str) -> None:
    load_dict(as_a_whole(tomllib.loads(text)), relative(page))


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of every ``twistd ... twisted-lb`` in a page: those after ``twisted-lb``."""
    text = page.read_text()
    places = [block for _, tag, block in BLOCK.findall(text) if tag in ("sh", "ini")]
    places += re.findall(r"`([^`\n]+)`", text)
    for line in "\n".join(places).splitlines():
        found = re.search(r"twistd\b.*? twisted-lb(?: (.*))?$", line)
        if found and "..." not in line and not line.startswith("#"):
            yield shlex.split((found[1] or "").partition(" &&")[0], comments=True)


COMMANDS = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=page_only)
def test_every_command_is_understood(page: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    monkeypatch.setattr(Options, "postOptions", lambda self: read.append(self))  # understand, and do nothing
    options = Options()
    options.parseOptions(words)
    assert read == [options]


def test_there_are_configurations_and_commands_to_check() -> None:
    assert len(CONFIGURATIONS) > 20
    assert len(COMMANDS) > 20


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("run-under-supervisord.md", "supervisord.conf"),
        ("run-under-systemd.md", "twisted-lb.service"),
        ("run-under-systemd.md", "twisted-lb.socket"),
    ],
)
def test_the_pages_show_the_files_for_operators_as_they_are(page: str, name: str) -> None:
    assert (DOCS / "how-to" / name).read_text() in blocks(DOCS / "how-to" / page, "ini")


# The command line, the access log


def test_the_command_line_page_lists_every_option() -> None:
    first_cells = " ".join(row[0] for row in rows(DOCS / "reference" / "command-line.md"))
    documented = set(re.findall(r"`(--[a-z-]+)", first_cells))
    ours = {f"--{name}" for name in Options().docs if len(name) > 1}
    assert ours <= documented
    twistd_s = {"--nodaemon", "--pidfile", "--uid", "--gid", "--logfile", "--reactor"}
    assert documented - ours == twistd_s


def test_the_access_log_page_lists_every_field_in_order() -> None:
    page = DOCS / "reference" / "access-log.md"
    documented = [row[0].strip("`") for row in rows(page) if row[0].startswith("`")]
    assert documented == list(HttpRecord.__struct_fields__)
    assert documented[: len(SessionRecord.__struct_fields__)] == list(SessionRecord.__struct_fields__)


def test_the_access_log_page_shows_one_connection_in_both_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    page = DOCS / "reference" / "access-log.md"
    (json, json_of_http), (text, text_of_http) = blocks(page, "json"), blocks(page, "text")
    fields = msgspec.json.decode(json)
    moment = fields.pop("time")
    assert moment == "2026-11-22T19:48:15.123Z"
    record = SessionRecord(time=1795376895.123, **fields)
    assert msgspec.json.decode(JsonLog().format(record)) == {"time": moment, **fields}
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert TextLog().format(record).decode() + "\n" == text
        of_http = {**fields, "total_ms": 16, "bytes_out": 1104, **msgspec.json.decode(json_of_http)}
        request = HttpRecord(time=record.time, **of_http)
        assert TextLog().format(request).decode() + "\n" == text_of_http
        assert msgspec.json.decode(JsonLog().format(request)) == {"time": moment, **of_http}
    finally:
        monkeypatch.undo()
        time.tzset()


# Endings

BEFORE_RELAY = {
    *(Stage.ADMISSION, Stage.PROXY_HEADER, Stage.VALIDATION, Stage.POLICY, Stage.TARPIT, Stage.QUEUE, Stage.CONNECT)
}
"""Where a session can be while the reactor turns, so that the client can leave and the operator cut."""

REQUEST = {stage for stage, event in HTTP_TRANSITIONS if event is Event.AGAIN} - {Stage.BALANCE}
"""Likewise, where a request in HTTP mode can be."""

ORIGINS: dict[tuple[str, Cause], set[Stage]] = {
    ("binding", Cause.INTERNAL): {Stage.QUEUE, Stage.RELAY},  # a defect; elsewhere plugins may be the reason too
    ("session", Cause.CLIENT): BEFORE_RELAY,
    ("session_policies", Cause.PROXY): {Stage.ADMISSION, Stage.PROXY_HEADER, Stage.POLICY, Stage.TARPIT},
    ("session_upstream", Cause.SERVER): {Stage.BALANCE, Stage.QUEUE},
    ("session_endings", Cause.INTERNAL): {*BEFORE_RELAY, Stage.BALANCE} - {Stage.QUEUE},
    ("session_endings", Cause.KILLED): BEFORE_RELAY,
    ("session_policies", Cause.CLIENT_TIMEOUT): {Stage.PROXY_HEADER},
    ("session_upstream", Cause.SERVER_TIMEOUT): {Stage.QUEUE},
    ("parting", Cause.KILLED): set(),  # its record has been written
    ("tcp_session", Cause.PROXY): {Stage.VALIDATION, Stage.RELAY},
    ("tcp_session", Cause.INTERNAL): {Stage.RELAY},
    ("tcp_session", Cause.CLIENT_TIMEOUT): {Stage.VALIDATION},
    ("tcp_session", Cause.KILLED): {Stage.RELAY},
    ("tcp_session", Cause.NORMAL): {Stage.RELAY},
    ("http_express", Cause.KILLED): {Stage.RESPONSE},
    ("http_timers", Cause.PROXY): {Stage.TARPIT},
    ("http_timers", Cause.KILLED): {Stage.VALIDATION},
    ("http_timers", Cause.CLIENT_TIMEOUT): {Stage.VALIDATION, Stage.RESPONSE, Stage.RELAY},
    ("http_timers", Cause.SERVER_TIMEOUT): {Stage.RESPONSE, Stage.RELAY},
    ("http_responses", Cause.CLIENT): {Stage.BODY, Stage.RESPONSE, Stage.RELAY},
    ("http_responses", Cause.PROXY): {Stage.BODY, Stage.RESPONSE, Stage.RELAY},
    ("http_responses", Cause.SERVER): {Stage.RESPONSE, Stage.RELAY},
    ("http_responses", Cause.NORMAL): {Stage.RELAY},
    ("http_session", Cause.CLIENT): {Stage.VALIDATION},
    ("http_session", Cause.PROXY): {Stage.VALIDATION},
    ("http_session", Cause.LOCAL): {Stage.POLICY},
    **{("http_client", cause): REQUEST for cause in (Cause.CLIENT, Cause.INTERNAL, Cause.KILLED)},
    **{
        ("http_bodies", cause): {Stage.BODY, Stage.RESPONSE, Stage.RELAY}
        for cause in (Cause.CLIENT_TIMEOUT, Cause.PROXY, Cause.RESOURCE)
    },
    ("connect", Cause.RESOURCE): {Stage.CONNECT},
    ("connect", Cause.SERVER): {Stage.CONNECT},
    ("connect", Cause.SERVER_TIMEOUT): {Stage.CONNECT},
    **{("relay", cause): {Stage.RELAY} for cause in Cause if cause.value in "-CSI"},
    **{("relay_timers", cause): {Stage.RELAY} for cause in Cause if cause.value in "cs"},
    **{("relay_transports", cause): {Stage.RELAY} for cause in (Cause.NORMAL, Cause.CLIENT, Cause.SERVER)},
}
"""Which module ends connections for which cause in which stages."""


def test_the_table_of_origins_knows_every_module_that_ends_connections() -> None:
    named: set[tuple[str, Cause]] = set()
    for path in Path(twisted_lb.__file__).parent.rglob("*.py"):
        if path.stem not in ("endings", "http_endings"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Cause":
                    named.add((path.stem, Cause[node.attr]))
    assert named == set(ORIGINS)
    assert set.union(*ORIGINS.values()) == {stage for stage, event in HTTP_TRANSITIONS if event is Event.ENDED}


def test_the_log_codes_page_has_a_row_for_each_way_to_end_and_no_other() -> None:
    table = [(row[0].strip("`"), row[1]) for row in rows(DOCS / "reference" / "log-codes.md") if len(row) == 4]
    possible = {(cause, stage) for (_, cause), stages in ORIGINS.items() for stage in stages}
    expected = {(Ending(cause, stage).code, stage.name.lower()) for cause, stage in possible}
    assert len(table) == len(set(table))
    assert set(table) - {("code", "stage")} == expected


def test_the_log_codes_page_says_what_a_client_is_answered() -> None:
    table = [row for row in rows(DOCS / "reference" / "log-codes.md") if row[-1].isdigit()]
    expected = [[stage.name.lower(), f"`{cause.value}`", str(status)] for (stage, cause), status in STATUS.items()]
    assert table == expected


def test_the_log_codes_page_explains_every_first_letter() -> None:
    letters = [row[0].strip("`") for row in rows(DOCS / "reference" / "log-codes.md") if len(row) == 2]
    assert sorted(letters) == sorted(["letter", *(cause.value for cause in Cause)])


# Architecture


WORDS = {
    Event.PASSED: "",
    Event.FULL: ": every server is full",
    Event.ENDED: ": ended",
    Event.AGAIN: ": answered",
    Event.LATER: ": denied",
    Event.RETRY: ": the connection was stale",
}


def drawing(transitions: Mapping[tuple[Stage, Event], Stage]) -> str:
    """Draw the walk as a Mermaid state diagram, from the table that the sessions follow."""
    edges = (
        f"    {stage.name.lower()} --> {there.name.lower()}{WORDS[event]}\n"
        for (stage, event), there in sorted(transitions.items())
    )
    return "stateDiagram-v2\n    [*] --> accept\n" + "".join(edges) + "    access_log --> [*]\n"


def test_the_drawing_of_the_walk_is_that_of_the_code() -> None:
    drawings = [drawing(TRANSITIONS), drawing(HTTP_TRANSITIONS)]
    assert blocks(DOCS / "explanation" / "architecture.md", "mermaid") == drawings


def test_the_map_is_that_of_the_package() -> None:
    found = re.findall(r"^- ``(\w+)`` +(.+)$", twisted_lb.__doc__ or "", re.MULTILINE)
    expected = "".join(f"| `{name}` | {what} |\n" for name, what in found)
    assert expected in (DOCS / "explanation" / "architecture.md").read_text()


# Decisions

DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("page", DECISIONS, ids=relative)
def test_a_decision_says_its_context_choice_measurement_and_what_would_reverse_it(page: Path) -> None:
    text = page.read_text()
    assert len(text.splitlines()) <= 40
    for part in ("Context", "Choice", "Measurement", "What would reverse it"):
        assert f"**{part}" in text


def test_the_decisions_are_numbered_without_gaps() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
