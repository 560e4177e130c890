"""Options of sockets, of both sides."""

import pytest
from msgspec import UNSET

from twisted_lb.config.tcp import ConnectTcp, Keepalive, ListenTcp, Tcp


@pytest.mark.parametrize("table", [Tcp, ListenTcp, ConnectTcp, Keepalive])
def test_an_option_that_is_not_set_is_not_touched(table: type[Tcp]) -> None:
    assert {getattr(table(), name) for name in table.__struct_fields__} == {UNSET}


def test_both_sides_have_the_options_of_every_connection() -> None:
    common = set(Tcp.__struct_fields__)
    assert common < set(ListenTcp.__struct_fields__)
    assert common < set(ConnectTcp.__struct_fields__)
