"""The order of the runs: workload by workload, round by round, every peer in turn."""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.arrangement import Arrangement
from benchmarks.backend import Servers, backend
from benchmarks.errors import LoadFailedError
from benchmarks.network import Network, loopback, namespaces
from benchmarks.placement import Target
from benchmarks.proxies import PEERS, Peer, running_peer
from benchmarks.workloads import Sample, Scale, Workload


@dataclass
class Bench:
    """What to run, and what came of it so far: per workload and peer one sample a round, ``None`` where it failed."""

    peers: dict[str, Peer]
    workloads: list[Workload]
    rounds: int
    scale: Scale
    descriptors: int
    remarks: list[str] = field(default_factory=list)
    results: dict[tuple[str, str], list[Sample | None]] = field(default_factory=dict)

    def run(self, servers: Servers) -> None:
        """All rounds of all workloads, into ``results``; a run that fails becomes a remark."""
        here = loopback()
        for workload in self.workloads:
            names = [name for name in self.peers if takes_part(name, workload)]
            for name in names:
                self.results[workload.name, name] = []
            if workload.arrangement is Arrangement.TRANSPARENT:
                self._run_between_namespaces(workload, names)
            else:
                self._run(workload, names, servers, here)

    def _run_between_namespaces(self, workload: Workload, names: list[str]) -> None:
        try:
            with ExitStack() as started:
                network = started.enter_context(namespaces())
                directory = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
                servers = started.enter_context(backend(directory, self.descriptors, 0, network.servers))
                self._run(workload, names, servers, network)
        except LoadFailedError as failure:
            self.remark(f"{workload.name}: {failure}")

    def _run(self, workload: Workload, names: list[str], servers: Servers, network: Network) -> None:
        if not workload.fresh:
            self._share(workload, names, range(self.rounds), servers, network)
            return
        for round_ in range(self.rounds):
            for name in rotated(names, round_):
                self._share(workload, [name], [round_], servers, network)

    def _share(
        self, workload: Workload, names: list[str], rounds: Sequence[int], servers: Servers, network: Network
    ) -> None:
        """Start the peers ``names``, let each have its turn in every round, stop them all."""
        with ExitStack() as started:
            targets = {}
            for name in names:
                try:
                    targets[name] = self._start(started, workload, name, servers, network)
                except LoadFailedError as failure:
                    self.remark(f"{workload.name}, {name}: {failure}")
            for round_ in rounds:
                for name in rotated(names, round_):
                    sample = None
                    if name in targets:
                        progress(f"{workload.name} round {round_ + 1} of {self.rounds}: {name}")
                        try:
                            sample = workload.run(targets[name], self.scale)
                        except LoadFailedError as failure:
                            self.remark(f"{workload.name}, {name}, round {round_ + 1}: {failure}")
                    self.results[workload.name, name].append(sample)

    def _start(self, started: ExitStack, workload: Workload, name: str, servers: Servers, network: Network) -> Target:
        directory = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        return started.enter_context(
            running_peer(self.peers[name], directory, servers, self.descriptors, workload.arrangement, network)
        )

    def remark(self, text: str) -> None:
        """Say ``text`` now, and again in the report."""
        progress(text)
        self.remarks.append(text)


def takes_part(name: str, workload: Workload) -> bool:
    """Whether the peer ``name`` runs in ``workload``: a variant of a peer only where it differs.

    Peers that the user added, and ``direct``, run everywhere on loopback; without a proxy there is no memory to read,
    though.
    """
    if name in workload.peers:
        return True
    if workload.arrangement is Arrangement.TRANSPARENT:
        return False
    return not workload.fresh if name == "direct" else name not in PEERS


def rotated(names: list[str], by: int) -> list[str]:
    """``names``, beginning with another one each round, so that none always follows the most demanding."""
    start = by % len(names) if names else 0
    return names[start:] + names[:start]


def progress(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)
