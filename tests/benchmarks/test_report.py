"""Medians, ratios and tables."""

import pytest

from benchmarks.report import number, ratios, spread, summary_table, table, values, workload_table
from benchmarks.workloads import WORKLOADS, Metric, Sample

RATE = Metric.RATE


def test_a_ratio_pairs_the_runs_of_one_round() -> None:
    drifting = [{RATE: 90.0}, {RATE: 180.0}, {RATE: 45.0}]
    baseline = [{RATE: 100.0}, {RATE: 200.0}, {RATE: 50.0}]
    assert ratios(drifting, baseline, RATE) == pytest.approx([0.9, 0.9, 0.9])


def test_a_round_in_which_either_failed_gives_no_ratio() -> None:
    assert ratios([None, {RATE: 2.0}, {RATE: 3.0}], [{RATE: 1.0}, None, {RATE: 2.0}], RATE) == [1.5]


def test_a_run_that_was_interrupted_or_divides_by_zero_gives_no_ratio() -> None:
    assert ratios([{RATE: 1.0}], [], RATE) == []
    assert ratios([{RATE: 1.0}], [{RATE: 0.0}], RATE) == []
    assert ratios([{}], [{RATE: 1.0}], RATE) == []


def test_failed_runs_do_not_count_as_values() -> None:
    assert values([None, {RATE: 2.0}, {}], RATE) == [2.0]


@pytest.mark.parametrize(
    ("value", "text"), [(61234.4, "61234"), (100.2, "100"), (14.26, "14.3"), (0.5, "0.5"), (0, "0")]
)
def test_a_number_shows_the_figures_that_matter(value: float, text: str) -> None:
    assert number(value) == text


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert spread([1.1, 0.9, 0.95]) == "0.95 (0.90-1.10)"
    assert spread([0.9]) == "0.90"
    assert spread([]) == "-"


def test_a_table_is_aligned_markdown() -> None:
    assert table(["a", "rate"], [["long", "1"]]).splitlines() == [
        "| a    | rate |",
        "|------|-----:|",
        "| long |    1 |",
    ]


def test_a_workload_table_compares_each_peer_with_haproxy() -> None:
    results: dict[tuple[str, str], list[Sample | None]] = {
        ("conn", "ours"): [{RATE: 80.0, Metric.COST_US: 110.0}, {RATE: 90.0, Metric.COST_US: 90.0}],
        ("conn", "haproxy"): [{RATE: 100.0, Metric.COST_US: 100.0}, {RATE: 100.0, Metric.COST_US: 100.0}],
        ("conn", "nginx"): [None, None],
    }
    heading, _, ours, haproxy, nginx = workload_table(
        WORKLOADS["conn"], results, ["ours", "haproxy", "nginx"]
    ).splitlines()
    assert cells(heading) == ["proxy", "connections/s", "/ haproxy", "CPU us per connection", "/ haproxy"]
    assert cells(ours) == ["ours", "85", "0.85 (0.80-0.90)", "100", "1.00 (0.90-1.10)"]
    assert cells(haproxy) == ["haproxy", "100", "1.00 (1.00-1.00)", "100", "1.00 (1.00-1.00)"]
    assert cells(nginx) == ["nginx", "-", "-", "-", "-"]


def test_a_workload_table_without_haproxy_has_no_ratios() -> None:
    lines = workload_table(WORKLOADS["idle"], {("idle", "ours"): [{Metric.IDLE_BYTES: 900.0}]}, ["ours"]).splitlines()
    assert cells(lines[2]) == ["ours", "900", "-"]


def test_the_summary_sets_ours_over_every_peer_and_the_log_over_no_log() -> None:
    results = {
        ("conn", "ours"): [{RATE: 80.0}],
        ("conn", "ours-json-log"): [{RATE: 72.0}],
        ("conn", "ours-tcp-options"): [{RATE: 78.0}],
        ("conn", "haproxy"): [{RATE: 100.0}],
        ("conn", "portforward"): [{RATE: 20.0}],
    }
    lines = [cells(line) for line in summary_table([WORKLOADS["conn"]], results).splitlines()]
    assert lines[0] == ["", "/ haproxy", "/ portforward", "/ ours"]
    assert ["conn, connections/s: ours", "0.80", "4.00", "-"] in lines
    assert ["conn, connections/s: ours-json-log", "0.72", "3.60", "0.90"] in lines
    assert ["conn, connections/s: ours-tcp-options", "0.78", "3.90", "0.97"] in lines


def test_what_uploads_cost_is_compared_too() -> None:
    results: dict[tuple[str, str], list[Sample | None]] = {
        ("http-uploads", "ours"): [{Metric.GROWTH_MB: 30.0}],
        ("http-uploads", "haproxy"): [{Metric.GROWTH_MB: 20.0}],
    }
    heading, _, ours, _ = workload_table(WORKLOADS["http-uploads"], results, ["ours", "haproxy"]).splitlines()
    assert cells(heading) == ["proxy", "MB more", "/ haproxy"]
    assert cells(ours) == ["ours", "30", "1.50"]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
