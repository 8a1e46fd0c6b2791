"""What waits for the store, and what does not: acknowledgements, QoS 2, and what tells of changes to a session."""

from __future__ import annotations

from tests.engine.harness import Peer, World, integers
from tidewire.engine.changes import GRACE_GROUPS, Batch, Changes
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import Acknowledgement, Connack, Connect, Publish, Suback, Subscribe, SubscriptionRequest


class Store(Changes):
    """A store whose commits the test makes."""

    def commit(self, world: World) -> Batch | None:
        self.failing = False
        batch = self.take(0.0)
        if batch is not None:
            self.committed()
            world.broker.committed(batch.ticket, world.now)
            world.flush()
        return batch

    def fail(self, world: World) -> None:
        self.failing = True
        world.broker.commit_failed(world.now)
        world.flush()


def world_with(store: Store, **limits: float) -> World:
    return World(store=store, **limits)


def keeper(world: World, store: Store, qos: int | None = None, name: str = "keeper", version: int = 5) -> Peer:
    """A client whose session is kept, subscribed to `a` if a QoS is given; all of it is committed."""
    peer = world.open(version)
    fields = {"properties": integers(session_expiry_interval=600)} if version == 5 else {}
    peer.send(Connect(name, version, clean_start=False, **fields))
    store.commit(world)
    connack, *peer.inbox = peer.take()
    assert isinstance(connack, Connack)
    if qos is not None:
        peer.send(Subscribe(9, [SubscriptionRequest(b"a", qos)]))
        store.commit(world)
        assert peer.take() == [Suback(9, [qos])]
    return peer


def acknowledgements(peer: Peer) -> list[tuple[int, int, int]]:
    """Type, packet identifier and reason code of those that came."""
    return [(p.packet_type, p.packet_identifier, p.reason_code) for p in peer.take() if isinstance(p, Acknowledgement)]


def test_connack_and_suback_of_a_kept_session_wait_and_those_of_another_do_not() -> None:
    store = Store()
    world = world_with(store)
    peer = world.open(5)
    peer.send(Connect("keeper", 5, properties=integers(session_expiry_interval=600)))
    assert peer.take() == []
    store.commit(world)
    assert isinstance(peer.take()[0], Connack)
    peer.send(Subscribe(1, [SubscriptionRequest(b"a", 1)]))
    assert peer.take() == []
    store.commit(world)
    assert peer.take() == [Suback(1, [1])]
    passing = world.connect("passing")
    assert passing.subscribe("a", qos=1) == [1]
    assert store.commit(world) is None


def test_a_puback_waits_for_the_commit_where_a_session_is_away() -> None:
    store = Store()
    world = world_with(store)
    keeper(world, store, 1).lose()
    store.commit(world)
    publisher = world.connect("publisher")
    publisher.publish("a", b"x", qos=1, packet_identifier=1)
    publisher.publish("elsewhere", b"x", qos=1, packet_identifier=2)
    assert publisher.take() == []  # and the second keeps its place behind the first [MQTT-4.6.0-2]
    batch = store.commit(world)
    assert batch is not None and [row[1].payload for row in batch.messages] == [b"x"]
    assert acknowledgements(publisher) == [(PUBACK, 1, 0), (PUBACK, 2, 0)]


def test_a_message_that_its_subscriber_acknowledges_in_time_costs_no_commit() -> None:
    store = Store()
    world = world_with(store)
    subscriber = keeper(world, store, 1)
    publisher = world.connect("publisher")
    for identifier in (1, 2):
        publisher.publish("a", qos=1, packet_identifier=identifier)
    first, second = (message.packet_identifier for message in subscriber.messages())
    subscriber.acknowledge(PUBACK, second)
    assert publisher.take() == []
    subscriber.acknowledge(PUBACK, first)
    assert acknowledgements(publisher) == [(PUBACK, 1, 0), (PUBACK, 2, 0)]
    batch = store.commit(world)
    assert batch is not None and (batch.messages, batch.deliveries, batch.settled) == ([], [], [])


