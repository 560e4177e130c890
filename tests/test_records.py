"""Records of what ended."""

from twisted_lb.records import HttpRecord, SessionRecord


def test_a_record_begins_with_its_time_which_the_json_access_log_replaces() -> None:
    assert SessionRecord.__struct_fields__[0] == "time"


def test_a_record_of_a_request_has_all_that_one_of_a_connection_has_at_the_same_places() -> None:
    fields = SessionRecord.__struct_fields__
    assert HttpRecord.__struct_fields__[: len(fields)] == fields
