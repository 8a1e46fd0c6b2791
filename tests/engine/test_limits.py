"""Are the limits whole, and do they hold exactly at their edges?"""

from __future__ import annotations

import pytest

from tests.engine.harness import World, integers
from tidewire.engine.limits import MAXIMUM_INTERVAL, Limits
from tidewire.engine.ports import Access, Principal
from tidewire.server.config import vars_of
from tidewire.wire.codes import ConnectReturnCode, ReasonCode
from tidewire.wire.packets import Connect, Disconnect, Suback, Subscribe, SubscriptionRequest
from tidewire.wire.properties import CONTENT_TYPE, Properties


def test_every_limit_is_a_number_that_is_not_negative() -> None:
    assert all(value >= 0 for value in vars_of(Limits()).values())
    assert Limits().session_expiry_maximum_s < MAXIMUM_INTERVAL


def test_a_session_has_as_many_subscriptions_as_the_limit_and_not_one_more() -> None:
    world = World(subscriptions_per_session=3)
    alice = world.connect("alice", 5)
    assert alice.subscribe("a", "b", "c", "d") == [0, 0, 0, ReasonCode.QUOTA_EXCEEDED]
    assert alice.subscribe("a", qos=1) == [1]  # replacing one needs no room
    world.broker.unsubscribe(world.broker.sessions["alice"], b"a")
    assert alice.subscribe("d") == [0]


def test_before_5_0_the_subscription_that_is_too_many_fails_with_0x80() -> None:
    assert World(subscriptions_per_session=1).connect("alice").subscribe("a", "b") == [0, 0x80]


def test_a_filter_has_as_many_levels_as_the_limit_and_not_one_more() -> None:
    alice = World(topic_levels=3).connect("alice", 5)
    assert alice.subscribe("a/b/c", "a/b/c/d", "a/b/#", "$share/g/a/b/c", "$share/g/a/b/c/d") == [
        0,
        ReasonCode.TOPIC_FILTER_INVALID,
        0,
        0,
        ReasonCode.TOPIC_FILTER_INVALID,
    ]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_topic_has_as_many_levels_as_the_limit_and_not_one_more(qos: int) -> None:
    alice = World(topic_levels=3).connect("alice", 5)
    alice.subscribe("#")
    alice.publish("a/b/c", qos=qos)
    assert [message.topic for message in alice.messages()] == [b"a/b/c"]
    alice.publish("a/b/c/d", qos=qos, packet_identifier=2)
    assert alice.take()[-1].reason_code == ReasonCode.TOPIC_NAME_INVALID  # type: ignore[attr-defined]
    assert alice.is_closed


def test_a_client_identifier_has_as_many_bytes_as_the_limit_and_not_one_more() -> None:
    world = World(client_identifier_bytes=4)
    assert world.connect("äb1", 5).connack.reason_code == 0
    assert world.connect("äb12", 5).connack.reason_code == ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
    assert world.connect("äb12", 4).connack.reason_code == ConnectReturnCode.IDENTIFIER_REJECTED


@pytest.mark.parametrize("client_identifier", ["carol", ""])
def test_there_are_as_many_sessions_as_the_limit_and_not_one_more(client_identifier: str) -> None:
    world = World(sessions=2)
    alice = world.connect("alice", 5)
    world.connect("", 5)
    assert world.connect(client_identifier, 5).connack.reason_code == ReasonCode.SERVER_BUSY
    assert world.connect(client_identifier, 4).connack.reason_code == ConnectReturnCode.SERVER_UNAVAILABLE
    assert len(world.broker.sessions) == 2
    assert world.connect("alice", 5).connack.reason_code == 0  # one that has its session finds room
    assert alice.is_closed


def test_a_packet_has_as_many_bytes_as_the_limit_and_not_one_more() -> None:
    world = World(maximum_packet_size=200)
    alice = world.connect("alice", 5)
    assert alice.connack.properties == integers(
        receive_maximum=world.limits.receive_maximum,
        maximum_packet_size=200,
        topic_alias_maximum=world.limits.topic_alias_maximum,
    )
    alice.subscribe("t")
    alice.publish("t", b"x" * 193)
    assert len(alice.messages()) == 1
    alice.publish("t", b"x" * 194)
    goodbye = alice.take()[0]
    assert isinstance(goodbye, Disconnect)
    assert goodbye.reason_code == ReasonCode.PACKET_TOO_LARGE


def test_a_packet_that_is_too_large_is_refused_before_it_has_come() -> None:
    alice = World(maximum_packet_size=200).connect("alice", 5)
    alice.send_bytes(b"\x30\xc6\x01\0\1t")
    assert alice.take()[0].reason_code == ReasonCode.PACKET_TOO_LARGE  # type: ignore[attr-defined]


