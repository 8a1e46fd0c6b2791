"""Does the broker keep 3.3 to 3.7 of MQTT 3.1.1: PUBLISH with its DUP, QoS and RETAIN, and how it is answered?"""

from __future__ import annotations

import pytest

from tests.conformance.v311 import (
    ID,
    WRONG_FLAGS,
    OneForbiddenTopic,
    acknowledged_qos,
    every_qos,
    ill_formed,
    old_versions,
    raw_publish,
    refused_silently,
    watcher,
)
from tests.engine.harness import World
from tests.wire.malformed import framed
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import Acknowledgement, Publish


@old_versions
@acknowledged_qos
def test_v311_3_3_1_1_a_repeated_publish_has_dup(version: int, qos: int) -> None:
    world = World()
    bob = world.connect("bob", version, clean_start=False)
    bob.subscribe("a", qos=qos)
    world.connect("alice", version).publish("a", qos=qos)
    [first] = bob.messages()
    assert not first.dup
    for _ in range(2):
        bob.lose()
        bob = world.connect("bob", version, clean_start=False)
        [again] = bob.messages()
        assert again.dup
        assert again.packet_identifier == first.packet_identifier


def test_v311_3_3_1_2_a_qos_0_publish_has_no_dup() -> None:
    world = World()
    bob = world.connect("bob")
    bob.subscribe("a")
    alice = world.connect("alice")
    alice.send(Publish(b"a", b"x", qos=1, dup=True, packet_identifier=1))
    assert bob.take_bytes() == b"\x30\x04\x00\x01ax"
    alice.take_bytes()
    alice.send_bytes(b"\x38\x04\x00\x01ax")
    assert refused_silently(alice)
    assert bob.messages() == []


@old_versions
@acknowledged_qos
def test_v311_3_3_1_3_dup_is_not_passed_on(version: int, qos: int) -> None:
    world = World()
    seen = watcher(world)
    world.connect("alice", version).publish("a", qos=qos, dup=True)
    [message] = seen.messages()
    assert not message.dup


@pytest.mark.parametrize("first_byte", [0x36, 0x37, 0x3E, 0x3F])
def test_v311_3_3_1_4_a_publish_at_qos_3_ends_the_connection(first_byte: int) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice")
    alice.send_bytes(raw_publish(first_byte, b"a", ID + b"x"))
    assert refused_silently(alice)
    assert seen.messages() == []


@old_versions
@every_qos
def test_v311_3_3_1_5_a_message_with_retain_is_stored_with_its_qos(version: int, qos: int) -> None:
    world = World()
    world.connect("alice", version).publish("a", b"kept", qos, retain=True)
    [message] = watcher(world).messages()
    assert (message.topic, message.payload, message.qos) == (b"a", b"kept", qos)


@old_versions
def test_v311_3_3_1_6_a_new_subscription_gets_the_latest_of_every_matching_topic(version: int) -> None:
    world = World()
    alice = world.connect("alice", version)
    for topic in ("a", "a/b", "a/c", "b"):
        alice.publish(topic, b"old", retain=True)
        alice.publish(topic, b"new", retain=True)
    bob = world.connect("bob", version)
    bob.subscribe("a/+")
    assert {(message.topic, message.payload) for message in bob.messages()} == {(b"a/b", b"new"), (b"a/c", b"new")}
    bob.subscribe("a/#")
    assert sorted(message.topic for message in bob.messages()) == [b"a", b"a/b", b"a/c"]


@old_versions
@every_qos
def test_v311_3_3_1_7_a_retained_message_at_qos_0_replaces_the_one_before(version: int, qos: int) -> None:
    world = World()
    alice = world.connect("alice", version)
    alice.publish("a", b"before", qos, retain=True)
    alice.publish("a", b"after", 0, retain=True)
    assert watcher(world).messages() == [Publish(b"a", b"after", retain=True)]


@old_versions
@every_qos
def test_v311_3_3_1_8_what_a_new_subscription_brings_has_retain_1(version: int, qos: int) -> None:
    world = World()
    world.connect("alice", version).publish("a", qos=qos, retain=True)
    [message] = watcher(world).messages()
    assert message.retain


@old_versions
@every_qos
def test_v311_3_3_1_9_what_an_existing_subscription_gets_has_retain_0(version: int, qos: int) -> None:
    world = World()
    alice = world.connect("alice", version)
    seen = watcher(world)
    alice.publish("a", qos=qos, retain=True)
    [message] = seen.messages()
    assert not message.retain


@old_versions
@every_qos
def test_v311_3_3_1_10_an_empty_retained_message_is_delivered_and_erases(version: int, qos: int) -> None:
    world = World()
    alice = world.connect("alice", version)
    alice.publish("a", b"kept", retain=True)
    bob = world.connect("bob", version)
    bob.subscribe("a", qos=2)
    bob.messages()
    alice.publish("a", b"", qos, retain=True)
    [message] = bob.messages()
    assert (message.topic, message.payload, message.qos, message.retain) == (b"a", b"", qos, False)
    assert watcher(world).messages() == []


