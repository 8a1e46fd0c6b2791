"""Does the broker keep 3.12 to 3.14 and chapters 4 and 7 of MQTT 3.1.1: sessions, delivery, order, topics, errors?"""

from __future__ import annotations

import socket

import pytest

from tests.conformance.v311 import (
    acknowledged_qos,
    every_qos,
    old_versions,
    raw_connect,
    raw_publish,
    raw_subscribe,
    raw_unsubscribe,
    refused_silently,
    watcher,
)
from tests.engine.harness import Peer, World
from tests.wire.malformed import framed
from tidewire.engine.ports import Access, Events, Principal
from tidewire.server.listener import tcp_socket
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.fields import encode_binary, encode_text
from tidewire.wire.packets import Acknowledgement, Packet, Pingreq, Pingresp, Publish, Will


def lasting(world: World, name: str, version: int) -> Peer:
    """A client with a session that outlives its connection."""
    return world.connect(name, version, clean_start=False)


def reconnected(peer: Peer, name: str) -> Peer:
    """The same client on a new connection, after the old one broke."""
    peer.lose()
    return lasting(peer.world, name, peer.version)


@old_versions
def test_v311_3_12_4_1_every_pingreq_is_answered_with_pingresp(version: int) -> None:
    alice = World().connect("alice", version)
    alice.send(Pingreq())
    assert alice.take_bytes() == b"\xd0\x00"
    alice.send(Pingreq(), Pingreq())
    assert alice.take() == [Pingresp(), Pingresp()]


@pytest.mark.parametrize("flags", range(1, 16))
def test_v311_3_14_1_1_disconnect_with_reserved_bits_is_a_violation(flags: int) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice", will=Will(b"will"))
    alice.send_bytes(framed(0xE0 | flags, b""))
    assert refused_silently(alice)
    assert seen.messages() == [Publish(b"will")]


@old_versions
@pytest.mark.parametrize("clean_start", [False, True])
def test_v311_3_14_4_3_disconnect_drops_the_will(version: int, clean_start: bool) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice", version, clean_start=clean_start, keep_alive=10, will=Will(b"will"))
    alice.disconnect()
    alice.lose()
    world.advance(3600)
    assert seen.messages() == []


@old_versions
def test_v311_4_1_0_1_the_session_state_is_kept_whole(version: int) -> None:
    world = World()
    bob = lasting(world, "bob", version)
    bob.subscribe("#", qos=2)
    alice = lasting(world, "alice", version)
    for payload, qos in ((b"released", 2), (b"unacknowledged", 1), (b"acknowledged", 1)):
        alice.publish("a", payload, qos, packet_identifier=qos)
    released, unacknowledged, acknowledged = [message.packet_identifier for message in bob.messages()]
    bob.acknowledge(PUBREC, released)
    bob.acknowledge(PUBACK, acknowledged)
    bob.lose()
    alice.publish("b", b"waiting", 1)
    alice = reconnected(alice, "alice")
    alice.publish("a", b"released", 2, packet_identifier=2, dup=True)
    bob = lasting(world, "bob", version)
    pubrel, repeated, waiting = bob.take()
    assert pubrel == Acknowledgement(PUBREL, released)
    assert repeated == Publish(b"a", b"unacknowledged", 1, dup=True, packet_identifier=unacknowledged)
    assert isinstance(waiting, Publish)
    assert (waiting.payload, waiting.dup) == (b"waiting", False)


@old_versions
@pytest.mark.parametrize("clean_start", [False, True])
def test_v311_4_1_0_2_a_session_lasts_as_long_as_its_connection(version: int, clean_start: bool) -> None:
    world = World(session_expiry_maximum_s=60)
    bob = world.connect("bob", version, clean_start=clean_start)
    bob.subscribe("a", qos=1)
    for _ in range(10):
        world.advance(24 * 3600)
    world.connect("alice", version).publish("a", qos=1)
    assert len(bob.messages()) == 1


