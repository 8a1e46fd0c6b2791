"""MQTT 5.0, sections 3.3.1 to 3.3.3: the flags, the topic and the properties of PUBLISH."""

from __future__ import annotations

import pytest

from tests.conformance.exchange import end_code, lasting, only_message, payloads, properties
from tests.conformance.v5 import raw_publish, raw_subscribe, user_properties
from tests.conformance.v311 import ILL_FORMED
from tests.engine.harness import World
from tests.wire.malformed import framed, sized
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBREC, PUBREL
from tidewire.wire.properties import Properties

every_qos = pytest.mark.parametrize("qos", [0, 1, 2])
acknowledged_qos = pytest.mark.parametrize("qos", [1, 2])
ill_formed = pytest.mark.parametrize("text", [b"a\0b", *ILL_FORMED.values()], ids=["U+0000", *ILL_FORMED])


def retained(world: World, topic_filter: str = "t", **options: int) -> list[bytes]:
    """The payloads that a new subscriber gets."""
    peer = world.connect("", 5)
    peer.subscribe(topic_filter, qos=2, **options)
    messages = peer.messages()
    assert all(message.retain for message in messages)
    return [message.payload for message in messages]


def passed_on(carried: Properties) -> Properties:
    """What is left of the properties of a message when it reaches its subscribers: live, queued and retained."""
    world = World()
    asleep = lasting(world, "asleep")
    asleep.subscribe("t", qos=1)
    asleep.lose()
    awake = world.connect("awake", 5)
    awake.subscribe("t", qos=1)
    limited = world.connect("limited", 5, properties=properties(maximum_packet_size=10_000))
    limited.subscribe("t", qos=1)
    shared = world.connect("shared", 5)
    shared.subscribe("$share/g/t", qos=0)
    world.connect("c", 5).publish("t", qos=1, retain=True, properties=carried)
    late = world.connect("late", 5)
    late.subscribe("t")
    seen = [only_message(peer).properties for peer in (awake, limited, shared, late)]
    seen += [message.properties for message in lasting(world, "asleep").messages()]
    assert seen == seen[:1] * 5
    return seen[0]


def end_of_publish_with(identifier: int, text: bytes) -> int:
    """The reason code of the DISCONNECT after a PUBLISH with this property."""
    peer = World().connect("c", 5)
    peer.send_bytes(raw_publish(encoded=bytes([identifier]) + sized(text)))
    return end_code(peer)


@acknowledged_qos
def test_v5_3_3_1_1_dup_must_be_set_when_a_message_is_sent_again(qos: int) -> None:
    world = World()
    peer = lasting(world, "c")
    peer.subscribe("t", qos=qos)
    peer.publish("t", qos=qos)
    first = peer.messages()
    peer.lose()
    again = lasting(world, "c").messages()
    assert [(message.packet_identifier, message.dup) for message in first] == [(1, False)]
    assert [(message.packet_identifier, message.dup) for message in again] == [(1, True)]


def test_v5_3_3_1_2_dup_must_be_clear_at_qos_0() -> None:
    world = World()
    subscriber = world.connect("subscriber", 5)
    subscriber.subscribe("t", qos=0)
    peer = world.connect("c", 5)
    peer.publish("t", qos=1, dup=True)
    assert not only_message(subscriber).dup
    peer.send_bytes(b"\x38" + raw_publish()[1:])
    assert end_code(peer) == 0x81


@pytest.mark.parametrize("dup", [False, True])
@acknowledged_qos
def test_v5_3_3_1_3_dup_must_not_be_passed_on(qos: int, dup: bool) -> None:
    peer = World().connect("c", 5)
    peer.subscribe("t", qos=2)
    peer.publish("t", qos=qos, dup=dup)
    assert [(message.qos, message.dup) for message in peer.messages()] == [(qos, False)]


@pytest.mark.parametrize("flags", [0x6, 0x7, 0xE, 0xF])
def test_v5_3_3_1_4_qos_3_must_not_be_used(flags: int) -> None:
    peer = World().connect("c", 5)
    peer.send_bytes(framed(0x30 | flags, sized(b"t") + b"\0\1" + b"\0"))
    assert end_code(peer) == 0x81


@every_qos
def test_v5_3_3_1_5_a_message_with_retain_must_replace_the_retained_one(qos: int) -> None:
    world = World()
    peer = world.connect("c", 5)
    for payload in (b"first", b"second"):
        peer.publish("t", payload, qos, retain=True, packet_identifier=len(payload) if qos else 0)
        assert retained(world) == [payload]


