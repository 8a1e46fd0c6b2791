"""Does a link write once a pass, wait while it is blocked, and use topic aliases as the peer allows?"""

from __future__ import annotations

import pytest

from tests.engine.harness import FakeTransport, World, integers
from tidewire.engine.link import Link, Outgoing
from tidewire.engine.ports import Events
from tidewire.engine.statistics import Statistics
from tidewire.wire.packets import Publish
from tidewire.wire.properties import TOPIC_ALIAS


def a_link() -> tuple[Link, FakeTransport, Outgoing]:
    outgoing = Outgoing(Statistics(0.0), Events())
    transport = FakeTransport()
    return Link(transport, outgoing), transport, outgoing


def test_pieces_of_one_pass_are_one_write() -> None:
    link, transport, outgoing = a_link()
    link.put(b"a")
    link.put(b"b")
    assert outgoing.dirty == [link]
    outgoing.flush()
    link.put(b"c")
    outgoing.flush()
    outgoing.flush()
    assert transport.written == [b"ab", b"c"]
    assert outgoing.statistics.bytes_sent == 3


def test_a_blocked_link_keeps_its_pieces_until_it_is_unblocked() -> None:
    link, transport, outgoing = a_link()
    link.block()
    link.put(b"a")
    outgoing.flush()
    link.put(b"b")
    outgoing.flush()
    assert transport.written == []
    assert link.outbox_bytes == 2
    link.unblock()
    outgoing.flush()
    assert transport.written == [b"ab"]
    assert link.outbox_bytes == 0
    link.unblock()
    assert outgoing.dirty == []


def test_shared_bytes_go_only_to_a_peer_that_takes_them_as_they_are() -> None:
    link, _, _ = a_link()
    formats = []
    for version in (3, 4, 5):
        link.version = version
        link.refresh_passthrough()
        formats.append(link.passthrough)
    assert formats == [4, 4, 5]
    link.block()
    assert link.passthrough == 0
    link.refresh_passthrough()
    assert link.passthrough == 0
    link.unblock()
    assert link.passthrough == 5
    for name, value in (("peer_maximum_packet_size", 99), ("peer_topic_aliases", 9), ("closed", True)):
        before = getattr(link, name)
        setattr(link, name, value)
        link.refresh_passthrough()
        assert link.passthrough == 0
        setattr(link, name, before)


def aliased(message: Publish) -> tuple[bytes, int]:
    return message.topic, message.properties.integers.get(TOPIC_ALIAS, 0)


@pytest.mark.parametrize("qos", [0, 1])
def test_a_topic_is_named_once_and_then_by_its_alias(qos: int) -> None:
    world = World()
    alice = world.connect("alice", 5, properties=integers(topic_alias_maximum=2))
    alice.subscribe("#", qos=qos)
    bob = world.connect("bob")
    for topic in ("a", "b", "a", "c", "b", "c"):
        bob.publish(topic, qos=qos)
    seen = [aliased(message) for message in alice.messages()]
    assert seen == [(b"a", 1), (b"b", 2), (b"", 1), (b"c", 0), (b"", 2), (b"c", 0)]


def test_our_own_limit_of_aliases_holds_where_the_client_allows_more() -> None:
    world = World(outgoing_topic_aliases=1)
    alice = world.connect("alice", 5, properties=integers(topic_alias_maximum=100))
    alice.subscribe("#")
    bob = world.connect("bob")
    for topic in ("a", "b", "a", "b"):
        bob.publish(topic)
    assert [aliased(message) for message in alice.messages()] == [(b"a", 1), (b"b", 0), (b"", 1), (b"b", 0)]


def test_a_client_before_5_0_or_without_the_property_gets_no_alias() -> None:
    world = World()
    peers = [world.connect("old", 4), world.connect("new", 5)]
    for peer in peers:
        peer.subscribe("#")
    world.connect("bob").publish("a")
    assert [aliased(peer.messages()[0]) for peer in peers] == [(b"a", 0)] * 2


def test_an_alias_in_a_packet_that_was_too_large_is_not_taken_as_known() -> None:
    world = World()
    alice = world.connect("alice", 5, properties=integers(topic_alias_maximum=9, maximum_packet_size=40))
    alice.subscribe("#")
    bob = world.connect("bob")
    for topic, payload in (("a", b"x" * 100), ("a", b"1"), ("a", b"x" * 100), ("a", b"2"), ("b", b"3")):
        bob.publish(topic, payload)
    assert [aliased(message) for message in alice.messages()] == [(b"a", 1), (b"", 1), (b"b", 2)]


def test_aliases_end_with_their_connection_while_messages_keep_their_topic() -> None:
    world = World()
    lasting = integers(topic_alias_maximum=9, session_expiry_interval=100)
    alice = world.connect("alice", 5, properties=lasting)
    alice.subscribe("#", qos=1)
    bob = world.connect("bob")
    bob.publish("a", qos=1)
    bob.publish("a", qos=1)
    assert [aliased(message) for message in alice.messages()] == [(b"a", 1), (b"", 1)]
    alice.lose()
    alice = world.connect("alice", 5, clean_start=False, properties=lasting)
    assert [aliased(message) for message in alice.settle()] == [(b"a", 1), (b"", 1)]


def test_a_transport_that_fails_costs_only_its_own_link() -> None:
    world = World()
    world.events.expects_faults = True
    failing = world.connect("failing")
    other = world.connect("other")
    for peer in (failing, other):
        peer.subscribe("a")
    failing.transport.ended = True  # from here on a write is an error
    world.connect("publisher").publish("a")
    assert failing.transport.aborted
    assert len(other.messages()) == 1