def test_a_message_for_two_waits_until_both_have_it() -> None:
    store = Store()
    world = world_with(store)
    subscribers = [keeper(world, store, 1, name) for name in ("one", "two")]
    publisher = world.connect("publisher")
    publisher.publish("a", qos=1)
    for index, subscriber in enumerate(subscribers):
        assert acknowledgements(publisher) == []
        (message,) = subscriber.messages()
        subscriber.acknowledge(PUBACK, message.packet_identifier)
        assert index == 0 or acknowledgements(publisher) == [(PUBACK, 1, 0)]


def test_a_retained_message_is_acknowledged_when_it_is_safe() -> None:
    store = Store()
    world = world_with(store)
    publisher = world.connect("publisher")
    publisher.publish("a", qos=1, retain=True)
    assert publisher.take() == []
    batch = store.commit(world)
    assert batch is not None and batch.retained[0][0] == b"a"
    assert [row[0] for row in acknowledgements(publisher)] == [PUBACK]


def test_qos_0_does_not_wait() -> None:
    store = Store()
    world = world_with(store)
    subscriber = keeper(world, store, 2)
    publisher = world.connect("publisher")
    publisher.publish("a", b"now")
    assert [message.payload for message in subscriber.messages()] == [b"now"]


def test_a_qos_2_message_leaves_when_its_identifier_is_safe_and_so_does_its_pubrel() -> None:
    store = Store()
    world = world_with(store)
    subscriber = keeper(world, store, 2)
    publisher = keeper(world, store, name="publisher")
    publisher.publish("a", b"once", qos=2, packet_identifier=5)
    assert subscriber.take() == [] and publisher.take() == []
    batch = store.commit(world)
    assert batch is not None and [row[6] for row in batch.deliveries] == [1] and batch.received == [(2, 5)]
    (message,) = subscriber.take()
    assert isinstance(message, Publish)
    assert acknowledgements(publisher) == [(PUBREC, 5, 0)]
    subscriber.acknowledge(PUBREC, message.packet_identifier)
    assert subscriber.take() == []
    publisher.acknowledge(PUBREL, 5)
    assert publisher.take() == []
    batch = store.commit(world)
    assert batch is not None and batch.deliveries[0][2] == 0 and batch.forgotten == [(2, 5)]
    assert batch.dead_messages == [1]
    assert acknowledgements(subscriber) == [(PUBREL, message.packet_identifier, 0)]
    assert acknowledgements(publisher) == [(PUBCOMP, 5, 0)]


def test_what_waits_for_a_later_commit_does_not_hold_up_what_waits_for_an_earlier_one() -> None:
    store = Store()
    world = world_with(store)
    subscriber = keeper(world, store, 2)
    publisher = world.connect("publisher")
    publisher.publish("a", b"first", qos=2, packet_identifier=1)
    batch = store.take(0.0)
    assert batch is not None
    publisher.publish("a", b"second", qos=2, packet_identifier=2)
    store.committed()
    world.broker.committed(batch.ticket, world.now)
    world.flush()
    assert [message.payload for message in subscriber.messages()] == [b"first"]
    store.commit(world)
    assert [message.payload for message in subscriber.messages()] == [b"second"]


def test_a_connection_that_ends_takes_nothing_along_that_waits() -> None:
    store = Store()
    world = world_with(store)
    subscriber = keeper(world, store, 2)
    world.connect("publisher").publish("a", b"once", qos=2)
    subscriber.disconnect()
    store.commit(world)
    assert subscriber.messages() == []
    again = keeper(world, store)
    store.commit(world)
    assert [(message.payload, message.dup) for message in again.messages()] == [(b"once", True)]


