"""Are retained messages kept, found and delivered as a dictionary of topics would, however slow the reader?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.harness import World, integers
from tests.engine.test_routing import plain_filters, topics
from tests.wire.strategies import many
from tidewire.engine.ledger import RETAINED_FULL
from tidewire.engine.message import Message
from tidewire.engine.ports import Access, Principal
from tidewire.engine.retained import RetainedMessages
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import (
    Pingreq,
    Pingresp,
    Publish,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
    Will,
)
from tidewire.wire.topics import matches

NEVER_FULL = 1_000_000


class MoodyAccess(Access):
    """Allows everything, until it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.unrestricted = False
        self.fails = False

    def may_read(self, principal: Principal, topic: bytes) -> bool:
        if self.fails:
            raise RuntimeError("out of order")
        return True


@many
@given(
    st.lists(st.tuples(topics, st.binary(max_size=4)), max_size=25),
    st.lists(plain_filters, max_size=5),
    st.sampled_from([(NEVER_FULL, NEVER_FULL, NEVER_FULL), (3, NEVER_FULL, NEVER_FULL), (NEVER_FULL, 20, NEVER_FULL)]),
)
def test_it_agrees_with_a_dictionary(
    plan: list[tuple[bytes, bytes]], wanted: list[bytes], limits: tuple[int, int, int]
) -> None:
    retained = RetainedMessages(*limits)
    model: dict[bytes, Message] = {}
    for topic, payload in plan:
        message = Message(topic, payload, 0, True)
        after = {**model, topic: message}
        if not payload:
            del after[topic]
        grows = len(payload) > len(model[topic].payload) if topic in model else bool(payload)
        fits = len(after) <= limits[0] and sum(one.size() for one in after.values()) <= limits[1]
        assert retained.set(message) == (fits or not grows)
        if fits or not grows:
            model = after
        assert retained.count == len(model)
        assert retained.bytes == sum(one.size() for one in model.values())
        assert retained.current(topic) is model.get(topic)
    for topic_filter in wanted:
        found = retained.match(topic_filter)
        assert len(found) == len(set(found))
        assert set(found) == {one for topic, one in model.items() if matches(topic_filter, topic)}
    for topic, message in list(model.items()):
        retained.expire(Message(topic, b"another", 0, True))
        assert retained.current(topic) is message
        retained.expire(message)
        assert retained.current(topic) is None
    assert retained.count == retained.bytes == retained.levels == 0
    assert not retained._root.children


def test_clearing_what_is_not_there_changes_nothing() -> None:
    retained = RetainedMessages(9, 99, 99)
    retained.set(Message(b"a/b", b"x", 0, True))
    for topic in (b"a", b"a/b/c", b"a/c", b"z"):
        retained.clear(topic)
        assert retained.current(topic) is None
    assert retained.count == 1


def filled(count: int, **limits: float) -> World:
    world = World(**limits)
    publisher = world.connect("publisher")
    for number in range(count):
        publisher.publish(f"all/{number}", b"%d" % number, qos=number % 3, retain=True)
        publisher.settle()
    return world


def test_a_retained_message_comes_with_a_new_subscription_alone() -> None:
    world = World()
    alice = world.connect("alice")
    alice.subscribe("a")
    world.connect("bob").publish("a", b"kept", qos=2, retain=True)
    assert [message.retain for message in alice.messages()] == [False]
    carol = world.connect("carol")
    carol.subscribe("#", qos=1)
    assert carol.settle() == [Publish(b"a", b"kept", 1, True, packet_identifier=1)]


def test_an_empty_payload_clears_the_topic_and_still_reaches_subscribers() -> None:
    world = World()
    alice = world.connect("alice")
    alice.subscribe("a")
    bob = world.connect("bob")
    bob.publish("a", b"kept", retain=True)
    bob.publish("a", b"", retain=True)
    assert [message.payload for message in alice.messages()] == [b"kept", b""]
    carol = world.connect("carol")
    carol.subscribe("a")
    assert carol.messages() == []


@pytest.mark.parametrize(
    ("handling", "first", "again"), [(0, 1, 1), (1, 1, 0), (2, 0, 0)], ids=["always", "if new", "never"]
)
def test_retain_handling_is_followed(handling: int, first: int, again: int) -> None:
    world = filled(1)
    alice = world.connect("alice", 5)
    alice.subscribe("all/#", retain_handling=handling)
    assert len(alice.messages()) == first
    alice.subscribe("all/#", retain_handling=handling)
    assert len(alice.messages()) == again


def test_a_shared_subscription_gets_no_retained_messages() -> None:
    alice = filled(3).connect("alice")
    alice.subscribe("$share/g/#")
    assert alice.messages() == []


def test_retained_messages_carry_the_identifier_of_their_subscription() -> None:
    alice = filled(1).connect("alice", 5)
    subscribe = Subscribe(1, [SubscriptionRequest(b"#")])
    subscribe.properties.subscription_identifiers = [300]
    alice.send(subscribe)
    assert alice.messages()[0].properties.subscription_identifiers == [300]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("receive_maximum", [1, 7, 1024])