@every_qos
def test_v5_3_3_1_6_an_empty_retained_message_must_be_sent_on_and_erase_the_retained_one(qos: int) -> None:
    world = World()
    peer = world.connect("c", 5)
    peer.publish("t", b"old", retain=True)
    peer.publish("u", b"other", retain=True)
    subscriber = world.connect("subscriber", 5)
    subscriber.subscribe("t", qos=2, retain_handling=2)
    peer.publish("t", b"", qos, retain=True)
    message = only_message(subscriber)
    assert (message.payload, message.qos) == (b"", qos)
    assert retained(world, "#") == [b"other"]


def test_v5_3_3_1_7_an_empty_retained_message_must_not_be_stored() -> None:
    world = World()
    world.connect("c", 5).publish("t", b"", retain=True)
    assert retained(world, "#") == []
    assert world.broker.retained.count == 0


@every_qos
def test_v5_3_3_1_8_a_message_without_retain_must_leave_the_retained_one_alone(qos: int) -> None:
    world = World()
    peer = world.connect("c", 5)
    peer.publish("t", b"kept", retain=True)
    peer.publish("t", b"", qos, packet_identifier=qos)
    peer.publish("t", b"passing", qos, packet_identifier=qos + 2 if qos else 0)
    peer.publish("u", b"passing", qos, packet_identifier=qos + 4 if qos else 0)
    assert retained(world, "#") == [b"kept"]


@every_qos
def test_v5_3_3_1_9_retain_handling_0_must_bring_the_retained_messages_each_time(qos: int) -> None:
    world = World()
    for topic in ("a/1", "a/2", "b"):
        world.connect("d", 5).publish(topic, topic.encode(), qos, retain=True)
    peer = world.connect("c", 5, properties=properties(receive_maximum=1))
    for _ in range(2):
        peer.subscribe("a/+", qos=qos, retain_handling=0)
        received = []
        while messages := peer.messages():
            received += messages
            for message in messages[: min(qos, 1)]:
                peer.acknowledge(PUBACK if qos == 1 else PUBREC, message.packet_identifier, 0x80)
        assert [(message.payload, message.qos, message.retain) for message in received] == [
            (b"a/1", qos, True),
            (b"a/2", qos, True),
        ]


def test_v5_3_3_1_10_retain_handling_1_must_bring_them_to_a_new_subscription_only() -> None:
    world = World()
    peer = world.connect("c", 5)
    peer.publish("t", b"kept", retain=True)
    peer.subscribe("t", retain_handling=1)
    assert payloads(peer) == [b"kept"]
    peer.subscribe("t", qos=1, retain_handling=1)
    assert payloads(peer) == []
    peer.subscribe("+", retain_handling=1)
    assert payloads(peer) == [b"kept"]


def test_v5_3_3_1_11_retain_handling_2_must_bring_none() -> None:
    world = World()
    world.connect("c", 5).publish("t", b"kept", retain=True)
    assert retained(world, retain_handling=2) == []


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
@every_qos
def test_v5_3_3_1_12_without_retain_as_published_retain_must_be_0(qos: int, retain: bool, granted: int) -> None:
    peer = World().connect("c", 5)
    peer.subscribe("t", qos=granted)
    peer.publish("t", qos=qos, retain=retain)
    assert [message.retain for message in peer.messages()] == [False]


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
@every_qos
def test_v5_3_3_1_13_with_retain_as_published_retain_must_stay(qos: int, retain: bool, granted: int) -> None:
    peer = World().connect("c", 5)
    peer.subscribe("t", qos=granted, retain_as_published=True)
    peer.publish("t", qos=qos, retain=retain)
    assert [message.retain for message in peer.messages()] == [retain]


@ill_formed
def test_v5_3_3_2_1_the_topic_name_must_come_first_and_be_a_valid_string(text: bytes) -> None:
    peer = World().connect("c", 5)
    peer.send_bytes(raw_subscribe(b"#") + raw_publish("höhe/∞".encode()))
    assert peer.messages()[0].topic == "höhe/∞".encode()
    peer.send_bytes(raw_publish(text))
    assert end_code(peer) == 0x81


@pytest.mark.parametrize("topic", ["#", "+", "a/#", "a/+/b", "a+", "#a"])
@every_qos
def test_v5_3_3_2_2_the_topic_name_must_have_no_wildcards(topic: str, qos: int) -> None:
    peer = World().connect("c", 5)
    peer.publish(topic, qos=qos)
    assert end_code(peer) == 0x90


