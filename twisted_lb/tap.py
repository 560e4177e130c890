"""twistd's options and service maker; no logic."""

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.application.service import IServiceCollection, Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized

from twisted_lb import __version__, demo
from twisted_lb.config.load import load_dict, load_file
from twisted_lb.config.model import Config
from twisted_lb.config.schema import json_schema
from twisted_lb.errors import ConfigError
from twisted_lb.logs import LineFile, observer, standard_error
from twisted_lb.plugin_host import KINDS, load_plugins
from twisted_lb.privileges import Privileges, checked

NAME = "twisted-lb"


COLLECT_AFTER = 10_000
"""So many objects more than before, and the garbage collector looks at those that came last; Python's number is 700."""

EXAMPLES = """\
A proxy and load balancer for TCP and HTTP, extended with plugins.

  Try it:          twistd -n twisted-lb --demo
  Without a file:  twistd -n twisted-lb --listen 127.0.0.1:8080 --server 127.0.0.1:9001 --server 127.0.0.1:9002
  With a file:     twistd -n twisted-lb --config lb.toml
  Check the file:  twistd -n twisted-lb --config lb.toml --check

Addresses:  HOST:PORT, *:PORT, [V6]:PORT, HOST:LOW-HIGH, unix:/PATH, unix:@NAME, fd:N, or any Twisted endpoint
            description; for servers also HOST (the port that the client asked for), HOST:+N and HOST:-N.
HTTP:       a frontend of the file with mode = "http"; what has no file is TCP.
Signals:    TERM and INT stop gracefully (a second one at once), HUP reloads the file, USR1 reopens the log files.
Output:     access records go to standard output, everything else to standard error, unless the file says otherwise.
"""


class Options(usage.Options):
    """What can be said on the command line; everything else is in the configuration file."""

    synopsis = "[options]"
    optFlags = (
        ("check", None, "Check the configuration with all that it refers to, say what is wrong, and exit."),
        ("demo", None, "Proxy 127.0.0.1:8080 to two small servers of our own, and say what to try."),
        ("json-schema", None, "Print the configuration's JSON schema, the options of all plugins included, and exit."),
    )

    def __init__(self) -> None:
        self.listen: list[str] = []
        self.servers: list[str] = []
        self.config_file: str | None = None
        super().__init__()  # type: ignore[no-untyped-call]

    def opt_config(self, path: str) -> None:
        """Read the configuration from this TOML file."""
        self.config_file = os.path.abspath(path)

    def opt_listen(self, address: str) -> None:
        """Accept connections here; may be repeated."""
        self.listen.append(address)

    def opt_server(self, address: str) -> None:
        """Balance them over these servers; may be repeated."""
        self.servers.append(address)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"twisted-lb {__version__}")
        raise SystemExit(0)

    def getUsage(self, width: int | None = None) -> str:
        """See ``usage.Options``; the examples keep their lines."""
        return f"{super().getUsage(width)}\n{EXAMPLES}"

    opt_c = opt_config
    opt_l = opt_listen
    opt_s = opt_server

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """See ``usage.Options``; what is wrong is said in one message, without the whole help."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            _exit_with(f"{error} (see: twistd twisted-lb --help)")

    def postOptions(self) -> None:
        """See ``usage.Options``: the earliest moment at which everything is known, and no reactor imported yet."""
        ways = [bool(self["demo"]), self.config_file is not None, bool(self.listen or self.servers)]
        if self["json-schema"]:
            self._print_schema()
        if sum(ways) != 1:
            raise usage.UsageError("give either --config FILE, or --listen and --server, or --demo")
        if self.config_file is None and not self["demo"] and not (self.listen and self.servers):
            raise usage.UsageError("--listen needs at least one --server, and the other way round")
        if "twisted.internet.reactor" not in sys.modules and sys.platform == "linux":
            from twisted_lb.net.reactor import install

            install()
        if self.parent and self.parent.get("nodaemon") and self.parent.get("pidfile") == "twistd.pid":
            # Who runs in the foreground needs no pid file, and must not fail in a folder that cannot be written to, or
            # that a second one runs in.
            self.parent["pidfile"] = ""
        try:
            self.config = self.load()
            if self["check"]:
                self._check()
        except ConfigError as error:
            _exit_with(*error.problems)

    @property
    def source(self) -> str:
        """Where the configuration comes from: the file's absolute path, or another description."""
        return self.config_file or ("the demo" if self["demo"] else "the command line")

    def load(self) -> Config:
        """Read the configuration, now and at each reload. Raises ConfigError."""
        if self.config_file is not None:
            from twisted_lb.second_look import all_told

            with all_told(self.config_file, _process):
                return load_file(self.config_file)
        if self["demo"]:
            from twisted.internet import reactor

            if not hasattr(self, "_demo"):
                self._demo = demo.start(reactor)
            return load_dict(self._demo, self.source)
        servers = {f"s{number}": address for number, address in enumerate(self.servers, 1)}
        return load_dict(
            {
                "frontends": {"main": {"bind": self.listen, "backend": "main"}},
                "backends": {"main": {"servers": servers}},
            },
            self.source,
        )

    def _check(self) -> None:
        from twisted_lb.service import LoadBalancer

        assembly = LoadBalancer(lambda: self.config, _process(), lambda problems: None, self.source).check()
        frontends, servers = len(assembly.frontends), sum(len(one.servers) for one in assembly.backends.values())
        print(f"{self.source} is valid (frontends: {frontends}, servers: {servers})")
        raise SystemExit(0)

    def _print_schema(self) -> None:
        try:
            path = self.config_file
            modules = load_file(path).plugins if path is not None else ()
            host = load_plugins(modules)
        except ConfigError as error:
            _exit_with(*error.problems)
        supplies: dict[str, Any] = {
            kind: {name: one.supply.options for name, one in host.supplies(kind).items()} for kind in KINDS
        }
        print(json.dumps(json_schema(supplies), indent=2))
        raise SystemExit(0)


