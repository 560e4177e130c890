"""``geoip`` judges by what databases say of an address; the tests make their own."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import TestCase

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from twisted_lb.api import ALLOW, ConfigError, Deny, IPolicy, Stage
from twisted_lb.config.uses import Use
from twisted_lb.plugin_host import load_plugins
from twisted_lb.testing import PolicyContract, make_facts
from twisted_lb_plugins.policy_geoip import FACTS, GeoIpOptions, build

PLACES: Mapping[str, Mapping[str, Any]] = {
    "192.0.2.0/24": {"country": {"iso_code": "DE"}, "continent": {"code": "EU"}},
    "198.51.100.0/24": {"country": {"iso_code": "US"}, "continent": {"code": "NA"}},
    "203.0.113.0/24": {"continent": {"code": "AS"}},
    "2001:db8:1::/48": {"country": {"iso_code": "FR"}, "continent": {"code": "EU"}},
}
SYSTEMS: Mapping[str, Mapping[str, Any]] = {
    "192.0.2.0/25": {"autonomous_system_number": 64500, "autonomous_system_organization": "One"},
    "2001:db8::/32": {"autonomous_system_number": 4200000000},
}


def database(path: Path, networks: Mapping[str, Mapping[str, Any]], version: int = 6) -> str:
    """Write a database; returns its path."""
    writer = MMDBWriter(version, "Test", ipv4_compatible=version == 6)
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), dict(record))
    writer.to_db_file(str(path))
    return str(path)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A database of places, and one of autonomous systems."""
    folder = tmp_path_factory.mktemp("geoip")
    return [database(folder / "places.mmdb", PLACES), database(folder / "systems.mmdb", SYSTEMS)]


class TestContract(PolicyContract, TestCase):
    """What every policy promises."""

    @pytest.fixture(autouse=True)
    def _databases(self, both: list[str]) -> None:
        self.databases = both

    def make_policy(self) -> IPolicy:
        return build(GeoIpOptions(databases=self.databases, countries=["DE"]))


def asked(databases: list[str], source: str, **options: Any) -> tuple[str, dict[str, Any]]:
    """Why a client is denied, empty if it is not, and what was learnt."""
    facts = make_facts(source)
    verdict = build(GeoIpOptions(databases=databases, **options)).decide(facts)
    assert verdict is ALLOW or isinstance(verdict, Deny)
    return verdict.reason if isinstance(verdict, Deny) else "", facts.learnt


GERMAN = {"geo.country": "DE", "geo.continent": "EU", "geo.asn": 64500}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("192.0.2.1", GERMAN),
        ("::ffff:192.0.2.1", GERMAN),
        ("192.0.2.200", {"geo.country": "DE", "geo.continent": "EU"}),
        ("203.0.113.1", {"geo.continent": "AS"}),
        ("2001:db8:1::7", {"geo.country": "FR", "geo.continent": "EU", "geo.asn": 4200000000}),
        ("2001:db8:2::7", {"geo.asn": 4200000000}),
        ("10.0.0.1", {}),
        ("fe80::1%eth0", {}),
        ("unix:", {}),
        ("unknown:HostnameAddress", {}),
    ],
)
def test_without_lists_all_are_allowed_and_it_is_known_where_they_are(
    both: list[str], source: str, expected: dict[str, Any]
) -> None:
    assert asked(both, source) == ("", expected)


def test_it_is_asked_before_a_byte_is_read(both: list[str]) -> None:
    judge = build(GeoIpOptions(databases=both))
    assert (judge.stage, judge.only_refuses) == (Stage.ADMISSION, True)


def test_what_it_learns_is_declared_with_its_type(both: list[str]) -> None:
    _, learnt = asked(both, "192.0.2.1")
    assert set(learnt) == set(FACTS)
    assert all(fact.stage is Stage.ADMISSION for fact in FACTS.values())
    supply = load_plugins().find("policies", "geoip", "").supply
    assert supply.facts == FACTS


def test_countries_are_allowed(both: list[str]) -> None:
    options = {"countries": ["DE", "FR"]}
    assert asked(both, "192.0.2.1", **options)[0] == ""
    assert asked(both, "2001:db8:1::1", **options)[0] == ""
    assert asked(both, "198.51.100.1", **options)[0] == "country US is not among those allowed"


def test_lists_of_several_kinds_must_all_agree(both: list[str]) -> None:
    options = {"continents": ["EU"], "as_numbers": [64500]}
    assert asked(both, "192.0.2.1", **options)[0] == ""
    assert asked(both, "2001:db8:1::1", **options)[0] == "autonomous system 4200000000 is not among those allowed"


