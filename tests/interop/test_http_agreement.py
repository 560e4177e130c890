"""Servers behind the proxy agree with it on where each message ends, and on what it asks for.

Each request of the corpus that we let through is sent, and a marker behind it over the same connection to the server;
what the server then says that it has seen must be what we think that we have sent, and nothing else.
"""

from typing import TYPE_CHECKING

import pytest

from tests.interop.daemons import Daemons
from tests.interop.ways import FreePort
from tests.interop.web_servers import HAProxy, Nginx, TwistedWeb, WebServer, markers
from tests.loopback.web import Client, http_config
from tests.wire.http1_corpus.cases import Case, Outcome, read_request, request_cases
from twisted_lb.wire.http1 import RequestHead

if TYPE_CHECKING:
    from tests.loopback.conftest import StartProxy

pytestmark = [pytest.mark.linux]
PASSED = [(case, read_request([case.data])) for case in request_cases() if case.verdict.startswith("ok")]
REFUSED: dict[str, dict[str, str]] = {
    "nginx": {
        "line-method-lower": "it takes nothing for a method but capitals, _ and -; RFC 9110, section 9.1, any token",
        "line-method-marks": "as line-method-lower",
        "line-method-digit": "as line-method-lower",
        "line-method-dash": "it takes no - at the beginning of a method",
        "line-target-percent": "it decodes targets, and takes no %00 in them",
        "form-asterisk": "it does not know this form",
        "form-absolute-options": "which becomes the form that it does not know",
        "form-connect": "it is no proxy for CONNECT, so it does not know this form either",
        "form-connect-host": "as form-connect",
        "form-connect-v6": "as form-connect",
        "cl-connect-zero": "as form-connect",
    },
    "haproxy": {},
    "twisted.web": {},
}
"""What a server refuses though we let it through, and why both may; then it closes the connection, so no two can see
different ends. There is no other disagreement.
"""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(Nginx, id="nginx", marks=pytest.mark.daemon("nginx")),
        pytest.param(HAProxy, id="haproxy", marks=pytest.mark.daemon("haproxy")),
        pytest.param(TwistedWeb, id="twisted.web"),
    ],
)
def server(request: pytest.FixtureRequest, daemons: Daemons, free_port: FreePort) -> WebServer:
    made: WebServer = request.param(daemons, free_port)
    return made


@pytest.fixture(scope="module")
def port(server: WebServer, module_proxy: "StartProxy", free_port: FreePort) -> int:
    port = free_port()
    module_proxy(http_config(port, f"127.0.0.1:{server.port}", {"server": "5s"}, http_reuse="always"))
    return port


def expected(outcome: Outcome) -> tuple[str, str, bytes]:
    """What the server should see."""
    head = outcome.head
    assert isinstance(head, RequestHead)
    target = head.target if head.method == b"CONNECT" else head.origin
    return head.method.decode(), target.decode("latin-1"), outcome.body


def send(port: int, case: Case, outcome: Outcome, marker: str) -> int:
    """Send one message of the corpus and a marker; returns the status that answered the message."""
    head = outcome.head
    assert isinstance(head, RequestHead)
    message = case.data[: len(case.data) - len(outcome.rest)]
    with Client(port) as client:
        status, fields, _ = client.send(message).response(head.method.decode())
        if head.keep_alive and fields.get("connection") != "close":
            assert client.ask(marker)[0] == 200
            return status
    with Client(port) as client:
        assert client.ask(marker)[0] == 200
    return status


def verdict(server: WebServer, port: int, case: Case, outcome: Outcome) -> str:
    """Send one message; returns what the server thinks of it: nothing if it agrees with us, or that it refuses it."""
    marker = next(markers)
    status = send(port, case, outcome, marker)
    seen = server.seen(marker)
    if [view[:3] for view in seen] == [expected(outcome)] and status != 400:
        return ""
    if len(seen) == 1 and status in (400, 501) and seen[0].status == status and not seen[0].body:
        return "refused"
    return f"answered {status}, saw {seen} instead of {expected(outcome)}"


def test_what_a_server_sees_is_what_we_sent(server: WebServer, port: int, request: pytest.FixtureRequest) -> None:
    found = {case.name: verdict(server, port, case, outcome) for case, outcome in PASSED}
    refused = REFUSED[request.node.callspec.id]
    assert {name: said for name, said in found.items() if said} == dict.fromkeys(refused, "refused")