@pytest.mark.parametrize("aliases", [0, 1])
def test_v5_3_3_2_3_the_topic_name_must_match_the_filter_of_the_subscription(aliases: int) -> None:
    world = World()
    peer = world.connect("c", 5, properties=properties(topic_alias_maximum=aliases))
    peer.subscribe("a/+/c", "$share/g/s/#", "exact")
    other = world.connect("d", 5)
    for topic in ("a/b/c", "s", "exact", "a/b", "a/b/c/d", "s/1", "Exact", "s/1", "a/b/c"):
        other.publish(topic)
    named: dict[int, bytes] = {}
    received = []
    for message in peer.messages():
        alias = message.properties.integer(p.TOPIC_ALIAS, 0)
        topic_name = named.setdefault(alias, message.topic) if alias else message.topic
        received.append(topic_name)
    assert received == [b"a/b/c", b"s", b"exact", b"s/1", b"s/1", b"a/b/c"]


@pytest.mark.parametrize("indicator", [0, 1])
def test_v5_3_3_2_4_the_payload_format_indicator_must_be_passed_on(indicator: int) -> None:
    carried = properties(payload_format_indicator=indicator)
    assert passed_on(carried) == carried


@acknowledged_qos
def test_v5_3_3_2_5_what_expired_before_it_was_sent_must_be_deleted(qos: int) -> None:
    world = World()
    asleep = lasting(world, "asleep")
    asleep.subscribe("t", qos=qos)
    asleep.lose()
    full = lasting(world, "full", receive_maximum=1)
    full.subscribe("t", qos=qos)
    peer = world.connect("c", 5)
    for identifier, expiry in ((1, 100), (2, 5), (3, 100)):
        carried = properties(message_expiry_interval=expiry)
        peer.publish("t", bytes([identifier]), qos, packet_identifier=identifier, properties=carried)
    world.advance(6)
    assert payloads(full) == [b"\1"]
    full.acknowledge(PUBACK if qos == 1 else PUBREC, 1, 0x80)
    assert payloads(full) == [b"\3"]
    assert payloads(lasting(world, "asleep")) == [b"\1", b"\3"]


def test_v5_3_3_2_5_a_retained_message_that_expired_must_be_deleted() -> None:
    world = World()
    world.connect("c", 5).publish("t", retain=True, properties=properties(message_expiry_interval=5))
    world.advance(4)
    assert retained(world) == [b"x"]
    world.advance(2)
    assert retained(world) == []


@acknowledged_qos
@pytest.mark.parametrize("waited", [0, 1, 40, 99])
def test_v5_3_3_2_6_the_expiry_interval_must_shrink_by_the_time_waited(qos: int, waited: int) -> None:
    world = World()
    peer = lasting(world, "c")
    peer.subscribe("t", qos=qos)
    peer.lose()
    carried = properties(message_expiry_interval=100)
    world.connect("d", 5).publish("t", qos=qos, retain=True, properties=carried)
    world.advance(waited)
    late = world.connect("late", 5)
    late.subscribe("t")
    messages = [only_message(late), *lasting(world, "c").messages()]
    assert [message.properties for message in messages] == [properties(message_expiry_interval=100 - waited)] * 2


def test_v5_3_3_2_7_topic_aliases_must_end_with_their_connection() -> None:
    world = World()
    peer = world.connect("c", 5)
    peer.publish("t", properties=properties(topic_alias=1))
    peer.lose()
    peer = world.connect("c", 5)
    peer.publish("", properties=properties(topic_alias=1))
    assert end_code(peer) == 0x82


def test_v5_3_3_2_7_topic_aliases_of_the_broker_must_end_with_their_connection() -> None:
    world = World()
    kept = properties(topic_alias_maximum=5, session_expiry_interval=60)
    for _ in range(2):
        peer = world.connect("c", 5, clean_start=False, properties=kept)
        peer.subscribe("t")
        peer.publish("t")
        peer.publish("t")
        sent = [(message.topic, message.properties.integer(p.TOPIC_ALIAS, 0)) for message in peer.messages()]
        assert sent == [(b"t", 1), (b"", 1)]
        peer.lose()


@pytest.mark.parametrize("topic", ["t", ""])
@every_qos
def test_v5_3_3_2_8_topic_alias_0_must_not_be_used(topic: str, qos: int) -> None:
    peer = World().connect("c", 5)
    peer.publish(topic, qos=qos, properties=properties(topic_alias=0))
    assert end_code(peer) == 0x94