@old_versions
def test_v311_4_3_1_1_at_qos_0_publish_goes_out_once_with_qos_0_and_dup_0(version: int) -> None:
    world = World()
    bob = lasting(world, "bob", version)
    bob.subscribe("a", qos=2)
    world.connect("alice", version).publish("a")
    assert bob.take_bytes() == b"\x30\x04\x00\x01ax"
    assert reconnected(bob, "bob").take() == []


@old_versions
def test_v311_4_3_2_1_at_qos_1_a_message_is_open_until_puback(version: int) -> None:
    world = World()
    bob = lasting(world, "bob", version)
    bob.subscribe("a", qos=1)
    alice = world.connect("alice", version)
    alice.publish("a", b"1", 1)
    alice.publish("a", b"2", 1)
    first, second = bob.messages()
    assert not first.dup
    assert not second.dup
    assert first.packet_identifier != second.packet_identifier
    bob.acknowledge(PUBACK, second.packet_identifier)
    bob = reconnected(bob, "bob")
    assert bob.messages() == [Publish(b"a", b"1", 1, dup=True, packet_identifier=first.packet_identifier)]
    bob.acknowledge(PUBACK, first.packet_identifier)
    assert reconnected(bob, "bob").take() == []


@old_versions
@pytest.mark.parametrize("dup", [False, True])
def test_v311_4_3_2_2_at_qos_1_an_acknowledged_identifier_is_a_new_message(version: int, dup: bool) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice", version)
    alice.publish("a", b"1", 1, packet_identifier=5)
    assert alice.take() == [Acknowledgement(PUBACK, 5)]
    alice.publish("a", b"2", 1, packet_identifier=5, dup=dup)
    assert alice.take() == [Acknowledgement(PUBACK, 5)]
    assert [message.payload for message in seen.messages()] == [b"1", b"2"]


@old_versions
def test_v311_4_3_3_1_at_qos_2_publish_never_follows_pubrel(version: int) -> None:
    world = World()
    bob = lasting(world, "bob", version)
    bob.subscribe("a", qos=2)
    world.connect("alice", version).publish("a", qos=2)
    [message] = bob.messages()
    identifier = message.packet_identifier
    assert message == Publish(b"a", b"x", 2, packet_identifier=identifier)
    bob = reconnected(bob, "bob")
    assert bob.messages() == [Publish(b"a", b"x", 2, dup=True, packet_identifier=identifier)]
    for _ in range(2):
        bob.acknowledge(PUBREC, identifier)
        assert bob.take() == [Acknowledgement(PUBREL, identifier)]
    bob = reconnected(bob, "bob")
    assert bob.take() == [Acknowledgement(PUBREL, identifier)]
    bob.acknowledge(PUBCOMP, identifier)
    assert reconnected(bob, "bob").take() == []


@old_versions
def test_v311_4_3_3_2_at_qos_2_a_message_is_passed_on_once(version: int) -> None:
    world = World()
    seen = watcher(world)
    alice = lasting(world, "alice", version)
    for dup in (False, True, False):
        alice.publish("a", qos=2, packet_identifier=5, dup=dup)
        assert alice.take() == [Acknowledgement(PUBREC, 5)]
        alice = reconnected(alice, "alice")
    assert len(seen.messages()) == 1
    for _ in range(2):
        alice.acknowledge(PUBREL, 5)
        assert alice.take() == [Acknowledgement(PUBCOMP, 5)]
    assert seen.messages() == []
    alice.publish("a", qos=2, packet_identifier=5)
    assert len(seen.messages()) == 1


@old_versions
def test_v311_4_4_0_1_a_resumed_session_repeats_open_packets_with_their_identifiers(version: int) -> None:
    world = World()
    bob = lasting(world, "bob", version)
    bob.subscribe("a", qos=2)
    alice = world.connect("alice", version)
    for identifier, qos in ((1, 2), (2, 1), (3, 2)):
        alice.publish("a", str(identifier).encode(), qos, packet_identifier=identifier)
    first, second, third = [message.packet_identifier for message in bob.messages()]
    bob.acknowledge(PUBREC, first)
    expected: list[Packet] = [
        Acknowledgement(PUBREL, first),
        Publish(b"a", b"2", 1, dup=True, packet_identifier=second),
        Publish(b"a", b"3", 2, dup=True, packet_identifier=third),
    ]
    for _ in range(2):
        bob = reconnected(bob, "bob")
        packets = bob.take()
        assert sorted(map(repr, packets)) == sorted(map(repr, expected))


