"""Does the broker keep 3.1.0 to 3.1.2 of MQTT 3.1.1: what comes first, the connect flags, the will, the keep alive?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.v311 import (
    RecordingAccess,
    acknowledged_qos,
    every_qos,
    old_versions,
    raw_connect,
    raw_subscribe,
    raw_unsubscribe,
    refused_in_connect,
    refused_silently,
    watcher,
)
from tests.engine.harness import Peer, World
from tidewire.wire.codes import V311, ReasonCode
from tidewire.wire.packets import (
    Acknowledgement,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Publish,
    Will,
)

NOT_CONNECT: list[Packet] = [
    Publish(b"a"),
    Publish(b"a", qos=1, packet_identifier=1),
    *[Acknowledgement(packet_type, 1) for packet_type in (4, 5, 6, 7)],
    Connack(),
    Pingreq(),
    Pingresp(),
    Disconnect(),
]


@pytest.mark.parametrize(
    "data",
    [raw_subscribe(b"a"), raw_unsubscribe(b"a"), *[packet.encode(V311) for packet in NOT_CONNECT]],
    ids=lambda data: f"type {data[0] >> 4}",
)
def test_v311_3_1_0_1_the_first_packet_must_be_connect(data: bytes) -> None:
    peer = World().open()
    peer.send_bytes(data + raw_connect(0x02, b"alice"))
    assert refused_silently(peer)


@old_versions
def test_v311_3_1_0_2_a_second_connect_is_a_violation(version: int) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice", version, will=Will(b"will"))
    alice.send(Connect("alice", version))
    assert refused_silently(alice)
    assert ReasonCode.PROTOCOL_ERROR in world.events.log[-1]
    assert seen.messages() == [Publish(b"will")]


@pytest.mark.parametrize(
    ("name", "level"),
    [(b"", 4), (b"HTTP", 4), (b"mqtt", 4), (b"MQTT\0", 4), (b"MQTTX", 4), (b"MQT", 4), (b"MQIsdp", 4), (b"MQTT", 3)],
)
def test_v311_3_1_2_1_an_unknown_protocol_name_is_not_served(name: bytes, level: int) -> None:
    world = World()
    peer = world.open()
    peer.send_bytes(raw_connect(0x02, b"alice", name=name, level=level))
    assert peer.is_closed
    assert not world.broker.sessions


@pytest.mark.parametrize("level", [0, 1, 2, 6, 127, 128 + V311, 255])
def test_v311_3_1_2_2_an_unknown_protocol_level_is_answered_with_return_code_1(level: int) -> None:
    peer = World().open()
    peer.send_bytes(raw_connect(0x02, b"alice", level=level))
    assert peer.take_bytes() == b"\x20\x02\x00\x01"
    assert peer.is_closed


def test_v311_3_1_2_3_bit_0_of_the_connect_flags_must_be_clear() -> None:
    assert refused_in_connect(raw_connect(0x03, b"alice"))
    assert not refused_in_connect(raw_connect(0x02, b"alice"))


@old_versions
def test_v311_3_1_2_4_with_clean_session_0_the_session_goes_on(version: int) -> None:
    world = World()
    bob = world.connect("bob", version, clean_start=False)
    bob.subscribe("a", qos=1)
    bob.lose()
    bob = world.connect("bob", version, clean_start=False)
    assert bob.connack.session_present == (version == V311)
    world.connect("alice", version).publish("a")
    assert bob.messages() == [Publish(b"a", b"x")]


@old_versions
@acknowledged_qos
def test_v311_3_1_2_5_messages_are_stored_while_a_persistent_session_is_offline(version: int, qos: int) -> None:
    world = World()
    bob = world.connect("bob", version, clean_start=False)
    bob.subscribe("a", qos=2)
    bob.disconnect()
    alice = world.connect("alice", version)
    for payload in (b"1", b"2", b"3"):
        alice.publish("a", payload, qos, packet_identifier=ord(payload))
    world.advance(3600)
    bob = world.connect("bob", version, clean_start=False)
    assert [(message.payload, message.qos) for message in bob.messages()] == [(b"1", qos), (b"2", qos), (b"3", qos)]


@old_versions
def test_v311_3_1_2_6_with_clean_session_1_nothing_is_taken_over_and_nothing_is_left(version: int) -> None:
    world = World()
    world.connect("bob", version, clean_start=False).subscribe("old", qos=1)
    bob = world.connect("bob", version, clean_start=True)
    bob.subscribe("new", qos=1)
    alice = world.connect("alice", version)
    alice.publish("old", qos=1)
    assert bob.messages() == []
    bob.lose()
    alice.publish("new", qos=1)
    bob = world.connect("bob", version, clean_start=False)
    alice.publish("new", qos=1)
    assert not bob.connack.session_present
    assert bob.messages() == []


@pytest.mark.parametrize("clean_start", [False, True])
def test_v311_3_1_2_7_retained_messages_survive_the_session(clean_start: bool) -> None:
    world = World()
    alice = world.connect("alice", clean_start=clean_start)
    alice.publish("a", retain=True)
    alice.disconnect()
    world.connect("alice", clean_start=True).disconnect()
    assert "alice" not in world.broker.sessions
    assert watcher(world).messages() == [Publish(b"a", b"x", retain=True)]


def stay_silent(peer: Peer) -> None:
    peer.world.advance(16)


def break_the_protocol(peer: Peer) -> None:
    peer.send(Connack())


def come_twice(peer: Peer) -> None:
    peer.world.connect("alice", peer.version, clean_start=False)


@old_versions
@pytest.mark.parametrize("end", [Peer.lose, stay_silent, break_the_protocol, come_twice])
def test_v311_3_1_2_8_the_will_is_published_unless_disconnect_came(version: int, end: Callable[[Peer], None]) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice", version, clean_start=False, keep_alive=10, will=Will(b"will", b"gone"))
    assert seen.messages() == []
    end(alice)
    assert seen.messages() == [Publish(b"will", b"gone")]


@every_qos
@pytest.mark.parametrize("retain", [False, True])
def test_v311_3_1_2_9_the_will_flag_brings_topic_message_qos_and_retain(qos: int, retain: bool) -> None:
    flags = 0x06 | qos << 3 | retain << 5
    assert refused_in_connect(raw_connect(flags, b"alice"))
    assert refused_in_connect(raw_connect(flags, b"alice", b"will"))
    world = World()
    seen = watcher(world)
    alice = world.open()
    alice.send_bytes(raw_connect(flags, b"alice", b"will", b"gone"))
    alice.lose()
    [message] = seen.messages()
    assert (message.topic, message.payload, message.qos) == (b"will", b"gone", qos)
    assert [message.qos for message in watcher(world).messages()] == [qos] * retain


@pytest.mark.parametrize("end", [Peer.lose, Peer.disconnect])
def test_v311_3_1_2_10_a_will_is_forgotten_once_it_is_published_or_dropped(end: Callable[[Peer], None]) -> None:
    world = World()
    end(world.connect("alice", clean_start=False, will=Will(b"will")))
    seen = watcher(world)
    world.connect("alice", clean_start=False).lose()
    world.advance(3600)
    assert seen.messages() == []


@pytest.mark.parametrize("flags", [0x08, 0x10, 0x18, 0x20])
def test_v311_3_1_2_11_without_the_will_flag_there_are_no_will_bits_and_no_will_fields(flags: int) -> None:
    assert refused_in_connect(raw_connect(0x02 | flags, b"alice"))
    assert refused_in_connect(raw_connect(0x02 | flags, b"alice", b"will", b"gone"))
    assert refused_in_connect(raw_connect(0x02, b"alice", b"will", b"gone"))


@pytest.mark.parametrize("end", [Peer.lose, Peer.disconnect, break_the_protocol])
def test_v311_3_1_2_12_without_the_will_flag_no_will_is_published(end: Callable[[Peer], None]) -> None:
    world = World()
    seen = watcher(world)
    end(world.connect("alice"))
    world.advance(60)
    assert seen.messages() == []


@pytest.mark.parametrize("qos", [1, 2, 3])
def test_v311_3_1_2_13_will_qos_without_the_will_flag_is_refused(qos: int) -> None:
    assert refused_in_connect(raw_connect(0x02 | qos << 3, b"alice"))


@pytest.mark.parametrize("qos", [0, 1, 2, 3])
def test_v311_3_1_2_14_will_qos_is_0_1_or_2(qos: int) -> None:
    assert refused_in_connect(raw_connect(0x06 | qos << 3, b"alice", b"will", b"gone")) == (qos == 3)


def test_v311_3_1_2_15_will_retain_without_the_will_flag_is_refused() -> None:
    assert refused_in_connect(raw_connect(0x22, b"alice"))


def will_of(version: int, retain: bool) -> tuple[list[Publish], list[Publish]]:
    """The will as a subscriber gets it at once, and as a later one does."""
    world = World()
    seen = watcher(world)
    world.connect("alice", version, will=Will(b"will", b"gone", retain=retain)).lose()
    return seen.messages(), watcher(world).messages()


@old_versions
def test_v311_3_1_2_16_a_will_without_retain_is_not_retained(version: int) -> None:
    assert will_of(version, retain=False) == ([Publish(b"will", b"gone")], [])


@old_versions
def test_v311_3_1_2_17_a_will_with_retain_is_retained(version: int) -> None:
    assert will_of(version, retain=True) == ([Publish(b"will", b"gone")], [Publish(b"will", b"gone", retain=True)])


def credentials(flags: int, *fields: bytes) -> tuple[str | None, bytes | None]:
    """User name and password as access is asked about them."""
    access = RecordingAccess()
    peer = World(access).open()
    peer.send_bytes(raw_connect(0x02 | flags, b"alice", *fields))
    [packet] = access.seen
    return packet.user_name, packet.password


def test_v311_3_1_2_18_without_the_user_name_flag_there_is_no_user_name() -> None:
    assert credentials(0) == (None, None)
    assert refused_in_connect(raw_connect(0x02, b"alice", b"user"))


def test_v311_3_1_2_19_with_the_user_name_flag_there_is_a_user_name() -> None:
    assert credentials(0x80, b"user") == ("user", None)
    assert credentials(0x80, b"") == ("", None)
    assert refused_in_connect(raw_connect(0x82, b"alice"))


def test_v311_3_1_2_20_without_the_password_flag_there_is_no_password() -> None:
    assert credentials(0x80, b"user") == ("user", None)
    assert refused_in_connect(raw_connect(0x82, b"alice", b"user", b"password"))


def test_v311_3_1_2_21_with_the_password_flag_there_is_a_password() -> None:
    assert credentials(0xC0, b"user", b"\0\xff") == ("user", b"\0\xff")
    assert credentials(0xC0, b"user", b"") == ("user", b"")
    assert refused_in_connect(raw_connect(0xC2, b"alice", b"user"))


def test_v311_3_1_2_22_a_password_needs_a_user_name() -> None:
    assert refused_in_connect(raw_connect(0x42, b"alice", b"password"))


@old_versions
@pytest.mark.parametrize("keep_alive", [1, 10, 60])
def test_v311_3_1_2_24_silence_of_one_and_a_half_keep_alives_ends_the_connection(version: int, keep_alive: int) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice", version, keep_alive=keep_alive, will=Will(b"will"))
    never = world.connect("never", version, keep_alive=0)
    world.advance(keep_alive)
    alice.send(Pingreq())
    world.advance(1.5 * keep_alive - 0.25)
    assert not alice.is_closed
    world.advance(0.5)
    assert alice.is_closed
    assert seen.messages() == [Publish(b"will")]
    assert not never.is_closed
