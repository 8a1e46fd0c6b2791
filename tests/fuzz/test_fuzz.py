"""Does bad input end anywhere but at its own connection?

Hostile peers send what they like beside an honest publisher and subscriber, without sockets and on the test's clock:
valid packets in any order, recordings of whole sessions damaged at random, garbage, cut anywhere, byte by byte. No
error may escape, no message of the honest pair may be missing, late or altered, and when the hostile have left, nothing
of them remains.

    make fuzz                                  a million packets
    TIDEWIRE_FUZZ_PACKETS=50000 TIDEWIRE_FUZZ_SEED=7 pytest tests/fuzz      so many, from this seed
"""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from typing import Final

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.engine.harness import World
from tests.wire.strategies import VERSIONS, any_packets, cuts, many, mutations, packets
from tidewire.engine.ledger import REASONS
from tidewire.engine.retained import RetainedMessages
from tidewire.engine.routing import TopicTree
from tidewire.engine.timers import HORIZON_S
from tidewire.wire import properties as p
from tidewire.wire.codes import (
    CONNECT,
    PINGREQ,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBSCRIBE,
    UNSUBSCRIBE,
    V5,
)
from tidewire.wire.packets import (
    Acknowledgement,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Publish,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    Will,
)
from tidewire.wire.properties import Properties

PACKETS: Final = int(os.environ.get("TIDEWIRE_FUZZ_PACKETS", "50000"))
SEED: Final = int(os.environ.get("TIDEWIRE_FUZZ_SEED", "20"))

HOSTILE_PEERS: Final = 6
PACKETS_PER_BURST: Final = 8
VALID_PACKETS: Final = 120
"""Of each version, to choose from."""

FOR_A_SERVER: Final = (PUBLISH, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBSCRIBE, UNSUBSCRIBE, PINGREQ)
"""What a client may send in any order without being thrown out for it."""

LIMITS: Final = {
    "sessions": 64,
    "session_expiry_maximum_s": 60,
    "subscriptions_per_session": 50,
    "queue_messages": 100,
    "queue_bytes": 20_000,
    "retained_messages": 50,
    "retained_bytes": 100_000,
    "route_cache_topics": 500,
    "outbox_bytes": 20_000,
    "unread_answer_bytes": 20_000,
    "maximum_packet_size": 100_000,
    "sys_interval_s": 10.0,
}
"""Small, so that each of them is met."""

OBJECTS_SLACK: Final = 2_000
"""How many more objects may live after a later round than after an early one: memo tables, interned numbers."""


class Corpus:
    """What the hostile send, per version: valid packets, and recordings of whole sessions."""

    def __init__(self, seed: int) -> None:
        self.connects = {version: self._draw(packets(CONNECT, version), version, seed) for version in VERSIONS}
        self.packets = {version: self._draw(any_packets(version), version, seed) for version in VERSIONS}
        self.for_a_server = {
            version: self._draw(st.one_of([packets(kind, version) for kind in FOR_A_SERVER]), version, seed)
            for version in VERSIONS
        }
        self.recordings = {version: [recording(version, qos) for qos in (0, 1, 2)] for version in VERSIONS}

    def _draw(self, strategy: st.SearchStrategy[object], version: int, seed: int) -> list[bytes]:
        drawn: list[bytes] = []

        @hypothesis.seed(seed)
        @settings(
            max_examples=VALID_PACKETS,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def collect(packet: object) -> None:
            drawn.append(packet.encode(version))  # type: ignore[attr-defined]

        collect()
        return drawn


def recording(version: int, qos: int) -> list[bytes]:
    """A session with something of everything, packet by packet."""
    properties = Properties()
    if version == V5:
        properties.integers[p.SESSION_EXPIRY_INTERVAL] = 30
        properties.integers[p.TOPIC_ALIAS_MAXIMUM] = 5
        properties.integers[p.RECEIVE_MAXIMUM] = 3
        if qos == 1:
            properties.integers[p.MAXIMUM_PACKET_SIZE] = 500
    will = Will(b"a/will", b"gone", qos, retain=True)
    identifier = qos + 1
    said = [
        Connect(f"recorded-{qos}", version, clean_start=False, keep_alive=10, will=will, properties=properties),
        Subscribe(1, [SubscriptionRequest(b"a/+", qos), SubscriptionRequest(b"#", 2)]),
        *[Publish(b"a/b", b"x" * 50, qos, packet_identifier=identifier if qos else 0)] * 5,
        Publish(b"a/kept", b"y" * 200, qos, retain=True, packet_identifier=identifier if qos else 0),
        Publish(b"$SYS/broker/version", b"mine"),
        *[Publish(b"a/flood", b"z" * 2_000)] * 20,
        *[Acknowledgement(kind, number) for number in (1, 2) for kind in (4, 5, 6, 7)],
        Pingreq(),
        Unsubscribe(2, [b"a/+"]),
        Disconnect(4 if version == V5 else 0),
    ]
    return [packet.encode(version) for packet in said]


def damaged(random: random.Random, data: bytes) -> bytes:
    """With one to four bytes changed, inserted or removed, a piece doubled or the end cut off."""
    result = bytearray(data)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(result)) if result else 0
        kind = random.randrange(5)
        if kind == 0:
            result[place : place + 1] = random.randbytes(1)
        elif kind == 1:
            result[place:place] = random.randbytes(random.randint(1, 3))
        elif kind == 2:
            del result[place : place + 1]
        elif kind == 3:
            result[place:place] = result[place : place + random.randint(1, 8)]
        else:
            del result[place + 1 :]
    return bytes(result)