@old_versions
@acknowledged_qos
def test_v311_4_5_0_1_a_message_is_added_to_every_matching_session(version: int, qos: int) -> None:
    world = World()
    names = ["exact", "level", "rest", "offline", "other"]
    clients = [lasting(world, name, version) for name in names]
    for client, topic_filter in zip(clients, ["a/b", "a/+", "#", "a/b", "b/#"], strict=True):
        client.subscribe(topic_filter, qos=2)
    clients[3].disconnect()
    world.connect("alice", version).publish("a/b", qos=qos)
    clients[3] = lasting(world, "offline", version)
    assert [len(client.messages()) for client in clients] == [1, 1, 1, 1, 0]


def numbers(messages: list[Publish]) -> list[int]:
    return [int(message.payload) for message in messages]


@old_versions
@acknowledged_qos
def test_v311_4_6_0_1_repeated_messages_keep_their_order(version: int, qos: int) -> None:
    world = World()
    bob = lasting(world, "bob", version)
    bob.subscribe("#", qos=2)
    alice = world.connect("alice", version)
    for number in range(20):
        alice.publish(f"topic/{number % 3}", b"%d" % number, qos, packet_identifier=number + 1)
    messages = bob.messages()
    assert numbers(messages) == list(range(20))
    for message in messages[5:12:2]:
        bob.acknowledge(PUBACK if qos == 1 else PUBREC, message.packet_identifier)
    still_open = [number for number in range(20) if number not in range(5, 12, 2)]
    bob = reconnected(bob, "bob")
    assert numbers(bob.messages()) == still_open
    assert numbers(reconnected(bob, "bob").messages()) == still_open


@old_versions
def test_v311_4_6_0_4_pubrel_packets_follow_the_order_of_the_pubrecs(version: int) -> None:
    world = World()
    bob = lasting(world, "bob", version)
    bob.subscribe("a", qos=2)
    alice = world.connect("alice", version)
    for number in range(5):
        alice.publish("a", qos=2, packet_identifier=number + 1)
    identifiers = [message.packet_identifier for message in bob.messages()]
    order = [identifiers[index] for index in (3, 0, 4, 1, 2)]
    bob.send(*[Acknowledgement(PUBREC, identifier) for identifier in order])
    expected = [Acknowledgement(PUBREL, identifier) for identifier in order]
    assert bob.take() == expected
    assert reconnected(bob, "bob").take() == expected


@old_versions
@every_qos
def test_v311_4_6_0_5_every_topic_is_ordered(version: int, qos: int) -> None:
    world = World()
    bob = world.connect("bob", version)
    bob.subscribe("#", qos=2)
    alice = world.connect("alice", version)
    for number in range(60):
        alice.publish(f"topic/{number % 4}", b"%d" % number, qos, packet_identifier=number + 1)
    assert numbers(bob.messages()) == list(range(60))


@old_versions
@every_qos
@pytest.mark.parametrize("window", [1, 3, 100])
def test_v311_4_6_0_6_a_publishers_order_is_kept_through_queues_and_pauses(version: int, qos: int, window: int) -> None:
    world = World(inflight_maximum=window)
    bob = lasting(world, "bob", version)
    bob.subscribe("a", qos=2)
    alice = world.connect("alice", version)
    received: list[Publish] = []
    for number in range(40):
        if number == 10:
            bob.block()
        if number == 20:
            bob.unblock()
        if number == 30 and qos:
            bob.lose()
        alice.publish("a", b"%d" % number, qos, packet_identifier=number + 1)
    if qos:
        received += bob.messages()
        bob = lasting(world, "bob", version)
    while messages := bob.messages():
        received += messages
        for message in messages:
            if qos == 1:
                bob.acknowledge(PUBACK, message.packet_identifier)
            elif qos == 2:
                bob.acknowledge(PUBREC, message.packet_identifier)
                bob.acknowledge(PUBCOMP, message.packet_identifier)
    first_seen = dict.fromkeys(numbers(received))
    assert list(first_seen) == list(range(40))


