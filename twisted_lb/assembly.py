"""From a checked configuration to the objects that serve connections. Opens no socket, so ``--check`` can run it.

A reload assembles anew and takes over from the assembly before what must go on counting: limits, servers, log files.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from twisted_lb.backend_assembly import BackendAssembly, PlannedServer
from twisted_lb.backends.health import Health
from twisted_lb.backends.pool import Backend
from twisted_lb.bind_check import check_bind, whole_bind
from twisted_lb.config import inherit, model
from twisted_lb.config.checks_http import rule_of
from twisted_lb.config.keys import BindKeys
from twisted_lb.config.uses import Use
from twisted_lb.contracts import IPolicy
from twisted_lb.counting.tables import Tables
from twisted_lb.errors import ConfigError
from twisted_lb.frontend import Frontend, Refusal, Routing
from twisted_lb.http_assembly import http_frontend
from twisted_lb.logs import LineBuffer, LineFile, standard_output
from twisted_lb.net.namespace import Namespace
from twisted_lb.networks import Networks
from twisted_lb.plugin_host import Built, PluginHost, load_plugins
from twisted_lb.policy_assembly import PolicyAssembly
from twisted_lb.problems import Problems
from twisted_lb.process import Process
from twisted_lb.routing import Routes, Rule
from twisted_lb.rules.list_watch import ListWatch, in_thread_of
from twisted_lb.rules.lists import ListFiles
from twisted_lb.rules.scope import Scope
from twisted_lb.stages.access_log import AccessLog
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.proxy_header import Reception, Trust
from twisted_lb.stages.validation import Entry as ValidatorEntry
from twisted_lb.supply import Runtime
from twisted_lb.table_assembly import add_table
from twisted_lb.validator_assembly import ValidatorAssembly


class Entry(NamedTuple):
    """A bind entry, whom it serves, its own limit, what it expects of proxies before it, and where it listens.

    ``bind.tcp``: its own and its frontend's in one, where a socket of ours can have it.
    """

    bind: model.Bind
    frontend: Frontend
    limit: Limit
    reception: Reception | None = None
    namespace: Namespace | None = None


class Assembly:
    """What a configuration became.

    ``binds``: every bind entry with its frontend and its limit. ``maxconn``: the process's. ``scopes``: what is known
    in each frontend behind its policies. Nothing that an earlier assembly serves is touched before ``commit``.
    """

    def __init__(self, config: model.Config, process: Process) -> None:
        self.config = config
        self.frontends: dict[str, Frontend] = {}
        self.backends: dict[str, Backend] = {}
        self.health: dict[str, Health] = {}
        self.binds: list[Entry] = []
        self.log_files: dict[str | None, LineFile] = {}
        self.tables = Tables(process.clock)
        self.maxconn: int | None = config.process.maxconn
        self.lists = ListFiles(config.lists)
        self.scopes: dict[str, Scope] = {}
        self._list_watch: ListWatch | None = None
        self._process = process
        self._servers: list[PlannedServer] = []
        self._limits: list[tuple[Limit, int | None]] = []

    def commit(self) -> None:
        """Put the settings of servers and limits in force, also of those that an earlier assembly had already."""
        for server in self._servers:
            server.put_in_force()
        for backend in self.backends.values():
            for one in backend.servers:
                one.pool(self._process.clock, backend.http)
            backend.take_over()
        self.tables.begin()
        for limit, maximum in ((self._process.limit, self.maxconn), *self._limits):
            limit.maximum = maximum
            limit.wake()

    @property
    def checks(self) -> int:
        """How many servers are checked; each check takes a descriptor."""
        return sum(len(health.checks) for health in self.health.values())

    def start_checks(self) -> None:
        """Begin to check servers: each for the first time at a moment of its own within its interval."""
        number = 0
        for health in self.health.values():
            health.start(number, self.checks)
            number += len(health.checks)

    def stop_checks(self) -> None:
        """Check no more; servers stay in the state that they are in."""
        for health in self.health.values():
            health.stop()

    def watch_lists(self) -> None:
        """Begin to look whether the files of lists change; what has changed is read again at once."""
        if self._list_watch is None:
            process = self._process
            self._list_watch = ListWatch(self.lists, process.clock, in_thread_of(process.reactor))
        self._list_watch.start()

    def leave_lists(self) -> None:
        """Keep the lists as they are."""
        if self._list_watch is not None:
            self._list_watch.stop()

    def close_idle(self) -> None:
        """Close the connections to HTTP servers that wait for a request."""
        for backend in self.backends.values():
            for server in backend.servers:
                if server.idle is not None:
                    server.idle.close()
                    server.idle = None

    def close_logs(self, besides: "Assembly | None" = None) -> None:
        """Close the log files but those that ``besides`` uses too."""
        for path, file in self.log_files.items():
            if besides is None or besides.log_files.get(path) is not file:
                file.close()

    def reopen_logs(self) -> None:
        """Go on in new files of the same names. Raises ConfigError that names each one which stays the old one."""
        problems: list[str] = []
        for file in self.log_files.values():
            try:
                file.reopen()
            except ConfigError as error:
                problems.extend(error.problems)
        if problems:
            raise ConfigError(*problems)


def assemble(config: model.Config, process: Process, before: Assembly | None = None) -> Assembly:
    """Build everything that ``config`` describes; limits, servers and log files that ``before`` has too are kept.

    Raises: ConfigError with every problem.
    """
    return Assembler(config, process, before or Assembly(config, process)).run()


class Assembler:
    """Builds one assembly, ``made``. ``problems``: all that is wrong so far."""

    def __init__(self, config: model.Config, process: Process, before: Assembly) -> None:
        self.config = config
        self.process = process
        self.before = before
        self.made = Assembly(config, process)
        self.made.lists = ListFiles(config.lists, before.lists)
        self.made.tables = Tables(process.clock, before.tables)
        self.problems = Problems()

    def run(self) -> Assembly:
        """Build all. Raises: ConfigError with every problem."""
        with self.problems.collected():
            runtime = Runtime(self.process.reactor, self.process.clock)
            host = load_plugins(self.config.plugins, self.config.disabled_plugins, runtime)
            self.backends(host)
            self.tables(host)
            for name in self.config.frontends:
                self.frontend(host, name)
            self.observe_health()
            self.made.lists.check_unused()
            self.problems += self.made.lists.problems
        if self.problems:
            self.made.close_logs(besides=self.before)
            raise ConfigError(*self.problems)
        return self.made

    def backends(self, host: PluginHost) -> None:
        """Build the backends with their servers and checks."""
        assembly = BackendAssembly(self.config, self.process, host, self.problems)
        for name in self.config.backends:
            made = assembly.build(name, self.before.backends.get(name))
            if made is not None:
                self.made.backends[name], self.made.health[name] = made
        self.made._servers = assembly.servers

    def tables(self, host: PluginHost) -> None:
        """Make the tables that rules count in."""
        for name, table in self.config.tables.items():
            with self.problems.collected(f"tables.{name}."):
                add_table(self.made.tables, host, name, table)
            if name not in self.made.tables.named:
                self.made.tables.faulty.add(name)

    def build(self, host: PluginHost, kind: Any, uses: Sequence[Use], mode: str = "") -> list[Any]:
        """Build what a frontend of that mode uses, or what has nothing to do with modes."""
        built = []
        for use in uses:
            with self.problems.collected():
                of_mode = host.find(kind, use.use, use.where).supply.mode
                if mode and of_mode not in (None, mode):
                    raise ConfigError(f'{use.where}: "{use.use}" is only for mode = "{of_mode}"')
                built.append(host.build(kind, use))
        return built

    def observe_health(self) -> None:
        """Let the observers of each frontend hear of the servers of the backends that it leads to."""
        for frontend in self.made.frontends.values():
            for backend in inherit.reachable_from(self.config, frontend.name):
                health = self.made.health.get(backend)
                if health is None:
                    continue
                told = {id(observer.object) for observer in health.observers}  # one plugin may build one for all
                health.observers += tuple(one for one in frontend.observers if id(one.object) not in told)

    def frontend(self, host: PluginHost, name: str) -> None:
        """Build the frontend of that name, and its bind entries."""
        config, settings = self.config, self.config.frontends[name]
        before = self.before.frontends.get(name)
        validators = self.validators(host, name, settings)
        policies, scope = self.policies(host, name, settings)
        self.made.scopes[name] = scope
        observers = self.build(host, "observers", settings.observers, settings.mode)
        filters = self.build(host, "body_filters", settings.body_filters, settings.mode)
        access_log = self.access_log(host, name)
        backend = self.made.backends.get(settings.backend)
        if backend is None:
            return  # its own problem is among the others
        limit = before.limit if before else Limit()
        self.made._limits.append((limit, settings.maxconn))
        timers = inherit.frontend_timers(config, name)
        http = None
        if settings.mode == "http":
            with self.problems.collected(f"frontends.{name}."):
                http = http_frontend(config, name, filters)
                if before is not None and before.http is not None:
                    http.refused = before.http.refused
        routing = self.routing(settings, backend, scope)
        frontend = Frontend(name, backend, timers, limit, validators, policies, observers, access_log, http, routing)
        frontend.lets_undecided = settings.inspect_expired == "pass"
        self.made.frontends[name] = frontend
        for index, bind in enumerate(settings.bind):
            bind_limit = self.bind_limit(name, bind.address)
            self.made._limits.append((bind_limit, bind.maxconn))
            namespace = None
            with self.problems.collected(), BindKeys(f"frontends.{name}", index, bind.tcp).blamed():
                bind = whole_bind(settings, bind)
                namespace = check_bind(bind, self.process)
            self.made.binds.append(Entry(bind, frontend, bind_limit, self.reception(host, name, bind), namespace))

    def validators(self, host: PluginHost, name: str, settings: model.Frontend) -> list[ValidatorEntry]:
        """Build a frontend's validators."""
        assembly = ValidatorAssembly(host, f"frontends.{name}", settings, self.problems)
        return assembly.build(lambda use: self.build(host, "validators", [use], settings.mode))

    def policies(self, host: PluginHost, name: str, settings: model.Frontend) -> tuple[Sequence[Built[IPolicy]], Scope]:
        """Build a frontend's policies, those of plugins and rules; also what is known behind all of them."""
        assembly = PolicyAssembly(host, name, settings, self.made.lists, self.made.tables)
        built = assembly.build(lambda use: self.build(host, "policies", [use], settings.mode))
        assembly.check_routes()
        self.problems += assembly.problems
        return built, assembly.scope()

    def routing(self, settings: model.Frontend, default: Backend, scope: Scope) -> Routing | None:
        """Build what finds the backend; nothing if there is only one to be found."""
        backends = self.made.backends
        targets: list[tuple[Rule, Backend | Refusal]] = []
        for route in settings.routes:
            if route.backend is None:
                status = 403 if isinstance(route.refuse, bool) else route.refuse
                targets.append((rule_of(route), Refusal("refused by a route", status)))
            elif route.backend in backends:  # else its own problem is among the others
                targets.append((rule_of(route), backends[route.backend]))
        if not targets and not settings.policies:
            return None
        routes = Routes(targets, default, settings.mode == "http", scope.facts) if targets else None
        return Routing(backends, routes, settings.reject_unknown_hosts)

    def bind_limit(self, frontend: str, address: str) -> Limit:
        """Return the limit that a bind entry had before, or a new one."""
        for entry in self.before.binds:
            if entry.frontend.name == frontend and entry.bind.address == address:
                return entry.limit
        return Limit()

    def reception(self, host: PluginHost, frontend: str, bind: model.Bind) -> Reception | None:
        """Build what a bind entry expects of proxies before it."""
        settings = inherit.accept_proxy(self.config, frontend, bind)
        if settings is None:
            return None
        where = f"frontends.{frontend}.accept_proxy.versions"
        codecs = self.build(host, "proxy_codecs", [Use(use=name, where=where) for name in settings.versions])
        trusted = Networks.parse(settings.from_) if settings.from_ else None
        others = Trust.DIRECT if settings.direct else Trust.REFUSED
        namespaces = {}
        for index, namespace in enumerate(settings.namespaces):
            key = f"frontends.{frontend}.accept_proxy.namespaces[{index}]"
            with self.problems.collected():
                namespaces[namespace] = self.process.namespaces.open_for(key, namespace)
        return Reception(codecs, trusted, others, settings.timeout, settings.max_header, namespaces)

    def access_log(self, host: PluginHost, frontend: str) -> AccessLog | None:
        """Build a frontend's access log; its file is opened."""
        use = inherit.access_log(self.config, frontend)
        if use is None:
            return None
        with self.problems.collected(use.where):
            file = self.made.log_files.get(use.path) or self.before.log_files.get(use.path)
            if file is None:
                file = LineFile(use.path, standard_output())
            self.made.log_files[use.path] = file
            for log_format in self.build(host, "access_logs", [use], self.config.frontends[frontend].mode):
                return AccessLog(log_format, LineBuffer(file, self.process.after_batch))
        return None
