"""``--demo``: two small HTTP servers and a proxy in front of them, so that one command shows something."""

from typing import Any

from twisted.internet import endpoints
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

LISTEN = "127.0.0.1:8080"

CONFIGURATION = {
    "frontends": {"demo": {"bind": [LISTEN], "backend": "demo"}},
    "backends": {"demo": {"servers": {}}},
}

WHAT_TO_TRY = """\
The demo is running: a proxy on http://127.0.0.1:8080/ in front of two small servers, "red" and "blue".

  Try:   curl http://127.0.0.1:8080/        several times: red and blue answer in turn
         curl http://127.0.0.1:8080/x[1-4]  one connection, hence one server, for all four
  Watch: one line per connection here, with HAProxy's fields; "--" at its end of story means that all went well.
  Stop:  Ctrl-C. The same with a file of your own: twistd -n twisted-lb --config lb.toml
"""


class _Page(Resource):
    """Answers everything with its name."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name = name

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        client = request.getClientAddress()
        return f"Hello from the {self._name} server; the proxy came from port {client.port}.\n".encode()


def start(reactor: Any) -> dict[str, Any]:
    """Start the two servers on ports of the kernel's choice, and return the configuration of a proxy before them.

    Raises: whatever listening on 127.0.0.1 raises.
    """
    servers = {}
    for name in ("red", "blue"):
        site = Site(_Page(name))
        site.log = lambda request: None  # type: ignore[method-assign]  # the proxy's lines are what there is to see
        listening = endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(site)
        ports: list[Any] = []
        listening.addCallback(ports.append)
        servers[name] = f"127.0.0.1:{ports[0].getHost().port}"
    return {**CONFIGURATION, "backends": {"demo": {"servers": servers}}}
