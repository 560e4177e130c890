"""Whatever a validator of databases and brokers learns, it has declared, and with the type that the value has."""

from types import ModuleType
from typing import Any

import pytest

from tests.plugins import (
    test_validation_mqtt,
    test_validation_mysql,
    test_validation_postgresql,
    test_validation_rdp,
    test_validation_redis,
)
from tests.plugins.dialogue import CLIENT, SERVER, Turns, talk
from twisted_lb.api import FactType
from twisted_lb_plugins import (
    validation_mqtt,
    validation_mysql,
    validation_postgresql,
    validation_rdp,
    validation_redis,
)

TYPES = {FactType.STRING: str, FactType.BOOLEAN: bool, FactType.STRINGS: tuple}
TOKEN = b"\x03\x00\x00\x15\x10\xe0\x00\x00\x00\x00\x00farm=one\r\n"

CONVERSATIONS: list[tuple[str, ModuleType, list[Turns]]] = [
    (
        "mqtt",
        validation_mqtt,
        [[(CLIENT, test_validation_mqtt.CONNECT)], [(CLIENT, test_validation_mqtt.CONNECT_5)], [(CLIENT, b"x")]],
    ),
    (
        "mysql",
        validation_mysql,
        [
            [(SERVER, test_validation_mysql.GREETING), (CLIENT, test_validation_mysql.RESPONSE)],
            [(SERVER, test_validation_mysql.GREETING), (CLIENT, b"GET /")],
        ],
    ),
    (
        "postgresql",
        validation_postgresql,
        [[(CLIENT, test_validation_postgresql.STARTUP)], [(CLIENT, test_validation_postgresql.SSL)], [(CLIENT, b"x")]],
    ),
    (
        "rdp",
        validation_rdp,
        [[(CLIENT, test_validation_rdp.PLAIN)], [(CLIENT, TOKEN)], [(CLIENT, b"x")]],
    ),
    ("redis", validation_redis, [[(CLIENT, test_validation_redis.LLEN)], [(CLIENT, b"\0")]]),
]


@pytest.mark.parametrize(("name", "plugin", "conversations"), CONVERSATIONS, ids=[one[0] for one in CONVERSATIONS])
def test_all_facts_are_declared_with_their_types_and_all_declared_are_learnt(
    name: str, plugin: ModuleType, conversations: list[Turns]
) -> None:
    supply = plugin.lb_validators()[name]
    assert supply.mode == "tcp"
    learnt: dict[str, Any] = {}
    for turns in conversations:
        found = talk(supply.build(supply.options()), turns).learnt
        for fact, value in found.items():
            assert type(value) is TYPES[supply.facts[fact].type]
            assert not isinstance(value, tuple) or all(type(one) is str for one in value)
        learnt |= found
    assert set(learnt) == set(supply.facts)
