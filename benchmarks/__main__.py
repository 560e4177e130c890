"""Measure ours beside HAProxy, nginx and Twisted's portforward, and print the medians and ratios as Markdown."""

import argparse
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.arrangement import Arrangement
from benchmarks.backend import backend
from benchmarks.bench import Bench, progress
from benchmarks.errors import LoadFailedError, MissingProgramError
from benchmarks.network import check_namespaces
from benchmarks.placement import connections_within
from benchmarks.process import raise_descriptor_limit
from benchmarks.programs import find_program
from benchmarks.proxies import PEERS, Peer, peer_from_command
from benchmarks.report import document
from benchmarks.workloads import WORKLOADS, Scale

BODY_BYTES, IDLE_CONNECTIONS, UPLOADS, UPLOAD_BYTES = 128 << 20, 4000, 2000, 1 << 20
QUICK = Scale(1, body_bytes=8 << 20, idle_connections=200, uploads=100, upload_bytes=128 << 10)


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status: 0, 2 when nothing can be measured, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = _parse(arguments)
    descriptors = raise_descriptor_limit()
    scale = QUICK if options.quick else Scale(options.seconds, BODY_BYTES, IDLE_CONNECTIONS, UPLOADS, UPLOAD_BYTES)
    bench = Bench({}, [], 1 if options.quick else options.rounds, scale, descriptors)
    versions = _choose_peers(bench, options.peers, options.also)
    _choose_workloads(bench, options.only)
    status = 0
    try:
        with (
            tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
            backend(Path(directory), descriptors, scale.body_bytes) as servers,
        ):
            bench.run(servers)
    except (MissingProgramError, LoadFailedError) as error:
        progress(f"nothing to measure with: the web server behind the proxies is needed: {error}")
        return 2
    except KeyboardInterrupt:
        bench.remark("interrupted: the figures are incomplete")
        status = 130
    command = shlex.join(["python", "-m", "benchmarks", *arguments])
    text = document(bench.workloads, bench.results, versions, bench.remarks, command)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return status


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=_positive, default=5, metavar="N", help="runs of each peer in each workload (default: 5)")
    add("--seconds", type=_positive, default=3, metavar="S", help="length of a run, in whole seconds (default: 3)")
    add("--only", type=_names(WORKLOADS), metavar="WORKLOAD[,..]", help=f"of: {', '.join(WORKLOADS)} (default: all)")
    add("--peers", type=_names(PEERS), metavar="PEER[,..]", help=f"of: {', '.join(PEERS)} (default: all but direct)")
    add(
        "--also",
        type=_peer,
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="one more peer, in every workload; in its command {port}, {server1}, {server2} stand for port numbers",
    )
    add("--markdown", type=Path, metavar="FILE", help="write the report to this file too")
    add("--quick", action="store_true", help="one small run of everything: does it work? The figures mean nothing")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return names

    return parse


def _peer(text: str) -> Peer:
    try:
        return peer_from_command(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _choose_peers(bench: Bench, names: list[str] | None, also: list[Peer]) -> dict[str, str]:
    """Put the peers that are installed into ``bench``; returns how each describes itself."""
    versions = {}
    chosen = [PEERS[name] for name in names or PEERS if names or name != "direct"]
    for peer in [*chosen, *also]:
        try:
            versions[peer.name] = peer.describe()
            bench.peers[peer.name] = peer
        except MissingProgramError as missing:
            bench.remark(f"{peer.name} is left out: {missing}")
    return versions


def _choose_workloads(bench: Bench, names: list[str] | None) -> None:
    """Put the workloads that this machine can run into ``bench``, at the size that it allows."""
    for workload in [WORKLOADS[name] for name in names or WORKLOADS]:
        try:
            if workload.program:
                find_program(workload.program)
            if workload.arrangement is Arrangement.TRANSPARENT:
                check_namespaces()
            bench.workloads.append(workload)
        except MissingProgramError as missing:
            bench.remark(f"{workload.name} is left out: {missing}")
    possible = connections_within(bench.descriptors)
    if possible < max(bench.scale.idle_connections, bench.scale.uploads):
        bench.scale = replace(
            bench.scale,
            idle_connections=min(bench.scale.idle_connections, possible),
            uploads=min(bench.scale.uploads, possible),
        )
        bench.remark(
            f"only {possible} connections at once: the hard limit on descriptors (ulimit -Hn) is too low for more"
        )


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C"
    sys.exit(main(sys.argv[1:]))