def ends_the_connection(data: bytes) -> bool:
    peer = World().connect("alice")
    peer.send_bytes(data)
    return refused_silently(peer)


def refused_in_connect(data: bytes) -> bool:
    peer = World().open()
    peer.send_bytes(data)
    return refused_silently(peer)


@pytest.mark.parametrize("topic", [b"#", b"+", b"a/+", b"a/#", b"a#", b"+a"])
def test_v311_4_7_1_1_wildcards_stand_in_filters_only(topic: bytes) -> None:
    assert ends_the_connection(raw_publish(0x30, topic))
    assert ends_the_connection(raw_publish(0x31, topic, b"kept"))
    assert ends_the_connection(raw_publish(0x32, topic, b"\0\7"))
    assert refused_in_connect(raw_connect(0x06, b"alice", topic, b"will"))


@pytest.mark.parametrize("topic_filter", [b"a#", b"#/a", b"a/#/b", b"a/b#", b"#a", b"##", b"a/#b"])
def test_v311_4_7_1_2_a_number_sign_is_the_whole_last_level(topic_filter: bytes) -> None:
    assert ends_the_connection(raw_subscribe(topic_filter))
    assert ends_the_connection(raw_unsubscribe(topic_filter))


@pytest.mark.parametrize("topic_filter", [b"a+", b"+a", b"a/b+", b"a/+b/c", b"++", b"+#"])
def test_v311_4_7_1_3_a_plus_sign_is_a_whole_level(topic_filter: bytes) -> None:
    assert ends_the_connection(raw_subscribe(topic_filter))
    assert ends_the_connection(raw_unsubscribe(topic_filter))


@old_versions
@pytest.mark.parametrize("retain", [False, True])
def test_v311_4_7_2_1_leading_wildcards_do_not_match_a_leading_dollar(version: int, retain: bool) -> None:
    world = World()
    alice = world.connect("alice", version)
    bob = world.connect("bob", version)
    filters = ["#", "+/b", "+/#", "/#", "$other/#", "$a/+", "$a/#", "$a/b"]
    received = []
    for topic_filter in filters:
        bob.subscribe(topic_filter)
        alice.publish("$a/b", retain=retain)
        received.append(len(bob.messages()) > 0)
    assert received == [False, False, False, False, False, True, True, True]
    bob.subscribe("#", "+/b")
    assert bob.messages() == []


def test_v311_4_7_3_1_topic_names_and_filters_are_not_empty() -> None:
    assert ends_the_connection(raw_publish(0x30, b"", b"x"))
    assert ends_the_connection(raw_publish(0x32, b"", b"\0\7x"))
    assert ends_the_connection(raw_subscribe(b""))
    assert ends_the_connection(raw_unsubscribe(b""))
    assert refused_in_connect(raw_connect(0x06, b"alice", b"", b"will"))


@pytest.mark.parametrize("topic", [b"\0", b"a/\0", b"\0/a", b"a/b\0c"])
def test_v311_4_7_3_2_topic_names_and_filters_do_not_hold_u_0000(topic: bytes) -> None:
    assert ends_the_connection(raw_publish(0x30, topic, b"x"))
    assert ends_the_connection(raw_publish(0x32, topic, b"\0\7x"))
    assert ends_the_connection(raw_subscribe(topic))
    assert ends_the_connection(raw_unsubscribe(topic))
    assert refused_in_connect(raw_connect(0x06, b"alice", topic, b"will"))