@old_versions
@every_qos
def test_v311_3_3_1_11_an_empty_retained_message_is_not_stored(version: int, qos: int) -> None:
    world = World()
    world.connect("alice", version).publish("a", b"", qos, retain=True)
    assert watcher(world).messages() == []


@old_versions
@every_qos
@pytest.mark.parametrize("payload", [b"passing", b""])
def test_v311_3_3_1_12_a_message_without_retain_leaves_the_stored_one(version: int, qos: int, payload: bytes) -> None:
    world = World()
    alice = world.connect("alice", version)
    alice.publish("kept", b"kept", retain=True)
    alice.publish("kept", payload, qos)
    alice.publish("never kept", payload, qos)
    assert watcher(world).messages() == [Publish(b"kept", b"kept", retain=True)]


@ill_formed
@every_qos
def test_v311_3_3_2_1_a_utf_8_topic_name_comes_first(qos: int, text: bytes) -> None:
    world = World()
    seen = watcher(world)
    identifier = ID if qos else b""
    for data in (
        raw_publish(0x30 | qos << 1, text, identifier + b"x"),
        framed(0x30 | qos << 1, b"\0"),
        framed(0x30 | qos << 1, b"\0\5top"),
        framed(0x30 | qos << 1, b""),
    ):
        alice = world.connect("alice")
        alice.send_bytes(data)
        assert refused_silently(alice)
    assert seen.messages() == []
    world.connect("alice").send_bytes(raw_publish(0x30 | qos << 1, b"topic", identifier + b"x"))
    assert [(message.topic, message.payload) for message in seen.messages()] == [(b"topic", b"x")]


@every_qos
@pytest.mark.parametrize("topic", ["#", "+", "a/#", "a/+", "+/a", "a/+/b", "a#", "a+b"])
def test_v311_3_3_2_2_a_topic_name_with_a_wildcard_ends_the_connection(qos: int, topic: str) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice")
    alice.publish(topic, qos=qos)
    assert refused_silently(alice)
    assert seen.messages() == []


@old_versions
@pytest.mark.parametrize("topic_filter", ["a/b/c", "a/+/c", "+/+/+", "a/#", "#", "a/b/c/#"])
def test_v311_3_3_2_3_subscribers_get_the_topic_name_that_their_filter_matches(version: int, topic_filter: str) -> None:
    world = World()
    bob = world.connect("bob", version)
    bob.subscribe(topic_filter)
    alice = world.connect("alice", version)
    alice.publish("other")
    bob.take()
    alice.publish("a/b/c")
    assert bob.messages() == [Publish(b"a/b/c", b"x")]


@old_versions
def test_v311_3_3_4_1_publish_is_answered_by_its_qos(version: int) -> None:
    alice = World().connect("alice", version)
    alice.publish("a", qos=0)
    assert alice.take() == []
    alice.publish("a", qos=1, packet_identifier=5)
    assert alice.take() == [Acknowledgement(PUBACK, 5)]
    alice.publish("a", qos=2, packet_identifier=6)
    assert alice.take() == [Acknowledgement(PUBREC, 6)]


@old_versions
@every_qos
def test_v311_3_3_5_1_overlapping_subscriptions_deliver_at_the_highest_qos(version: int, qos: int) -> None:
    world = World()
    bob = world.connect("bob", version)
    for granted, topic_filter in enumerate(["a/b", "a/#", "a/+"][: qos + 1]):
        bob.subscribe(topic_filter, qos=granted)
    bob.subscribe("#", qos=0)
    world.connect("alice", version).publish("a/b", qos=2)
    assert [message.qos for message in bob.messages()] == [qos]


@old_versions
def test_v311_3_3_5_2_a_publish_that_is_not_authorized_is_acknowledged_as_usual(version: int) -> None:
    world = World(OneForbiddenTopic())
    seen = watcher(world)
    alice = world.connect("alice", version)
    alice.publish("forbidden")
    alice.publish("forbidden", qos=1, packet_identifier=1)
    alice.publish("forbidden", qos=2, packet_identifier=2)
    alice.acknowledge(PUBREL, 2)
    assert alice.take() == [Acknowledgement(PUBACK, 1), Acknowledgement(PUBREC, 2), Acknowledgement(PUBCOMP, 2)]
    assert seen.messages() == []


@pytest.mark.parametrize("flags", WRONG_FLAGS)
def test_v311_3_6_1_1_pubrel_with_wrong_flags_ends_the_connection(flags: int) -> None:
    alice = World().connect("alice")
    alice.publish("a", qos=2, packet_identifier=7)
    assert alice.take() == [Acknowledgement(PUBREC, 7)]
    alice.send_bytes(framed(PUBREL << 4 | flags, ID))
    assert refused_silently(alice)