def test_a_large_set_is_delivered_whole_to_a_slow_reader(qos: int, receive_maximum: int) -> None:
    world = filled(300, retained_burst=16)
    alice = world.connect("alice", 5, properties=integers(receive_maximum=receive_maximum))
    alice.block()
    alice.send(Subscribe(1, [SubscriptionRequest(b"#", qos)]))
    assert alice.take() == []
    received: list[bytes] = []
    for _ in range(10):
        alice.unblock()
        alice.block()
        received += [message.payload for message in alice.settle()]
    alice.unblock()
    received += [message.payload for message in alice.settle()]
    assert sorted(received, key=int) == [b"%d" % number for number in range(300)]


def test_a_large_set_leaves_others_their_turn() -> None:
    world = filled(100, retained_burst=10)
    alice = world.connect("alice")
    bob = world.connect("bob")
    bob.subscribe("b")
    alice.connection.receive(Subscribe(1, [SubscriptionRequest(b"#")]).encode(4), world.now)
    rounds = 0
    while world.broker.flush(world.now):
        rounds += 1
        assert len(alice.messages()) <= 20
        bob.connection.receive(Publish(b"b", b"x").encode(4), world.now)
    assert rounds >= 8
    assert len(bob.messages()) >= rounds - 1


def test_a_second_subscription_waits_its_turn_and_comes_whole_too() -> None:
    world = filled(50, retained_burst=10)
    alice = world.connect("alice")
    alice.send(Subscribe(1, [SubscriptionRequest(b"#", 1), SubscriptionRequest(b"all/+"), SubscriptionRequest(b"no")]))
    assert len(alice.settle()) == 100


def test_a_message_replaced_while_it_waited_comes_once_and_new() -> None:
    world = filled(20, retained_burst=5)
    alice = world.connect("alice")
    alice.block()
    alice.send(Subscribe(1, [SubscriptionRequest(b"#", 1)]))
    publisher = world.connect("publisher")
    publisher.publish("all/19", b"new", retain=True)
    publisher.publish("all/18", b"", retain=True)
    alice.unblock()
    received = [(message.topic, message.payload) for message in alice.settle()]
    assert received.count((b"all/19", b"new")) == 1
    assert (b"all/19", b"19") not in received
    assert (b"all/18", b"18") not in received
    assert len({topic for topic, _ in received}) == 20


def test_what_is_left_of_a_large_set_comes_after_a_reconnect() -> None:
    world = filled(60, retained_burst=5)
    lasting = integers(session_expiry_interval=1000, receive_maximum=4)
    alice = world.connect("alice", 5, properties=lasting)
    alice.subscribe("#", qos=1)
    received = {message.topic for message in alice.messages()}
    assert len(received) < 60
    alice.lose()
    alice = world.connect("alice", 5, clean_start=False, properties=lasting)
    received |= {message.topic for message in alice.settle()}
    assert len(received) == 60


def test_nothing_more_comes_after_unsubscribing() -> None:
    world = filled(40, retained_burst=5)
    alice = world.connect("alice")
    alice.connection.receive(Subscribe(1, [SubscriptionRequest(b"#")]).encode(4), world.now)
    alice.send(Unsubscribe(2, [b"#"]))
    packets = alice.take()
    assert 0 < len(packets) < 20
    assert packets[-1] == Unsuback(2)


def test_a_message_set_while_its_subscription_waited_comes_once_and_as_new() -> None:
    world = filled(5)
    alice = world.connect("alice")
    alice.block()
    alice.send(Subscribe(1, [SubscriptionRequest(b"all/+"), SubscriptionRequest(b"new", 1)]))
    world.connect("publisher").publish("new", b"new", qos=1, retain=True)
    alice.unblock()
    assert [message.retain for message in alice.settle() if message.topic == b"new"] == [False]


def test_subscribing_again_and_again_brings_all_as_often_but_keeps_one_set_waiting() -> None:
    world = filled(5)
    alice = world.connect("alice")
    alice.block()
    alice.send(*[Subscribe(number, [SubscriptionRequest(b"all/#")] * 20) for number in range(1, 10)])
    waiting = world.broker.sessions["alice"]._retained
    assert waiting is not None and len(waiting) == 1
    alice.unblock()
    assert len(alice.messages()) == 5 * 180


