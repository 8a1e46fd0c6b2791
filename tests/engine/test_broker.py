"""Does the broker hand each message to everybody who should get it, in the form that each one asked for?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.harness import Peer, World, integers
from tidewire.engine.broker import Broker
from tidewire.engine.limits import Limits
from tidewire.engine.message import Message
from tidewire.engine.ports import EVERYBODY, Access, Events
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Publish, Subscribe, SubscriptionRequest, Unsubscribe, Will
from tidewire.wire.properties import Properties


def subscribe(peer: Peer, topic_filter: str, identifier: int = 0, **options: Any) -> None:
    packet = Subscribe(1, [SubscriptionRequest(topic_filter.encode(), **options)])
    if identifier:
        packet.properties.subscription_identifiers = [identifier]
    peer.send(packet)
    peer.take()


# -- one message, one copy


@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_message_comes_at_the_lesser_of_both_qos(published: int, granted: int, version: int) -> None:
    world = World()
    alice = world.connect("alice", version)
    alice.subscribe("t", qos=granted)
    world.connect("bob").publish("t", qos=published)
    assert [message.qos for message in alice.messages()] == [min(published, granted)]


def test_overlapping_subscriptions_are_one_copy_at_the_highest_qos() -> None:
    world = World()
    alice = world.connect("alice")
    for qos, topic_filter in enumerate(("#", "a/+", "a/b")):
        alice.subscribe(topic_filter, qos=qos)
    world.connect("bob").publish("a/b", qos=2)
    assert [message.qos for message in alice.messages()] == [2]


def test_overlapping_subscriptions_give_all_their_identifiers_in_one_copy() -> None:
    world = World()
    alice = world.connect("alice", 5)
    for identifier, topic_filter in ((1, "#"), (0, "a/+"), (200, "a/b"), (9, "other")):
        subscribe(alice, topic_filter, identifier)
    world.connect("bob").publish("a/b")
    (message,) = alice.messages()
    assert sorted(message.properties.subscription_identifiers) == [1, 200]


def test_a_subscription_that_is_made_again_takes_the_new_options() -> None:
    world = World()
    alice = world.connect("alice", 5)
    subscribe(alice, "a", 1, qos=0)
    subscribe(alice, "a", 2, qos=1)
    bob = world.connect("bob")
    bob.publish("a", qos=1)
    (message,) = alice.messages()
    assert (message.qos, message.properties.subscription_identifiers) == (1, [2])
    subscribe(alice, "a")
    bob.publish("a", qos=1)
    assert alice.messages()[0].properties == Properties()
    assert world.broker.statistics.subscriptions == 1


@pytest.mark.parametrize("qos", [0, 1])
def test_no_local_leaves_out_ones_own_messages_and_only_of_that_subscription(qos: int) -> None:
    world = World()
    alice = world.connect("alice", 5)
    subscribe(alice, "a", no_local=True, qos=1)
    alice.publish("a", qos=qos)
    assert alice.messages() == []
    world.connect("bob").publish("a", qos=qos)
    assert len(alice.messages()) == 1
    subscribe(alice, "#", 7)
    alice.publish("a", qos=qos)
    (message,) = alice.messages()
    assert message.properties.subscription_identifiers == [7]


@pytest.mark.parametrize("retain", [True, False])
def test_retain_as_published_keeps_the_flag_if_any_subscription_asks(retain: bool) -> None:
    world = World()
    alice = world.connect("alice", 5)
    subscribe(alice, "a", retain_as_published=True)
    subscribe(alice, "#")
    old = world.connect("old")
    old.subscribe("a")
    world.connect("bob").publish("a", retain=retain)
    assert [message.retain for message in alice.messages()] == [retain]
    assert [message.retain for message in old.messages()] == [False]


def test_the_reason_code_says_whether_anybody_subscribes() -> None:
    world = World()
    bob = world.connect("bob", 5)
    for qos in (1, 2):
        bob.publish("a", qos=qos)
        assert bob.take()[0].reason_code == ReasonCode.NO_MATCHING_SUBSCRIBERS  # type: ignore[attr-defined]
    world.connect("alice").subscribe("a")
    bob.publish("a", qos=1)
    assert bob.take()[0].reason_code == 0  # type: ignore[attr-defined]


def test_unsubscribing_says_what_existed_and_ends_it() -> None:
    world = World()
    alice = world.connect("alice", 5)
    alice.subscribe("a", "b")
    alice.send(Unsubscribe(9, [b"a", b"c", b"a", b"b"]))
    assert alice.take()[0].reason_codes == [0, 0x11, 0x11, 0]  # type: ignore[attr-defined]
    world.connect("bob").publish("a")
    assert alice.messages() == []
    assert world.broker.sessions["alice"].subscriptions is None


def test_user_properties_and_the_like_travel_unaltered() -> None:
    world = World()
    alice = world.connect("alice", 5)
    alice.subscribe("a", qos=2)
    sent = integers(payload_format_indicator=1)
    sent.texts = {3: "text/plain", 8: "answers"}
    sent.binaries = {9: b"\0\1"}
    sent.user_properties = [("b", "1"), ("a", "2"), ("b", "1")]
    bob = world.connect("bob", 5)
    for qos in (0, 1, 2):
        bob.publish("a", qos=qos, properties=sent)
    assert [message.properties for message in alice.messages()] == [sent] * 3


# -- a run passes on as one slice what message by message would have given

TOPICS = (b"a", b"b", b"a/b", b"$dollar/a")
options = st.tuples(st.sampled_from(["a", "#", "+", "$share/g/a", "$dollar/#"]), st.integers(0, 2), st.booleans())
kinds = st.sampled_from(["plain", "no local", "identified", "blocked", "aliases", "small", "away"])
subscribers = st.lists(st.tuples(st.sampled_from([3, 4, 5]), kinds, st.lists(options, max_size=3)), max_size=5)
spoken = st.tuples(
    st.sampled_from(TOPICS),
    st.sampled_from([b"", b"x", b"yy", b"z" * 130]),
    st.sampled_from([0, 0, 0, 0, 1, 2]),
    st.booleans(),
    st.sampled_from([0, 0, 0, 1]),
)
streams = st.lists(st.tuples(spoken, st.integers(1, 6)), max_size=8)


def populate(world: World, plan: list[tuple[int, str, list[tuple[str, int, bool]]]]) -> list[Peer]:
    peers = []
    for number, (version, kind, wanted) in enumerate(plan):
        properties = integers(session_expiry_interval=100)
        if kind == "aliases":
            properties = integers(topic_alias_maximum=2)
        elif kind == "small":
            properties = integers(maximum_packet_size=60)
        peer = world.connect(f"client {number}", version, properties=properties)
        for topic_filter, qos, flag in wanted:
            shared = topic_filter.startswith("$share/")
            local = kind == "no local" and not shared
            identifier = 5 if kind == "identified" and version == 5 else 0
            subscribe(peer, topic_filter, identifier, qos=qos, no_local=local, retain_as_published=flag)
        if kind == "blocked":
            peer.block()
        elif kind == "away":
            peer.lose()
        peers.append(peer)
    return peers


@settings(max_examples=200, deadline=None)
@given(subscribers, streams, st.sampled_from([3, 4, 5]), st.integers(0, 4))
def test_a_run_gives_everybody_the_same_bytes_as_its_messages_one_by_one(
    plan: list[tuple[int, str, list[tuple[str, int, bool]]]],
    stream: list[tuple[tuple[bytes, bytes, int, bool, int], int]],
    version: int,
    publisher: int,
) -> None:
    packets: list[Publish] = []
    for (topic, payload, qos, retain, users), repeated in stream:
        packet = Publish(topic, payload, qos, retain, packet_identifier=1 if qos else 0)
        if version == 5 and users:
            packet.properties.user_properties = [("a", "b")]
        packets += [packet] * (1 if qos else repeated)
    for number, packet in enumerate(packets, 1):
        if packet.qos:
            packets[number - 1] = Publish(
                packet.topic, packet.payload, packet.qos, packet.retain, False, number, packet.properties
            )
    worlds = [World(outbox_bytes=400, early_flush_bytes=300), World(outbox_bytes=400, early_flush_bytes=300)]
    everybody = [populate(world, plan) for world in worlds]
    talkers = [world.connect("talker", version) for world in worlds]
    for peers, talker in zip(everybody, talkers, strict=True):
        for topic_filter in ("a", "#")[: publisher % 3]:
            subscribe(talker, topic_filter, no_local=publisher > 2)
        for peer in peers:
            peer.take_bytes()
    talkers[0].send(*packets)
    for packet in packets:
        message = Message(
            packet.topic,
            packet.payload,
            packet.qos,
            packet.retain,
            packet.properties.encode_body() if version == 5 else b"",
            publisher="talker",
        )
        broker = worlds[1].broker
        broker.publish(message, broker.route(packet.topic), worlds[1].now)
    worlds[1].flush()
    for one, other in zip(*everybody, strict=True):
        if not one.is_closed:
            one.unblock()
            other.unblock()
            assert one.take_bytes() == other.take_bytes()
    own = [[packet for packet in talker.take() if isinstance(packet, Publish)] for talker in talkers]
    assert own[0] == own[1]
    for name in ("publish_sent", "publish_bytes_sent", "publish_dropped"):
        assert getattr(worlds[0].broker.statistics, name) == getattr(worlds[1].broker.statistics, name)
    assert worlds[0].broker.statistics.publish_received == len(packets)
    assert sorted(worlds[0].events.of("dropped")) == sorted(worlds[1].events.of("dropped"))


# -- $SYS


def test_sys_topics_come_at_their_interval_and_only_when_they_changed() -> None:
    world = World(sys_interval_s=30.0)
    alice = world.connect("alice")
    alice.subscribe("$SYS/#")
    alice.messages()
    world.advance(1)
    first = {message.topic for message in alice.messages()}
    assert b"$SYS/broker/version" in first
    assert b"$SYS/broker/dropped/queue full" in first
    world.advance(28)
    assert alice.messages() == []
    world.advance(2)
    second = {message.topic for message in alice.messages()}
    assert b"$SYS/broker/uptime" in second
    assert b"$SYS/broker/version" not in second
    late = world.connect("late")
    late.subscribe("$SYS/broker/version", "#")
    assert [(message.payload, message.retain) for message in late.messages()] == [(b"test", True)]


def test_sys_topics_can_be_turned_off() -> None:
    world = World(sys_interval_s=0.0)
    world.advance(100)
    assert world.broker.retained.count == 0


# -- errors of ours


class Broken(Access):
    """Rules that fail when they are asked about one topic, and everybody is let in."""

    def __init__(self) -> None:
        super().__init__()
        self.unrestricted = False

    def may_publish(self, principal, topic):  # type: ignore[no-untyped-def]
        if topic == b"broken":
            raise RuntimeError("out of rules")
        return True

    def may_read(self, principal, topic):  # type: ignore[no-untyped-def]
        if topic.startswith(b"$SYS/broker/up"):
            raise RuntimeError("out of rules")
        return True


def test_an_error_of_ours_while_a_will_is_published_costs_nobody_else() -> None:
    world = World(Broken())
    world.events.expects_faults = True
    lasting = integers(session_expiry_interval=100)
    for name in ("one", "two"):
        last = Will(b"broken" if name == "one" else b"fine", b"gone", properties=integers(will_delay_interval=5))
        world.connect(name, 5, will=last, properties=lasting).lose()
    watcher = world.connect("watcher")
    watcher.subscribe("fine")
    world.advance(10)
    assert len(watcher.messages()) == 1
    assert world.events.of("fault") == [("one", "out of rules")]


def test_an_error_of_ours_while_sys_is_published_is_told_and_does_not_end_it() -> None:
    world = World(Broken(), sys_interval_s=10.0)
    world.events.expects_faults = True
    world.connect("alice").subscribe("#", "$SYS/#")
    world.advance(30)
    assert len(world.events.of("fault")) >= 2


def test_a_broker_needs_nothing_from_outside() -> None:
    broker = Broker(1000.0)
    assert broker.limits.sessions == Limits().sessions
    broker.tick(1001.0)
    assert broker.retained.current(b"$SYS/broker/uptime") is not None
    events = Events()
    events.denied("a", "publish", b"t")
    events.dropped("a", "queue full", 1)
    events.refused("a", "test", 0, "")
    events.disconnected("a", "test", 0, "")
    events.fault("a", ValueError())
    access = Access()
    assert access.may_subscribe(EVERYBODY, b"#")
    assert access.may_publish(EVERYBODY, b"a")
    assert access.may_read(EVERYBODY, b"a")
