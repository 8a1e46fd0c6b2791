"""Is a client held to what it may publish, by refusal in 5.0 and by patience before, and a user to its connections?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.harness import Peer, World
from tidewire.engine.allowance import Allowance
from tidewire.engine.connection import Connection
from tidewire.engine.ledger import RATE_EXCEEDED, REASONS
from tidewire.engine.ports import Access, Principal
from tidewire.wire.codes import PUBACK, PUBREC, V5, V311
from tidewire.wire.packets import (
    Acknowledgement,
    Connack,
    Connect,
    Pingreq,
    Pingresp,
    Publish,
    Subscribe,
    SubscriptionRequest,
)

QUOTA_EXCEEDED = 0x97
SERVER_UNAVAILABLE = 3


class ByUserName(Access):
    """Everybody is who they say."""

    def authenticate(self, packet: Connect, connection: Connection) -> tuple[int, Principal | None]:
        return 0, Principal(packet.user_name, packet.client_identifier)


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(0, 50), st.floats(0, 5)), max_size=50),
)
def test_over_any_time_no_more_is_let_through_than_the_rate_a_burst_and_one_read(
    rate: int, reads: list[tuple[int, float]]
) -> None:
    allowance = Allowance(rate, 0, 100.0)
    now, passed, largest = 100.0, 0, 0
    for messages, pause in reads:
        now += pause
        if allowance.wait_s(now) == 0.0:
            allowance.spend(messages, 10_000)
            passed += messages
            largest = max(largest, messages)
    assert passed <= rate * (now - 100.0) + rate + largest + 0.001


def test_the_wait_is_as_long_as_the_debt_and_no_longer() -> None:
    allowance = Allowance(10, 1000, 0.0)
    allowance.spend(15, 500)
    assert allowance.wait_s(0.0) == 0.5
    assert allowance.wait_s(0.25) == 0.25
    assert allowance.wait_s(0.5) == 0.0
    allowance.spend(0, 3000)
    assert allowance.wait_s(0.5) == pytest.approx(2.0)


def publish(count: int, qos: int = 0) -> list[Publish]:
    return [Publish(b"rate", b"%d" % number, qos, packet_identifier=number + 1) for number in range(count)]


def watched(**limits: float) -> tuple[World, Peer]:
    world = World(**limits)
    watcher = world.connect("watcher", V5)
    watcher.send(Subscribe(1, [SubscriptionRequest(b"#", 0)]))
    watcher.take()
    return world, watcher


@pytest.mark.parametrize(("qos", "answer"), [(1, PUBACK), (2, PUBREC)])
def test_in_5_0_what_is_too_much_is_refused_and_entered_into_the_ledger(qos: int, answer: int) -> None:
    world, watcher = watched(publish_messages_per_s=3)
    client = world.connect("busy", V5)
    client.send(*publish(4, qos))  # a read is taken whole
    assert client.take() == [Acknowledgement(answer, number + 1) for number in range(4)]
    client.send(*[Publish(b"rate", b"more", qos, packet_identifier=number) for number in (5, 6)])
    assert client.take() == [Acknowledgement(answer, number, QUOTA_EXCEEDED) for number in (5, 6)]
    assert len(watcher.messages()) == 4
    assert world.broker.ledger.counts[RATE_EXCEEDED] == 2
    assert world.events.of("dropped") == [("busy", REASONS[RATE_EXCEEDED], 1)]
    assert client.transport.reading
    world.advance(1)
    client.send(Publish(b"rate", b"again", qos, packet_identifier=5))  # the identifier is free again
    assert client.take() == [Acknowledgement(answer, 5)]


def test_in_5_0_qos_0_is_dropped_and_counted() -> None:
    world, watcher = watched(publish_bytes_per_s=10)
    client = world.connect("busy", V5)
    client.send(Publish(b"rate", b"x" * 20))
    client.send(*publish(3))
    assert len(watcher.messages()) == 1
    assert world.broker.ledger.counts[RATE_EXCEEDED] == 3
    client.send(Pingreq())
    assert client.take() == [Pingresp()]
    world.advance(2)
    client.send(*publish(1))
    assert len(watcher.messages()) == 1


@pytest.mark.parametrize("qos", [0, 1])
def test_before_5_0_the_client_is_not_read_from_until_its_time_has_come(qos: int) -> None:
    world, watcher = watched(publish_messages_per_s=2)
    client = world.connect("busy", V311, keep_alive=1)
    client.send(*publish(2, qos))
    assert client.transport.reading
    client.send(*publish(8, qos))
    assert not client.transport.reading
    assert len(watcher.messages()) == 10  # nothing is lost
    world.advance(3.5)
    assert not client.transport.reading
    assert not client.is_closed  # though it could not be heard for longer than its Keep Alive
    world.advance(1)
    assert client.transport.reading
    assert world.broker.statistics.publishers_held_back == 1
    assert world.broker.ledger.counts[RATE_EXCEEDED] == 0


def test_one_held_back_and_blocked_is_read_from_only_when_both_are_over() -> None:
    world = World(publish_messages_per_s=2)
    client = world.connect("busy", V311)
    client.send(*publish(4))
    client.connection._reading_paused = True
    client.connection.unblocked(world.now)
    assert not client.transport.reading
    client.connection._reading_paused = True
    world.advance(1.5)
    assert not client.transport.reading
    client.connection.unblocked(world.now)
    assert client.transport.reading


def test_without_a_limit_nothing_is_measured() -> None:
    world = World()
    client = world.connect("free", V5)
    assert client.connection.allowance is None


def test_a_user_has_so_many_connections_and_others_are_not_concerned() -> None:
    world = World(ByUserName(), connections_per_user=2)
    first = world.connect("1", V5, user_name="u")
    world.connect("2", V5, user_name="u")
    third = world.open(V5)
    third.send(Connect("3", V5, user_name="u"))
    (answer,) = third.take()
    assert isinstance(answer, Connack) and answer.reason_code == QUOTA_EXCEEDED
    older = world.open(V311)
    older.send(Connect("3", V311, user_name="u"))
    assert older.take() == [Connack(False, SERVER_UNAVAILABLE)]
    assert world.connect("4", V5, user_name="v").connack.reason_code == 0
    assert world.connect("5", V5).connack.reason_code == 0
    assert world.broker.statistics.connections_refused == 2
    assert world.connect("1", V5, user_name="u").connack.reason_code == 0  # in place of its own
    assert first.is_closed
    world.connect("2", V5, user_name="u").disconnect()
    assert world.connect("3", V5, user_name="u").connack.reason_code == 0
