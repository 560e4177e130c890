"""Tables of HTTP mode."""

from typing import Any

import pytest

from twisted_lb.config.http import Fields, Forwarded, MinRate
from twisted_lb.config.load import load_dict
from twisted_lb.config.model import Frontend
from twisted_lb.config.units import Size
from twisted_lb.errors import ConfigError


def loaded(**settings: Any) -> Frontend:
    frontend = {"bind": "127.0.0.1:1", "backend": "app", "mode": "http", **settings}
    config = load_dict({"frontends": {"web": frontend}, "backends": {"app": {"servers": {"a": "127.0.0.1:2"}}}}, "x")
    return config.frontends["web"]


def test_fields_are_read_as_they_stand() -> None:
    fields = loaded(request_headers={"set": {"X-A": "1"}, "remove": ["X-B"]}).request_headers
    assert fields == Fields(remove=["X-B"], set={"X-A": "1"})


def test_a_name_that_no_field_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="the name of an HTTP field"):
        loaded(request_headers={"remove": ["X B"]})


def test_whose_word_counts_is_spelt_except() -> None:
    assert loaded(forwarded={"except": ["10.0.0.0/8"]}).forwarded == Forwarded(except_=["10.0.0.0/8"])


def test_a_rate_has_a_unit_and_must_be_given() -> None:
    assert loaded(min_rate={"rate": "1KiB"}).min_rate == MinRate(rate=Size(1024))
    with pytest.raises(ConfigError, match=r"min_rate.rate: is missing"):
        loaded(min_rate={})