def test_a_stranger_may_send_a_connect_of_the_limit_and_not_one_byte_more() -> None:
    connect = Connect("x" * 20, 4)
    size = len(connect.encode(4))
    world = World(connect_packet_bytes=size)
    assert world.connect("x" * 20).connack.reason_code == 0
    peer = world.open()
    peer.send(Connect("x" * 21, 4))
    assert peer.is_closed
    assert peer.take() == []


def test_receive_maximum_bounds_unfinished_qos_2_messages_at_its_edge() -> None:
    alice = World(receive_maximum=2).connect("alice", 5)
    for identifier in (1, 2, 1):
        alice.publish("t", qos=2, packet_identifier=identifier)
    assert not alice.is_closed
    alice.publish("t", qos=2, packet_identifier=3)
    assert alice.take()[-1].reason_code == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED  # type: ignore[attr-defined]
    assert alice.is_closed


def test_before_5_0_there_is_no_receive_maximum() -> None:
    alice = World(receive_maximum=2).connect("alice")
    for identifier in range(1, 10):
        alice.publish("t", qos=2, packet_identifier=identifier)
    assert len(alice.take()) == 9


def test_long_properties_are_not_remembered() -> None:
    world = World(remembered_properties_bytes=20)
    alice = world.connect("alice", 5)
    for length in (10, 40, 12):
        properties = Properties()
        properties.texts[CONTENT_TYPE] = "x" * length
        alice.publish("a", properties=properties)
        kept = alice.connection._publish_properties
        assert kept is not None and len(kept.block) <= 20


def test_decisions_on_long_topics_are_not_remembered() -> None:
    access = Access()
    access.unrestricted = False
    world = World(access, route_cache_topic_bytes=8)
    principal = Principal("alice", "alice")
    for topic in (b"12345678", b"123456789"):
        assert world.broker.may_publish(principal, topic)
    assert list(principal.publish_decisions) == [b"12345678"]


def test_remembered_routes_have_as_many_entries_as_the_limit_and_not_one_more() -> None:
    world = World(route_cache_entries=6)
    publisher = world.connect("publisher")
    for name in ("alice", "bob"):
        world.connect(name).subscribe("#")
    world.connect("carol").subscribe("$share/g/#")
    kept = []
    for number in range(4):
        publisher.publish(f"t/{number}")
        kept.append((len(world.broker.routes.routes), world.broker.routes.entries))
    assert kept == [(1, 3), (2, 6), (1, 3), (2, 6)]
    world.connect("dave").subscribe("t/2")
    assert world.broker.routes.entries == 3
    world.broker.access_changed()
    assert world.broker.routes.entries == 0


def test_the_levels_of_all_filters_and_of_all_retained_topics_are_bounded() -> None:
    world = World(subscribed_levels=4, retained_levels=4)
    alice = world.connect("alice", 5)
    refused = ReasonCode.QUOTA_EXCEEDED
    assert alice.subscribe("a/b/c", "x/y", "x", "$share/g/z", "x") == [0, refused, 0, refused, 0]
    world.broker.unsubscribe(world.broker.sessions["alice"], b"a/b/c")
    assert alice.subscribe("x/y") == [0]
    bob = world.connect("bob", 5)
    for topic, code in (("a/b/c", 0), ("a/b/c/d/e", refused), ("x", 0), ("a/b/c", 0)):
        bob.publish(topic, qos=1, retain=True)
        assert (bob.take()[0].reason_code == refused) == (code == refused)  # type: ignore[attr-defined]


@pytest.mark.parametrize("excess", [0, 1])
def test_a_packet_without_payload_has_as_many_bytes_as_the_limit_and_not_one_more(excess: int) -> None:
    alice = World(control_packet_bytes=200).connect("alice", 5)
    alice.send(Subscribe(1, [SubscriptionRequest(b"a" * (191 + excess))]))
    packet = alice.take()[0]
    assert packet == (Disconnect(ReasonCode.QUOTA_EXCEEDED, packet.properties) if excess else Suback(1, [0]))  # type: ignore[attr-defined]


@pytest.mark.parametrize("excess", [0, 1])
def test_the_properties_of_a_publish_have_as_many_bytes_as_the_limit_and_not_one_more(excess: int) -> None:
    alice = World(control_packet_bytes=200).connect("alice", 5)
    properties = Properties()
    properties.texts[CONTENT_TYPE] = "x" * (197 + excess)
    alice.publish("a", bytes(1000), properties=properties)
    assert alice.is_closed == bool(excess)
