"""MQTT 5.0, sections 3.8 to 3.11: SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK."""

from __future__ import annotations

import pytest

from tests.conformance.exchange import Denying, answer_to, lasting, only_message, payloads, tight_answer
from tests.engine.harness import World
from tests.wire.malformed import sized
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL, SUBSCRIBE, UNSUBSCRIBE, V5
from tidewire.wire.packets import (
    Acknowledgement,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
)

HEAD = b"\x00\x07\x00"
"""Packet identifier 7 and no properties."""
OTHER_FLAGS = [flags for flags in range(16) if flags != 2]
ILL_FORMED_TEXTS = [b"\xff", b"a\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
DENIED = Subscribe(7, [SubscriptionRequest(b"denied")])


# SUBSCRIBE


@pytest.mark.parametrize("flags", OTHER_FLAGS)
def test_v5_3_8_1_1_subscribe_with_other_flags_ends_the_connection(flags: int) -> None:
    assert answer_to(SUBSCRIBE << 4 | flags, HEAD, sized(b"a"), b"\x00") == 0x81


@pytest.mark.parametrize("text", ILL_FORMED_TEXTS)
def test_v5_3_8_3_1_a_filter_to_subscribe_to_is_utf_8(text: bytes) -> None:
    assert answer_to(0x82, HEAD, sized(text), b"\x00") == 0x81


def test_v5_3_8_3_2_subscribe_without_a_filter_is_a_protocol_error() -> None:
    assert answer_to(0x82, HEAD) == 0x82


def test_v5_3_8_3_2_a_filter_without_options_is_malformed() -> None:
    assert answer_to(0x82, HEAD, sized(b"a")) == 0x81


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_v5_3_8_3_3_with_no_local_a_message_does_not_go_back(qos: int) -> None:
    world = World()
    client = world.connect("client", V5)
    client.subscribe("t", qos=2, no_local=True)
    client.publish("t", b"own", qos=qos)
    world.connect("other", V5).publish("t", b"other")
    assert payloads(client) == [b"other"]


def test_v5_3_8_3_3_with_no_local_ones_own_retained_message_does_not_come_back() -> None:
    world = World()
    client = world.connect("client", V5)
    client.publish("t/own", b"own", retain=True)
    world.connect("other", V5).publish("t/other", b"other", retain=True)
    client.subscribe("t/#", no_local=True)
    assert payloads(client) == [b"other"]


def test_v5_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error() -> None:
    assert answer_to(0x82, HEAD, sized(b"$share/group/t"), b"\x04") == 0x82


@pytest.mark.parametrize("reserved", [0x40, 0x80, 0xC0])
def test_v5_3_8_3_5_reserved_option_bits_are_malformed(reserved: int) -> None:
    assert answer_to(0x82, HEAD, sized(b"t"), bytes([reserved])) == 0x81


def test_v5_3_8_4_1_subscribe_is_answered_by_suback() -> None:
    client = World().connect("client", V5)
    client.send(Subscribe(1, [SubscriptionRequest(b"a", 1)]))
    assert client.take() == [Suback(1, [1])]


@pytest.mark.parametrize("identifier", [1, 513, 65_535])
def test_v5_3_8_4_2_suback_has_the_identifier_of_its_subscribe(identifier: int) -> None:
    client = World().connect("client", V5)
    client.send(Subscribe(identifier, [SubscriptionRequest(b"a")]))
    assert client.take() == [Suback(identifier, [0])]


@pytest.mark.parametrize("on_the_next_connection", [False, True])
def test_v5_3_8_4_3_a_filter_subscribed_again_replaces_the_subscription(on_the_next_connection: bool) -> None:
    world = World()
    client = lasting(world, "client")
    client.subscribe("t", qos=2)
    if on_the_next_connection:
        client.lose()
        client = lasting(world, "client")
    client.subscribe("t", qos=1)
    world.connect("publisher", V5).publish("t", qos=2)
    assert only_message(client).qos == 1
    client.send(Unsubscribe(2, [b"t"]))
    client.take()
    world.connect("publisher", V5).publish("t")
    assert client.take() == []


def test_v5_3_8_4_4_a_replaced_subscription_gets_retained_messages_again_and_loses_none() -> None:
    world = World()
    publisher = world.connect("publisher", V5)
    publisher.publish("t", b"retained", retain=True)
    client = world.connect("client", V5)
    client.subscribe("t")
    publisher.publish("t", b"before")
    client.subscribe("t", retain_handling=0)
    publisher.publish("t", b"after")
    assert payloads(client) == [b"retained", b"before", b"retained", b"after"]


def test_v5_3_8_4_4_messages_on_their_way_outlive_the_replacement() -> None:
    world = World()
    client = lasting(world, "client", receive_maximum=1)
    client.subscribe("t", qos=1)
    publisher = world.connect("publisher", V5)
    for payload in (b"1", b"2", b"3"):
        publisher.publish("t", payload, qos=1)
    came = client.messages()
    client.subscribe("t", qos=0, retain_handling=2)
    assert client.messages() == []
    for _ in range(2):
        client.acknowledge(PUBACK, came[-1].packet_identifier)
        came.append(only_message(client))
    assert [message.payload for message in came] == [b"1", b"2", b"3"]


def test_v5_3_8_4_5_several_filters_act_like_several_requests_with_one_suback() -> None:
    world = World(Denying())
    world.connect("publisher", V5).publish("a", b"retained", retain=True)
    together = world.connect("together", V5)
    together.subscribe("a", "denied", "b", "a")
    apart = world.connect("apart", V5)
    for topic_filter in ("a", "denied", "b", "a"):
        apart.subscribe(topic_filter)
    for topic in ("a", "b"):
        world.connect("publisher", V5).publish(topic)
    came = payloads(together)
    assert came == [b"retained", b"retained", b"x", b"x"]
    assert came.count(b"x") == payloads(apart).count(b"x")


@pytest.mark.parametrize("filters", [1, 2, 100])
def test_v5_3_8_4_6_suback_has_one_code_for_each_filter(filters: int) -> None:
    client = World().connect("client", V5)
    client.send(Subscribe(1, [SubscriptionRequest(b"t/%d" % number, number % 3) for number in range(filters)]))
    assert client.take() == [Suback(1, [number % 3 for number in range(filters)])]


def test_v5_3_8_4_7_a_suback_code_is_the_granted_qos_or_a_failure() -> None:
    world = World(Denying())
    client = world.connect("client", V5)
    granted = [client.subscribe(f"t/{qos}", qos=qos) for qos in (0, 1, 2)]
    assert granted == [[0], [1], [2]]
    assert client.subscribe("denied", qos=2) == [0x87]
    publisher = world.connect("publisher", V5)
    for qos in (0, 1, 2):
        publisher.publish(f"t/{qos}", qos=2, packet_identifier=qos + 1)
    publisher.publish("denied", qos=2, packet_identifier=9)
    assert [message.qos for message in client.messages()] == [0, 1, 2]


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_v5_3_8_4_8_a_message_goes_out_at_the_lower_qos(granted: int, published: int, retain: bool) -> None:
    world = World()
    client = world.connect("client", V5)
    publisher = world.connect("publisher", V5)
    if retain:
        publisher.publish("t", qos=published, retain=True)
        client.subscribe("t", qos=granted)
    else:
        client.subscribe("t", qos=granted)
        publisher.publish("t", qos=published)
    assert only_message(client).qos == min(published, granted)


# SUBACK


def test_v5_3_9_2_1_a_suback_has_no_reason_string_that_is_too_large() -> None:
    assert tight_answer(DENIED) == Suback(7, [0x87])


def test_v5_3_9_2_2_a_suback_has_no_user_properties_that_are_too_large() -> None:
    answer = tight_answer(DENIED)
    assert isinstance(answer, Suback)
    assert answer.properties.user_properties == []


def test_v5_3_9_3_1_suback_codes_stand_in_the_order_of_the_filters() -> None:
    client = World(Denying()).connect("client", V5)
    client.send(
        Subscribe(
            7,
            [
                SubscriptionRequest(b"z", 2),
                SubscriptionRequest(b"denied/1", 1),
                SubscriptionRequest(b"a", 0),
                SubscriptionRequest(b"m", 1),
                SubscriptionRequest(b"denied/2", 0),
            ],
        )
    )
    assert client.take() == [Suback(7, [2, 0x87, 0, 1, 0x87])]


@pytest.mark.parametrize(
    ("topic_filter", "code"), [("a", 0x02), ("denied", 0x87), ("1/2/3/4", 0x8F), ("past/the/limit", 0x97)]
)
def test_v5_3_9_3_2_a_suback_code_says_why_a_filter_was_refused(topic_filter: str, code: int) -> None:
    client = World(Denying(), topic_levels=3, subscriptions_per_session=2).connect("client", V5)
    assert client.subscribe("first") == [0]
    if code == 0x97:
        assert client.subscribe("second") == [0]
    assert client.subscribe(topic_filter, qos=2) == [code]


# UNSUBSCRIBE


@pytest.mark.parametrize("flags", OTHER_FLAGS)
def test_v5_3_10_1_1_unsubscribe_with_other_flags_ends_the_connection(flags: int) -> None:
    assert answer_to(UNSUBSCRIBE << 4 | flags, HEAD, sized(b"a")) == 0x81


@pytest.mark.parametrize("text", ILL_FORMED_TEXTS)
def test_v5_3_10_3_1_a_filter_to_unsubscribe_from_is_utf_8(text: bytes) -> None:
    assert answer_to(0xA2, HEAD, sized(text)) == 0x81


def test_v5_3_10_3_2_unsubscribe_without_a_filter_is_a_protocol_error() -> None:
    assert answer_to(0xA2, HEAD) == 0x82


@pytest.mark.parametrize(
    ("subscribed", "unsubscribed"),
    [("a/b", "a/+"), ("a/b", "a/#"), ("a/+", "a/b"), ("#", "a/b"), ("a/b", "a/B"), ("a/b", "a/b/"), ("a/b", "/a/b"),
     ("a/b", "$share/g/a/b"), ("$share/g/a/b", "a/b"), ("$share/g/a/b", "$share/h/a/b")],
)  # fmt: skip
def test_v5_3_10_4_1_only_an_equal_filter_is_removed(subscribed: str, unsubscribed: str) -> None:
    world = World()
    client = world.connect("client", V5)
    publisher = world.connect("publisher", V5)
    client.subscribe(subscribed)
    client.send(Unsubscribe(7, [unsubscribed.encode()]))
    assert client.take() == [Unsuback(7, [0x11])]
    publisher.publish("a/b")
    assert payloads(client) == [b"x"]
    client.send(Unsubscribe(8, [subscribed.encode()]))
    assert client.take() == [Unsuback(8, [0x00])]
    publisher.publish("a/b")
    assert client.take() == []


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_v5_3_10_4_2_nothing_new_comes_after_an_unsubscription(qos: int) -> None:
    world = World()
    client = lasting(world, "client")
    client.subscribe("t", qos=2)
    client.send(Unsubscribe(7, [b"t"]))
    client.take()
    publisher = world.connect("publisher", V5)
    publisher.publish("t", qos=qos)
    client.lose()
    publisher.publish("t", qos=qos, packet_identifier=2)
    client = lasting(world, "client")
    assert client.connack.session_present
    assert client.take() == []


def test_v5_3_10_4_3_deliveries_under_way_are_finished_after_the_unsubscription() -> None:
    world = World()
    client = lasting(world, "client")
    client.subscribe("t", qos=2)
    publisher = world.connect("publisher", V5)
    publisher.publish("t", b"one", qos=1)
    publisher.publish("t", b"two", qos=2)
    one, two = client.messages()
    client.send(Unsubscribe(7, [b"t"]))
    client.take()
    client.lose()
    client = lasting(world, "client")
    assert [(m.payload, m.dup, m.packet_identifier) for m in client.messages()] == [
        (b"one", True, one.packet_identifier),
        (b"two", True, two.packet_identifier),
    ]
    client.acknowledge(PUBACK, one.packet_identifier)
    client.acknowledge(PUBREC, two.packet_identifier)
    assert client.take() == [Acknowledgement(PUBREL, two.packet_identifier)]
    client.acknowledge(PUBCOMP, two.packet_identifier)
    client.lose()
    assert lasting(world, "client").take() == []


def test_v5_3_10_4_4_unsubscribe_is_answered_by_unsuback() -> None:
    client = World().connect("client", V5)
    client.subscribe("t")
    client.send(Unsubscribe(7, [b"t"]))
    assert client.take() == [Unsuback(7, [0x00])]


@pytest.mark.parametrize("identifier", [1, 513, 65_535])
def test_v5_3_10_4_5_unsuback_has_the_identifier_of_its_request_even_when_nothing_was_removed(identifier: int) -> None:
    client = World().connect("client", V5)
    client.send(Unsubscribe(identifier, [b"never"]))
    assert client.take() == [Unsuback(identifier, [0x11])]


def test_v5_3_10_4_6_several_filters_act_like_several_requests_with_one_unsuback() -> None:
    world = World()
    client = world.connect("client", V5)
    client.subscribe("a", "b", "c")
    client.send(Unsubscribe(7, [b"a", b"b", b"a"]))
    assert client.take() == [Unsuback(7, [0x00, 0x00, 0x11])]
    world.connect("publisher", V5).send(Publish(b"a"), Publish(b"b"), Publish(b"c", b"kept"))
    assert payloads(client) == [b"kept"]


# UNSUBACK


def test_v5_3_11_2_1_an_unsuback_has_no_reason_string_that_is_too_large() -> None:
    assert tight_answer(Unsubscribe(7, [b"never"])) == Unsuback(7, [0x11])


def test_v5_3_11_2_2_an_unsuback_has_no_user_properties_that_are_too_large() -> None:
    answer = tight_answer(Unsubscribe(7, [b"never"]))
    assert isinstance(answer, Unsuback)
    assert answer.properties.user_properties == []


def test_v5_3_11_3_1_unsuback_codes_stand_in_the_order_of_the_filters() -> None:
    client = World().connect("client", V5)
    client.subscribe("z", "a")
    client.send(Unsubscribe(7, [b"never", b"z", b"nor", b"a"]))
    assert client.take() == [Unsuback(7, [0x11, 0x00, 0x11, 0x00])]


def test_v5_3_11_3_2_unsuback_has_one_code_for_each_filter_that_says_whether_it_was_there() -> None:
    client = World().connect("client", V5)
    client.subscribe(*(f"t/{number}" for number in range(0, 100, 2)))
    client.send(Unsubscribe(7, [b"t/%d" % number for number in range(100)]))
    assert client.take() == [Unsuback(7, [0x00, 0x11] * 50)]