def _exit_with(*problems: str) -> Any:
    for problem in problems:
        print(f"twisted-lb: {problem}", file=sys.__stderr__, flush=True)
    raise SystemExit(1)


def _notify(state: bytes) -> None:
    """Tell a service manager that wants to know; see sd_notify(3). Before READY=1 a SIGHUP would end the process."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(state, "\0" + address[1:] if address[0] == "@" else address)


def _process() -> Any:
    from twisted.internet import reactor

    from twisted_lb.process import Process

    if sys.platform == "linux":
        from twisted_lb.net.reactor import clock_of, poller_of

        return Process(reactor, clock_of(reactor), poller_of(reactor))
    return Process(reactor, reactor, None)


def makeService(options: Options) -> Service:
    """Make the service that twistd runs; see ``IServiceMaker``."""
    return Application(options)


class Application(Service):
    """The load balancer in twistd's hands: opens the listeners while it is still root, and looks after signals."""

    _log = Logger(namespace="twisted_lb")

    def __init__(self, options: Options) -> None:
        from twisted_lb.service import LoadBalancer

        self.options = options
        self.log_file: LineFile | None = None
        self.privileges = Privileges.of_twistd(self._twistd.get("uid"), bool(self._twistd.get("euid")), os.geteuid())
        load = checked(options.load, self.privileges, options.source)
        self.balancer = LoadBalancer(load, _process(), self._failed, options.source)

    @property
    def _twistd(self) -> Any:
        """Twistd's own options."""
        return self.options.parent if self.options.parent is not None else {}

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """See ``IService``; the application takes our log observer unless the user chose one of twistd's."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        settings = self.options.config.process
        chosen = any(self._twistd.get(name) for name in ("logfile", "syslog", "logger"))
        if chosen or (settings.log_file is None and not self._twistd.get("nodaemon")):
            return
        try:
            self.log_file = LineFile(settings.log_file, standard_error())
        except ConfigError as error:
            _exit_with(*error.problems)
        assert self.log_file is not None
        assert isinstance(parent, Componentized)
        write = observer(self.log_file, settings.log_format, settings.log_level)
        parent.setComponent(ILogObserver, write)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """See ``IService``: open every listener, or exit with status 1."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self.balancer.open()
        except ConfigError as error:
            if not self._twistd.get("nodaemon"):
                raise  # twistd reports it through the process that the user started
            pidfile = self._twistd.get("pidfile")
            if pidfile:
                Path(pidfile).unlink(missing_ok=True)
            _exit_with(*error.problems)
        self.privileges.before_drop()

    def startService(self) -> None:
        """See ``IService``."""
        import gc

        from twisted.internet import reactor

        super().startService()  # type: ignore[no-untyped-call]
        assert self.balancer.assembly is not None
        self.privileges.after_drop(self.balancer.assembly.config)
        self._take_signals()  # now, so that none is missed once we say that we serve
        self.balancer.startService()
        reactor.callWhenRunning(self._ready)
        if self.options["demo"]:
            print(demo.WHAT_TO_TRY, file=sys.__stderr__, flush=True)
        # What exists now stays: the collector need not look at it again. Connections leave nothing for it to find, but
        # at its usual pace it would look through those that just came dozens of times a second.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])

    def stopService(self) -> "Deferred[None] | None":
        """See ``IService``."""
        super().stopService()  # type: ignore[no-untyped-call]
        return self.balancer.stopService()

    def _take_signals(self) -> None:
        from twisted.internet import reactor

        def later(call: Any) -> Any:
            return lambda *_: reactor.callFromThread(call)  # type: ignore[attr-defined]

        signal.signal(signal.SIGTERM, later(self._stop))
        signal.signal(signal.SIGINT, later(self._stop))
        signal.signal(signal.SIGHUP, later(self._reload))
        signal.signal(signal.SIGUSR1, later(self._reopen_logs))

    def _ready(self) -> None:
        self._take_signals()  # again, as the reactor has just put its own in their place
        _notify(b"READY=1")

    def _stop(self) -> None:
        from twisted.internet import reactor

        if self.running:
            _notify(b"STOPPING=1")
            reactor.stop()
        else:
            self.balancer.stop_now()

    def _reload(self) -> None:
        if not self.balancer.reload():
            self.balancer.reopen_logs()  # the rotation that asked for it has taken place all the same
        self._reopen_own_log()

    def _reopen_logs(self) -> None:
        self.balancer.reopen_logs()
        self._reopen_own_log()

    def _reopen_own_log(self) -> None:
        if self.log_file is not None:
            try:
                self.log_file.reopen()
            except ConfigError as error:
                self._log.error("{problem}; the old file is still written to", problem=error)

    def _failed(self, problems: Sequence[str]) -> None:
        import atexit

        for problem in problems:
            print(f"twisted-lb: {problem}", file=sys.__stderr__, flush=True)
        # twistd offers no way to choose the exit status of a reactor that has run.
        atexit.register(os._exit, 1)
        self._stop()
