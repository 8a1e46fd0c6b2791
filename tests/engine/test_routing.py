"""Do the topic tree, the route cache and the share groups find exactly those who are to get a message?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.harness import World, integers
from tests.wire.strategies import many, topic_filters
from tidewire.engine.ports import EVERYBODY
from tidewire.engine.routing import Route, Subscription, TopicTree
from tidewire.engine.session import Session
from tidewire.wire.packets import Publish, Subscribe, SubscriptionRequest, Unsubscribe
from tidewire.wire.topics import matches, split_share

topics = st.lists(st.sampled_from(["a", "b", "", "$a", "höhe"]), min_size=1, max_size=5).map(
    lambda levels: ("/".join(levels) or "a").encode()
)
plain_filters = st.one_of(topic_filters(), topics, st.just(b"#"))
filters = st.one_of(plain_filters, topic_filters(shared=True), st.just(b"$share/g/#"))


def subscription(session: Session, topic_filter: bytes, qos: int = 0) -> Subscription:
    return Subscription(session, topic_filter, qos, False, False, 0)


def found(tree: TopicTree, topic: bytes) -> set[Subscription]:
    """Everybody in the tree for a topic, members of share groups too; nobody may be there twice."""
    matched = tree.match(topic)
    subscriptions = list(matched.subscriptions)
    for group in matched.groups:
        assert group.members
        subscriptions += group.members.values()
    assert len(subscriptions) == len(set(subscriptions))
    return set(subscriptions)


@many
@given(st.lists(st.tuples(st.integers(0, 2), filters), max_size=12), st.lists(topics, max_size=6), st.data())
def test_the_tree_agrees_with_the_plain_statement_of_matching(
    plan: list[tuple[int, bytes]], names: list[bytes], data: st.DataObject
) -> None:
    world = World()
    sessions = [Session(world.broker, f"client {number}", EVERYBODY) for number in range(3)]
    tree = TopicTree()
    there: dict[tuple[int, bytes], Subscription] = {}

    def agrees() -> None:
        for name in names:
            expected = {entry for (_, wanted), entry in there.items() if matches(split_share(wanted)[1], name)}
            assert found(tree, name) == expected

    for number, topic_filter in plan:
        added = subscription(sessions[number], topic_filter)
        assert tree.add(added) is there.get((number, topic_filter))
        there[number, topic_filter] = added
    agrees()
    for key in data.draw(st.permutations(list(there))):
        tree.remove(there.pop(key))
        agrees()
    assert not tree._root.children


def shape(route: Route) -> Any:
    """A route without its order."""
    return (
        sorted((session.client_identifier, qos) for session, qos in zip(route.plain, route.plain_qos, strict=True)),
        sorted((one[0].session.client_identifier, sorted(s.topic_filter for s in one)) for one in route.special),
        sorted(sorted(m.session.client_identifier for m in targets.members) for targets in route.shared),
    )


steps = st.one_of(
    st.tuples(st.just("subscribe"), st.integers(0, 2), filters, st.integers(0, 2), st.booleans()),
    st.tuples(st.just("unsubscribe"), st.integers(0, 2), filters, st.just(0), st.just(False)),
    st.tuples(st.just("publish"), st.integers(0, 2), topics, st.integers(0, 2), st.booleans()),
    st.tuples(st.just("reconnect"), st.integers(0, 2), st.just(b""), st.just(0), st.booleans()),
    st.tuples(st.just("forget"), st.just(0), st.just(b""), st.just(0), st.just(False)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=25), st.sampled_from([(2, 100), (1000, 6), (1000, 100)]))
def test_a_remembered_route_is_what_a_fresh_walk_finds(
    plan: list[tuple[str, int, bytes, int, bool]], room: tuple[int, int]
) -> None:
    world = World(route_cache_topics=room[0], route_cache_topic_bytes=room[1])
    broker = world.broker
    lasting = integers(session_expiry_interval=1000)
    peers = [world.connect(f"client {number}", 5, properties=lasting) for number in range(3)]
    asked: set[bytes] = {b"a"}
    for kind, number, text, qos, flag in plan:
        peer = peers[number]
        if kind == "subscribe":
            shared = text.startswith(b"$share/")
            peer.send(Subscribe(1, [SubscriptionRequest(text, qos, flag and not shared, flag)]))
        elif kind == "unsubscribe":
            peer.send(Unsubscribe(1, [text]))
        elif kind == "publish":
            asked.add(text)
            peer.send(Publish(text, b"x", qos, packet_identifier=1 if qos else 0))
            peer.settle()
        elif kind == "reconnect":
            peer.lose()
            peers[number] = world.connect(f"client {number}", 5, clean_start=flag, properties=lasting)
        else:
            broker.access_changed()
        for topic in sorted(asked):
            assert shape(broker.route(topic)) == shape(broker._find_route(topic))
            assert len(broker.routes.routes) <= room[0]
        assert all(len(topic) <= room[1] for topic in broker.routes.routes)


def payloads(peer: Any) -> list[bytes]:
    return [message.payload for message in peer.settle()]


def test_a_share_group_takes_turns() -> None:
    world = World()
    members = [world.connect(name) for name in "abc"]
    for member in members:
        member.subscribe("$share/g/t", qos=1)
    publisher = world.connect("publisher")
    for number in range(7):
        publisher.publish("t", b"%d" % number, qos=number % 2)
    assert [payloads(member) for member in members] == [[b"0", b"3", b"6"], [b"1", b"4"], [b"2", b"5"]]


def test_every_share_group_and_every_plain_subscriber_gets_a_copy() -> None:
    world = World()
    alice = world.connect("alice")
    alice.subscribe("t", "$share/one/t", "$share/two/#")
    world.connect("bob").publish("t")
    assert len(alice.messages()) == 3


@pytest.mark.parametrize("qos", [0, 1])
def test_a_ready_member_comes_before_a_busy_one(qos: int) -> None:
    world = World()
    busy = world.connect("busy")
    ready = world.connect("ready")
    for member in (busy, ready):
        member.subscribe("$share/g/t", qos=1)
    busy.block()
    for _ in range(4):
        world.connect("publisher").publish("t", qos=qos)
    assert len(ready.messages()) == 4
    ready.block()
    world.connect("publisher").publish("t", qos=qos)
    assert ready.take() == busy.take() == []
    busy.unblock()
    ready.unblock()
    assert len(busy.messages()) + len(ready.messages()) == 1


def test_a_member_with_a_queue_is_busy() -> None:
    world = World()
    full = world.connect("full", 5, properties=integers(receive_maximum=1))
    full.subscribe("$share/g/t", "own", qos=1)
    publisher = world.connect("publisher")
    publisher.publish("own", qos=1)
    publisher.publish("own", qos=1)
    other = world.connect("other")
    other.subscribe("$share/g/t", qos=1)
    for _ in range(3):
        publisher.publish("t", qos=1)
    assert len(other.messages()) == 3


def test_an_offline_member_comes_last_and_only_above_qos_0() -> None:
    world = World()
    away = world.connect("away", clean_start=False)
    away.subscribe("$share/g/t", qos=1)
    here = world.connect("here")
    here.subscribe("$share/g/t", qos=1)
    away.lose()
    publisher = world.connect("publisher", 5)
    for qos in (0, 1, 0, 1):
        publisher.publish("t", b"here", qos=qos)
    assert payloads(here) == [b"here"] * 4
    here.disconnect()
    publisher.publish("t", b"nobody")
    publisher.publish("t", b"kept", qos=2)
    assert publisher.settle() == []
    back = world.connect("away", clean_start=False)
    assert payloads(back) == [b"kept"]


def test_an_offline_member_that_asked_for_qos_0_gets_nothing_and_nothing_was_lost() -> None:
    world = World()
    away = world.connect("away", clean_start=False)
    away.subscribe("$share/g/t")
    away.lose()
    publisher = world.connect("publisher", 5)
    publisher.publish("t", qos=1)
    assert publisher.take()[0].reason_code == 0  # type: ignore[attr-defined]


def test_members_that_leave_are_passed_over() -> None:
    world = World()
    members = [world.connect(name) for name in "abc"]
    for member in members:
        member.subscribe("$share/g/t")
    publisher = world.connect("publisher")
    publisher.publish("t", b"0")
    members[1].send(Unsubscribe(1, [b"$share/g/t"]))
    for number in range(1, 5):
        publisher.publish("t", b"%d" % number)
    assert [len(payloads(member)) for member in members] in ([3, 0, 2], [2, 0, 3])


def test_a_topic_beginning_with_dollar_is_walked_from_its_own_name() -> None:
    world = World()
    tree = TopicTree()
    assert not tree.match(b"$SYS/a").subscriptions
    session = Session(world.broker, "alice", EVERYBODY)
    tree.add(subscription(session, b"$SYS/#"))
    tree.add(subscription(session, b"#"))
    assert [one.topic_filter for one in tree.match(b"$SYS").subscriptions] == [b"$SYS/#"]
    assert not tree.match(b"$other").subscriptions