def test_too_much_that_waits_blocks_the_link_until_the_commit() -> None:
    store = Store()
    world = world_with(store, maximum_packet_size=16 * 1024 * 1024)
    subscriber = keeper(world, store, 2)
    publisher = world.connect("publisher")
    publisher.publish("a", bytes(5 * 1024 * 1024), qos=2, packet_identifier=1)
    publisher.publish("a", b"small", qos=2, packet_identifier=2)
    assert subscriber.connection.blocked
    store.commit(world)
    store.commit(world)
    assert [len(message.payload) for message in subscriber.messages()] == [5 * 1024 * 1024, 5]
    assert not subscriber.connection.blocked


def test_when_commits_fail_5_0_is_told_and_3_1_1_waits_and_subscribers_are_served_on() -> None:
    store = Store()
    world = world_with(store)
    keeper(world, store, 1, "away").lose()
    online = keeper(world, store, 2, "online")
    modern = world.connect("modern", version=5)
    older = world.connect("older", version=4)
    modern.publish("a", b"1", qos=1)
    older.publish("a", b"2", qos=1)
    store.fail(world)
    assert acknowledgements(modern) == [(PUBACK, 1, 0x97)]
    assert acknowledgements(older) == []
    modern.publish("a", b"3", qos=2, packet_identifier=2)
    assert acknowledgements(modern) == [(PUBREC, 2, 0x97)]
    assert [message.payload for message in online.messages()] == [b"1", b"2", b"3"]
    for _ in range(GRACE_GROUPS + 1):
        store.commit(world)
    assert acknowledgements(older) == [(PUBACK, 1, 0)]
    modern.publish("a", b"4", qos=1, packet_identifier=2)
    for _ in range(GRACE_GROUPS + 1):
        store.commit(world)
    assert acknowledgements(modern) == [(PUBACK, 2, 0)]


def test_a_session_that_ends_lets_go_of_what_was_kept_for_it() -> None:
    store = Store()
    world = world_with(store)
    keeper(world, store, 1).lose()
    publisher = world.connect("publisher")
    publisher.publish("a", qos=1)
    store.commit(world)
    publisher.take()
    world.advance(601)
    batch = store.commit(world)
    assert batch is not None
    assert (batch.ended_sessions, batch.dead_messages) == ([1], [1])


def test_a_message_that_is_under_way_for_long_is_written_and_so_is_its_acknowledgement() -> None:
    store = Store()
    world = world_with(store)
    subscriber = keeper(world, store, 1)
    publisher = world.connect("publisher")
    publisher.publish("a", b"x", qos=1)
    for _ in range(GRACE_GROUPS):
        batch = store.commit(world)
        assert batch is not None and batch.rows() == 0
        assert publisher.take() == []
    batch = store.commit(world)
    assert batch is not None and [row[6] for row in batch.deliveries] == [1]
    assert acknowledgements(publisher) == [(PUBACK, 1, 0)]
    subscriber.acknowledge(PUBACK, 1)
    batch = store.commit(world)
    assert batch is not None and (batch.settled, batch.dead_messages) == ([(1, 1)], [1])


def test_a_session_that_ends_lets_go_of_what_is_under_way_to_it() -> None:
    store = Store()
    world = world_with(store)
    subscriber = keeper(world, store, 1)
    publisher = world.connect("publisher")
    publisher.publish("a", b"x", qos=1)
    subscriber.lose()
    world.advance(601)
    assert acknowledgements(publisher) == [(PUBACK, 1, 0)]
    batch = store.commit(world)
    assert batch is not None and (batch.messages, batch.deliveries) == ([], [])


def test_what_is_under_way_is_written_with_what_waits_behind_it() -> None:
    store = Store()
    world = world_with(store, inflight_maximum=1)
    keeper(world, store, 1)
    publisher = world.connect("publisher")
    publisher.publish("a", b"first", qos=1, packet_identifier=1)
    publisher.publish("a", b"second", qos=1, packet_identifier=2)
    batch = store.commit(world)
    assert batch is not None and [row[1].payload for row in sorted(batch.messages)] == [b"second", b"first"]
    assert [(row[1], row[6]) for row in sorted(batch.deliveries)] == [(1, 1), (2, 0)]
