"""Each rule is documented with its status, its opt-out and a test, and nothing else is."""

import re
from pathlib import Path

import pytest

from tests.wire.http1_corpus.cases import request_cases, response_cases
from twisted_lb.errors import WireError
from twisted_lb.wire.http1 import RULES, Http1Error

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "reference" / "http-validation.md").read_text()
ROWS = {
    row[0].strip("`"): row[1:]
    for row in ([cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines())
    if row[0].startswith("`http1-")
}
REFUSING = {f"requests/{case.name}": case.verdict for case in request_cases()}
REFUSING |= {f"responses/{case.name}": case.verdict for case in response_cases()}


def test_the_table_names_every_rule_and_nothing_else() -> None:
    assert list(ROWS) == list(RULES)


@pytest.mark.parametrize("name", RULES)
def test_the_table_says_what_the_code_does(name: str) -> None:
    verdict, status, opt_out, test = ROWS[name]
    rule = RULES[name]
    assert verdict.replace("&#124;", "|") == f"refused: {rule.what}"
    assert int(status) == rule.status
    assert opt_out == (f"`{rule.opt_out}`" if rule.opt_out else "none")
    module, _, function = test.strip("`").partition("/")
    if module.startswith("test_"):
        assert f"def {function}(" in (HERE / f"{module}.py").read_text()
    else:
        assert REFUSING[test.strip("`")].endswith(f":{name}")


def test_every_rule_that_the_code_names_exists() -> None:
    source = "".join(path.read_text() for path in Path(__file__).parents[2].glob("twisted_lb/wire/http1*.py"))
    assert set(re.findall(r'"(http1-[a-z0-9-]+)"', source)) == set(RULES)


def test_a_status_goes_with_a_request_and_502_with_every_response() -> None:
    error = Http1Error("http1-fields", 7)
    assert isinstance(error, WireError)
    assert (error.reason, error.offset, error.status, str(error)) == ("http1-fields", 7, 431, "http1-fields at byte 7")
    assert Http1Error("http1-fields", response=True).status == 502
