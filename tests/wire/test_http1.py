"""The corpus: every message means what it should or is refused by its rule, whole and in whatever pieces."""

from collections.abc import Iterator

import pytest

import twisted_lb.wire.http1 as http1
from tests.wire.http1_corpus.cases import (
    Case,
    Outcome,
    asked,
    differences,
    read_request,
    read_response,
    request_cases,
    response_cases,
)
from twisted_lb.wire.http1 import Framing, RequestHead

REQUESTS, RESPONSES = request_cases(), response_cases()


def read(case: Case, *pieces: bytes) -> Outcome:
    return read_response(pieces, asked(case.asked)) if case.asked else read_request(pieces)


def cuts(data: bytes) -> Iterator[tuple[bytes, ...]]:
    yield tuple(data[at : at + 1] for at in range(len(data)))
    for at in range(1, len(data)):
        yield data[:at], data[at:]


@pytest.mark.parametrize(
    "case", [*REQUESTS, *RESPONSES], ids=lambda case: f"{case.asked}{'-' * bool(case.asked)}{case.name}"
)
def test_a_message_of_the_corpus_has_its_verdict_in_whatever_pieces(case: Case) -> None:
    whole = read(case, case.data)
    assert not differences(case, whole)
    for pieces in cuts(case.data):
        assert read(case, *pieces) == whole, pieces


@pytest.mark.parametrize(
    "case", [case for case in REQUESTS if case.verdict.startswith("ok")], ids=lambda case: case.name
)
def test_what_passes_has_the_method_and_the_target_of_its_first_line(case: Case) -> None:
    head = read(case, case.data).head
    assert isinstance(head, RequestHead)
    assert [head.method, head.target, b"HTTP/" + head.version] == case.data.lstrip(b"\r\n").split(b"\r\n")[0].split(
        b" "
    )


@pytest.mark.parametrize(
    "case", [*REQUESTS, *RESPONSES], ids=lambda case: f"{case.asked}{'-' * bool(case.asked)}{case.name}"
)
def test_what_is_passed_on_of_a_body_reads_the_same(case: Case) -> None:
    outcome = read(case, case.data)
    if outcome.head is None or outcome.head.framing is not Framing.CHUNKED:
        assert outcome.passed == outcome.body
        return
    head = case.data[: outcome.head.length]
    again = read(case, head + outcome.passed)
    assert (again.body, again.trailers, again.passed) == (outcome.body, outcome.trailers, outcome.passed)
    assert b";" not in outcome.passed.replace(outcome.body, b"")


def test_the_corpus_is_large_and_names_each_case_once() -> None:
    assert len(REQUESTS) >= 300
    assert len(RESPONSES) >= 80
    for cases in (REQUESTS, RESPONSES):
        assert len({case.name for case in cases}) == len(cases)
        assert len({(case.asked, case.data) for case in cases}) == len(cases)


def test_everything_it_offers_is_there() -> None:
    assert all(hasattr(http1, name) for name in http1.__all__)
