"""MQTT 5.0, section 3.2: CONNACK."""

from __future__ import annotations

import pytest

from tests.conformance.exchange import end_code, lasting, only_message, payloads, properties
from tests.conformance.v5 import raw_connect, raw_publish
from tests.conformance.v311 import RecordingAccess
from tests.engine.harness import Peer, World
from tests.wire.malformed import framed, sized
from tidewire.engine.connection import Connection
from tidewire.engine.ports import EVERYBODY, Access, Principal
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBREC
from tidewire.wire.packets import (
    Acknowledgement,
    Connack,
    Connect,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Will,
)

DEFINED = {0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F}
"""The reason codes of section 3.2.2.2, table 3-1."""

REFUSALS = {
    "not authorized": 0x87,
    "bad user name or password": 0x86,
    "enhanced authentication": 0x8C,
    "client identifier": 0x85,
    "no room": 0x89,
    "no room for one without a name": 0x89,
    "no packet fits": 0x83,
    "malformed": 0x81,
    "protocol error": 0x82,
    "will topic": 0x90,
}
"""Why a client may be refused, and the reason code that says so."""

every_qos = pytest.mark.parametrize("qos", [0, 1, 2])
every_refusal = pytest.mark.parametrize("reason", REFUSALS)


class Undecided(Access):
    """Answers later."""

    def authenticate(self, packet: Connect, connection: Connection) -> tuple[int, Principal | None] | None:
        return None


def refusals() -> dict[str, Peer]:
    """A client for each of `REFUSALS`."""
    full = World(sessions=1)
    full.connect("first", 5)
    peers = {
        "not authorized": World(RecordingAccess(0x87)).connect("c", 5),
        "bad user name or password": World(RecordingAccess(0x86)).connect("c", 5),
        "enhanced authentication": World().connect("c", 5, properties=properties(authentication_method="m")),
        "client identifier": World(client_identifier_bytes=10).connect("c" * 11, 5),
        "no room": full.connect("second", 5),
        "no room for one without a name": full.connect("", 5),
        "no packet fits": World().connect("c", 5, properties=properties(maximum_packet_size=10)),
    }
    for name, packet in {
        "malformed": raw_connect(0x03),
        "protocol error": framed(0x10, sized(b"MQTT") + b"\x05\x02\0\0" + b"\3\x21\0\0" + sized(b"c")),
        "will topic": raw_connect(0x06, sized(b"c") + b"\0" + sized(b"a/#") + sized(b"")),
    }.items():
        peer = peers[name] = World().open(5)
        peer.send_bytes(packet)
        (connack,) = peer.take()
        assert isinstance(connack, Connack)
        peer.connack = connack
    return peers


def test_v5_3_2_0_1_nothing_must_be_sent_before_connack() -> None:
    world = World()
    asleep = lasting(world, "c")
    asleep.subscribe("t", qos=1)
    asleep.lose()
    world.connect("d", 5).publish("t", b"waited", qos=1)
    peer = world.open(5)
    peer.send(Connect("c", 5, False), Pingreq(), Subscribe(1, [SubscriptionRequest(b"t")]))
    connack, *rest = peer.take()
    assert isinstance(connack, Connack) and connack.reason_code == 0
    assert {type(packet) for packet in rest} == {Publish, Pingresp, Suback}


def test_v5_3_2_0_1_nothing_must_be_sent_while_the_client_is_looked_at() -> None:
    world = World(Undecided())
    peer = world.open(5)
    peer.send(Connect("c", 5), Pingreq())
    peer.send(Pingreq(), Subscribe(1, [SubscriptionRequest(b"t")]))
    assert peer.take_bytes() == b""
    peer.connection.authenticated(0, EVERYBODY, world.now)
    world.flush()
    assert [type(packet) for packet in peer.take()] == [Connack, Pingresp, Pingresp, Suback]


def test_v5_3_2_0_2_there_must_be_one_connack_at_most() -> None:
    peer = World().connect("c", 5)
    peer.send(Connect("c", 5), Connect("c", 5))
    assert not any(isinstance(packet, Connack) for packet in peer.take())
    assert peer.is_closed


