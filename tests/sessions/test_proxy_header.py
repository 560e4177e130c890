"""Receiving PROXY headers: nothing happens before one is whole and good, then all is as if the client had come itself.

Broken headers and broken codecs are in ``test_proxy_header_refused.py``, sending is in ``test_send_proxy.py``.
"""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from tests.sessions.proxied import (
    ASKED,
    CLAIMED,
    HEADERS,
    PEER,
    SAID,
    SIGNATURE,
    V1,
    V2,
    V2_TLVS,
    assert_refused,
    assert_served,
    client_of,
    reception,
)
from twisted_lb.api import ALLOW, NEED_MORE, Deny, NeedMore, ProxyHeader, SocketAddress, Stage, Tlv
from twisted_lb.stages.proxy_header import Trust

if TYPE_CHECKING:
    from tests.sessions.conftest import World

NAMELESS = {
    "UNKNOWN": b"PROXY UNKNOWN\r\n",
    "UNKNOWN with addresses": b"PROXY UNKNOWN 203.0.113.7 198.51.100.9 51000 443\r\n",
    "LOCAL": SIGNATURE + b"\x20\0\0\0",
    "LOCAL with addresses": SIGNATURE + b"\x20" + V2[13:],
    "UNSPEC": SIGNATURE + b"\x21\0\0\0",
}
each_header = pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)


# However it comes


@each_header
def test_a_header_with_payload_glued_to_it_says_who_the_client_is(world: "World", header: bytes) -> None:
    client = client_of(world)
    client.send(header + SAID)
    assert_served(world, client, SAID, CLAIMED, ASKED)


@each_header
def test_a_header_alone_lets_the_connection_on_so_that_the_server_may_speak_first(
    world: "World", header: bytes
) -> None:
    client = client_of(world)
    client.send(header)
    world.upstreams[0].peers[0].send(b"220 welcome")
    assert client.read() == b"220 welcome"
    client.send(b"EHLO")
    assert world.upstreams[0].peers[0].read() == b"EHLO"
    world.end(client, world.upstreams[0].peers[0])
    assert (world.records[0].source, world.records[0].bytes_in) == (CLAIMED.host, 4)


@each_header
def test_no_server_is_connected_before_the_last_byte_of_a_header_has_come(world: "World", header: bytes) -> None:
    client = client_of(world)
    for place in range(len(header)):
        assert not world.upstreams[0].peers, f"{place} bytes of {len(header)} were enough"
        client.send(header[place : place + 1])
    client.send(SAID)
    assert_served(world, client, SAID, CLAIMED, ASKED)


@each_header
def test_where_a_header_is_cut_does_not_matter(world: "World", header: bytes) -> None:
    whole = header + SAID
    upstream = world.upstream()
    frontend = world.frontend(world.backend(upstream))
    for cut in range(1, len(whole)):
        client = world.client(frontend, reception=reception())
        client.send(whole[:cut])
        assert len(upstream.peers) == cut - 1 + (cut >= len(header))
        client.send(whole[cut:])
        assert upstream.peers[-1].read() == SAID
        world.end(client, upstream.peers[-1])
    assert {(record.ending, record.source, record.bytes_in) for record in world.records} == {
        ("--", CLAIMED.host, len(SAID))
    }


@each_header
def test_a_client_that_says_all_at_once_is_heard_to_the_end(world: "World", header: bytes) -> None:
    client = client_of(world)
    client.send(header + SAID)
    client.finish()
    (served,) = world.upstreams[0].peers
    assert served.read() == SAID
    assert served.ended()
    served.send(b"answer")
    served.finish()
    assert client.read() == b"answer"
    assert client.ended()
    assert world.endings() == ["--"]


def test_a_long_payload_behind_a_header_arrives_whole(world: "World") -> None:
    said = bytes(range(256)) * 300
    client = client_of(world)
    rest = V2 + said
    for _ in range(1000):
        rest = rest[client.send(rest) :]
        if world.upstreams[0].peers:
            world.upstreams[0].peers[0].read()
        if not rest:
            break
    assert_served(world, client, said, CLAIMED, ASKED)


def test_what_looks_like_a_second_header_is_payload(world: "World") -> None:
    client = client_of(world)
    client.send(V1 + V2 + SAID)
    assert_served(world, client, V2 + SAID, CLAIMED, ASKED)


