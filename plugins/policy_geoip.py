"""``use = "geoip"``: allow or deny by country, continent and autonomous system, from databases in MaxMind's format.

Source: MaxMind DB File Format Specification, version 2.0; the records of GeoLite2 and of what is made in its image.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ConfigError,
    Deny,
    Fact,
    Facts,
    FactType,
    FilePath,
    IPolicy,
    Options,
    Stage,
    Supply,
    Verdict,
    hookimpl,
)

_CODE = Meta(pattern=r"^[A-Z]{2}(?![\s\S])", extra={"expected": "two capital letters"})
Code = Annotated[str, _CODE]
AsNumber = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Databases = Annotated[list[FilePath], Meta(min_length=1, extra={"single": True})]

COUNTRY, CONTINENT, AS_NUMBER = "geo.country", "geo.continent", "geo.asn"
FACTS: Mapping[str, Fact] = {
    COUNTRY: Fact(FactType.STRING, "the client's country, such as DE", Stage.ADMISSION),
    CONTINENT: Fact(FactType.STRING, "the client's continent, such as EU", Stage.ADMISSION),
    AS_NUMBER: Fact(FactType.INTEGER, "the number of the client's autonomous system", Stage.ADMISSION),
}


class GeoIpOptions(Options, frozen=True):
    """``databases``: files; each is asked. An allow list must contain what is found, and a deny list must not.

    ``unknown``: what holds for addresses of which the databases do not say what a list asks; unset: "deny" for a list
    of those allowed, "allow" for one of those denied. Without any list all are allowed, and their facts known.
    """

    databases: Databases
    countries: list[Code] | None = None
    continents: list[Code] | None = None
    as_numbers: list[AsNumber] | None = None
    deny_countries: list[Code] = msgspec.field(default_factory=list)
    deny_continents: list[Code] = msgspec.field(default_factory=list)
    deny_as_numbers: list[AsNumber] = msgspec.field(default_factory=list)
    unknown: Literal["allow", "deny"] | None = None


class Lists:
    """What is asked of one fact. ``what``: how it is called. ``allow``: ``None`` for all."""

    def __init__(
        self,
        fact: str,
        what: str,
        allow: Sequence[Any] | None,
        deny: Sequence[Any],
        unknown: Literal["allow", "deny"] | None,
    ) -> None:
        self.fact = fact
        self._what = what
        self._allow = None if allow is None else frozenset(allow)
        self._deny = frozenset(deny)
        asked = allow is not None or bool(deny)
        self._deny_unknown = asked and (unknown == "deny" or (unknown is None and allow is not None))

    def refusal(self, value: Any) -> Deny | None:
        """Return why ``value`` is refused, if it is; ``None`` stands for an unknown one."""
        if value is None:
            return Deny(f"{self._what} is unknown") if self._deny_unknown else None
        if value in self._deny:
            return Deny(f"{self._what} {value} is denied")
        if self._allow is not None and value not in self._allow:
            return Deny(f"{self._what} {value} is not among those allowed")
        return None


@implementer(IPolicy)
class GeoIp:
    """``readers``: open databases, asked in their order; the first that knows a thing is believed."""

    stage = Stage.ADMISSION
    only_refuses = True

    def __init__(self, readers: Sequence[Any], lists: Sequence[Lists]) -> None:
        self._readers = readers
        self._lists = lists

    def decide(self, facts: Facts) -> Verdict:
        """Learn where the client is, and judge it; a few microseconds for each database."""
        found = self._find(facts.source.host)
        facts.learnt.update(found)
        for lists in self._lists:
            refusal = lists.refusal(found.get(lists.fact))
            if refusal is not None:
                return refusal
        return ALLOW

    def _find(self, host: str) -> dict[str, Any]:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return {}  # a Unix socket is nowhere
        address = getattr(address, "ipv4_mapped", None) or address
        found: dict[str, Any] = {}
        for reader in self._readers:
            try:
                record = reader.get(address)
            except ValueError:  # an IPv6 address, and a database of IPv4
                continue
            if isinstance(record, dict):
                found = _facts_of(record) | found
        return found


def _facts_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Read a record: MaxMind's tables, or the flat ones that others make."""
    country, continent = record.get("country"), record.get("continent")
    number = record.get("autonomous_system_number", record.get("asn"))
    if isinstance(number, str) and number[:2] == "AS" and number[2:].isdecimal():
        number = int(number[2:])
    values = {
        COUNTRY: country.get("iso_code") if isinstance(country, dict) else record.get("country_code", country),
        CONTINENT: continent.get("code") if isinstance(continent, dict) else record.get("continent_code", continent),
    }
    found: dict[str, Any] = {
        name: value for name, value in values.items() if isinstance(value, str) and len(value) == 2
    }
    if isinstance(number, int):
        found[AS_NUMBER] = number
    return found


def build(options: GeoIpOptions) -> GeoIp:
    """Build the policy; the databases are read now, and again at a reload.

    Raises: ConfigError for each database that cannot be read, for lists that contradict each other, or if the library
        is missing.
    """
    try:
        import maxminddb
    except ImportError:
        raise ConfigError('it needs the package maxminddb: pip install "twisted-lb[geoip]"') from None
    readers, problems = [], list(_faults(options))
    for path in dict.fromkeys(options.databases):
        try:
            readers.append(_opened(path, maxminddb))
        except OSError as error:
            what = "cannot be read" if error.filename == path else f"cannot be copied to {_temporary()}"
            problems.append(f"databases: {path}: {what}: {error.strerror}")
        except maxminddb.InvalidDatabaseError:
            problems.append(f"databases: {path}: is no database in MaxMind's format")
    if problems:
        raise ConfigError(*problems)
    unknown = options.unknown
    lists = (
        Lists(COUNTRY, "country", options.countries, options.deny_countries, unknown),
        Lists(CONTINENT, "continent", options.continents, options.deny_continents, unknown),
        Lists(AS_NUMBER, "autonomous system", options.as_numbers, options.deny_as_numbers, unknown),
    )
    return GeoIp(readers, lists)


def _faults(options: GeoIpOptions) -> Iterator[str]:
    twice = {path for path in options.databases if options.databases.count(path) > 1}
    yield from (f"databases: {path} is there twice" for path in sorted(twice))
    asked = False
    for name in ("countries", "continents", "as_numbers"):
        allowed, denied = getattr(options, name), getattr(options, f"deny_{name}")
        asked = asked or allowed is not None or bool(denied)
        both = [one for one in allowed or () if one in denied]
        yield from (f"{name}: {one} is in deny_{name} too, which wins, so it is never allowed" for one in both)
    if options.unknown is not None and not asked:
        yield "unknown: there is no list that it would be for"


def _opened(path: str, library: Any) -> Any:
    """Open a copy that nobody else knows: the library maps it into memory, and whoever wrote into a mapped file, or cut
    it, would end the process.
    """
    with open(path, "rb") as source, tempfile.NamedTemporaryFile(prefix="twisted-lb-geoip-") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
        copy.flush()
        return library.open_database(copy.name)


def _temporary() -> str:
    return os.environ.get("TMPDIR", "the folder for temporary files")


@hookimpl
def lb_policies() -> Mapping[str, Supply[IPolicy]]:
    """Supply ``geoip``."""
    return {"geoip": Supply(build, GeoIpOptions, facts=FACTS)}
