"""The service that twistd runs: opens the listeners, reloads, and stops gracefully."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_lb.assembly import Assembly, Entry, assemble
from twisted_lb.binding import Binding, Key, key_of
from twisted_lb.config.addresses import IpAddress, parse_bind
from twisted_lb.config.model import Config
from twisted_lb.descriptors import descriptors_each, fit_descriptors, idle_descriptors, policy_descriptors
from twisted_lb.errors import ConfigError, found_in
from twisted_lb.process import Process

Load = Callable[[], Config]
"""Reads the configuration anew. Raises ConfigError."""


class LoadBalancer(Service):
    """One load balancer. ``load``: reads the configuration, at the start and at each reload; ``source``: what it reads.

    ``failed(problems)``: called if a listener of the start turns out not to open after it; it ends the process. One of
    a reload is logged and given up.
    """

    _log = Logger(namespace="twisted_lb")

    def __init__(self, load: Load, process: Process, failed: Callable[[Sequence[str]], None], source: str = "") -> None:
        self.load = load
        self.source = source
        self.process = process
        self.assembly: Assembly | None = None
        self.bindings: dict[tuple[Key, int], Binding] = {}
        self._failed = failed
        self._stopping: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    # Start

    def open(self) -> None:
        """Read the configuration and open every listener. Raises ConfigError, and has nothing open then."""
        assembly = self._assemble(self.load(), None)
        opened = self._open_missing(assembly)
        self._take_over(assembly, opened)

    def check(self) -> Assembly:
        """Read the configuration and build all that it describes, but listen nowhere. Raises ConfigError."""
        assembly = self._assemble(self.load(), None)
        assembly.close_logs()
        return assembly

    def startService(self) -> None:
        """See ``IService``: begin to accept."""
        super().startService()  # type: ignore[no-untyped-call]
        assert self.assembly is not None
        self.assembly.tables.start()
        for binding in self.bindings.values():
            self._start(binding)
        self.assembly.start_checks()
        self.assembly.watch_lists()
        self._log.info("serving on {binds}", binds=", ".join(self._spelt_binds()) or "nothing")

    def _spelt_binds(self) -> list[str]:
        return [binding.bind.address for binding in self.bindings.values()]

    def _start(self, binding: Binding, fatal: bool = True) -> None:
        binding.start()
        for opening in binding.opening:
            opening.addErrback(self._opening_failed, binding, fatal)

    def _opening_failed(self, reason: Failure, binding: Binding, fatal: bool) -> None:
        key = next((key for key, one in self.bindings.items() if one is binding), None)
        if key is None:
            return  # given up meanwhile
        if fatal:
            self._failed([reason.getErrorMessage()])
            return
        self._log.error("{problem}; the others are served", problem=reason.getErrorMessage())
        del self.bindings[key]
        binding.stop()

    def _assemble(self, config: Config, before: Assembly | None) -> Assembly:
        with found_in(self.source):
            assembly = assemble(config, self.process, before)
            try:
                listeners = sum(_count(entry.bind.address) for entry in assembly.binds)
                each, idle = descriptors_each(config), idle_descriptors(config)
                policies = [one.object for frontend in assembly.frontends.values() for one in frontend.policies]
                asking = policy_descriptors(policies)
                assembly.maxconn = fit_descriptors(
                    config.process.maxconn, listeners, assembly.checks, each, idle, asking
                )
            except ConfigError:
                assembly.close_logs(besides=before)
                raise
            return assembly

    def _open_missing(self, assembly: Assembly) -> dict[tuple[Key, int], Binding]:
        """Open the bind entries that are not open yet: all of them, or none.

        Sockets of entries that are to go, but are bound to an address of one that comes, are shared until they do.
        """
        wanted = dict(_keyed(assembly.binds))
        held = {
            where: listener
            for key, binding in self.bindings.items()
            if key not in wanted
            for where, listener in binding.held().items()
        }
        opened: dict[tuple[Key, int], Binding] = {}
        problems: list[str] = []
        for key, entry in wanted.items():
            if key not in self.bindings:
                binding = opened[key] = Binding(self.process, entry.bind, entry.namespace)
                try:
                    binding.open(held)
                except ConfigError as error:
                    problems.extend(error.problems)
        if problems:
            for binding in opened.values():
                binding.stop(besides=list(held.values()))
            assembly.close_logs(besides=self.assembly)
            raise ConfigError(*problems)
        return opened

    def _take_over(self, assembly: Assembly, opened: dict[tuple[Key, int], Binding]) -> None:
        """From here on ``assembly`` rules; nothing can fail any more."""
        before, self.assembly = self.assembly, assembly
        if before is not None:
            before.stop_checks()
            before.leave_lists()
        going = {**self.bindings, **opened}
        if before is not None:
            before.close_idle()
        assembly.commit()
        self.bindings = {}
        for key, entry in _keyed(assembly.binds):
            binding = self.bindings[key] = going.pop(key)
            binding.take_over()
            binding.serve(entry.frontend, entry.limit, entry.reception)
        staying = [listener for binding in self.bindings.values() for listener in binding.listeners]
        for binding in going.values():
            binding.stop(besides=staying)
        if before is not None:
            before.close_logs(besides=assembly)
        for binding in self.bindings.values():
            binding.resume()

    # Reload

    def reload(self) -> bool:
        """Put the configuration as it is now in force, its logs begun anew; or say why not and go on with the old one.

        Returns: whether it is in force.
        """
        if self._stopping is not None:
            self._log.warn("no reload: the process is stopping")
            return False
        try:
            assembly = self._assemble(self.load(), self.assembly)
            opened = self._open_missing(assembly)
        except ConfigError as error:
            for problem in error.problems:
                self._log.error("reload refused: {problem}", problem=problem)
            self._log.error("the configuration that was in force before stays in force")
            return False
        except Exception:
            self._log.failure("reload failed; the configuration that was in force before stays in force")
            return False
        self._take_over(assembly, opened)
        assembly.tables.start()
        for binding in opened.values():
            self._start(binding, fatal=False)
        assembly.start_checks()
        assembly.watch_lists()
        self.reopen_logs()
        self._log.info("reloaded; serving on {binds}", binds=", ".join(self._spelt_binds()))
        return True

    def reopen_logs(self) -> None:
        """Go on in new access log files, after the old ones were moved away."""
        if self.assembly is not None:
            try:
                self.assembly.reopen_logs()
            except ConfigError as error:
                for problem in error.problems:
                    self._log.error("{problem}; the old file is still written to", problem=problem)

    # Stop

    def stopService(self) -> "Deferred[None] | None":
        """See ``IService``: no new connections; those that live may finish within ``process.graceful_stop``."""
        super().stopService()  # type: ignore[no-untyped-call]
        for binding in self.bindings.values():
            binding.stop()
        self.bindings = {}
        self.process.stopping = True
        if self.assembly is not None:
            self.assembly.stop_checks()
            self.assembly.leave_lists()
            self.assembly.close_idle()
        self._wind_down()
        if not self.process.sessions:
            self._close_logs()
            return None
        assert self.assembly is not None
        grace_s = self.assembly.config.process.graceful_stop
        count = len(self.process.sessions)
        self._log.info("stopping: {count} connections may finish within {grace} s", count=count, grace=float(grace_s))
        self._stopping = Deferred()
        self._deadline = self.process.clock.callLater(grace_s, self.stop_now)
        self.process.when_empty(self._drained)
        return self._stopping

    def _wind_down(self) -> None:
        for session in list(self.process.sessions):
            try:
                session.wind_down()
            except Exception:
                self._log.failure("a session did not take note of the stop; the others do")

    def stop_now(self) -> None:
        """Do not wait any longer: end the connections that are left."""
        sessions = list(self.process.sessions)
        if sessions:
            self._log.info("ending {count} connections", count=len(sessions))
        for session in sessions:
            try:
                session.kill("the process stops")
            except Exception:
                self._log.failure("a session could not be ended; the others are")

    def _drained(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self.process.after_batch(self._stopped)  # the last records are written at the end of this batch

    def _stopped(self) -> None:
        self._close_logs()
        stopping = self._stopping
        if stopping is not None and not stopping.called:
            stopping.callback(None)

    def _close_logs(self) -> None:
        if self.assembly is not None:
            self.assembly.tables.stop()
            self.assembly.close_logs()


def _keyed(binds: Sequence[Entry]) -> Iterator[tuple[tuple[Key, int], Entry]]:
    """Give each bind entry its key, numbered: several may ask for a port of the kernel's choice."""
    seen: Counter[Key] = Counter()
    for entry in binds:
        key = key_of(entry.bind, entry.namespace)
        yield (key, seen[key]), entry
        seen[key] += 1


def _count(address: str) -> int:
    parsed: Any = parse_bind(address)
    return parsed.high - parsed.low + 1 if isinstance(parsed, IpAddress) else 1
