"""Does the broker keep 3.8 to 3.11 of MQTT 3.1.1: SUBSCRIBE, UNSUBSCRIBE and their answers?"""

from __future__ import annotations

import pytest

from tests.conformance.v311 import (
    ID,
    WRONG_FLAGS,
    OneForbiddenTopic,
    acknowledged_qos,
    ends_the_connection,
    every_qos,
    ill_formed,
    old_versions,
    raw_subscribe,
    raw_unsubscribe,
)
from tests.engine.harness import Peer, World
from tests.wire.malformed import framed, sized
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import (
    Acknowledgement,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
)

packet_identifiers = pytest.mark.parametrize("identifier", [1, 256, 65_535])


@pytest.mark.parametrize("flags", WRONG_FLAGS)
def test_v311_3_8_1_1_subscribe_with_wrong_flags_ends_the_connection(flags: int) -> None:
    assert ends_the_connection(raw_subscribe(b"a", flags=flags))


@ill_formed
def test_v311_3_8_3_1_filters_to_subscribe_are_utf_8(text: bytes) -> None:
    assert ends_the_connection(raw_subscribe(text))
    assert ends_the_connection(framed(0x82, ID + sized(b"well formed") + b"\0" + sized(text) + b"\0"))


@old_versions
@pytest.mark.parametrize("topic_filter", ["#", "+", "a/#", "a/+", "+/b", "+/+", "+/#"])
def test_v311_3_8_3_2_wildcards_are_supported_so_none_is_refused(version: int, topic_filter: str) -> None:
    world = World()
    bob = world.connect("bob", version)
    assert bob.subscribe(topic_filter, qos=1) == [1]
    world.connect("alice", version).publish("a/b" if "/" in topic_filter else "a")
    assert len(bob.messages()) == 1


def test_v311_3_8_3_3_subscribe_has_at_least_one_filter_with_its_qos() -> None:
    assert ends_the_connection(framed(0x82, ID))
    assert ends_the_connection(framed(0x82, ID + sized(b"a")))
    assert ends_the_connection(framed(0x82, ID + sized(b"a") + b"\0" + sized(b"b")))


@pytest.mark.parametrize("options", [3, *[1 << bit for bit in range(2, 8)], 0xFC, 0xFF])
def test_v311_3_8_3_4_reserved_bits_and_qos_3_end_the_connection(options: int) -> None:
    assert ends_the_connection(raw_subscribe(b"a", options))


@old_versions
@every_qos
def test_v311_3_8_4_1_subscribe_is_answered_with_suback(version: int, qos: int) -> None:
    alice = World().connect("alice", version)
    alice.send(Subscribe(1, [SubscriptionRequest(b"a", qos)]))
    assert alice.take() == [Suback(1, [qos])]


@old_versions
@packet_identifiers
def test_v311_3_8_4_2_suback_has_the_identifier_of_its_subscribe(version: int, identifier: int) -> None:
    alice = World().connect("alice", version)
    alice.send(Subscribe(identifier, [SubscriptionRequest(b"a")]))
    assert alice.take() == [Suback(identifier, [0])]


def acknowledge_everything(peer: Peer) -> list[bytes]:
    """The payloads that come until nothing more does, each message acknowledged."""
    payloads = []
    while messages := peer.messages():
        payloads += [message.payload for message in messages]
        peer.send(*[Acknowledgement(PUBACK, message.packet_identifier) for message in messages if message.qos])
    return payloads


@old_versions
def test_v311_3_8_4_3_a_filter_subscribed_again_replaces_and_interrupts_nothing(version: int) -> None:
    world = World(inflight_maximum=1)
    alice = world.connect("alice", version)
    alice.publish("a/kept", b"kept", retain=True)
    bob = world.connect("bob", version)
    bob.subscribe("a/#", qos=1)
    assert bob.messages() == [Publish(b"a/kept", b"kept", retain=True)]
    for payload in (b"1", b"2", b"3"):
        alice.publish("a/b", payload, qos=1)
    bob.subscribe("a/#", qos=1)
    assert sorted(acknowledge_everything(bob)) == [b"1", b"2", b"3", b"kept"]
    bob.subscribe("a/#", qos=0)
    bob.take()
    alice.publish("a/b", b"4", qos=1)
    assert bob.messages() == [Publish(b"a/b", b"4")]


@old_versions
def test_v311_3_8_4_4_several_filters_in_one_subscribe_are_several_subscriptions(version: int) -> None:
    world = World()
    alice = world.connect("alice", version)
    alice.publish("b", b"kept", retain=True)
    bob = world.connect("bob", version)
    bob.send(Subscribe(9, [SubscriptionRequest(b"a", 0), SubscriptionRequest(b"b", 1), SubscriptionRequest(b"c", 2)]))
    assert bob.take() == [Suback(9, [0, 1, 2]), Publish(b"b", b"kept", retain=True)]
    for topic in ("a", "b", "c", "d"):
        alice.publish(topic, qos=2)
        alice.acknowledge(PUBREL, 1)
    assert [(message.topic, message.qos) for message in bob.messages()] == [(b"a", 0), (b"b", 1), (b"c", 2)]


@old_versions
def test_v311_3_8_4_5_suback_has_one_return_code_for_each_filter(version: int) -> None:
    alice = World(OneForbiddenTopic()).connect("alice", version)
    assert alice.subscribe("a", "forbidden", "b", "a", "a/#", qos=1) == [1, 0x80, 1, 1, 1]


@old_versions
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_v311_3_8_4_6_delivery_is_at_the_lower_qos(version: int, granted: int, published: int, retain: bool) -> None:
    world = World()
    alice = world.connect("alice", version)
    bob = world.connect("bob", version)
    if retain:
        alice.publish("a", qos=published, retain=True)
    assert bob.subscribe("a", qos=granted) == [granted]
    if not retain:
        alice.publish("a", qos=published)
    [message] = bob.messages()
    assert message.qos == min(granted, published)