@many
@given(st.lists(topics, max_size=25), plain_filters, st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_looking_part_by_part_finds_the_same_in_the_same_order(
    known: list[bytes], topic_filter: bytes, parts: list[int]
) -> None:
    retained = RetainedMessages(NEVER_FULL, NEVER_FULL, NEVER_FULL)
    for topic in known:
        retained.set(Message(topic, b"x", 0, True))
    walk = retained.walk(topic_filter, retained.last_number)
    visited = 0
    while not walk.is_done():
        part = parts[visited % len(parts)]
        before = len(walk.found)
        in_vain = walk.go_on(part)
        assert in_vain + len(walk.found) - before <= part
        visited += 1
    assert walk.found == retained.match(topic_filter)


def test_what_is_set_and_cleared_while_looking_harms_nothing() -> None:
    retained = RetainedMessages(NEVER_FULL, NEVER_FULL, NEVER_FULL)
    for number in range(10):
        retained.set(Message(b"a/%d/b" % number, b"x", 0, True))
    walk = retained.walk(b"#", retained.last_number)
    walk.go_on(5)
    for number in range(0, 10, 2):
        retained.clear(b"a/%d/b" % number)
        retained.set(Message(b"a/%d/b/c" % number, b"y", 0, True))
    while not walk.is_done():
        walk.go_on(1)
    topics_found = {message.topic for message in walk.found}
    assert {b"a/%d/b" % number for number in range(1, 10, 2)} <= topics_found
    assert not any(topic.endswith(b"c") for topic in topics_found)


def test_looking_in_vain_takes_turns_too() -> None:
    world = filled(100, retained_burst=10)
    alice = world.connect("alice")
    filters = [SubscriptionRequest(b"+/" * levels + b"none") for levels in range(1, 4)]
    alice.connection.receive(Subscribe(1, filters).encode(4), world.now)
    assert world.broker.flush(world.now)  # each walk was a turn
    world.flush()
    assert alice.messages() == []


def test_an_access_that_raises_over_waiting_messages_costs_only_their_reader() -> None:
    access = MoodyAccess()
    world = World(access, retained_burst=5)
    world.events.expects_faults = True
    publisher = world.connect("publisher")
    for number in range(20):
        publisher.publish(f"all/{number}", retain=True)
    alice = world.connect("alice")
    alice.connection.receive(Subscribe(1, [SubscriptionRequest(b"#")]).encode(4), world.now)
    access.fails = True
    publisher.connection.receive(Pingreq().encode(4), world.now)
    world.flush()
    assert alice.is_closed
    assert publisher.take() == [Pingresp()]


def test_a_retained_message_that_has_expired_is_forgotten() -> None:
    world = World()
    publisher = world.connect("publisher", 5)
    publisher.publish("short", b"1", retain=True, properties=integers(message_expiry_interval=10))
    publisher.publish("long", b"2", retain=True, properties=integers(message_expiry_interval=100))
    world.advance(30)
    alice = world.connect("alice", 5)
    alice.subscribe("#")
    assert alice.messages() == [Publish(b"long", b"2", retain=True, properties=integers(message_expiry_interval=70))]
    assert world.broker.retained.count == 1


def test_what_has_expired_makes_room_though_nobody_asks_for_it() -> None:
    world = World(retained_messages=30, retained_burst=10)
    alice = world.connect("alice", 5)
    for number in range(30):
        lasts = integers(message_expiry_interval=5 if number % 3 else 1000)
        alice.publish(f"t/{number}", retain=True, properties=lasts)
    alice.publish("t/1", b"lasts", retain=True)
    world.advance(70)
    assert world.broker.retained.count == 11
    alice.publish("new", b"x", retain=True)
    world.advance(1000)
    assert world.broker.retained.match(b"#") == [world.broker.retained.current(topic) for topic in (b"t/1", b"new")]


def test_past_the_limit_a_new_topic_is_refused_with_0x97_and_told_once_a_burst() -> None:
    world = World(retained_messages=2)
    publisher = world.connect("publisher", 5)
    codes = []
    for number, topic in enumerate(["a", "b", "c", "d", "a"], 1):
        publisher.publish(topic, b"x", qos=1, retain=True, packet_identifier=number)
        codes.append(publisher.take()[0].reason_code)  # type: ignore[attr-defined]
    full = ReasonCode.QUOTA_EXCEEDED
    none = ReasonCode.NO_MATCHING_SUBSCRIBERS
    assert codes == [none, none, full, full, none]
    assert world.events.of("dropped") == [("publisher", "retained full", 1)]
    world.advance(11)
    assert world.events.of("dropped")[1:] == [("publisher", "retained full", 2)]


def test_a_message_that_cannot_be_retained_still_reaches_subscribers() -> None:
    world = World(retained_bytes=3)
    alice = world.connect("alice")
    alice.subscribe("#")
    publisher = world.connect("publisher", 5)
    publisher.publish("a", b"xxx", qos=1, retain=True)
    assert publisher.take()[0].reason_code == 0  # type: ignore[attr-defined]
    assert len(alice.messages()) == 1
    assert world.broker.retained.count == 0


def test_a_message_without_a_session_that_cannot_be_retained_stands_in_the_ledger_of_the_broker() -> None:
    world = World(retained_messages=0)
    alice = world.connect("alice", will=Will(b"will", b"gone", retain=True))
    alice.lose()
    alice = world.connect("alice", 5, will=Will(b"will", b"gone", retain=True))
    world.broker.publish_sys(world.now)
    assert world.broker.ledger.counts[RETAINED_FULL] > 1
