"""What does a full queue do, who hears of it, and what is never lost? As docs/sessions.md says it."""

from __future__ import annotations

import random

import pytest

from tests.engine.harness import Peer, World, integers
from tidewire.engine.ledger import EXPIRED, QUEUE_FULL
from tidewire.engine.limits import DROP_NEWEST, DROP_OLDEST, REFUSE, Limits
from tidewire.store.memory import MemoryStore
from tidewire.wire.codes import PUBACK, PUBREC, PUBREL
from tidewire.wire.packets import Acknowledgement

POLICIES = [DROP_NEWEST, DROP_OLDEST, REFUSE]
FULL = 0x97
ROOM = 3
SIZE = 10
"""Bytes of each message of these tests: one of topic, nine of payload."""
BOUNDS: dict[str, dict[str, float]] = {
    "messages": {"queue_messages": ROOM},
    "bytes": {"queue_bytes": ROOM * SIZE + SIZE - 1},
}


def world_with(policy: str, limits: dict[str, float], store: MemoryStore | None = None) -> World:
    world = World(None, 1000.0, store, **limits)
    world.limits.queue_policy = policy
    return world


def come(world: World, name: str = "alice", receive_maximum: int = 65_535) -> Peer:
    """A client whose session outlives its connection."""
    properties = integers(session_expiry_interval=1000, receive_maximum=receive_maximum)
    return world.connect(name, 5, clean_start=False, properties=properties)


def away(world: World, topic_filter: str = "t", qos: int = 2, **options: bool) -> None:
    """alice has subscribed and gone; her session is there."""
    peer = come(world)
    peer.subscribe(topic_filter, qos=qos, **options)
    peer.lose()


def publish(publisher: Peer, texts: str, qos: int = 1, **fields: object) -> list[int]:
    """Publish a message of `SIZE` bytes for each letter; what its publisher is told of each."""
    told: list[int] = []
    for number, text in enumerate(texts, 1):
        publisher.publish("t", text.encode() * (SIZE - 1), qos, packet_identifier=number, **fields)
        (answer,) = publisher.take()
        assert isinstance(answer, Acknowledgement) and answer.packet_identifier == number
        assert answer.packet_type == (PUBACK if qos == 1 else PUBREC)
        told.append(answer.reason_code)
    return told


def got(peer: Peer) -> str:
    """What comes to a client that acknowledges everything: a letter for each message."""
    return "".join(message.payload[:1].decode() for message in peer.settle())


def drops(world: World, reason: int, name: str = "alice") -> int:
    """By the ledger of a session; that of the broker has nothing else."""
    ledger = world.broker.sessions[name].ledger
    count = ledger.counts[reason] if ledger is not None else 0
    assert world.broker.ledger.counts[reason] == count
    return count


# -- each policy, at its bound


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize(
    ("policy", "kept", "told"),
    [
        (DROP_NEWEST, "abc", [0, 0, 0, FULL, FULL]),
        (DROP_OLDEST, "cde", [0, 0, 0, 0, 0]),
        (REFUSE, "abc", [0, 0, 0, FULL, FULL]),
    ],
)
def test_a_queue_holds_what_its_bound_allows_and_a_5_0_publisher_hears_what_nobody_has(
    policy: str, kept: str, told: list[int], qos: int, bound: str
) -> None:
    world = world_with(policy, BOUNDS[bound])
    away(world)
    assert publish(world.connect("bob", 5), "abcde", qos) == told
    session = world.broker.sessions["alice"]
    assert session.queue is not None and len(session.queue) == ROOM
    assert session.queue_bytes == ROOM * SIZE
    assert drops(world, QUEUE_FULL) == 2
    assert got(come(world)) == kept
    assert session.queue is None and session.queue_bytes == 0


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(("policy", "kept"), [(DROP_NEWEST, "abc"), (DROP_OLDEST, "cde"), (REFUSE, "abc")])
def test_before_5_0_nobody_can_be_told_and_the_ledger_says_it_all_the_same(
    policy: str, kept: str, version: int, qos: int, bound: str
) -> None:
    world = world_with(policy, BOUNDS[bound])
    away(world)
    bob = world.connect("bob", version)
    assert publish(bob, "abcde", qos) == [0] * 5
    assert not bob.is_closed
    assert drops(world, QUEUE_FULL) == 2
    assert got(come(world)) == kept


def test_the_policy_is_to_drop_the_newest_unless_another_is_named() -> None:
    assert Limits().queue_policy == DROP_NEWEST


