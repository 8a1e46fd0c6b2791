"""Do sessions live, end and leave a will as their client and the limits say?"""

from __future__ import annotations

import pytest

from tests.engine.harness import Peer, World, integers
from tidewire.engine.ports import Access, Principal
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBREC, ReasonCode
from tidewire.wire.packets import Connect, Disconnect, Will

DAY = 24 * 3600.0


def will(delay: int = 0, **fields: int) -> Will:
    return Will(b"will", b"gone", properties=integers(**({"will_delay_interval": delay} if delay else {}), **fields))


def watched(**limits: float) -> tuple[World, Peer]:
    """A world, and somebody who sees wills."""
    world = World(**limits)
    watcher = world.connect("watcher", 5)
    watcher.subscribe("will", qos=2)
    return world, watcher


def connect(world: World, expiry: int = 0, *, clean_start: bool = True, **fields: object) -> Peer:
    properties = integers(session_expiry_interval=expiry)
    return world.connect("alice", 5, clean_start=clean_start, properties=properties, **fields)


# -- session life, row by row (3.1.2.4, 3.1.2.11.2)


@pytest.mark.parametrize(
    ("version", "clean_start", "expiry", "lives"),
    [(3, True, None, 0), (3, False, None, 7 * DAY), (4, True, None, 0), (4, False, None, 7 * DAY),
     (5, True, None, 0), (5, False, None, 0), (5, True, 0, 0), (5, True, 50, 50), (5, False, 50, 50),
     (5, True, 0xFFFF_FFFF, 7 * DAY), (5, False, 8 * DAY, 7 * DAY)],
)  # fmt: skip
@pytest.mark.parametrize("leaves", ["lose", "disconnect"])
def test_a_session_outlives_its_connection_by_its_expiry_and_never_by_more_than_the_cap(
    version: int, clean_start: bool, expiry: float | None, lives: float, leaves: str
) -> None:
    world = World()
    properties = integers(session_expiry_interval=int(expiry)) if expiry is not None else integers()
    alice = world.connect("alice", version, clean_start=clean_start, properties=properties)
    getattr(alice, leaves)()
    sessions = world.broker.sessions
    if lives:
        if lives > 3600:
            for _ in range(int(lives // 3600) - 1):
                world.advance(3600)
            world.advance(3590)
        else:
            world.advance(lives - 1)
        assert "alice" in sessions
        world.advance(12)
        assert world.broker.statistics.sessions_expired == 1
    assert "alice" not in sessions
    assert world.broker.statistics.subscriptions == 0


def test_the_granted_expiry_is_told_when_it_is_not_what_was_asked() -> None:
    world = World(session_expiry_maximum_s=100)
    for asked, told in ((100, None), (101, 100), (0xFFFF_FFFF, 100)):
        assert connect(world, asked).connack.properties.integers.get(p.SESSION_EXPIRY_INTERVAL) == told


def test_session_present_is_told_and_subscriptions_and_messages_are_there_again() -> None:
    world = World()
    alice = connect(world, 100)
    assert not alice.connack.session_present
    alice.subscribe("a", qos=2)
    alice.lose()
    bob = world.connect("bob")
    for qos in (0, 1, 2):
        bob.publish("a", b"%d" % qos, qos=qos)
    alice = connect(world, 100, clean_start=False)
    assert alice.connack.session_present
    assert [message.payload for message in alice.settle()] == [b"1", b"2"]
    assert [entry[1] for entry in world.events.of("connected") if entry[0] == "alice"] == [False, True]
    alice.lose()
    alice = connect(world, 100)
    assert not alice.connack.session_present
    bob.publish("a")
    assert alice.messages() == []


def test_3_1_has_no_session_present_but_has_the_session() -> None:
    world = World()
    world.connect("alice", 3, clean_start=False).subscribe("a", qos=1)
    world.broker.sessions["alice"].connection.lost("gone", world.now)  # type: ignore[union-attr]
    world.connect("bob").publish("a", qos=1)
    alice = world.connect("alice", 3, clean_start=False)
    assert not alice.connack.session_present
    assert len(alice.messages()) == 1


def test_disconnect_can_change_the_expiry() -> None:
    world = World(session_expiry_maximum_s=1000)
    alice = connect(world, 100)
    alice.send(Disconnect(properties=integers(session_expiry_interval=0)))
    assert "alice" not in world.broker.sessions
    alice = connect(world, 100)
    alice.send(Disconnect(properties=integers(session_expiry_interval=0xFFFF_FFFF)))
    world.advance(999)
    assert "alice" in world.broker.sessions
    world.advance(2)
    assert "alice" not in world.broker.sessions


def test_disconnect_must_not_prolong_a_session_that_connect_declared_short() -> None:
    world, watcher = watched()
    alice = connect(world, 0, will=will())
    alice.send(Disconnect(properties=integers(session_expiry_interval=10)))
    assert alice.take()[0].reason_code == ReasonCode.PROTOCOL_ERROR  # type: ignore[attr-defined]
    assert len(watcher.messages()) == 1
    alice = connect(world, 0)
    alice.send(Disconnect(properties=integers(session_expiry_interval=0)))
    assert alice.take() == []


def test_what_a_session_still_held_when_it_ended_stands_in_the_ledger() -> None:
    world = World()
    alice = connect(world, 10)
    alice.subscribe("a", qos=1)
    alice.lose()
    bob = world.connect("bob")
    for _ in range(3):
        bob.publish("a", qos=1)
    world.advance(11)
    assert set(world.events.of("dropped")) == {("alice", "session ended", 3)}
    assert world.broker.statistics.publish_dropped == 3
    bob.publish("a", qos=1)
    assert world.broker.statistics.publish_dropped == 3


def test_unfinished_qos_2_messages_from_a_client_are_remembered_across_connections() -> None:
    world, watcher = watched()
    alice = connect(world, 100)
    alice.publish("will", b"once", qos=2, packet_identifier=7)
    alice.lose()
    alice = connect(world, 100, clean_start=False)
    alice.publish("will", b"once", qos=2, packet_identifier=7, dup=True)
    assert [packet.packet_type for packet in alice.take()] == [PUBREC]  # type: ignore[attr-defined]
    assert len(watcher.settle()) == 1


# -- take-over (3.1.4)


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("clean_start", [True, False])
def test_a_second_connection_takes_the_session_over(version: int, clean_start: bool) -> None:
    world = World()
    first = world.connect("alice", version, clean_start=False, properties=integers(session_expiry_interval=100))
    first.subscribe("a", qos=1)
    second = world.connect("alice", 5, clean_start=clean_start)
    assert second.connack.session_present == (not clean_start)
    assert first.is_closed
    goodbye = first.take()
    if version == 5:
        assert isinstance(goodbye[0], Disconnect)
        assert goodbye[0].reason_code == ReasonCode.SESSION_TAKEN_OVER
    else:
        assert goodbye == []
    world.connect("bob").publish("a")
    assert len(second.messages()) == (0 if clean_start else 1)
    assert world.broker.statistics.connections == 2
    first.lose()
    assert world.broker.sessions["alice"].connection is second.connection


def test_what_was_in_flight_on_the_old_connection_comes_again_on_the_new() -> None:
    world = World()
    first = connect(world, 100)
    first.subscribe("a", qos=1)
    world.connect("bob").publish("a", qos=1)
    assert [message.dup for message in first.messages()] == [False]
    second = connect(world, 100, clean_start=False)
    assert [message.dup for message in second.settle()] == [True]


def test_a_take_over_of_a_connection_that_does_not_read_writes_nothing_after_the_end() -> None:
    world = World()
    first = connect(world, 100)
    first.block()
    first.send_bytes(b"\xc0\x00" * 3)
    connect(world, 100, clean_start=False)
    first.unblock()  # the transport drains what it has; an assertion of FakeTransport watches
    packets = first.take()
    assert len(packets) == 4
    assert isinstance(packets[-1], Disconnect)


class TwoUsers(Access):
    """Whoever brings a user name is that user."""

    def authenticate(self, packet, connection):  # type: ignore[no-untyped-def]
        return 0, Principal(packet.user_name, packet.client_identifier)


def test_a_session_is_never_handed_to_another_user() -> None:
    world = World(TwoUsers())
    alice = connect(world, 100, user_name="alice")
    alice.subscribe("a", qos=1)
    mallory = connect(world, 100, clean_start=False, user_name="mallory")
    assert not mallory.connack.session_present
    assert alice.is_closed
    world.connect("bob", user_name="bob").publish("a", qos=1)
    assert mallory.messages() == []
    mallory.lose()
    assert not connect(world, 100, clean_start=False, user_name="alice").connack.session_present
    connect(world, 100, user_name="alice").lose()
    assert connect(world, 100, clean_start=False, user_name="alice").connack.session_present


# -- wills (3.1.2.5, 3.1.3.2)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_will_is_published_when_the_connection_breaks_and_not_after_a_good_bye(version: int) -> None:
    world, watcher = watched()
    world.connect("alice", version, will=Will(b"will", b"gone")).lose()
    assert [message.payload for message in watcher.settle()] == [b"gone"]
    world.connect("alice", version, will=Will(b"will", b"gone")).disconnect()
    assert watcher.settle() == []


def test_a_good_bye_with_0x04_asks_for_the_will() -> None:
    world, watcher = watched()
    world.connect("alice", 5, will=Will(b"will", b"gone")).disconnect(0x04)
    assert len(watcher.settle()) == 1


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [True, False])
def test_a_will_has_its_qos_its_retain_flag_and_its_properties(qos: int, retain: bool) -> None:
    world, watcher = watched()
    last = Will(b"will", b"gone", qos, retain, integers(message_expiry_interval=60, will_delay_interval=5))
    last.properties.user_properties = [("a", "b")]
    connect(world, 100, will=last).lose()
    world.advance(6)
    (message,) = watcher.settle()
    assert (message.qos, message.payload, message.retain) == (qos, b"gone", False)
    assert message.properties.user_properties == [("a", "b")]
    assert message.properties.integers == {p.MESSAGE_EXPIRY_INTERVAL: 60}
    assert (world.broker.retained.count == 1) == retain


@pytest.mark.parametrize(
    ("expiry", "delay", "at"),
    [(0, 0, 0), (0, 10, 0), (100, 0, 0), (100, 10, 10), (10, 100, 10), (50, 50, 50), (0xFFFF_FFFF, 30, 30)],
)
@pytest.mark.parametrize("leaves", ["lose", "error", "time-out", "with will"])
def test_a_will_waits_for_its_delay_or_the_end_of_the_session(expiry: int, delay: int, at: int, leaves: str) -> None:
    world, watcher = watched()
    alice = connect(world, expiry, will=will(delay), keep_alive=4)
    if leaves == "lose":
        alice.lose()
    elif leaves == "error":
        alice.send_bytes(b"\xf3\x00")
    elif leaves == "time-out":
        while not alice.is_closed:
            world.advance(0.25)
    else:
        alice.disconnect(0x04)
    if at:
        world.advance(at - 0.25)
        assert watcher.messages() == []
        world.advance(0.5)
    assert len(watcher.settle()) == 1
    world.advance(300)
    assert watcher.settle() == []


@pytest.mark.parametrize("clean_start", [True, False])
def test_coming_back_within_the_delay_cancels_the_will_unless_the_session_starts_anew(clean_start: bool) -> None:
    world, watcher = watched()
    connect(world, 100, will=will(10)).lose()
    world.advance(5)
    connect(world, 100, clean_start=clean_start)
    world.advance(300)
    assert len(watcher.settle()) == (1 if clean_start else 0)


def test_coming_back_after_the_delay_is_too_late() -> None:
    world, watcher = watched()
    connect(world, 100, will=will(10)).lose()
    world.advance(11)
    connect(world, 100, clean_start=False, will=will(10))
    assert len(watcher.settle()) == 1


@pytest.mark.parametrize(
    ("expiry", "delay", "clean_start", "published"),
    [(100, 0, False, 1), (100, 0, True, 1), (100, 10, True, 1), (100, 10, False, 0), (0, 0, False, 1), (0, 0, True, 1),
     (0, 10, True, 1), (0, 10, False, 1)],
)  # fmt: skip
def test_a_take_over_publishes_the_will_unless_its_delay_and_the_session_go_on(
    expiry: int, delay: int, clean_start: bool, published: int
) -> None:
    world, watcher = watched()
    connect(world, expiry, will=will(delay))
    second = connect(world, expiry, clean_start=clean_start)
    assert len(watcher.settle()) == published
    world.advance(300)
    assert watcher.settle() == []
    assert not second.is_closed


def test_the_will_of_a_new_connection_takes_the_place_of_the_old() -> None:
    world, watcher = watched()
    connect(world, 100, will=will(10)).lose()
    connect(world, 100, clean_start=False, will=Will(b"will", b"new")).lose()
    assert [message.payload for message in watcher.settle()] == [b"new"]
    world.advance(300)
    assert watcher.settle() == []


def test_the_will_of_a_client_is_queued_for_itself_too() -> None:
    world = World()
    alice = connect(world, 100, will=Will(b"will", b"gone", 1))
    alice.subscribe("will", qos=1)
    alice.lose()
    assert [message.payload for message in connect(world, 100, clean_start=False).settle()] == [b"gone"]


def test_a_will_for_a_topic_that_is_too_deep_is_denied() -> None:
    world = World(topic_levels=2)
    world.connect("alice", will=Will(b"a/b/c", b"gone")).lose()
    assert [(who, topic) for who, _, topic in world.events.of("denied")] == [("alice", b"a/b/c")]


def test_a_shut_down_says_so_and_leaves_wills_unsent() -> None:
    world, watcher = watched()
    alice = connect(world, 100, will=will())
    old = world.connect("old", 4, will=Will(b"will", b"gone"))
    world.connect("away", clean_start=False).lose()
    world.broker.shut_down(world.now)
    world.flush()
    for peer in (alice, watcher):
        (goodbye,) = peer.take()
        assert isinstance(goodbye, Disconnect)
        assert goodbye.reason_code == ReasonCode.SERVER_SHUTTING_DOWN
    assert old.is_closed
    assert old.take() == []


def test_an_identifier_that_the_broker_made_is_told_and_never_made_twice() -> None:
    world = World()
    made = {world.connect("", 5).connack.properties.texts[p.ASSIGNED_CLIENT_IDENTIFIER] for _ in range(5)}
    assert len(made) == 5
    assert made == set(world.broker.sessions)
    other = World()
    taken = other.connect("", 5).connack.properties.texts[p.ASSIGNED_CLIENT_IDENTIFIER]
    another = World()
    another.connect(taken)
    assert another.connect("", 5).connack.properties.texts[p.ASSIGNED_CLIENT_IDENTIFIER] != taken


def test_a_connect_is_what_the_events_say() -> None:
    world = World()
    alice = world.open(5)
    alice.send(Connect("alice", 5))
    alice.disconnect()
    assert world.events.of("connected") == [("alice", False)]
    assert world.events.of("disconnected") == [("alice", 0, "client disconnected")]
