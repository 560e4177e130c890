"""A web server of twisted.web; arguments: its port, and a folder of files. Run by tests."""

import sys
from typing import Any

from twisted.internet import reactor
from twisted.web.resource import EncodingResourceWrapper, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory, Site
from twisted.web.static import File


class Chunks(Resource):
    """Answers in three pieces, without saying how much it will be."""

    def render_GET(self, request: Any) -> int:
        """See ``Resource``."""
        for piece in (b"one ", b"two ", b"three"):
            request.write(piece)
        request.finish()
        return NOT_DONE_YET


class Echo(Resource):
    """Repeats the body."""

    def render_POST(self, request: Any) -> bytes:
        """See ``Resource``."""
        said: bytes = request.content.read()
        return said


class Nothing(Resource):
    """Has nothing to say."""

    def render_GET(self, request: Any) -> bytes:
        """See ``Resource``."""
        request.setResponseCode(204)
        return b""


class Packed(Resource):
    """The files, compressed for whom that suits."""

    def getChild(self, path: bytes, request: Any) -> Any:
        """See ``Resource``."""
        return EncodingResourceWrapper(File(f"{sys.argv[2]}/{path.decode()}"), [GzipEncoderFactory()])


root: Any = Resource()
root.putChild(b"raw", File(sys.argv[2]))
for name, resource in ((b"files", Packed), (b"chunks", Chunks), (b"echo", Echo), (b"nothing", Nothing)):
    root.putChild(name, resource())
site: Any = Site(root)
reactor.listenTCP(int(sys.argv[1]), site, interface="127.0.0.1")
reactor.run()
