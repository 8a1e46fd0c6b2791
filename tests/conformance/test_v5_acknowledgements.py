"""MQTT 5.0, sections 3.5 to 3.7 and 4.3: PUBREC, PUBREL, PUBCOMP, and the exchanges of each QoS."""

from __future__ import annotations

import pytest

from tests.conformance.exchange import (
    Denying,
    answer_to,
    lasting,
    only_message,
    payloads,
    properties,
    tight_answer,
)
from tests.engine.harness import Peer, World
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL, V5
from tidewire.wire.packets import Acknowledgement, Packet, Publish

ID = b"\x00\x01"


def pair(qos: int, **subscriber_properties: int) -> tuple[World, Peer, Peer]:
    """World, publisher, and a subscriber of `t` with a lasting session."""
    world = World()
    subscriber = lasting(world, "subscriber", **subscriber_properties)
    subscriber.subscribe("t", qos=qos)
    return world, world.connect("publisher", V5), subscriber


def returned(world: World, peer: Peer) -> list[Packet]:
    """What a subscriber gets after it lost its connection and came back."""
    peer.lose()
    return lasting(world, "subscriber").take()


# PUBREC, PUBREL, PUBCOMP


@pytest.mark.parametrize(
    ("topic", "retain", "code"),
    [("t", False, 0x00), ("nobody", False, 0x10), ("denied", False, 0x87), ("r", True, 0x97)],
)
def test_v5_3_5_2_1_a_pubrec_tells_how_it_went(topic: str, retain: bool, code: int) -> None:
    world = World(Denying(), retained_messages=0)
    world.connect("subscriber", V5).subscribe("t", qos=2)
    publisher = world.connect("publisher", V5)
    publisher.publish(topic, qos=2, retain=retain)
    assert publisher.take() == [Acknowledgement(PUBREC, 1, code)]
    assert answer_to(0x50, ID, b"\x92") == 0x82


def test_v5_3_5_2_2_a_pubrec_has_no_reason_string_that_is_too_large() -> None:
    assert tight_answer(Publish(b"denied", qos=2, packet_identifier=1)) == Acknowledgement(PUBREC, 1, 0x87)


def test_v5_3_5_2_3_a_pubrec_has_no_user_properties_that_are_too_large() -> None:
    answer = tight_answer(Publish(b"denied", qos=2, packet_identifier=1))
    assert isinstance(answer, Acknowledgement) and answer.packet_type == PUBREC
    assert answer.properties.user_properties == []


@pytest.mark.parametrize("flags", [flags for flags in range(16) if flags != 2])
def test_v5_3_6_1_1_pubrel_with_other_flags_ends_the_connection(flags: int) -> None:
    assert answer_to(PUBREL << 4 | flags, ID) == 0x81


def test_v5_3_6_1_1_pubrel_is_sent_with_flags_0010() -> None:
    _, publisher, subscriber = pair(qos=2)
    publisher.publish("t", qos=2)
    subscriber.acknowledge(PUBREC, only_message(subscriber).packet_identifier)
    assert subscriber.take_bytes()[0] == 0x62


def test_v5_3_6_2_1_a_pubrel_says_success_or_not_found() -> None:
    _, publisher, subscriber = pair(qos=2)
    publisher.publish("t", qos=2)
    subscriber.acknowledge(PUBREC, only_message(subscriber).packet_identifier)
    subscriber.acknowledge(PUBREC, 77)
    assert subscriber.take() == [Acknowledgement(PUBREL, 1, 0x00), Acknowledgement(PUBREL, 77, 0x92)]
    assert answer_to(0x62, ID, b"\x80") == 0x82


def test_v5_3_6_2_2_a_pubrel_has_no_reason_string_that_is_too_large() -> None:
    assert tight_answer(Acknowledgement(PUBREC, 77)) == Acknowledgement(PUBREL, 77, 0x92)


def test_v5_3_6_2_3_a_pubrel_has_no_user_properties_that_are_too_large() -> None:
    answer = tight_answer(Acknowledgement(PUBREC, 77))
    assert isinstance(answer, Acknowledgement) and answer.packet_type == PUBREL
    assert answer.properties.user_properties == []


def test_v5_3_7_2_1_a_pubcomp_says_success_or_not_found() -> None:
    publisher = World().connect("publisher", V5)
    publisher.publish("t", qos=2)
    publisher.take()
    publisher.acknowledge(PUBREL, 1)
    publisher.acknowledge(PUBREL, 77)
    assert publisher.take() == [Acknowledgement(PUBCOMP, 1, 0x00), Acknowledgement(PUBCOMP, 77, 0x92)]
    assert answer_to(0x70, ID, b"\x80") == 0x82


def test_v5_3_7_2_2_a_pubcomp_has_no_reason_string_that_is_too_large() -> None:
    assert tight_answer(Acknowledgement(PUBREL, 77)) == Acknowledgement(PUBCOMP, 77, 0x92)


def test_v5_3_7_2_3_a_pubcomp_has_no_user_properties_that_are_too_large() -> None:
    answer = tight_answer(Acknowledgement(PUBREL, 77))
    assert isinstance(answer, Acknowledgement) and answer.packet_type == PUBCOMP
    assert answer.properties.user_properties == []