@pytest.mark.parametrize("header", NAMELESS.values(), ids=NAMELESS)
def test_a_header_without_addresses_keeps_those_of_the_connection(world: "World", header: bytes) -> None:
    client = client_of(world)
    client.send(header + SAID)
    assert_served(world, client, SAID, PEER, SocketAddress("192.0.2.2", 80))


def test_a_bind_that_expects_no_header_lets_one_through_as_it_is(world: "World") -> None:
    client = world.client(world.frontend(world.backend(world.upstream())))
    client.send(V1 + SAID)
    assert_served(world, client, V1 + SAID, PEER, SocketAddress("192.0.2.2", 80))


# What comes after it


class Noting:
    """As a policy and as a validator: notes whom it was asked about, and answers ``verdict``."""

    def __init__(self, verdict: Any = ALLOW, stage: Stage = Stage.POLICY) -> None:
        self.stage = stage
        self.verdict = verdict
        self.asked: list[Any] = []

    def decide(self, facts: Any) -> Any:
        self.asked.append((facts.source, facts.destination, facts.peer))
        return self.verdict

    def validate(self, data: bytes, facts: Any) -> Any:
        self.asked.append((data, facts.source))
        return self.verdict(data) if callable(self.verdict) else self.verdict


@pytest.mark.parametrize("stage", [Stage.ADMISSION, Stage.POLICY])
def test_a_policy_is_asked_once_and_about_the_client_that_the_header_names(world: "World", stage: Stage) -> None:
    policy = Noting(stage=stage)
    client = client_of(world, policies=[policy])
    client.send(V2[:-1])
    assert policy.asked == [], "it judged the proxy, or before there was a header"
    client.send(V2[-1:] + SAID)
    assert policy.asked == [(CLAIMED, ASKED, PEER)]
    assert_served(world, client, SAID, CLAIMED, ASKED)


@pytest.mark.parametrize("stage", [Stage.ADMISSION, Stage.POLICY])
def test_a_client_that_a_policy_denies_gets_nowhere_behind_a_proxy_either(world: "World", stage: Stage) -> None:
    client = client_of(world, policies=[Noting(Deny("not today"), stage)])
    client.send(V2 + SAID)
    assert client.ended()
    (record,) = world.records
    asked = "policy" if stage is Stage.POLICY else "proxy_header"
    assert (record.ending, record.stage, record.source) == ("PR", asked, CLAIMED.host)
    assert not world.upstreams[0].peers
    assert not world.process.complaints, "a policy's denial is no broken header"


@pytest.mark.parametrize("stage", [Stage.ADMISSION, Stage.POLICY])
def test_what_a_client_says_while_a_policy_thinks_about_it_is_payload(world: "World", stage: Stage) -> None:
    # Its end of stream was taken for that of a client that left within its header, what followed for another header.
    answer: Deferred[Any] = Deferred()
    policy = SimpleNamespace(stage=stage, decide=lambda facts: answer)
    client = client_of(world, policies=[policy])
    client.send(V2 + SAID)
    session = next(iter(world.process.sessions))
    session.dataReceived(b", and more")  # type: ignore[attr-defined]  # as over TLS, where a pause does not stop it all
    client.finish()
    assert world.records == []
    answer.callback(ALLOW)
    world.turn()
    (served,) = world.upstreams[0].peers
    assert served.read() == SAID + b", and more"
    assert served.ended()
    served.send(b"answer")
    served.finish()
    assert client.read() == b"answer"
    assert client.ended()
    assert world.endings() == ["--"]


def test_a_direct_client_is_judged_by_its_own_address(world: "World") -> None:
    policy = Noting(Deny("not today"), Stage.ADMISSION)
    client_of(world, reception(from_=["10.0.0.0/8"], others=Trust.DIRECT), policies=[policy])
    assert [source for source, _, _ in policy.asked] == [PEER]
    assert world.endings() == ["PR"]


def test_a_direct_client_is_judged_before_a_byte_is_looked_at(world: "World") -> None:
    policy, validator = Noting(Deny("not today"), Stage.ADMISSION), Noting()
    client = client_of(
        world, reception(from_=["10.0.0.0/8"], others=Trust.DIRECT), policies=[policy], validators=[validator]
    )
    assert client.ended()
    assert (len(policy.asked), validator.asked, world.endings()) == (1, [], ["PR"])


