"""Each rule is documented with its alert, its option and a test, and nothing else is."""

import re
import ssl
from pathlib import Path

import pytest

from tests.wire.malformed_hellos import MALFORMED
from tests.wire.test_server_hello import BROKEN
from twisted_lb.wire.tls_rules import RULES, Alert, tls_alert

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "tls-validation.md").read_text()
LINES = [
    [cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| `")
]
ROWS = {row[0].strip("`"): row[1:] for row in LINES}
REFUSING = {f"malformed/{name}": rule for name, rule, _ in MALFORMED}
REFUSING |= {f"server/{name}": rule for name, (rule, _) in BROKEN.items()}


def test_the_table_names_every_rule_and_nothing_else() -> None:
    assert list(ROWS) == list(RULES)


@pytest.mark.parametrize("name", RULES)
def test_the_table_says_what_the_code_does(name: str) -> None:
    verdict, alert, option, test = ROWS[name]
    rule = RULES[name]
    assert verdict == f"refused: {rule.what}"
    assert alert == ("none" if rule.alert is None else f"`{rule.alert.name.lower()}`")
    assert option == (f"`{rule.option}`" if rule.option else "none")
    module, _, function = test.strip("`").partition("/")
    if module.startswith("test_"):
        assert f"def {function}(" in (ROOT / "tests" / "plugins" / f"{module}.py").read_text()
    else:
        assert REFUSING[test.strip("`")] == name


def test_every_rule_that_the_code_names_exists() -> None:
    paths = [*(ROOT / "twisted_lb" / "wire").glob("*hello*.py"), ROOT / "twisted_lb" / "wire" / "tls_records.py"]
    source = "".join(path.read_text() for path in [*paths, ROOT / "plugins" / "validation_tls.py"])
    assert set(re.findall(r'"(tls-[a-z0-9-]+)"', source)) == set(RULES)


@pytest.mark.parametrize("alert", Alert)
def test_an_alert_is_understood_by_a_client(alert: Alert) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    received = ssl.MemoryBIO()
    client = context.wrap_bio(received, ssl.MemoryBIO())
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    received.write(tls_alert(alert, 0x0303))
    with pytest.raises(ssl.SSLError, match=alert.name.replace("INTERNAL_ERROR", "INTERNAL")):
        client.do_handshake()


@pytest.mark.parametrize(
    ("version", "shown"), [(0x0300, 0), (0x0301, 1), (0x0303, 3), (0x0304, 3), (0x03FF, 3), (0x0200, 0), (0xFEFD, 3)]
)
def test_an_alerts_record_has_a_version_that_records_have(version: int, shown: int) -> None:
    assert tls_alert(Alert.DECODE_ERROR, version) == bytes((21, 3, shown, 0, 2, 2, 50))