# QoS 0


@pytest.mark.parametrize(("published", "granted"), [(0, 0), (0, 2), (1, 0), (2, 0)])
def test_v5_4_3_1_1_a_qos_0_message_is_sent_with_qos_0_and_dup_0(published: int, granted: int) -> None:
    _, publisher, subscriber = pair(qos=granted)
    publisher.publish("t", qos=published, dup=published > 0)
    assert only_message(subscriber) == Publish(b"t", b"x", 0, dup=False)


# QoS 1


def fresh_identifiers(qos: int) -> None:
    """New messages get identifiers that no open one has, also when the numbers have come round."""
    world, publisher, subscriber = pair(qos)
    for _ in range(3):
        publisher.publish("t")
        publisher.publish("t", qos=1)
        publisher.publish("t", qos=2)
        publisher.acknowledge(PUBREL, 1)
    world.broker.sessions["subscriber"]._last_identifier = 65_534
    for _ in range(3):
        publisher.publish("t", qos=1)
    identifiers = [message.packet_identifier for message in subscriber.messages() if message.qos]
    assert len(identifiers) == 9
    assert len(set(identifiers)) == 9
    assert all(1 <= identifier <= 65_535 for identifier in identifiers)


def test_v5_4_3_2_1_a_new_message_gets_a_free_packet_identifier() -> None:
    fresh_identifiers(1)


def test_v5_4_3_2_2_the_first_publish_has_qos_1_and_dup_0() -> None:
    _, publisher, subscriber = pair(qos=1)
    publisher.publish("t", qos=1, dup=True)
    assert only_message(subscriber) == Publish(b"t", b"x", 1, dup=False, packet_identifier=1)


def test_v5_4_3_2_3_a_message_is_open_until_its_puback() -> None:
    world, publisher, subscriber = pair(qos=1, receive_maximum=1)
    publisher.publish("t", b"first", qos=1)
    publisher.publish("t", b"second", qos=1)
    first = only_message(subscriber)
    world.advance(60)
    assert subscriber.take() == []
    subscriber.acknowledge(PUBACK, first.packet_identifier)
    assert only_message(subscriber).payload == b"second"
    assert [packet.payload for packet in returned(world, subscriber) if isinstance(packet, Publish)] == [b"second"]


def test_v5_4_3_2_4_the_receiver_takes_the_message_and_answers_puback() -> None:
    _, publisher, subscriber = pair(qos=1)
    publisher.publish("t", b"m", qos=1, packet_identifier=513)
    assert publisher.take() == [Acknowledgement(PUBACK, 513)]
    assert only_message(subscriber).payload == b"m"


def test_v5_4_3_2_5_after_its_puback_an_identifier_is_a_new_message_whatever_dup_says() -> None:
    _, publisher, subscriber = pair(qos=1)
    publisher.publish("t", b"1", qos=1)
    publisher.publish("t", b"2", qos=1, dup=True)
    assert publisher.take() == [Acknowledgement(PUBACK, 1)] * 2
    assert payloads(subscriber) == [b"1", b"2"]


# QoS 2, the sender's side


def test_v5_4_3_3_1_a_new_message_gets_a_free_packet_identifier() -> None:
    fresh_identifiers(2)


def test_v5_4_3_3_1_an_identifier_is_not_free_before_its_pubcomp() -> None:
    world, publisher, subscriber = pair(qos=2)
    publisher.publish("t", qos=2)
    subscriber.acknowledge(PUBREC, only_message(subscriber).packet_identifier)
    subscriber.take()
    world.broker.sessions["subscriber"]._last_identifier = 65_535
    publisher.publish("t", qos=2, packet_identifier=2)
    assert only_message(subscriber).packet_identifier == 2


def test_v5_4_3_3_2_the_first_publish_has_qos_2_and_dup_0() -> None:
    _, publisher, subscriber = pair(qos=2)
    publisher.publish("t", qos=2, dup=True)
    assert only_message(subscriber) == Publish(b"t", b"x", 2, dup=False, packet_identifier=1)


def test_v5_4_3_3_3_a_publish_is_open_until_its_pubrec() -> None:
    world, publisher, subscriber = pair(qos=2)
    publisher.publish("t", qos=2)
    first = only_message(subscriber)
    world.advance(60)
    assert subscriber.take() == []
    assert returned(world, subscriber) == [Publish(b"t", b"x", 2, dup=True, packet_identifier=first.packet_identifier)]


@pytest.mark.parametrize("code", [0x00, 0x10])
def test_v5_4_3_3_4_a_pubrec_below_0x80_is_answered_by_pubrel(code: int) -> None:
    _, publisher, subscriber = pair(qos=2)
    publisher.publish("t", qos=2)
    subscriber.acknowledge(PUBREC, only_message(subscriber).packet_identifier, code)
    assert subscriber.take() == [Acknowledgement(PUBREL, 1)]


