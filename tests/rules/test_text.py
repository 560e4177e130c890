"""Texts are read with exact positions, and nothing in them is Python's alone."""

import pytest

from tests.rules.compiled import holds, mistake
from twisted_lb.rules.text import DEEPEST, LONGEST, Mistake, Text, complaint


@pytest.mark.parametrize(
    ("text", "what", "marked"),
    [
        ("tls.sni = 'x'", 'compare with "=="', "="),
        ("tls.sni == 'x' && true", 'write "and"', "&"),
        ("tls.sni == 'x' || true", 'write "or"', "|"),
        ("!tls.ech", 'write "not", or "!=" to compare', "!"),
        ("tls.sni == 'x", "this string has no end", "'"),
        ("tls.sni == 'x' # why", "comments belong into the file, outside of the rule", "#"),
        ("tls.sni == 'é' ; é", "';' means nothing here", ";"),
        ("tls.sni ==", "something is missing at the end", ""),
        ("tls.sni == 'x' and", "something is missing at the end", ""),
        ("tls.ech tls.ech", "this is not understood here", "tls"),
        ("source in ['10.0.0.0/8'", '"[" is never closed', "["),
        ("(tls.ech or tls.sni == 'x'", '"(" is never closed', "("),
        ("source == 10.0.0.1", "write it in quotes: '10.0.0.1'", "10.0.0.1"),
        ("source in [10.0.0.1]", "write it in quotes: '10.0.0.1'", "10.0.0.1"),
        ("source in [10.0.0.0/8]", "write it in quotes: '10.0.0.0/8'", "10.0.0.0/8"),
        ("source == ::1", "write it in quotes: '::1'", "::1"),
        ("source in [2001:db8::/32, '::1']", "write it in quotes: '2001:db8::/32'", "2001:db8::/32"),
        ("source in ['10.0.0.0/8', '::1'] / 2", "texts, as networks, paths and names are, stand in quotes", "/"),
        ("*", "write true for every connection", "*"),
        (
            "tls.sni startswith 'x'",
            "write FACT.startswith('...'), .endswith('...') or .matches('...')",
            "startswith",
        ),
        ("tls.sni in [*.example.org]", "texts, as networks, paths and names are, stand in quotes", "*"),
        ("tls.ech AND tls.ech", "write and", "AND"),
        (
            "mqtt.user == 'a' 'b'",
            "a string stands by itself here: there is no operator, or a letter too much",
            "'a' 'b'",
        ),
        ("mqtt.user == r'a'", "a string stands by itself here: there is no operator, or a letter too much", "r'a'"),
        (
            "mqtt.user == '''a'''",
            "a string stands by itself here: there is no operator, or a letter too much",
            "'''a'''",
        ),
        ("", "is empty: write true for every connection", ""),
        ("  ", "is empty: write true for every connection", ""),
        ("source in @", 'behind "@" stands the name of a list', "@"),
    ],
)
def test_what_cannot_be_read_is_marked(text: str, what: str, marked: str) -> None:
    said, at = mistake(text)
    assert said == what
    assert at.strip() == marked


@pytest.mark.parametrize(
    "text",
    ["lambda: 1", "__import__('os')", "[x for x in y]", "f'{x}'", "(x := 1)", "{1: 2}", "x if y else z", "1 + 1"],
)
def test_the_rest_of_python_is_no_rule(text: str) -> None:
    assert mistake(text)


def test_positions_are_those_of_the_text_whatever_stands_before() -> None:
    said, at = mistake("mqtt.user == 'äöü, é' and mqtt.from == 'x' and tls.snl == 'y'")
    assert (said, at) == ('there is no fact "tls.snl"; did you mean "tls.sni"?', "tls.snl")


def test_in_a_text_of_several_lines_the_one_with_the_mistake_is_shown() -> None:
    text = "\n  tls.ech\n  and tls.snl == 'y'\n  and true\n"
    with pytest.raises(Mistake) as caught:
        raise Mistake("oops", text.index("tls.snl"), text.index("tls.snl") + 7)
    (problem,) = complaint(text, [caught.value]).problems
    assert problem == "oops\n      and tls.snl == 'y'\n          ^^^^^^^"


def test_a_backslash_is_a_backslash_and_a_reserved_word_a_name() -> None:
    assert holds(r"mqtt.user == '\d'", mqtt_user=r"\d")
    assert holds(r"mqtt.user.matches('\d+')", mqtt_user="17")
    assert holds("mqtt.from == 'x'", mqtt_from="x")


def test_lines_and_quotes_of_both_kinds_can_be_used() -> None:
    assert holds(
        """(
        mqtt.user == "it's"
        and true
    )""",
        mqtt_user="it's",
    )


def test_names_of_lists_are_told_by_their_place() -> None:
    text = Text("source in @bad-nets")
    assert text.list_name(text.tree.comparators[0]) == "bad-nets"  # type: ignore[attr-defined]
    assert text.list_name(text.tree.left) is None  # type: ignore[attr-defined]


def test_a_text_is_bounded_in_length_and_depth() -> None:
    assert mistake("true or " * (LONGEST // 8) + "true")[0] == f"is longer than {LONGEST} characters"
    assert mistake("not " * (DEEPEST + 1) + "true")[0] == f"is nested more than {DEEPEST} deep"
    assert holds("not " * (DEEPEST - 2) + "true") is True
    for count in (100, 300, 600, 900, 1200):
        assert mistake("tls" + ".a" * count + " == 'x'")
        assert mistake("source" + ".lower()" * count + " == 'x'")
    for text in ("(" * 300, "not " * 2400 + "true", "source.port == " + "9" * 6000, "tls" + ".a" * 4000):
        assert mistake(text)
