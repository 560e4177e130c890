"""Sessions in HTTP mode are what exchanges want them to be."""

from typing import Any

import pytest

from twisted_lb.http_session import HttpSession
from twisted_lb.stages.exchange_owner import BodyOwner, ExchangeOwner


def methods_of(protocol: Any) -> set[str]:
    """Name what a protocol and those it extends demand."""
    protocols = [one for one in protocol.__mro__ if one.__module__ == protocol.__module__]
    return {name for one in protocols for name in vars(one) if not name.startswith("_")}


@pytest.mark.parametrize("protocol", [ExchangeOwner, BodyOwner])
def test_a_session_answers_whatever_its_exchange_may_tell_it(protocol: Any) -> None:
    wanted = methods_of(protocol)
    assert "exchange_done" in wanted
    assert not {name for name in wanted if not callable(getattr(HttpSession, name, None))}


def test_who_looks_at_bodies_asks_for_more() -> None:
    assert methods_of(ExchangeOwner) < methods_of(BodyOwner)