def test_v5_4_3_3_4_a_pubrec_from_0x80_up_is_not_answered() -> None:
    _, publisher, subscriber = pair(qos=2)
    publisher.publish("t", qos=2)
    subscriber.acknowledge(PUBREC, only_message(subscriber).packet_identifier, 0x80)
    assert subscriber.take() == []


def test_v5_4_3_3_5_a_pubrel_is_open_until_its_pubcomp() -> None:
    world, publisher, subscriber = pair(qos=2, receive_maximum=1)
    publisher.publish("t", b"first", qos=2)
    publisher.publish("t", b"second", qos=2, packet_identifier=2)
    subscriber.acknowledge(PUBREC, only_message(subscriber).packet_identifier)
    assert subscriber.take() == [Acknowledgement(PUBREL, 1)]
    subscriber.lose()
    subscriber = lasting(world, "subscriber", receive_maximum=1)
    assert subscriber.take() == [Acknowledgement(PUBREL, 1)]
    subscriber.acknowledge(PUBCOMP, 1)
    assert only_message(subscriber).payload == b"second"


def test_v5_4_3_3_6_a_publish_is_never_repeated_after_its_pubrel() -> None:
    world, publisher, subscriber = pair(qos=2)
    publisher.publish("t", qos=2)
    subscriber.acknowledge(PUBREC, only_message(subscriber).packet_identifier)
    assert returned(world, subscriber) == [Acknowledgement(PUBREL, 1)]
    assert returned(world, subscriber) == [Acknowledgement(PUBREL, 1)]


def test_v5_4_3_3_7_a_message_whose_publish_was_sent_expires_no_more() -> None:
    world, publisher, subscriber = pair(qos=2)
    publisher.publish("t", b"m", qos=2, properties=properties(message_expiry_interval=5))
    assert only_message(subscriber).payload == b"m"
    subscriber.lose()
    world.advance(60)
    again = only_message(lasting(world, "subscriber"))
    assert (again.payload, again.dup) == (b"m", True)


# QoS 2, the receiver's side


def test_v5_4_3_3_8_the_receiver_takes_the_message_and_answers_pubrec() -> None:
    _, publisher, subscriber = pair(qos=2)
    publisher.publish("t", b"m", qos=2, packet_identifier=513)
    assert publisher.take() == [Acknowledgement(PUBREC, 513)]
    assert only_message(subscriber).payload == b"m"


def test_v5_4_3_3_9_after_a_pubrec_from_0x80_up_an_identifier_is_a_new_message() -> None:
    world = World(Denying())
    subscriber = world.connect("subscriber", V5)
    subscriber.subscribe("t", qos=2)
    publisher = world.connect("publisher", V5)
    publisher.publish("denied", qos=2)
    publisher.publish("t", b"new", qos=2)
    assert publisher.take() == [Acknowledgement(PUBREC, 1, 0x87), Acknowledgement(PUBREC, 1, 0x00)]
    assert payloads(subscriber) == [b"new"]


@pytest.mark.parametrize("dup", [False, True])
def test_v5_4_3_3_10_repeats_before_pubrel_get_pubrec_and_go_on_once(dup: bool) -> None:
    _, publisher, subscriber = pair(qos=2)
    publisher.publish("t", qos=2)
    publisher.publish("t", qos=2, dup=dup)
    assert publisher.take() == [Acknowledgement(PUBREC, 1)] * 2
    assert payloads(subscriber) == [b"x"]


def test_v5_4_3_3_10_a_repeat_on_the_next_connection_goes_on_once() -> None:
    world, _, subscriber = pair(qos=2)
    publisher = lasting(world, "sender")
    publisher.publish("t", qos=2)
    publisher.lose()
    publisher = lasting(world, "sender")
    publisher.publish("t", qos=2, dup=True)
    assert publisher.take() == [Acknowledgement(PUBREC, 1)]
    assert payloads(subscriber) == [b"x"]


def test_v5_4_3_3_11_pubrel_is_answered_by_pubcomp() -> None:
    _, publisher, _ = pair(qos=2)
    publisher.publish("t", qos=2, packet_identifier=513)
    publisher.acknowledge(PUBREL, 513)
    assert publisher.take() == [Acknowledgement(PUBREC, 513), Acknowledgement(PUBCOMP, 513)]


@pytest.mark.parametrize("dup", [False, True])
def test_v5_4_3_3_12_after_pubcomp_an_identifier_is_a_new_message(dup: bool) -> None:
    _, publisher, subscriber = pair(qos=2)
    publisher.publish("t", b"1", qos=2)
    publisher.acknowledge(PUBREL, 1)
    publisher.publish("t", b"2", qos=2, dup=dup)
    assert payloads(subscriber) == [b"1", b"2"]


def test_v5_4_3_3_13_the_acknowledgements_of_an_expired_message_are_finished() -> None:
    world, publisher, _ = pair(qos=2)
    publisher.publish("t", qos=2, properties=properties(message_expiry_interval=1))
    world.advance(60)
    publisher.acknowledge(PUBREL, 1)
    assert publisher.take() == [Acknowledgement(PUBREC, 1), Acknowledgement(PUBCOMP, 1)]