class Hostile:
    """A peer that means no good: a connection at a time, and what it sends on it."""

    def __init__(self, world: World, corpus: Corpus, random: random.Random) -> None:
        self._world = world
        self._corpus = corpus
        self._random = random
        self._blocked = False
        self._reopen()

    def act(self) -> int:
        """Do something; how many packets that was."""
        random = self._random
        peer = self._peer
        peer.transport.written.clear()
        if peer.is_closed or random.random() < 0.02:
            if not peer.is_closed or random.random() < 0.5:
                peer.lose()
            self._reopen()
            return 0
        if random.random() < 0.05:
            self._blocked = not self._blocked
            peer.block() if self._blocked else peer.unblock()
        if not peer.transport.reading:
            return 0  # the broker has had enough of it
        pieces = self._packets()
        for piece in self._cut(b"".join(pieces)):
            peer.send_bytes(piece)
        return len(pieces)

    def leave(self) -> None:
        self._peer.lose()

    def _reopen(self) -> None:
        self._version = self._random.choice(VERSIONS)
        self._peer = self._world.open(self._version)
        self._blocked = False
        self._connected = self._random.random() < 0.8
        if self._connected:
            self._peer.send_bytes(self._random.choice(self._corpus.connects[self._version]))

    def _packets(self) -> list[bytes]:
        random = self._random
        kind = random.random()
        if kind < 0.6:
            valid = self._corpus.for_a_server[self._version]
            pieces = [random.choice(valid) for _ in range(PACKETS_PER_BURST)]
            if random.random() < 0.3:
                pieces[-1] = damaged(random, pieces[-1])
        elif kind < 0.95:
            whole = random.choice(self._corpus.recordings[self._version])
            start = random.randrange(1, len(whole)) if self._connected else 0
            pieces = list(whole[start:])
            self._connected = True
            if random.random() < 0.5:
                place = random.randrange(len(pieces))
                pieces[place] = damaged(random, pieces[place])
        elif kind < 0.98:
            pieces = [random.choice(self._corpus.packets[self._version])]
        else:
            pieces = [random.randbytes(random.randint(1, 200))]
        return pieces

    def _cut(self, data: bytes) -> Iterator[bytes]:
        random = self._random
        kind = random.random()
        if kind < 0.1:
            yield from (data[place : place + 1] for place in range(len(data)))
        elif kind < 0.4:
            places = sorted(random.randrange(len(data) + 1) for _ in range(3))
            yield from (data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True))
        else:
            yield data


class HonestPair:
    """A publisher and a subscriber that keep to the rules and check that the others make no difference to them."""

    TOPIC: Final = "the honest pair/only"

    def __init__(self, world: World, publisher_version: int, subscriber_version: int) -> None:
        self._publisher = world.connect("the honest publisher", publisher_version)
        self._subscriber = world.connect("the honest subscriber", subscriber_version)
        assert self._subscriber.subscribe(self.TOPIC, qos=2) == [2]
        self._sent = 0

    def exchange(self) -> None:
        """One message at the next quality of service, with both handshakes, and a ping each."""
        self._sent += 1
        qos, payload = self._sent % 3, str(self._sent).encode()
        self._publisher.publish(self.TOPIC, payload, qos, packet_identifier=self._sent % 65_535 + 1 if qos else 0)
        (message,) = self._subscriber.take()
        assert isinstance(message, Publish)
        assert (message.topic, message.payload, message.qos) == (self.TOPIC.encode(), payload, qos)
        (*answers,) = self._publisher.take()
        assert len(answers) == (1 if qos else 0)
        if qos == 1:
            self._subscriber.acknowledge(PUBACK, message.packet_identifier)
        elif qos == 2:
            self._publisher.acknowledge(6, self._sent % 65_535 + 1)
            assert len(self._publisher.take()) == 1
            self._subscriber.acknowledge(PUBREC, message.packet_identifier)
            assert len(self._subscriber.take()) == 1
            self._subscriber.acknowledge(PUBCOMP, message.packet_identifier)
        for peer in (self._publisher, self._subscriber):
            peer.send(Pingreq())
            assert peer.take() == [Pingresp()]

    def leave(self) -> None:
        self._publisher.disconnect()
        self._subscriber.disconnect()


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(SEED)


