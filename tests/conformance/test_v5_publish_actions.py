"""MQTT 5.0, sections 3.3.4 and 3.4: what becomes of a PUBLISH, and PUBACK."""

from __future__ import annotations

import pytest

from tests.conformance.exchange import TIGHT_BYTES, Denying, end_code, lasting, payloads, tight_answer
from tests.conformance.v5 import subscription_identifiers, user_properties
from tests.engine.harness import Peer, World
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import (
    Acknowledgement,
    Packet,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
)
from tidewire.wire.properties import Properties

PUBACK_CODES = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
"""The reason codes of section 3.4.2.1, table 3-4."""

acknowledged_qos = pytest.mark.parametrize("qos", [1, 2])


def finish(peer: Peer, message: Publish) -> None:
    """Do all that a receiver does with a message."""
    if message.qos == 1:
        peer.acknowledge(PUBACK, message.packet_identifier)
    else:
        peer.acknowledge(PUBREC, message.packet_identifier)
        peer.acknowledge(PUBCOMP, message.packet_identifier)


def subscribed(world: World, *subscriptions: tuple[str, int, int]) -> Peer:
    """A client with subscriptions of (topic filter, QoS, Subscription Identifier; 0 for none)."""
    peer = world.connect("c", 5)
    for topic_filter, qos, identifier in subscriptions:
        request = SubscriptionRequest(topic_filter.encode(), qos)
        peer.send(Subscribe(1, [request], subscription_identifiers(identifier) if identifier else Properties()))
    peer.take()
    return peer


def identifiers(messages: list[Publish]) -> list[list[int]]:
    """The Subscription Identifiers of each."""
    return [message.properties.subscription_identifiers for message in messages]


@pytest.mark.parametrize(
    ("qos", "answers"),
    [(0, []), (1, [Acknowledgement(PUBACK, 7, 0x10)]), (2, [Acknowledgement(PUBREC, 7, 0x10)])],
)
def test_v5_3_3_4_1_a_publish_must_be_answered_as_its_qos_says(qos: int, answers: list[Packet]) -> None:
    world = World()
    peer = world.connect("c", 5)
    peer.send(Publish(b"t", b"", qos, packet_identifier=7))
    assert peer.take() == answers
    world.connect("d", 5).subscribe("t")
    peer.send(Publish(b"t", b"", qos, packet_identifier=8))
    assert [(answer.packet_identifier, answer.reason_code) for answer in peer.take()] == [(8, 0)] * len(answers)  # type: ignore[attr-defined]


@pytest.mark.parametrize("granted", [(0, 1), (2, 0), (1, 2), (0, 0)])
@pytest.mark.parametrize("identifier", [0, 5])
def test_v5_3_3_4_2_overlapping_subscriptions_must_bring_the_highest_qos(
    granted: tuple[int, int], identifier: int
) -> None:
    world = World()
    peer = subscribed(world, ("a/+", granted[0], identifier), ("a/b", granted[1], 0))
    world.connect("d", 5).publish("a/b", qos=2)
    assert [message.qos for message in peer.messages()] == [max(granted)]


@pytest.mark.parametrize("identifier", [1, 127, 128, 268_435_455])
def test_v5_3_3_4_3_messages_must_carry_the_subscription_identifier(identifier: int) -> None:
    world = World()
    other = world.connect("d", 5)
    other.publish("a/b", b"kept", retain=True)
    peer = subscribed(world, ("a/b", 1, identifier), ("other", 1, 9))
    world.connect("d", 5).publish("a/b", qos=1)
    assert identifiers(peer.messages()) == [[identifier]]  # what was retained came, and was taken, with the SUBACK
    peer.send(Subscribe(1, [SubscriptionRequest(b"a/b")], subscription_identifiers(identifier)))
    assert identifiers(peer.messages()) == [[identifier]]


def test_v5_3_3_4_4_a_single_copy_must_carry_all_subscription_identifiers() -> None:
    world = World()
    peer = subscribed(world, ("a/b", 0, 3), ("a/#", 1, 5), ("+/b", 2, 0), ("#", 0, 7), ("b", 0, 9))
    world.connect("d", 5).publish("a/b", qos=1)
    (message,) = peer.messages()
    assert sorted(message.properties.subscription_identifiers) == [3, 5, 7]


def test_v5_3_3_4_5_a_copy_for_one_subscription_must_carry_its_identifier() -> None:
    world = World()
    peer = subscribed(world, ("a/b", 0, 3), ("$share/g/a/+", 0, 5), ("$share/h/a/+", 0, 0))
    world.connect("d", 5).publish("a/b")
    assert sorted(identifiers(peer.messages())) == [[], [3], [5]]  # a shared subscription has its own copy


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_v5_3_3_4_6_a_client_must_not_send_a_subscription_identifier(qos: int) -> None:
    peer = World().connect("c", 5)
    peer.publish("t", qos=qos, properties=subscription_identifiers(1))
    assert end_code(peer) == 0x82


@pytest.mark.parametrize("maximum", [1, 5])
def test_v5_3_3_4_7_more_than_receive_maximum_unfinished_messages_must_not_be_accepted(maximum: int) -> None:
    world = World(receive_maximum=maximum)
    peer = world.connect("c", 5)
    assert peer.connack.properties.integers[p.RECEIVE_MAXIMUM] == maximum
    for identifier in range(1, maximum + 1):
        peer.publish("t", qos=2, packet_identifier=identifier)
        peer.publish("t", qos=2, packet_identifier=identifier, dup=True)  # again is not one more
    peer.acknowledge(PUBREL, 1)
    peer.publish("t", qos=2, packet_identifier=maximum + 1)
    assert not peer.is_closed
    peer.publish("t", qos=2, packet_identifier=maximum + 2)
    assert end_code(peer) == 0x93


