"""The counters have HAProxy's names, and each reads one thing."""

from twisted_lb.tables.counters import COUNTERS, GENERAL, Event, Kind


def test_each_event_has_a_total_and_a_rate_and_connections_are_also_those_there_are_now() -> None:
    read = sorted((counter.event, counter.kind.name) for counter in COUNTERS.values())
    assert read == sorted(
        [(event, kind) for event in Event for kind in ("TOTAL", "RATE")] + [(Event.CONNECTION, "CURRENT")]
    )


def test_the_names_are_those_of_the_reference() -> None:
    assert set(COUNTERS) == {
        *("connections", "connection_count", "connection_rate", "request_count", "request_rate"),
        *("error_count", "error_rate", "bytes_in", "bytes_in_rate", "bytes_out", "bytes_out_rate"),
        *("gpc0", "gpc0_rate", "gpc1", "gpc1_rate", "gpc2", "gpc2_rate"),
    }
    assert COUNTERS["bytes_in"].kind is Kind.TOTAL


def test_only_the_general_counters_are_incremented_by_rules() -> None:
    assert GENERAL == {"gpc0": Event.GPC0, "gpc1": Event.GPC1, "gpc2": Event.GPC2}
