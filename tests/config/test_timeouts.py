"""Which timeouts there are, and where they can be set."""

from msgspec import UNSET

from twisted_lb.config.timeouts import BackendTimeouts, FrontendTimeouts, Timeouts


def test_defaults_has_those_of_frontends_and_those_of_backends() -> None:
    of_frontends, of_backends = FrontendTimeouts.__struct_fields__, BackendTimeouts.__struct_fields__
    assert {*of_frontends, *of_backends} == set(Timeouts.__struct_fields__)
    assert not set(of_frontends) & set(of_backends)


def test_frontends_and_backends_inherit_what_they_do_not_set() -> None:
    for timeouts in (FrontendTimeouts(), BackendTimeouts()):
        assert {getattr(timeouts, name) for name in timeouts.__struct_fields__} == {UNSET}