def test_validators_see_what_follows_the_header(world: "World") -> None:
    validator = Noting(lambda data: ALLOW if len(data) >= 5 else NeedMore(5))
    client = client_of(world, validators=[validator])
    client.send(V2 + b"hel")
    client.send(b"l")
    assert not world.upstreams[0].peers
    client.send(b"o, server")
    assert validator.asked == [(b"hel", CLAIMED), (SAID, CLAIMED)]
    assert_served(world, client, SAID, CLAIMED, ASKED)


def test_validators_wait_for_bytes_of_the_client_when_the_header_came_alone(world: "World") -> None:
    validator = Noting()
    client = client_of(world, validators=[validator])
    client.send(V1)
    assert validator.asked == []
    assert not world.upstreams[0].peers
    client.send(SAID)
    assert validator.asked == [(SAID, CLAIMED)]
    assert_served(world, client, SAID, CLAIMED, ASKED)


def test_a_validator_that_denies_what_follows_the_header(world: "World") -> None:
    client = client_of(world, validators=[Noting(Deny("not ours"))])
    client.send(V1 + SAID)
    assert client.ended()
    assert (world.records[0].ending, world.records[0].stage) == ("PR", "validation")
    assert not world.process.complaints


def test_validators_have_a_time_of_their_own(world: "World") -> None:
    client = client_of(world, validators=[Noting(NEED_MORE)], inspect=2.0)
    world.wait(2.5)
    client.send(V1 + b"x")
    world.wait(1.7)
    assert world.records == [], "the time for the header went on"
    world.wait(0.6)
    assert (world.records[0].ending, world.records[0].stage) == ("cR", "validation")


def test_policies_can_see_the_whole_header(world: "World") -> None:
    seen: list[Any] = []

    def decide(facts: Any) -> Any:
        seen.append(facts.proxy_header)
        return ALLOW

    client = client_of(world, policies=[SimpleNamespace(stage=Stage.POLICY, decide=decide)])
    client.send(V2_TLVS + SAID)
    assert seen == [ProxyHeader(source=CLAIMED, destination=ASKED, tlvs=(Tlv(2, b"a.exa"),))]
    assert_served(world, client, SAID, CLAIMED, ASKED)


# Whom to believe


INSIDE, OUTSIDE = "192.0.2.0/24", "10.0.0.0/8"


def test_who_is_not_trusted_is_refused_before_a_byte_is_read(world: "World") -> None:
    client = client_of(world, reception(from_=[OUTSIDE]))
    assert_refused(world, client, "PR", "source is not in accept_proxy.from")


def test_who_is_trusted_must_send_a_header(world: "World") -> None:
    expected = reception(from_=[INSIDE], others=Trust.DIRECT)
    client = client_of(world, expected)
    client.send(SAID)
    assert_refused(world, client, "PR", "proxy-not-a-header")


@pytest.mark.parametrize("said", [SAID, V1 + SAID, V2 + SAID, b"PROXY TCP4 999"])
def test_the_bytes_of_a_direct_client_are_never_looked_at(world: "World", said: bytes) -> None:
    client = client_of(world, reception(from_=[OUTSIDE], others=Trust.DIRECT))
    assert world.upstreams[0].peers, "it waited for bytes"
    client.send(said)
    assert_served(world, client, said, PEER, SocketAddress("192.0.2.2", 80))


@pytest.mark.parametrize(("networks", "served"), [([OUTSIDE], False), (["unix"], True), ([OUTSIDE, "unix"], True)])
def test_a_client_of_a_unix_socket_is_trusted_only_by_name(world: "World", networks: list[str], served: bool) -> None:
    frontend = world.frontend(world.backend(world.upstream()))
    client = world.client(frontend, reception=reception(from_=networks), source=SocketAddress("unix:"))
    if served:
        client.send(V1 + SAID)
        assert world.upstreams[0].peers[0].read() == SAID
        world.end(client, world.upstreams[0].peers[0])
    assert world.endings() == ["--" if served else "PR"]
    assert world.records[0].peer == "unix:"
    assert world.records[0].source == (CLAIMED.host if served else "unix:")