@pytest.mark.parametrize("policy", POLICIES)
def test_a_burst_of_drops_is_told_when_it_begins_and_in_total_when_it_is_over(policy: str) -> None:
    world = world_with(policy, {"queue_messages": ROOM})
    away(world)
    publish(world.connect("bob"), "abcdefg")
    assert world.events.of("dropped") == [("alice", "queue full", 1)]
    world.advance(11)
    assert world.events.of("dropped") == [("alice", "queue full", 1), ("alice", "queue full", 4)]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_queue_that_was_read_has_room_again(policy: str) -> None:
    world = world_with(policy, {"queue_messages": ROOM})
    away(world)
    bob = world.connect("bob", 5)
    publish(bob, "abcde")
    peer = come(world)
    assert len(got(peer)) == ROOM
    peer.lose()
    assert publish(bob, "xyz") == [0, 0, 0]
    assert got(come(world)) == "xyz"


def test_a_large_message_takes_the_place_of_as_many_as_it_needs() -> None:
    world = world_with(DROP_OLDEST, {"queue_bytes": ROOM * SIZE})
    away(world)
    bob = world.connect("bob", 5)
    publish(bob, "abc")
    bob.publish("t", b"z" * (2 * SIZE - 1), 1)
    assert bob.take() == [Acknowledgement(PUBACK, 1)]
    assert drops(world, QUEUE_FULL) == 2
    assert got(come(world)) == "cz"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_message_larger_than_the_whole_queue_is_dropped_alone(policy: str) -> None:
    world = world_with(policy, {"queue_bytes": ROOM * SIZE})
    away(world)
    bob = world.connect("bob", 5)
    publish(bob, "ab")
    bob.publish("t", bytes(ROOM * SIZE), 1)
    assert bob.take() == [Acknowledgement(PUBACK, 1, FULL)]
    assert publish(bob, "c") == [0]
    assert drops(world, QUEUE_FULL) == 1
    assert got(come(world)) == "abc"


def test_a_message_of_exactly_the_whole_queue_takes_all_of_it() -> None:
    world = world_with(DROP_OLDEST, {"queue_bytes": ROOM * SIZE})
    away(world)
    bob = world.connect("bob", 5)
    publish(bob, "abc")
    bob.publish("t", b"z" * (ROOM * SIZE - 1), 1)
    assert bob.take() == [Acknowledgement(PUBACK, 1)]
    assert got(come(world)) == "z"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_queue_for_nothing_lets_through_what_can_be_sent_at_once(policy: str) -> None:
    world = world_with(policy, {"queue_messages": 0})
    peer = come(world, receive_maximum=1)
    peer.subscribe("t", qos=1)
    assert publish(world.connect("bob", 5), "ab") == [0, FULL]
    assert got(peer) == "a"


# -- one session full, another not

KINDS = {
    "plain": ("t", 2, False, False),
    "lesser": ("t", 1, False, False),
    "special": ("t", 2, True, True),
    "mixed": ("t", 2, True, False),
    "shared": ("$share/group/t", 2, False, True),
}
"""What the full session has subscribed to, and at which QoS; whether it, and the reader, get the message altered."""


@pytest.mark.parametrize(
    ("policy", "kind", "told"),
    [
        (DROP_NEWEST, "plain", 0),
        (DROP_NEWEST, "special", 0),
        (DROP_OLDEST, "plain", 0),
        (DROP_OLDEST, "special", 0),
        (REFUSE, "plain", FULL),
        (REFUSE, "lesser", FULL),
        (REFUSE, "mixed", FULL),
        (REFUSE, "special", FULL),
        (REFUSE, "shared", FULL),
    ],
)
@pytest.mark.parametrize("qos", [1, 2])
def test_where_one_session_is_full_the_other_has_the_message_and_only_refuse_says_so(
    policy: str, kind: str, told: int, qos: int
) -> None:
    topic_filter, granted, is_special, reader_is_special = KINDS[kind]
    world = world_with(policy, {"queue_messages": 1})
    away(world, topic_filter, granted, retain_as_published=is_special)
    reader = come(world, "reader")
    reader.subscribe("t", qos=2, retain_as_published=reader_is_special)
    assert publish(world.connect("bob", 5), "abc", qos) == [0, told, told]
    assert got(reader) == "abc"
    assert drops(world, QUEUE_FULL) == 2
    assert got(come(world)) == ("c" if policy == DROP_OLDEST else "a")


@pytest.mark.parametrize(("policy", "told"), [(DROP_NEWEST, 0), (DROP_OLDEST, 0), (REFUSE, FULL)])
def test_a_message_that_was_retained_was_kept_though_a_queue_is_full(policy: str, told: int) -> None:
    world = world_with(policy, {"queue_messages": 1})
    away(world)
    assert publish(world.connect("bob", 5), "ab", retain=True) == [0, told]
    late = come(world, "late")
    late.subscribe("t", qos=1)
    assert got(late) == "b"


@pytest.mark.parametrize("policy", POLICIES)
def test_qos_0_never_waits_for_a_client_that_is_away_and_its_loss_is_no_refusal(policy: str) -> None:
    world = world_with(policy, {"queue_messages": 1})
    away(world, qos=0)
    assert publish(world.connect("bob", 5), "abc") == [0, 0, 0]
    assert world.broker.ledger.total() == 0
    assert got(come(world)) == ""


