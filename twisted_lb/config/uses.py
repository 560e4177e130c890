"""Where the file picks what plugins supply, by name."""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from twisted_lb.config.section import Section
from twisted_lb.config.units import Duration
from twisted_lb.config.values import FilePath


class Use(Section, frozen=True, kw_only=True):
    """A plugin's supply picked by name: ``"name"``, or a table with ``use`` and the supply's options beside it.

    ``options``: as the file has them, unchecked; the plugin host converts them into what the supply asks for.
    ``where``: the file and the dotted key of this entry, for messages about it. ``folder``: where relative paths of
    files among the options start; "" leaves them alone.
    """

    short_form: ClassVar[str] = "use"

    use: str
    options: dict[str, Any] = {}
    where: str = ""
    folder: str = ""


class AccessLogUse(Use, frozen=True, kw_only=True):
    """As ``Use``, with ``path``: the file that the lines go to, standard output when ``None``.

    The name ``none`` is reserved: no access log.
    """

    path: FilePath | None = None


class TableStoreUse(Use, frozen=True, kw_only=True):
    """As ``Use``, with when and how long a table's store is asked; see ``counting.exchange``.

    The name ``memory`` is reserved: the table is this process's alone. ``when_away``: what holds while the store does
    not answer. ``lease``: after what time without a word the connections of a machine no longer count.
    """

    mode: Literal["refresh", "each"] = "refresh"
    refresh: Annotated[Duration, Meta(ge=0.01)] = Duration(0.5)
    timeout: Duration = Duration(1)
    when_away: Literal["local", "refuse"] = "local"
    lease: Duration = Duration(10)


class AnyOf(Section, frozen=True, kw_only=True):
    """An entry of ``validators`` that is several, of which the first that does not deny decides."""

    told_by: ClassVar[tuple[str, ...]] = ("any_of",)

    any_of: Annotated[list[Annotated[Use, Meta(extra={"supplies": "validators"})]], Meta(min_length=1)]


Balancer = Annotated[Use, Meta(extra={"supplies": "balancers"})]
Validator = Annotated[Use | AnyOf, Meta(extra={"supplies": "validators"})]
Observer = Annotated[Use, Meta(extra={"supplies": "observers"})]
BodyFilter = Annotated[Use, Meta(extra={"supplies": "body_filters"})]
TableStore = Annotated[TableStoreUse, Meta(extra={"supplies": "table_stores"})]
AccessLog = Annotated[AccessLogUse, Meta(extra={"supplies": "access_logs"})]
