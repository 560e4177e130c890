"""From samples to text: medians, ratios of runs that stood side by side, and Markdown tables."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from os import sched_getaffinity
from pathlib import Path
from statistics import median

from benchmarks.workloads import Metric, Sample, Workload

# Per workload and peer one entry for each round; None where that run failed.
Results = Mapping[tuple[str, str], Sequence[Sample | None]]
BASELINE = "haproxy"
VARIANTS = ("ours-json-log", "ours-tcp-options")
SUBJECTS = ("ours", *VARIANTS)
COMPARED = (Metric.RATE, Metric.COST_US, Metric.IDLE_BYTES, Metric.GROWTH_MB)
NOTHING = "-"


def values(runs: Sequence[Sample | None], metric: Metric) -> list[float]:
    """What the runs that succeeded gave for ``metric``."""
    return [run[metric] for run in runs if run is not None and metric in run]


def ratios(runs: Sequence[Sample | None], others: Sequence[Sample | None], metric: Metric) -> list[float]:
    """``runs`` over ``others``, round by round.

    The machine drifts within minutes, while two runs of one round share its mood; so the median of these is steadier
    than the ratio of two medians. Rounds in which either failed are left out.
    """
    pairs = zip(runs, others, strict=False)
    return [
        run[metric] / other[metric]
        for run, other in pairs
        if run is not None and other is not None and metric in run and other.get(metric)
    ]


def workload_table(workload: Workload, results: Results, peers: Sequence[str]) -> str:
    """Medians of every peer, and the ratio of its rate, cost or memory to HAProxy's."""
    compared = [metric for metric in workload.metrics if metric in COMPARED]
    heading = ["proxy"]
    for metric in workload.metrics:
        heading.append(column(metric, workload.unit))
        if metric in compared:
            heading.append(f"/ {BASELINE}")
    rows = []
    for peer in peers:
        runs = results[workload.name, peer]
        row = [peer]
        for metric in workload.metrics:
            found = values(runs, metric)
            row.append(number(median(found)) if found else NOTHING)
            if metric in compared:
                row.append(spread(ratios(runs, results.get((workload.name, BASELINE), []), metric)))
        rows.append(row)
    return table(heading, rows)


def summary_table(workloads: Sequence[Workload], results: Results) -> str:
    """Ours over each peer, for every workload; the columns are the peers that were measured."""
    measured = list(dict.fromkeys(peer for _, peer in results if peer not in VARIANTS))
    others = [peer for peer in measured if peer != "ours"]
    if any(peer in VARIANTS for _, peer in results):
        others.append("ours")
    rows = []
    for workload in workloads:
        for subject in SUBJECTS:
            runs = results.get((workload.name, subject))
            if runs is None:
                continue
            for metric in workload.metrics:
                cells = [
                    spread(ratios(runs, results.get((workload.name, other), []), metric))
                    if other != subject
                    else NOTHING
                    for other in others
                ]
                rows.append([f"{workload.name}, {column(metric, workload.unit)}: {subject}", *cells])
    return table(["", *(f"/ {other}" for other in others)], rows)


def column(metric: Metric, unit: str) -> str:
    """The heading of a metric, with its unit."""
    match metric:
        case Metric.RATE:
            return f"{unit}s/s" if unit != "MB" else "MB/s"
        case Metric.COST_US:
            return f"CPU us per {unit}"
        case Metric.IDLE_BYTES:
            return f"bytes per {unit}"
        case Metric.GROWTH_MB:
            return "MB more"
        case Metric.P50_US | Metric.P99_US:
            return f"{metric.value} us"


def number(value: float) -> str:
    """Three figures that matter and no more, large numbers whole."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(found: Sequence[float]) -> str:
    """A median ratio and in parentheses the lowest and highest of the rounds."""
    if not found:
        return NOTHING
    middle = f"{median(found):.2f}"
    return f"{middle} ({min(found):.2f}-{max(found):.2f})" if len(found) > 1 else middle


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it also reads well on a terminal."""
    lines = [heading, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(heading))]

    def padded(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])} |"

    rule = [f"{'-' * (width + 1)}:" for width in widths]
    rule[0] = "-" * (widths[0] + 2)
    return "\n".join([padded(heading), f"|{'|'.join(rule)}|", *(padded(row) for row in rows)])


def machine() -> str:
    """The machine in a line: processor, the cores we may use, kernel."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    cores = len(sched_getaffinity(0))
    return f"{models[0] if models else platform.machine()}, {cores} cores, {platform.system()} {platform.release()}"


def document(
    workloads: Sequence[Workload],
    results: Results,
    versions: Mapping[str, str],
    remarks: Iterable[str],
    command: str,
) -> str:
    """The whole report as Markdown: where and how it was measured, what was missing, and the tables."""
    parts = [
        "# Benchmark results",
        "\n".join(
            [
                f"- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
                f"- Machine: {machine()}",
                f"- Command: `{command}`",
                *(f"- {name}: {described}" for name, described in versions.items()),
                *(f"- Note: {remark}" for remark in remarks),
            ]
        ),
        "Medians of interleaved runs; a ratio is the median of the rounds' own ratios, with the lowest and the highest "
        "in parentheses. A rate is better when higher; CPU time, latency and memory when lower.",
    ]
    if any(peer in SUBJECTS for _, peer in results):
        parts += ["## Ours over its peers", summary_table(workloads, results)]
    for workload in workloads:
        peers = [peer for name, peer in results if name == workload.name]
        if peers:
            parts += [f"## {workload.name}: {workload.title}", workload_table(workload, results, peers)]
    return "\n\n".join(parts) + "\n"
