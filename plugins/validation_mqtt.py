"""``use = "mqtt"``: the client must introduce itself with a CONNECT packet, and the server must answer that.

Source: MQTT Version 3.1.1, sections 3.1 and 3.2; MQTT Version 5.0, sections 3.1 and 3.2.
"""

from collections.abc import Mapping

from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    ALLOW_FINALLY,
    Allow,
    Deny,
    Fact,
    Facts,
    FactType,
    IStreamValidator,
    IStreamWatch,
    IValidator,
    NeedMore,
    Options,
    Supply,
    Verdict,
    WireError,
    hookimpl,
    mqtt_refusal,
    mqtt_version,
    protocol_fact,
    read_mqtt_answer,
    read_mqtt_connect,
)

FACTS = {
    "protocol": protocol_fact("mqtt"),
    "mqtt.valid": Fact(FactType.BOOLEAN, "whether client and server began as MQTT's do"),
    "mqtt.version": Fact(FactType.STRING, "the version: 3.1, 3.1.1 or 5.0"),
    "mqtt.client_id": Fact(FactType.STRING, 'the client\'s identifier; "" if the server is to choose one'),
    "mqtt.user": Fact(FactType.STRING, "the user, if the client names one"),
    "mqtt.auth_method": Fact(FactType.STRING, "in 5.0, the method of authentication, if the client names one"),
}
BAD_VERSION, BAD_CLIENT_ID, UNAVAILABLE, NOT_AUTHORISED = (0x01, 0x84), (0x02, 0x85), (0x03, 0x88), (0x05, 0x82)
"""Codes of a CONNACK: until 3.1.1, which has none for a protocol error, and of 5.0."""
CODES = {"mqtt-version": BAD_VERSION, "mqtt-client-id": BAD_CLIENT_ID, "mqtt-answer": UNAVAILABLE}
NOT_MQTT = ("mqtt-packet", "mqtt-length", "mqtt-protocol")
"""Who broke these rules would not understand an answer."""


class MqttOptions(Options, frozen=True):
    """What it takes to be let through."""

    accept_invalid: bool = False


@implementer(IStreamValidator)
class MqttValidator:
    """Lets pass what begins with a whole CONNECT packet."""

    server_first = False

    def __init__(self, options: MqttOptions) -> None:
        self._accept_invalid = self.takes_anything = options.accept_invalid

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Judge the packet; others may follow it at once."""
        try:
            connect = read_mqtt_connect(data)
        except WireError as error:
            return self.broken(error.reason, facts, _version(data)) or ALLOW
        if isinstance(connect, NeedMore):
            return connect
        learnt = facts.learnt
        learnt.update({"protocol": "mqtt", "mqtt.valid": True, "mqtt.version": connect.version})
        learnt["mqtt.client_id"] = connect.client_id
        for name, value in (("mqtt.user", connect.user), ("mqtt.auth_method", connect.auth_method)):
            if value is not None:
                learnt[name] = value
        return ALLOW

    def broken(self, reason: str, facts: Facts, version: str) -> Deny | None:
        """Note that a rule was broken; the answer is what the options have against it."""
        facts.learnt["mqtt.valid"] = False
        if self._accept_invalid:
            return None
        if reason in NOT_MQTT:
            return Deny(reason)
        code = CODES.get(reason, NOT_AUTHORISED)[version == "5.0"]
        return Deny(reason, farewell=mqtt_refusal(version, code))

    def watch(self, facts: Facts) -> "MqttWatch | None":
        """Watch until the server has answered."""
        return MqttWatch(self, facts) if facts.learnt.get("mqtt.valid") else None


def _version(data: bytes) -> str:
    """Tell in which version a client that broke a rule understands an answer."""
    start = next((at + 1 for at in range(1, min(len(data), 5)) if data[at] < 0x80), len(data))
    try:
        return mqtt_version(data[start : start + 10].ljust(10, b"\0"))
    except WireError:
        level = data[start + 6 : start + 7]
        return "5.0" if data[start : start + 6] == b"\0\x04MQTT" and level > b"\x05" else "3.1.1"


@implementer(IStreamWatch)
class MqttWatch:
    """One connection, until the server has answered."""

    __slots__ = ("_facts", "_said", "_validator")

    def __init__(self, validator: MqttValidator, facts: Facts) -> None:
        self._validator = validator
        self._facts = facts
        self._said = b""

    def client_said(self, data: bytes) -> Allow:
        """Let pass what follows a CONNECT packet; the packet was judged before."""
        return ALLOW_FINALLY

    def server_said(self, data: bytes) -> Allow | Deny:
        """Wait for the front of the answer."""
        self._said += data
        learnt = self._facts.learnt
        version = learnt["mqtt.version"]
        try:
            answer = read_mqtt_answer(self._said, version, learnt.get("mqtt.auth_method"))
        except WireError as error:
            return self._validator.broken(error.reason, self._facts, version) or ALLOW_FINALLY
        return ALLOW if isinstance(answer, NeedMore) else ALLOW_FINALLY


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``mqtt``."""
    return {"mqtt": Supply(MqttValidator, MqttOptions, mode="tcp", facts=FACTS)}
