"""``git http-backend`` behind twisted.web's CGI; arguments: port, and the folder of the repositories. Run by tests."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.web.server import Site
from twisted.web.twcgi import CGIScript

PROGRAM = Path(subprocess.check_output(["git", "--exec-path"], text=True).strip()) / "git-http-backend"


class Backend(CGIScript):
    """The program, for every path."""

    isLeaf = True

    def render(self, request: Any) -> Any:
        """See ``IResource``."""
        request.postpath = []  # bytes, which it cannot put together with its strings; see PATH_INFO below
        return super().render(request)  # type: ignore[no-untyped-call]

    def runProcess(self, env: Any, request: Any, qargs: Any = ()) -> None:
        """See ``CGIScript``."""
        project = {"GIT_PROJECT_ROOT": sys.argv[2], "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "tests"}
        path = {"PATH_INFO": request.path.decode(), "PATH": "/usr/bin:/bin", "HOME": sys.argv[2]}
        super().runProcess({**env, **project, **path}, request, qargs)  # type: ignore[no-untyped-call]


site: Any = Site(Backend(str(PROGRAM)))  # type: ignore[no-untyped-call]
reactor.listenTCP(int(sys.argv[1]), site, interface="127.0.0.1")
reactor.run()