def test_what_is_denied_is_denied_although_it_is_allowed(both: list[str]) -> None:
    options = {"continents": ["EU"], "deny_countries": ["FR"]}
    assert asked(both, "192.0.2.1", **options)[0] == ""
    assert asked(both, "2001:db8:1::1", **options)[0] == "country FR is denied"
    assert asked(both, "192.0.2.1", deny_as_numbers=[64500])[0] == "autonomous system 64500 is denied"
    assert asked(both, "192.0.2.1", deny_continents=["EU"])[0] == "continent EU is denied"


def test_an_empty_list_of_those_allowed_denies_everybody(both: list[str]) -> None:
    assert asked(both, "192.0.2.1", countries=[])[0] == "country DE is not among those allowed"
    assert asked(both, "10.0.0.1", countries=[])[0] == "country is unknown"


@pytest.mark.parametrize("source", ["10.0.0.1", "203.0.113.1", "unix:", "2001:db8:2::1"])
def test_who_is_unknown_is_denied_by_a_list_of_those_allowed_unless_told_otherwise(
    both: list[str], source: str
) -> None:
    assert asked(both, source, countries=["DE"])[0] == "country is unknown"
    assert asked(both, source, countries=["DE"], unknown="allow")[0] == ""


def test_who_is_unknown_is_allowed_by_a_list_of_those_denied_unless_told_otherwise(both: list[str]) -> None:
    assert asked(both, "10.0.0.1", deny_countries=["DE"])[0] == ""
    assert asked(both, "10.0.0.1", deny_countries=["DE"], unknown="deny")[0] == "country is unknown"


def test_flat_records_are_understood_too(tmp_path: Path) -> None:
    flat = {
        "192.0.2.0/24": {"country_code": "DE", "country": "Germany", "continent_code": "EU", "asn": "AS64500"},
        "198.51.100.0/24": {"country": "US", "continent": "North America", "asn": "none"},
    }
    path = database(tmp_path / "flat.mmdb", flat)
    assert asked([path], "192.0.2.1")[1] == GERMAN
    assert asked([path], "198.51.100.1")[1] == {"geo.country": "US"}


def test_a_database_of_ipv4_knows_no_ipv6(tmp_path: Path) -> None:
    path = database(tmp_path / "v4.mmdb", {"192.0.2.0/24": PLACES["192.0.2.0/24"]}, 4)
    assert asked([path], "192.0.2.1")[1]["geo.country"] == "DE"
    assert asked([path], "2001:db8:1::1", countries=["DE"])[0] == "country is unknown"


def test_the_first_database_that_knows_is_believed(tmp_path: Path, both: list[str]) -> None:
    other = database(tmp_path / "other.mmdb", {"192.0.2.0/24": {"country": {"iso_code": "AT"}}})
    assert asked([other, *both], "192.0.2.1")[1] == {**GERMAN, "geo.country": "AT"}
    assert asked([*both, other], "192.0.2.1")[1] == GERMAN


def test_a_file_that_is_overwritten_while_it_is_in_use_does_no_harm_until_it_is_read_anew(tmp_path: Path) -> None:
    path = database(tmp_path / "places.mmdb", PLACES)
    policy = build(GeoIpOptions(databases=[path], countries=["DE"]))
    (tmp_path / "places.mmdb").write_bytes(b"")
    assert policy.decide(make_facts("192.0.2.1")) is ALLOW
    with pytest.raises(ConfigError, match="is no database"):
        build(GeoIpOptions(databases=[path]))
    database(tmp_path / "places.mmdb", {"192.0.2.0/24": {"country": {"iso_code": "AT"}}})
    assert build(GeoIpOptions(databases=[path], countries=["DE"])).decide(make_facts("192.0.2.1")) is not ALLOW


def test_every_database_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nothing of the kind")
    with pytest.raises(ConfigError) as caught:
        build(GeoIpOptions(databases=[str(tmp_path / "none"), str(nonsense)]))
    assert caught.value.problems == (
        f"databases: {tmp_path}/none: cannot be read: No such file or directory",
        f"databases: {nonsense}: is no database in MaxMind's format",
    )


def test_without_room_for_a_copy_it_is_an_error(both: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.setattr("twisted_lb_plugins.policy_geoip.shutil.copyfileobj", full)
    with pytest.raises(ConfigError, match="cannot be copied to /tmp: No space left on device"):
        build(GeoIpOptions(databases=both))


def test_without_the_library_the_extra_is_named(both: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(ConfigError, match=r'pip install "twisted-lb\[geoip\]"'):
        build(GeoIpOptions(databases=both))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "x.databases: is missing"),
        ({"databases": []}, "x.databases: is empty"),
        ({"databases": "a", "countries": ["Germany"]}, 'x.countries[0]: expected two capital letters, got "Germany"'),
        ({"databases": "a", "as_numbers": ["AS64500"]}, "x.as_numbers[0]: expected an integer"),
    ],
)
def test_what_is_no_country_or_number_is_told_with_its_place(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plugins().build("policies", Use(use="geoip", options=options), "x")
    assert str(caught.value).startswith(told)