def test_a_refused_qos_2_message_frees_its_packet_identifier() -> None:
    world = world_with(REFUSE, {"queue_messages": 1})
    away(world)
    bob = world.connect("bob", 5)
    assert publish(bob, "ab", qos=2) == [0, FULL]
    peer = come(world)
    assert got(peer) == "a"
    peer.lose()
    bob.publish("t", b"repeated", 2, packet_identifier=2)
    assert bob.take() == [Acknowledgement(PUBREC, 2)]
    assert got(come(world)) == "r"


# -- what is never dropped, and what goes first


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize(("policy", "kept"), [(DROP_NEWEST, "abcde"), (DROP_OLDEST, "abfgh"), (REFUSE, "abcde")])
def test_what_is_in_flight_is_never_dropped(policy: str, kept: str, qos: int) -> None:
    world = world_with(policy, {"queue_messages": ROOM})
    peer = come(world, receive_maximum=2)
    peer.subscribe("t", qos=qos)
    publish(world.connect("bob"), "abcdefgh", qos)
    assert len(peer.messages()) == 2
    peer.lose()
    peer = come(world, receive_maximum=2)
    again = peer.settle()
    assert [message.dup for message in again] == [True, True, False, False, False]
    assert "".join(message.payload[:1].decode() for message in again) == kept
    assert drops(world, QUEUE_FULL) == 3


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("bound", BOUNDS)
def test_what_has_expired_goes_before_anything_else(policy: str, bound: str) -> None:
    world = world_with(policy, BOUNDS[bound])
    away(world)
    bob = world.connect("bob", 5)
    publish(bob, "xy", properties=integers(message_expiry_interval=5))
    publish(bob, "a")
    world.advance(10)
    assert publish(bob, "bc") == [0, 0]
    assert (drops(world, EXPIRED), drops(world, QUEUE_FULL)) == (2, 0)
    assert got(come(world)) == "abc"


@pytest.mark.parametrize("policy", POLICIES)
def test_what_has_expired_goes_first_also_behind_what_has_not(policy: str) -> None:
    world = world_with(policy, {"queue_messages": ROOM})
    away(world)
    bob = world.connect("bob", 5)
    publish(bob, "a")
    publish(bob, "xy", properties=integers(message_expiry_interval=5))
    world.advance(10)
    assert publish(bob, "bc") == [0, 0]
    assert (drops(world, EXPIRED), drops(world, QUEUE_FULL)) == (2, 0)
    assert got(come(world)) == "abc"


@pytest.mark.parametrize("policy", POLICIES)
def test_what_expires_in_a_queue_that_is_not_full_is_not_sent(policy: str) -> None:
    world = world_with(policy, {"queue_messages": ROOM})
    away(world)
    bob = world.connect("bob", 5)
    publish(bob, "a")
    publish(bob, "x", properties=integers(message_expiry_interval=5))
    publish(bob, "b")
    world.advance(10)
    assert got(come(world)) == "ab"
    assert drops(world, EXPIRED) == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_a_store_keeps_exactly_what_the_queue_has(policy: str) -> None:
    store = MemoryStore()
    world = world_with(policy, {"queue_messages": ROOM}, store)
    away(world)
    publish(world.connect("bob"), "abcde")
    session = world.broker.sessions["alice"]
    assert session.queue is not None and store.sessions["alice"].queue == list(session.queue)
    world = World(store=store, start=world.now)
    assert got(come(world)) == ("cde" if policy == DROP_OLDEST else "abc")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("seed", range(5))
def test_through_cuts_and_full_queues_all_comes_once_and_in_order_or_stands_in_the_ledger(
    seed: int, bound: str, policy: str
) -> None:
    chance = random.Random(seed)
    world = world_with(policy, BOUNDS[bound])
    peer = come(world, receive_maximum=2)
    peer.subscribe("t", qos=2)
    bob = world.connect("bob", 5)
    came: list[int] = []
    refused = 0
    for number in range(300):
        bob.publish("t", b"%09d" % number, 2)
        refused += [packet.reason_code for packet in bob.take() if isinstance(packet, Acknowledgement)] == [FULL]
        bob.acknowledge(PUBREL, 1)
        bob.take()
        if chance.random() < 0.1:
            came += [int(message.payload) for message in peer.settle()]
        if chance.random() < 0.05:
            peer.lose()
            peer = come(world, receive_maximum=2)
    came += [int(message.payload) for message in peer.settle()]
    assert came == sorted(set(came))
    assert len(came) + drops(world, QUEUE_FULL) == 300
    assert refused == (0 if policy == DROP_OLDEST else drops(world, QUEUE_FULL))
    assert drops(world, QUEUE_FULL) > 50