def test_hostile_peers_cost_the_others_nothing_and_leave_nothing(corpus: Corpus) -> None:
    print(f"again: TIDEWIRE_FUZZ_PACKETS={PACKETS} TIDEWIRE_FUZZ_SEED={SEED} pytest tests/fuzz")
    chance = random.Random(SEED)
    world = World(**LIMITS)
    rounds = 5
    living = []
    for _ in range(rounds):
        fight(world, corpus, chance, PACKETS // rounds)
        assert_nothing_is_left(world)
        gc.collect()
        living.append(len(gc.get_objects()))
    assert living[-1] <= living[1] + OBJECTS_SLACK, living
    assert world.broker.statistics.messages_received > PACKETS // 2  # most of it did get past the front door
    met = [reason for reason, count in zip(REASONS, world.broker.ledger.counts, strict=True) if count]
    assert set(met) >= {"queue full", "slow consumer", "too large", "no permission", "session ended", "retained full"}


def fight(world: World, corpus: Corpus, chance: random.Random, wanted: int) -> None:
    """So many packets from the hostile, and the honest pair in between."""
    broker = world.broker
    honest = HonestPair(world, chance.choice(VERSIONS), chance.choice(VERSIONS))
    hostile = [Hostile(world, corpus, chance) for _ in range(HOSTILE_PEERS)]
    sent = 0
    while sent < wanted:
        sent += sum(peer.act() for peer in hostile)
        honest.exchange()
        if chance.random() < 0.1:
            world.advance(chance.choice([0.25, 1.0, 15.0]))
        world.events.log.clear()
        assert len(broker.sessions) <= LIMITS["sessions"]
        assert len(broker.routes.routes) <= LIMITS["route_cache_topics"]
        assert broker.retained.count <= LIMITS["retained_messages"]
        assert broker.retained.bytes <= LIMITS["retained_bytes"]
        for session in broker.sessions.values():
            assert len(session.subscriptions or {}) <= LIMITS["subscriptions_per_session"]
            assert len(session.queue or ()) <= LIMITS["queue_messages"]
            assert session.queue_bytes <= LIMITS["queue_bytes"]
    for peer in hostile:
        peer.leave()
    honest.leave()


def assert_nothing_is_left(world: World) -> None:
    """Everybody has gone, and time passes: no session, subscription, route or plan remains."""
    broker = world.broker
    world.advance(LIMITS["session_expiry_maximum_s"] + HORIZON_S + 1)
    assert broker.sessions == {}
    assert broker.statistics.connections == 0
    assert broker.statistics.subscriptions == 0
    assert broker.statistics.shared_subscriptions == 0
    assert is_empty(broker.tree)
    assert broker.outgoing.dirty == []
    broker.retained = RetainedMessages(1, 1, 1)  # the one thing that stays
    broker.routes.clear()
    world.events.log.clear()


def is_empty(tree: TopicTree) -> bool:
    """Whether a walk for topics of all depths and names finds nothing, and the root has no branch."""
    return tree._root.is_bare()


@many
@given(st.data())
def test_one_damaged_stream_harms_nobody(data: st.DataObject) -> None:
    """The same in small: what hypothesis finds here, it shortens to its core."""
    version = data.draw(st.sampled_from(VERSIONS))
    stream = b"".join(data.draw(st.sampled_from([recording(version, qos) for qos in (0, 1, 2)])))
    valid = b"".join(packet.encode(version) for packet in data.draw(st.lists(any_packets(version), max_size=4)))
    world = World()
    honest = HonestPair(world, version, V5)
    peer = world.open(version)
    for piece in data.draw(cuts(data.draw(mutations(stream + valid)))):
        peer.send_bytes(piece)
        if data.draw(st.booleans()):
            peer.block()
    honest.exchange()
    peer.unblock()
    peer.lose()
    honest.exchange()
