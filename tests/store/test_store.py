"""Every store: what a broker told it is what the next broker starts with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.engine.harness import Peer, World
from tests.store.stores import FileStore, LastingMemoryStore, PromptFileStore, state_of
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import Acknowledgement, Connect, Publish, Subscribe, SubscriptionRequest, Will
from tidewire.wire.properties import Properties

Store = LastingMemoryStore | FileStore


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """One that makes everything safe at once."""
    return LastingMemoryStore() if request.param == "memory" else PromptFileStore(tmp_path / "data" / "broker.db")


@pytest.fixture(params=["memory", "file"])
def slow_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """One that commits when it is told to."""
    return LastingMemoryStore(False) if request.param == "memory" else FileStore(tmp_path / "data" / "broker.db")


def expiring(seconds: int) -> Properties:
    properties = Properties()
    properties.integers[p.SESSION_EXPIRY_INTERVAL] = seconds
    return properties


def restart(world: World) -> World:
    """Another broker with what the store has kept: the first one was killed."""
    store = world.broker.store
    assert isinstance(store, Store)
    store.commit()
    return World(store=store.killed(), start=world.now)


def kept_sessions(world: World) -> dict[str, Any]:
    """What is kept of each, by its client identifier."""
    store = world.broker.store
    assert isinstance(store, Store)
    store.commit()
    sessions: dict[str, Any] = state_of(*store.killed().load(world.now))["sessions"]
    return sessions


def keeper(world: World, **fields: object) -> Peer:
    return world.connect("keeper", version=5, clean_start=False, properties=expiring(600), **fields)


def test_queued_messages_subscriptions_and_retained_messages_survive(store: Store) -> None:
    world = World(store=store)
    peer = keeper(world)
    peer.subscribe("a/#", qos=2, retain_as_published=True)
    peer.lose()
    publisher = world.connect("publisher")
    publisher.publish("a/1", b"one", qos=1, retain=True)
    publisher.publish("a/2", b"two", qos=2)
    world = restart(world)
    assert world.broker.retained.count == 1
    peer = keeper(world)
    assert peer.connack.session_present
    assert [(m.topic, m.payload, m.qos, m.retain) for m in peer.messages()] == [
        (b"a/1", b"one", 1, True),
        (b"a/2", b"two", 2, False),
    ]
    world.connect("publisher").publish("a/3", b"three")
    assert [m.payload for m in peer.messages()] == [b"three"]


def test_messages_in_flight_keep_their_identifiers_and_states(store: Store) -> None:
    world = World(store=store)
    peer = keeper(world)
    peer.subscribe("a", qos=2)
    publisher = world.connect("publisher")
    for number in (1, 2):
        publisher.publish("a", b"%d" % number, qos=2, packet_identifier=number)
    first, second = (message.packet_identifier for message in peer.messages())
    peer.acknowledge(PUBREC, first)
    peer.take()
    world = restart(world)
    peer = keeper(world)
    again = peer.take()
    assert again[0] == Acknowledgement(PUBREL, first)
    assert isinstance(again[1], Publish) and again[1].dup and again[1].packet_identifier == second
    peer.acknowledge(PUBCOMP, first)
    peer.acknowledge(PUBREC, second)
    peer.acknowledge(PUBCOMP, second)
    peer.take()
    assert not kept_sessions(world)["keeper"]["inflight"]
    world = restart(world)
    assert keeper(world).take() == []


def test_received_qos_2_identifiers_survive_so_that_a_repeated_publish_is_not_delivered_twice(store: Store) -> None:
    world = World(store=store)
    peer = keeper(world)
    peer.publish("a", qos=2, packet_identifier=7)
    world = restart(world)
    listener = world.connect("listener")
    listener.subscribe("a")
    peer = keeper(world)
    peer.publish("a", qos=2, packet_identifier=7, dup=True)
    assert listener.take() == []
    peer.acknowledge(PUBREL, 7)
    peer.publish("a", qos=2, packet_identifier=7)
    assert len(listener.messages()) == 1


def test_a_will_is_published_after_its_delay_when_the_broker_was_killed(store: Store) -> None:
    world = World(store=store)
    will_properties = Properties()
    will_properties.integers[p.WILL_DELAY_INTERVAL] = 5
    keeper(world, will=Will(b"will", b"gone", properties=will_properties))
    world = restart(world)
    listener = world.connect("listener")
    listener.subscribe("will")
    world.advance(4)
    assert listener.take() == []
    world.advance(2)
    assert [m.payload for m in listener.messages()] == [b"gone"]


def test_sessions_end_in_the_store_too(store: Store) -> None:
    world = World(store=store)
    peer = keeper(world)
    peer.subscribe("a")
    peer.lose()
    world.advance(601)
    assert not kept_sessions(world)
    world.connect("passing")
    assert not kept_sessions(world)


def test_acknowledgements_wait_for_the_commit_and_keep_their_order(slow_store: Store) -> None:
    store = slow_store
    world = World(store=store)
    keeper = world.open(version=5)
    keeper.send(Connect("keeper", 5, properties=expiring(600)), Subscribe(1, [SubscriptionRequest(b"a", qos=2)]))
    world.broker.committed(store.commit(), world.now)
    publisher = world.connect("publisher")
    publisher.publish("a", qos=1, packet_identifier=1)
    publisher.publish("a", qos=2, packet_identifier=2)
    assert publisher.take() == []
    ticket = store.commit()
    publisher.publish("a", qos=1, packet_identifier=3)
    world.broker.committed(ticket, world.now)
    world.flush()
    assert publisher.take() == [Acknowledgement(PUBACK, 1), Acknowledgement(PUBREC, 2)]
    world.broker.committed(store.commit(), world.now)
    world.flush()
    assert publisher.take() == [Acknowledgement(PUBACK, 3)]


class Reader:
    """A client that takes QoS 2 messages, and breaks off in the middle by chance."""

    def __init__(self, seed: int) -> None:
        self.got: list[bytes] = []
        self.chance = random.Random(seed)
        self._unreleased: set[int] = set()

    def read(self, peer: Peer, breaks_off: float) -> bool:
        """Answer what came. False: it broke off."""
        for packet in peer.take():
            if self.chance.random() < breaks_off:
                return False
            if isinstance(packet, Publish):
                if packet.packet_identifier not in self._unreleased:
                    self._unreleased.add(packet.packet_identifier)
                    self.got.append(packet.payload)
                peer.acknowledge(PUBREC, packet.packet_identifier)
            elif isinstance(packet, Acknowledgement) and packet.packet_type == PUBREL:
                self._unreleased.discard(packet.packet_identifier)
                peer.acknowledge(PUBCOMP, packet.packet_identifier)
        return True


@pytest.mark.parametrize("seed", range(20))
def test_traffic_with_cuts_and_restarts_arrives_exactly_once_and_in_order(store: Store, seed: int) -> None:
    world = World(store=store)
    peer = keeper(world)
    peer.subscribe("a", qos=2)
    publisher = world.connect("publisher")
    reader = Reader(seed)
    for number in range(60):
        publisher.publish("a", b"%d" % number, qos=2, packet_identifier=number + 1)
        if not reader.read(peer, 0.1):
            if reader.chance.random() < 0.5:
                world = restart(world)
                publisher = world.connect("publisher")
            else:
                peer.lose()
            peer = keeper(world)
    while reader.got[-1] != b"59":
        assert reader.read(peer, 0.0)
    assert reader.got == [b"%d" % number for number in range(60)]