@pytest.mark.parametrize("topic", ["t", ""])
@pytest.mark.parametrize("above", [1, 2, 65_535 - 32])
def test_v5_3_3_2_9_a_topic_alias_above_the_maximum_must_not_be_used(topic: str, above: int) -> None:
    peer = World().connect("c", 5)
    alias = peer.connack.properties.integers[p.TOPIC_ALIAS_MAXIMUM] + above
    peer.publish(topic, properties=properties(topic_alias=alias))
    assert end_code(peer) == 0x94


@pytest.mark.parametrize("maximum", [0, 1, 3, 65_535])
def test_v5_3_3_2_11_the_broker_must_use_no_topic_alias_above_the_maximum(maximum: int) -> None:
    world = World()
    peer = world.connect("c", 5, properties=properties(topic_alias_maximum=maximum))
    peer.subscribe("#", qos=1)
    other = world.connect("d", 5)
    for number in range(100):
        other.publish(str(number), qos=number % 2)
    used = {message.properties.integer(p.TOPIC_ALIAS, 0) for message in peer.messages()} - {0}
    assert used == {*range(1, min(maximum, world.limits.outgoing_topic_aliases) + 1)}


@every_qos
def test_v5_3_3_2_12_every_topic_alias_up_to_the_maximum_must_be_accepted(qos: int) -> None:
    peer = World().connect("c", 5)
    peer.subscribe("#", qos=0)
    aliases = range(1, peer.connack.properties.integers[p.TOPIC_ALIAS_MAXIMUM] + 1)
    for topic in ("first", "second"):  # an alias may be set anew
        for alias in aliases:
            carried = properties(topic_alias=alias)
            peer.publish(f"{topic}/{alias}", qos=qos, packet_identifier=alias if qos else 0, properties=carried)
        for alias in aliases:
            carried = properties(topic_alias=alias)
            peer.publish("", qos=qos, packet_identifier=alias + 100 if qos else 0, properties=carried)
        named = [f"{topic}/{alias}".encode() for alias in aliases]
        assert [message.topic for message in peer.messages()] == named + named
        for alias in (*aliases, *range(101, 101 + len(aliases))):
            peer.acknowledge(PUBREL, alias)
        peer.take()


@ill_formed
def test_v5_3_3_2_13_the_response_topic_must_be_a_valid_string(text: bytes) -> None:
    assert end_of_publish_with(p.RESPONSE_TOPIC, text) == 0x81


@pytest.mark.parametrize("topic", ["#", "a/+", "a/#", ""])
def test_v5_3_3_2_14_the_response_topic_must_have_no_wildcards(topic: str) -> None:
    peer = World().connect("c", 5)
    peer.publish("t", properties=properties(response_topic=topic))
    assert end_code(peer) == 0x82


def test_v5_3_3_2_15_the_response_topic_must_be_passed_on() -> None:
    carried = properties(response_topic="answers/höhe")
    assert passed_on(carried) == carried


@pytest.mark.parametrize("data", [b"", b"\0\xff" * 100])
def test_v5_3_3_2_16_correlation_data_must_be_passed_on(data: bytes) -> None:
    carried = properties(correlation_data=data)
    assert passed_on(carried) == carried


def test_v5_3_3_2_17_user_properties_must_be_passed_on() -> None:
    carried = user_properties(("k", "v"), ("k", "v"), ("", ""), ("k", "höhe"), ("l" * 1000, "w" * 1000))
    assert passed_on(carried) == carried


def test_v5_3_3_2_18_user_properties_must_keep_their_order() -> None:
    pairs = [("b", "1"), ("a", "2"), ("c", "0"), ("a", "1"), ("b", "1")]
    mixed = properties(content_type="t", payload_format_indicator=1)
    mixed.user_properties += pairs
    assert passed_on(mixed).user_properties == pairs
    assert passed_on(user_properties(*pairs[::-1])).user_properties == pairs[::-1]


@ill_formed
def test_v5_3_3_2_19_the_content_type_must_be_a_valid_string(text: bytes) -> None:
    assert end_of_publish_with(p.CONTENT_TYPE, text) == 0x81


@pytest.mark.parametrize("content_type", ["", "text/plain", "höhe"])
def test_v5_3_3_2_20_the_content_type_must_be_passed_on(content_type: str) -> None:
    carried = properties(content_type=content_type)
    assert passed_on(carried) == carried
