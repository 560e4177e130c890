"""Mosquitto behind the validator ``mqtt``, with its own clients in every version."""

import subprocess

import pytest

from tests.conftest import SYSTEM_PATH
from tests.interop.daemons import Daemons
from tests.interop.front_doors import Door, FrontDoors
from tests.interop.ways import FreePort
from tests.loopback.conftest import StartProxy
from tests.loopback.servers import ANSWER_S

pytestmark = [pytest.mark.linux, pytest.mark.daemon("mosquitto", "mosquitto_pub", "mosquitto_sub")]


@pytest.fixture(scope="module")
def doors(daemons: Daemons, module_proxy: StartProxy, free_port: FreePort) -> FrontDoors:
    folder, port = daemons.folder(), free_port()
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    daemons.start("mosquitto", "mosquitto", "-c", folder / "mosquitto.conf", "-v", folder=folder, ports=[port])
    return FrontDoors(module_proxy, free_port, {"mqtt": Door(["mqtt"], port)})


@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
def test_a_message_goes_from_one_client_to_another(version: str, doors: FrontDoors) -> None:
    ours = ["-h", "127.0.0.1", "-p", str(doors.ports["mqtt"]), "-V", version, "-t", f"greetings/{version}", "-q", "1"]
    will = ["--will-topic", "gone", "--will-payload", "x" * 300, "-u", "alice", "-P", "secret"]
    done = subprocess.run(
        ["mosquitto_pub", *ours, *will, "-i", "publisher", "-m", "hello", "-r"],
        check=True,
        timeout=ANSWER_S,
        env={"PATH": SYSTEM_PATH},
        capture_output=True,
    )
    assert not done.stderr
    heard = subprocess.run(
        ["mosquitto_sub", *ours, "-C", "1"],
        check=True,
        timeout=ANSWER_S,
        env={"PATH": SYSTEM_PATH},
        capture_output=True,
    )
    assert heard.stdout == b"hello\n"


@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv50"])
def test_another_broker_passes_messages_on(
    version: str, doors: FrontDoors, daemons: Daemons, free_port: FreePort
) -> None:
    """It says that it is a bridge: in the level of the protocol, where there is no other way."""
    folder, port, topic = daemons.folder(), free_port(), f"bridged-{version}"
    (folder / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nconnection {version}\n"
        f"address 127.0.0.1:{doors.ports['mqtt']}\nbridge_protocol_version {version}\nrestart_timeout 1\n"
        f"notifications false\ntopic {topic} out 1\n"
    )
    daemons.start("mosquitto", "mosquitto", "-c", folder / "mosquitto.conf", "-v", folder=folder, ports=[port])
    ours = ["-h", "127.0.0.1", "-t", topic, "-q", "1"]
    path = {"PATH": SYSTEM_PATH}
    said = ["mosquitto_pub", *ours, "-p", str(port), "-m", "hello", "-r"]
    subprocess.run(said, check=True, timeout=ANSWER_S, env=path)
    heard = ["mosquitto_sub", *ours, "-p", str(doors.ports["mqtt"]), "-C", "1"]
    assert subprocess.run(heard, check=True, timeout=ANSWER_S, env=path, capture_output=True).stdout == b"hello\n"


@pytest.mark.parametrize(
    ("said", "reason", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "mqtt-packet", b""),
        (b"\x10\x0f\x00\x04MQTT\x03\x02\x00\x3c\x00\x03dev", "mqtt-version", b"\x20\x02\x00\x01"),
        (b"\x10\x0f\x00\x04MQTT\x04\x03\x00\x3c\x00\x03dev", "mqtt-flags", b"\x20\x02\x00\x05"),
    ],
)
def test_a_rude_client_is_refused(said: bytes, reason: str, answer: bytes, doors: FrontDoors) -> None:
    assert doors.refused("mqtt", said) == (answer, f"validator mqtt: {reason}")
