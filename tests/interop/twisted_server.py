"""A server of twisted.web that writes down each request; the first argument is its port. Run by tests."""

import json
import sys
from typing import Any

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Request, Site


class Noted(Request):
    """Writes down what was understood before anything is done about it."""

    def process(self) -> None:
        """See ``Request``."""
        one = {"method": self.method.decode("latin-1"), "target": self.uri.decode("latin-1"), "status": 200}
        assert self.content is not None
        with open("seen.log", "a") as log:
            log.write(json.dumps({**one, "body": self.content.read().hex()}) + "\n")
        super().process()  # type: ignore[no-untyped-call]


class Seen(Resource):
    """Answers everything but what should become a tunnel."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """See ``IResource``."""
        if request.method == b"CONNECT":
            request.setResponseCode(405)
        return b"" if request.method == b"HEAD" else b"seen"


site: Any = Site(Seen(), requestFactory=Noted)  # type: ignore[no-untyped-call]
reactor.listenTCP(int(sys.argv[1]), site, interface="127.0.0.1")
reactor.run()
