"""Chains of body filters: their order, their promises, and what becomes of one that breaks them."""

from typing import Any

import pytest

from twisted_lb.api import Deny, PluginError
from twisted_lb.plugin_host import Built
from twisted_lb.stages.body_filter import MOST_BYTES, FilterChain, chain_of
from twisted_lb.testing import make_facts


class Stream:
    """Says ``name`` around what it is fed, or what ``out`` returns of it."""

    keeps_length = False

    def __init__(self, name: bytes = b"", out: Any = None) -> None:
        self.name = name
        self.out = out or (lambda data: b"%b(%b)" % (name, data))
        self.fed: list[bytes] = []

    def feed(self, data: bytes) -> Any:
        self.fed.append(data)
        return self.out(data)

    def end(self) -> Any:
        return b"." + self.name


class Keeping(Stream):
    """As ``Stream``, with a promise."""

    keeps_length = True

    def end(self) -> bytes:
        return b""


class Filter:
    """Answers the same to each head."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def filter_request(self, facts: Any) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def asked(*answers: Any) -> Any:
    filters: list[Built[Any]] = [Built(f"plugin{at}", f"name{at}", Filter(answer)) for at, answer in enumerate(answers)]
    return chain_of(filters, "filter_request", make_facts())


def chain(*streams: Any) -> FilterChain:
    made = asked(*streams)
    assert isinstance(made, FilterChain)
    return made


def test_no_filter_that_wants_the_body_means_no_chain() -> None:
    assert asked(None, None) is None


def test_the_first_that_denies_decides() -> None:
    deny = Deny("no", 413)
    assert asked(None, deny, RuntimeError("not asked any more")) is deny


def test_bodies_pass_the_filters_in_their_order() -> None:
    made = chain(Stream(b"a"), None, Stream(b"b"))
    assert made.feed(b"1") == b"b(a(1))"
    assert made.feed(b"2", last=True) == b"b(a(2).a).b"


def test_nothing_is_fed_to_a_filter_that_was_left_nothing() -> None:
    second = Stream(b"b")
    made = chain(Stream(b"a", out=lambda data: b""), second)
    assert made.feed(b"1") == b""
    assert second.fed == []
    assert made.feed(b"", last=True) == b"b(.a).b"


@pytest.mark.parametrize("pieces", [[b"1", b"2"], (b"12",), [b"1", b"", b"2"]])
def test_a_filter_may_return_pieces(pieces: Any) -> None:
    assert chain(Stream(out=lambda data: pieces)).feed(b"x") == b"12"


def test_a_verdict_in_mid_body_is_passed_on() -> None:
    deny, second = Deny("enough"), Stream(b"b")
    assert chain(Stream(out=lambda data: deny), second).feed(b"x", last=True) is deny
    assert second.fed == []


def explode(data: bytes) -> Any:
    raise RuntimeError("on purpose")


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (explode, "raised RuntimeError('on purpose') in feed"),
        (lambda data: None, "answered None in feed"),
        (lambda data: "text", "answered 'text' in feed"),
        (lambda data: ["text"], "in feed"),
        (lambda data: [1], "in feed"),
        (lambda data: bytes(MOST_BYTES + 1), "more than 1048576 bytes at once"),
        (lambda data: [bytes(MOST_BYTES), b"1"], "more than 1048576 bytes at once"),
    ],
)
def test_a_stream_that_breaks_its_contract_is_blamed(out: Any, says: str) -> None:
    with pytest.raises(PluginError) as caught:
        chain(Stream(), Stream(out=out)).feed(b"x")
    assert caught.value.plugin == "plugin1"
    assert says in caught.value.what
    assert "'name1'" in caught.value.what


@pytest.mark.parametrize("answer", [RuntimeError("on purpose"), object(), b"", True, SystemExit(1)])
def test_a_filter_that_breaks_its_contract_is_blamed(answer: Any) -> None:
    with pytest.raises(PluginError) as caught:
        asked(None, answer)
    assert caught.value.plugin == "plugin1"
    assert "filter_request" in caught.value.what


def test_whether_the_length_is_kept_is_no_matter_of_truth_values() -> None:
    stream = Stream()
    stream.keeps_length = None  # type: ignore[assignment]
    with pytest.raises(PluginError, match="no IBodyStream"):
        asked(stream)


def test_the_length_is_kept_if_all_keep_it() -> None:
    assert chain(Keeping(), Keeping()).keeps_length
    assert not chain(Keeping(), Stream()).keeps_length


def test_who_keeps_the_length_may_be_behind() -> None:
    kept: list[bytes] = []

    def late(data: bytes) -> bytes:
        kept.append(data)
        return kept.pop(0) if len(kept) > 1 else b""

    stream = Keeping(out=late)
    stream.end = lambda: kept.pop()  # type: ignore[method-assign]
    made = chain(stream)
    assert [made.feed(b"1"), made.feed(b"2"), made.feed(b"3", last=True)] == [b"", b"1", b"23"]


def test_who_says_so_must_not_give_more_than_came() -> None:
    with pytest.raises(PluginError, match="gave more bytes"):
        chain(Keeping(out=lambda data: data + b"!")).feed(b"x")


def test_who_says_so_must_not_lose_anything() -> None:
    with pytest.raises(PluginError, match="another number of bytes"):
        chain(Keeping(out=lambda data: b"")).feed(b"x", last=True)


def test_a_denial_that_cannot_be_sent_is_the_plugin_s_fault() -> None:
    wrong = Deny("no", 200)
    with pytest.raises(PluginError, match="plugin0"):
        asked(wrong)
    with pytest.raises(PluginError, match="200 is no status"):
        chain(Stream(out=lambda data: wrong)).feed(b"x")
