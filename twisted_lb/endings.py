"""Why a connection ended: who ended it (``Cause``) in which stage (``Stage``), with HAProxy's two-letter code.

Source: HAProxy configuration.txt, section 8.5 "Session state at disconnection".
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum


class Stage(IntEnum):
    """The rooms of a connection's walk, in order."""

    ACCEPT = 0
    ADMISSION = 1
    PROXY_HEADER = 2
    VALIDATION = 3
    POLICY = 4
    TARPIT = 5
    BODY = 6
    """HTTP: body filters look at the request, and with ``buffer_request`` its body has to come first."""
    BALANCE = 7
    QUEUE = 8
    CONNECT = 9
    RESPONSE = 10
    """HTTP: waiting for the head of the server's response."""
    RELAY = 11
    ACCESS_LOG = 12


class Cause(Enum):
    """Who ended the connection; the value is the code's first letter."""

    NORMAL = "-"
    CLIENT = "C"
    SERVER = "S"
    PROXY = "P"
    LOCAL = "L"
    """HTTP: a policy answered in place of a server."""
    RESOURCE = "R"
    INTERNAL = "I"
    KILLED = "K"
    CLIENT_TIMEOUT = "c"
    SERVER_TIMEOUT = "s"


_PHASES = {
    Stage.ACCEPT: "R",
    Stage.ADMISSION: "R",
    Stage.PROXY_HEADER: "R",
    Stage.VALIDATION: "R",
    Stage.POLICY: "R",
    Stage.TARPIT: "T",
    Stage.BODY: "R",
    Stage.BALANCE: "C",
    Stage.QUEUE: "Q",
    Stage.CONNECT: "C",
    Stage.RESPONSE: "H",
    Stage.RELAY: "D",
    Stage.ACCESS_LOG: "-",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How one connection ended.

    ``reason``: a sentence part for people, "" when the code says it all. ``plugin``: the plugin to blame, or "".
    """

    cause: Cause
    stage: Stage
    reason: str = ""
    plugin: str = ""
    code: str = field(init=False)
    """The two letters that the access log shows, such as ``--``, ``cD`` or ``SC``."""

    def __post_init__(self) -> None:
        code = "--" if self.cause is Cause.NORMAL else f"{self.cause.value}{_PHASES[self.stage]}"
        object.__setattr__(self, "code", code)

    @property
    def refused(self) -> bool:
        """Whether a connection or a request was refused here, rather than failed behind."""
        return self.cause is Cause.PROXY and self.stage <= Stage.BODY


NORMAL = Ending(Cause.NORMAL, Stage.RELAY)
"""Both sides said all they had to say."""
