"""Does the broker keep 4.1 to 4.6 of MQTT 3.1.1: session state, the three qualities of service, repetition, order?"""

from __future__ import annotations

import pytest

from tests.conformance.v311 import acknowledged_qos, every_qos, old_versions, watcher
from tests.engine.harness import Peer, World
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import Acknowledgement, Packet, Publish


def lasting(world: World, name: str, version: int) -> Peer:
    """A client with a session that outlives its connection."""
    return world.connect(name, version, clean_start=False)


def reconnected(peer: Peer, name: str) -> Peer:
    """The same client on a new connection, after the old one broke."""
    peer.lose()
    return lasting(peer.world, name, peer.version)


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
    packets = bob.take()
    assert [packet for packet in packets if not isinstance(packet, Publish)] == [Acknowledgement(PUBREL, released)]
    repeated, waiting = [packet for packet in packets if isinstance(packet, Publish)]
    assert repeated == Publish(b"a", b"unacknowledged", 1, dup=True, packet_identifier=unacknowledged)
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