@pytest.mark.parametrize("resumed", [False, True])
def test_v5_3_2_2_1_reserved_connack_flags_must_be_zero(resumed: bool) -> None:
    world = World()
    if resumed:
        lasting(world, "c").lose()
    peer = world.open(5)
    peer.send(Connect("c", 5, clean_start=False))
    first, _, flags, reason_code = peer.take_bytes()[:4]
    assert (first, flags, reason_code) == (0x20, int(resumed), 0)


@pytest.mark.parametrize("stored", [False, True])
def test_v5_3_2_2_2_after_clean_start_session_present_must_be_0(stored: bool) -> None:
    world = World()
    if stored:
        lasting(world, "c").lose()
    connack = world.connect("c", 5, clean_start=True).connack
    assert (connack.session_present, connack.reason_code) == (False, 0)


@pytest.mark.parametrize("stored", [False, True])
def test_v5_3_2_2_3_without_clean_start_session_present_must_tell_of_a_session(stored: bool) -> None:
    world = World()
    if stored:
        lasting(world, "c").lose()
    connack = world.connect("c", 5, clean_start=False).connack
    assert (connack.session_present, connack.reason_code) == (stored, 0)


def test_v5_3_2_2_6_a_refusal_must_not_speak_of_a_session() -> None:
    access = RecordingAccess()
    world = World(access)
    lasting(world, "c").lose()
    access.reason_code = 0x87
    connack = lasting(world, "c").connack
    assert (connack.session_present, connack.reason_code) == (False, 0x87)
    assert not any(peer.connack.session_present for peer in refusals().values())


@every_refusal
def test_v5_3_2_2_7_after_a_refusal_the_connection_must_be_closed(reason: str) -> None:
    peer = refusals()[reason]
    assert peer.connack.reason_code >= 0x80
    assert peer.is_closed


@every_refusal
def test_v5_3_2_2_8_a_refusal_must_use_a_code_defined_for_connack(reason: str) -> None:
    assert refusals()[reason].connack.reason_code == REFUSALS[reason]
    assert REFUSALS[reason] in DEFINED


def test_v5_3_2_2_9_no_maximum_qos_must_mean_that_qos_2_is_served() -> None:
    peer = World().connect("c", 5)
    assert p.MAXIMUM_QOS not in peer.connack.properties.integers
    peer.subscribe("t", qos=2)
    peer.publish("t", qos=2)
    assert [message.qos for message in peer.messages()] == [2]


@every_qos
def test_v5_3_2_2_10_subscriptions_at_every_qos_must_be_accepted(qos: int) -> None:
    assert World().connect("c", 5).subscribe("t", qos=qos) == [qos]


def test_v5_3_2_2_11_a_publish_above_the_maximum_qos_must_not_be_accepted() -> None:
    peer = World().connect("c", 5)
    peer.publish("t", qos=1, packet_identifier=1)  # none is named, so the maximum is 2
    peer.publish("t", qos=2, packet_identifier=2)
    assert peer.take() == [Acknowledgement(PUBACK, 1, 0x10), Acknowledgement(PUBREC, 2, 0x10)]
    peer.send_bytes(b"\x36" + raw_publish()[1:])
    assert end_code(peer) == 0x81


@every_qos
def test_v5_3_2_2_12_a_will_of_a_qos_that_is_served_must_be_accepted(qos: int) -> None:
    world = World()
    watcher = world.connect("watcher", 5)
    watcher.subscribe("will", qos=2)
    peer = world.connect("c", 5, will=Will(b"will", qos=qos))
    assert peer.connack.reason_code == 0 and p.MAXIMUM_QOS not in peer.connack.properties.integers
    peer.lose()
    assert only_message(watcher).qos == qos


def test_v5_3_2_2_13_a_retained_will_must_be_accepted_where_retain_is_available() -> None:
    world = World()
    peer = world.connect("c", 5, will=Will(b"will", b"gone", retain=True))
    assert peer.connack.reason_code == 0 and p.RETAIN_AVAILABLE not in peer.connack.properties.integers
    peer.lose()
    late = world.connect("late", 5)
    late.subscribe("will")
    assert payloads(late) == [b"gone"]


def test_v5_3_2_2_14_retain_must_be_served_where_it_is_not_said_to_be_unavailable() -> None:
    world = World()
    peer = world.connect("c", 5)
    assert p.RETAIN_AVAILABLE not in peer.connack.properties.integers
    peer.publish("t", b"kept", retain=True)
    assert not peer.is_closed
    peer.subscribe("t")
    assert payloads(peer) == [b"kept"]