@acknowledged_qos
@pytest.mark.parametrize("maximum", [1, 3])
def test_v5_3_3_4_9_the_broker_must_keep_to_the_receive_maximum(maximum: int, qos: int) -> None:
    world = World()
    peer = lasting(world, "c", receive_maximum=maximum)
    peer.subscribe("t", qos=qos)
    other = world.connect("d", 5)
    for number in range(10):
        other.publish("t", bytes([number]), qos, packet_identifier=number + 1)
    peer.lose()
    peer = lasting(world, "c", receive_maximum=maximum)  # what is sent again counts as well
    received = peer.messages()
    assert len(received) == maximum
    while len(received) < 10:
        finish(peer, received[-maximum])
        (following,) = peer.messages()
        received.append(following)
    assert [message.payload for message in received] == [bytes([number]) for number in range(10)]


def test_v5_3_3_4_9_qos_2_must_count_until_pubcomp() -> None:
    world = World()
    peer = lasting(world, "c", receive_maximum=1)
    peer.subscribe("t", qos=2)
    peer.publish("t", b"1", qos=2, packet_identifier=1)
    peer.publish("t", b"2", qos=2, packet_identifier=2)
    (message,) = peer.messages()
    peer.acknowledge(PUBREC, message.packet_identifier)
    assert peer.messages() == []
    peer.acknowledge(PUBCOMP, message.packet_identifier)
    assert payloads(peer) == [b"2"]


@acknowledged_qos
def test_v5_3_3_4_10_at_the_receive_maximum_all_other_packets_must_be_sent(qos: int) -> None:
    world = World()
    peer = lasting(world, "c", receive_maximum=1)
    peer.subscribe("t", qos=qos)
    other = world.connect("d", 5)
    for number in (1, 2):
        other.publish("t", b"waits", qos, packet_identifier=number)
    assert payloads(peer) == [b"waits"]
    peer.send(Pingreq(), Subscribe(5, [SubscriptionRequest(b"u")]), Unsubscribe(6, [b"x"]))
    peer.publish("v", qos=1, packet_identifier=7)
    peer.publish("v", qos=2, packet_identifier=8)
    other.publish("u", b"at once")
    assert peer.take() == [
        Pingresp(),
        Suback(5, [0]),
        Unsuback(6, [0x11]),
        Acknowledgement(PUBACK, 7, 0x10),
        Acknowledgement(PUBREC, 8, 0x10),
        Publish(b"u", b"at once"),
    ]


def test_v5_3_4_2_1_puback_must_use_a_code_defined_for_it() -> None:
    world = World(Denying(), retained_messages=0, queue_messages=0)
    peer = world.connect("c", 5)
    asleep = lasting(world, "asleep")
    asleep.subscribe("queue", qos=1)
    asleep.lose()
    peer.subscribe("heard")
    codes = {}
    for topic, retain in (
        ("heard", False),
        ("unheard", False),
        ("unheard", True),
        ("denied", False),
        ("$SYS/x", False),
    ):
        peer.publish(topic, qos=1, retain=retain)
        (answer,) = [packet for packet in peer.take() if isinstance(packet, Acknowledgement)]
        codes[topic, retain] = answer.reason_code
    assert list(codes.values()) == [0x00, 0x10, 0x97, 0x87, 0x87]
    assert PUBACK_CODES.issuperset(codes.values())


@pytest.mark.parametrize("reason_code", [0x01, 0x11, 0x81, 0x82, 0x92, 0xFF])
def test_v5_3_4_2_1_puback_with_another_code_must_not_be_accepted(reason_code: int) -> None:
    peer = World().connect("c", 5)
    peer.subscribe("t", qos=1)
    peer.publish("t", qos=1)
    peer.acknowledge(PUBACK, 1, reason_code)
    assert end_code(peer) == 0x82


@pytest.mark.parametrize("reason_code", sorted(PUBACK_CODES))
def test_v5_3_4_2_1_puback_with_each_of_its_codes_must_end_the_delivery(reason_code: int) -> None:
    world = World()
    peer = lasting(world, "c", receive_maximum=1)
    peer.subscribe("t", qos=1)
    for number in (1, 2):
        peer.publish("t", bytes([number]), qos=1, packet_identifier=number)
    peer.acknowledge(PUBACK, 1, reason_code)
    assert payloads(peer) == [b"\1", b"\2"]


def test_v5_3_4_2_2_a_reason_string_must_not_make_puback_too_large() -> None:
    answer = tight_answer(Publish(b"denied", b"", 1, packet_identifier=7))
    assert answer == Acknowledgement(PUBACK, 7, 0x87)
    assert len(answer.encode(5)) <= TIGHT_BYTES


def test_v5_3_4_2_3_user_properties_must_not_make_puback_too_large() -> None:
    carried = user_properties(("k" * 20, "v" * 20))
    answer = tight_answer(Publish(b"denied", b"", 1, packet_identifier=7, properties=carried))
    assert answer == Acknowledgement(PUBACK, 7, 0x87)