@old_versions
def test_v311_3_9_3_1_return_codes_follow_the_order_of_the_filters(version: int) -> None:
    alice = World(OneForbiddenTopic()).connect("alice", version)
    filters = [(b"b", 2), (b"forbidden", 2), (b"a", 0), (b"c", 1)]
    alice.send(Subscribe(1, [SubscriptionRequest(*asked) for asked in filters]))
    assert alice.take() == [Suback(1, [2, 0x80, 0, 1])]


@old_versions
def test_v311_3_9_3_2_suback_uses_no_other_return_codes(version: int) -> None:
    alice = World(OneForbiddenTopic(), subscriptions_per_session=1).connect("alice", version)
    filters = ["a", "forbidden", "past the limit of subscriptions", "/" * 200]
    for qos in (0, 1, 2):
        assert alice.subscribe(*filters, qos=qos) == [qos, 0x80, 0x80, 0x80]


@pytest.mark.parametrize("flags", WRONG_FLAGS)
def test_v311_3_10_1_1_unsubscribe_with_wrong_flags_ends_the_connection(flags: int) -> None:
    assert ends_the_connection(raw_unsubscribe(b"a", flags=flags))


@ill_formed
def test_v311_3_10_3_1_filters_to_unsubscribe_are_utf_8_and_follow_each_other(text: bytes) -> None:
    assert ends_the_connection(raw_unsubscribe(text))
    assert ends_the_connection(framed(0xA2, ID + sized(b"well formed") + sized(text)))
    assert ends_the_connection(framed(0xA2, ID + sized(b"a") + b"\0" + sized(b"b")))


def test_v311_3_10_3_2_unsubscribe_has_at_least_one_filter() -> None:
    assert ends_the_connection(framed(0xA2, ID))


@old_versions
@pytest.mark.parametrize("topic_filter", ["a/+", "a/#", "#", "A/B", "a/b/", "/a/b", "a"])
def test_v311_3_10_4_1_filters_to_unsubscribe_are_compared_as_they_are(version: int, topic_filter: str) -> None:
    world = World()
    alice = world.connect("alice", version)
    bob = world.connect("bob", version)
    bob.subscribe("a/b")
    bob.send(Unsubscribe(1, [topic_filter.encode()]))
    bob.take()
    alice.publish("a/b")
    assert len(bob.messages()) == 1
    bob.subscribe(topic_filter)
    bob.send(Unsubscribe(1, [b"a/b"]))
    bob.send(Unsubscribe(1, [topic_filter.encode()]))
    bob.take()
    alice.publish("a/b")
    assert bob.messages() == []


@old_versions
@every_qos
def test_v311_3_10_4_2_after_unsubscribe_no_new_messages_are_queued(version: int, qos: int) -> None:
    world = World()
    alice = world.connect("alice", version)
    bob = world.connect("bob", version, clean_start=False)
    bob.subscribe("a", qos=2)
    alice.publish("a", qos=qos)
    assert len(bob.messages()) == 1
    bob.send(Unsubscribe(1, [b"a"]))
    bob.take()
    alice.publish("a", b"new", qos)
    assert bob.messages() == []
    bob.lose()
    alice.publish("a", b"new", qos)
    bob = world.connect("bob", version, clean_start=False)
    assert b"new" not in [message.payload for message in bob.messages()]


@old_versions
@acknowledged_qos
def test_v311_3_10_4_3_deliveries_under_way_are_finished_after_unsubscribe(version: int, qos: int) -> None:
    world = World()
    bob = world.connect("bob", version, clean_start=False)
    bob.subscribe("a", qos=2)
    world.connect("alice", version).publish("a", qos=qos)
    [message] = bob.messages()
    bob.send(Unsubscribe(1, [b"a"]))
    bob.lose()
    bob = world.connect("bob", version, clean_start=False)
    assert [again.packet_identifier for again in bob.messages()] == [message.packet_identifier]
    bob.acknowledge(PUBACK if qos == 1 else PUBREC, message.packet_identifier)
    if qos == 2:
        assert bob.take() == [Acknowledgement(PUBREL, message.packet_identifier)]
        bob.acknowledge(PUBCOMP, message.packet_identifier)
    assert not world.broker.sessions["bob"].inflight


@old_versions
@packet_identifiers
def test_v311_3_10_4_4_unsuback_has_the_identifier_of_its_unsubscribe(version: int, identifier: int) -> None:
    alice = World().connect("alice", version)
    alice.subscribe("a")
    alice.send(Unsubscribe(identifier, [b"a"]))
    assert alice.take_bytes() == b"\xb0\x02" + identifier.to_bytes(2, "big")


@old_versions
def test_v311_3_10_4_5_unsuback_comes_even_when_nothing_was_subscribed(version: int) -> None:
    alice = World().connect("alice", version)
    alice.send(Unsubscribe(7, [b"a"]))
    alice.send(Unsubscribe(8, [b"a", b"b"]))
    assert alice.take() == [Unsuback(7), Unsuback(8)]


@old_versions
def test_v311_3_10_4_6_several_filters_in_one_unsubscribe_are_several_requests(version: int) -> None:
    world = World()
    alice = world.connect("alice", version)
    bob = world.connect("bob", version)
    bob.subscribe("a", "b", "c")
    bob.send(Unsubscribe(7, [b"a", b"never subscribed", b"c"]))
    assert bob.take() == [Unsuback(7)]
    for topic in ("a", "b", "c"):
        alice.publish(topic)
    assert [message.topic for message in bob.messages()] == [b"b"]