@pytest.mark.parametrize("topic", ["t" * 65_535, "ö" * 32_767], ids=["ASCII", "two bytes each"])
def test_v311_4_7_3_3_topics_take_up_to_65535_bytes(topic: str) -> None:
    world = World()
    bob = world.connect("bob")
    assert bob.subscribe(topic) == [0]
    world.connect("alice").publish(topic)
    assert bob.messages() == [Publish(topic.encode(), b"x")]
    for too_long in (topic + "ö", "ö" + topic):
        with pytest.raises(ValueError, match="65535"):
            encode_binary(too_long.encode())
        with pytest.raises(ValueError, match="65535"):
            encode_text(too_long)


@old_versions
def test_v311_4_7_3_4_topics_are_matched_as_they_are(version: int) -> None:
    world = World()
    topics = ["a", "A", "a ", " a", "/a", "a/", "a//b", "a/b", "caf\u00e9", "cafe\u0301", "\u212b", "\u00c5", "ﬁ", "fi"]
    clients = {topic: world.connect(f"client of {topic!r}", version) for topic in topics}
    for topic, client in clients.items():
        client.subscribe(topic)
    alice = world.connect("alice", version)
    for topic in topics:
        alice.publish(topic)
    assert all(client.messages() == [Publish(topic.encode(), b"x")] for topic, client in clients.items())


VIOLATIONS = {
    "packet type 0": b"\x00\x00",
    "packet type 15": b"\xf0\x00",
    "a packet of the server": b"\x20\x02\x00\x00",
    "PINGREQ with a body": b"\xc0\x01x",
    "DISCONNECT with a body": b"\xe0\x01\x00",
    "PUBACK of three bytes": b"\x40\x03\x00\x01\x00",
    "PUBACK of one byte": b"\x40\x01\x00",
    "a length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "SUBSCRIBE without QoS": b"\x82\x05\x00\x01\x00\x01a",
}


@pytest.mark.parametrize("data", VIOLATIONS.values(), ids=VIOLATIONS)
def test_v311_4_8_0_1_a_protocol_violation_ends_its_connection_only(data: bytes) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice", will=Will(b"will"))
    alice.send_bytes(data + Pingreq().encode(4))
    assert refused_silently(alice)
    assert not seen.is_closed
    assert seen.messages() == [Publish(b"will")]


class FailingAccess(Access):
    """Cannot be asked at the moment."""

    def __init__(self) -> None:
        super().__init__()
        self.unrestricted = False

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        raise OSError("the directory of users does not answer")


@every_qos
def test_v311_4_8_0_2_a_transient_error_ends_its_connection_only(qos: int) -> None:
    world = World(FailingAccess())
    world.broker.events = Events()  # those of the harness would fail the test
    other = watcher(world)
    alice = world.connect("alice")
    alice.publish("a", qos=qos)
    assert refused_silently(alice)
    other.send(Pingreq())
    assert other.take() == [Pingresp()]


def test_v311_7_0_0_2_a_client_needs_nothing_that_is_not_in_the_specification() -> None:
    alice = World().open()
    for data, answer in (
        (b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a", b"\x20\x02\x00\x00"),
        (b"\x82\x06\x00\x01\x00\x01t\x02", b"\x90\x03\x00\x01\x02"),
        (b"\x30\x05\x00\x01thi", b"\x30\x05\x00\x01thi"),
        (b"\xa2\x05\x00\x02\x00\x01t", b"\xb0\x02\x00\x02"),
        (b"\x34\x07\x00\x01t\x00\x03hi", b"\x50\x02\x00\x03"),
        (b"\x62\x02\x00\x03", b"\x70\x02\x00\x03"),
        (b"\xc0\x00", b"\xd0\x00"),
        (b"\xe0\x00", b""),
    ):
        assert not alice.is_closed
        alice.send_bytes(data)
        assert alice.take_bytes() == answer
    assert alice.is_closed


def test_v311_7_1_1_1_the_transport_is_tcp() -> None:
    with tcp_socket("127.0.0.1", 0) as listener:
        assert listener.type == socket.SOCK_STREAM
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