@pytest.mark.parametrize("maximum", [200, 20_000])
def test_v5_3_2_2_15_a_packet_above_the_maximum_packet_size_must_not_be_accepted(maximum: int) -> None:
    peer = World(maximum_packet_size=maximum).connect("c", 5)
    assert peer.connack.properties.integers[p.MAXIMUM_PACKET_SIZE] == maximum
    peer.subscribe("t")
    room = maximum - len(raw_publish(payload=bytes(maximum - 10))) + maximum - 10
    peer.send_bytes(raw_publish(payload=bytes(room)))
    assert payloads(peer) == [bytes(room)]
    peer.send_bytes(raw_publish(payload=bytes(room + 1))[:10])  # seen by its length, before it is there
    assert end_code(peer) == 0x95


def test_v5_3_2_2_16_an_assigned_client_identifier_must_be_used_by_no_other_session() -> None:
    given = World().connect("", 5).connack.properties.texts[p.ASSIGNED_CLIENT_IDENTIFIER]
    world = World()  # assigns the same one first, but here somebody has it
    owner = lasting(world, given)
    other = world.connect("", 5).connack.properties.texts[p.ASSIGNED_CLIENT_IDENTIFIER]
    assert other not in ("", given)
    assert not owner.is_closed
    assert p.ASSIGNED_CLIENT_IDENTIFIER not in owner.connack.properties.texts


@pytest.mark.parametrize("maximum", [1, 5, 32])
def test_v5_3_2_2_17_a_topic_alias_above_the_maximum_must_not_be_accepted(maximum: int) -> None:
    peer = World(topic_alias_maximum=maximum).connect("c", 5)
    assert peer.connack.properties.integers[p.TOPIC_ALIAS_MAXIMUM] == maximum
    peer.subscribe("t")
    peer.publish("t", b"accepted", properties=properties(topic_alias=maximum))
    assert payloads(peer) == [b"accepted"]
    peer.publish("t", properties=properties(topic_alias=maximum + 1))
    assert end_code(peer) == 0x94


def test_v5_3_2_2_18_with_a_maximum_of_0_no_topic_alias_must_be_accepted() -> None:
    peer = World(topic_alias_maximum=0).connect("c", 5)
    assert peer.connack.properties.integer(p.TOPIC_ALIAS_MAXIMUM, 0) == 0
    peer.publish("t", properties=properties(topic_alias=1))
    assert end_code(peer) == 0x94


@pytest.mark.parametrize("maximum", [5, 10, 28, 30, 100])
def test_v5_3_2_2_19_a_reason_string_must_be_left_out_where_it_does_not_fit(maximum: int) -> None:
    limited = properties(maximum_packet_size=maximum)
    peer = World(RecordingAccess(0x87)).open(5)
    peer.send(Connect("c", 5, properties=limited))
    data = peer.take_bytes()
    assert len(data) <= maximum
    (connack,) = peer.decoder.feed(data)
    assert isinstance(connack, Connack) and connack.reason_code == 0x87
    assert (p.REASON_STRING in connack.properties.texts) == (maximum >= 30)


@pytest.mark.parametrize("maximum", [5, 16, 100])
def test_v5_3_2_2_20_there_must_be_no_user_properties_that_do_not_fit(maximum: int) -> None:
    limited = properties(maximum_packet_size=maximum)
    limited.user_properties.append(("k" * 50, "v" * 50))
    for world in (World(), World(RecordingAccess(0x87))):
        assert world.connect("c", 5, properties=limited).connack.properties.user_properties == []


@pytest.mark.parametrize(("asked", "maximum", "granted"), [(10, 0, 10), (10, 20, 10), (30, 20, 20), (0, 20, 20)])
def test_v5_3_2_2_22_without_a_server_keep_alive_that_of_the_client_must_be_used(
    asked: int, maximum: int, granted: int
) -> None:
    world = World(keep_alive_maximum_s=maximum)
    peer = world.connect("c", 5, keep_alive=asked)
    assert peer.connack.properties.integer(p.SERVER_KEEP_ALIVE, asked) == granted
    assert (p.SERVER_KEEP_ALIVE in peer.connack.properties.integers) == (asked != granted)
    world.advance(1.5 * granted - 0.5)
    assert not peer.is_closed
    world.advance(1)
    assert end_code(peer) == 0x8D
