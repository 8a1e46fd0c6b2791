"""Do the accounts of clients and topics say what went through, to the byte, and do budgets restrain the spent?"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.harness import NO_LIMIT, Peer, World, integers
from tidewire.engine.meter import (
    CLIENT_KIND,
    MQTT,
    PACKET_BYTES,
    PACKETS,
    PAYLOAD,
    RECEIVED,
    REFUSED,
    SENT,
    SPAN,
    THROTTLED,
    TRANSFERS,
    UNRESTRAINED,
    Account,
    Budgets,
    Meter,
)
from tidewire.wire.codes import CONNACK, CONNECT, PINGREQ, PINGRESP, PUBLISH, PUBREL, SUBACK, SUBSCRIBE, ReasonCode
from tidewire.wire.framing import Decoder, find_packet
from tidewire.wire.packets import Connect, Disconnect, Pingreq, Publish, Subscribe, SubscriptionRequest, Unsubscribe

TOPICS = ["plant/1/speed", "plant/1/heat", "plant/2", "office", "office/lamp/1/on"]


class Counting(Peer):
    """A peer that keeps the streams of both directions."""

    def __init__(self, world: World, version: int) -> None:
        super().__init__(world, version)
        self.streams: dict[int, bytes] = {RECEIVED: b"", SENT: b""}

    def send_bytes(self, data: bytes) -> None:
        self.streams[RECEIVED] += data
        super().send_bytes(data)

    def take_bytes(self) -> bytes:
        data = super().take_bytes()
        self.streams[SENT] += data
        return data


def connect(world: World, name: str, version: int = 4, **fields: Any) -> Counting:
    peer = Counting(world, version)
    peer.send(Connect(name, version, **fields))
    peer.take()
    return peer


def figures(world: World, name: str) -> list[int]:
    """The account of a client, up to now."""
    for session in world.broker.sessions.values():
        if session.connection is not None:
            world.broker.meter.collect(session.connection, session.connection.account)
    world.broker.meter.collect_branches()
    return world.broker.meter.clients[name].month


def by_type(stream: bytes) -> tuple[Counter[int], Counter[int]]:
    """How many packets of each type there are, and how many bytes."""
    packets: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    position = 0
    while position < len(stream):
        end = find_packet(stream, position, NO_LIMIT)[1]
        packets[stream[position] >> 4] += 1
        sizes[stream[position] >> 4] += end - position
        position = end
    return packets, sizes


def codes(peer: Peer) -> list[int]:
    """The reason codes of what came."""
    return [packet.reason_code for packet in peer.take()]  # type: ignore[attr-defined]


def payloads(stream: bytes, version: int) -> int:
    return sum(len(each.payload) for each in Decoder(version, NO_LIMIT).feed(stream) if isinstance(each, Publish))


def busy_world(seed: int) -> tuple[World, dict[str, list[Counting]]]:
    """Clients of both versions that come, go, publish, subscribe and do not read for a while; at random."""
    dice = random.Random(seed)
    world = World()
    lives: dict[str, list[Counting]] = {}
    there: dict[str, Counting] = {}
    for step in range(150):
        name = f"client {dice.randrange(5)}"
        peer = there.get(name)
        action = dice.randrange(12)
        if peer is None:
            version = dice.choice([4, 5])
            aliases = integers(topic_alias_maximum=2, session_expiry_interval=60) if dice.random() < 0.5 else integers()
            fields = {"properties": aliases} if version == 5 else {}
            there[name] = connect(world, name, version, clean_start=False, **fields)
            lives.setdefault(name, []).append(there[name])
        elif action < 6:
            qos = dice.randrange(3)
            packets = [
                Publish(
                    dice.choice(TOPICS).encode(),
                    bytes(dice.randrange(40)),
                    qos,
                    packet_identifier=qos and step * 8 + n + 1,
                )
                for n in range(dice.randrange(1, 5))
            ]
            peer.send(*packets)
        elif action < 8:
            topic_filter = dice.choice([b"#", b"plant/+/speed", b"office/#", b"plant/2"])
            peer.send(Subscribe(1, [SubscriptionRequest(topic_filter, dice.randrange(3))]))
        elif action == 8:
            peer.send(Pingreq(), Unsubscribe(7, [b"office/#"]))
        elif action == 9:
            peer.block() if dice.random() < 0.5 else peer.unblock()
        elif action == 10:
            peer.lose() if dice.random() < 0.5 else peer.disconnect()
            del there[name]
        for each in there.values():
            if not each.connection.closed and dice.random() < 0.7:
                each.settle()
    for each in there.values():
        each.unblock()
        each.settle()
    for all_of_them in lives.values():
        for each in all_of_them:
            each.take_bytes()
    return world, lives


@pytest.mark.parametrize("seed", range(12))
def test_the_account_of_a_client_is_what_its_sockets_carried(seed: int) -> None:
    world, lives = busy_world(seed)
    for name, peers in lives.items():
        told = figures(world, name)
        for direction in (RECEIVED, SENT):
            streams = [peer.streams[direction] for peer in peers]
            packets: Counter[int] = Counter()
            sizes: Counter[int] = Counter()
            for stream in streams:
                some, few = by_type(stream)
                packets += some
                sizes += few
            assert told[direction + MQTT] == sum(map(len, streams))
            assert told[direction + PAYLOAD] == sum(payloads(peer.streams[direction], peer.version) for peer in peers)
            for number in range(1, 16):
                assert told[direction + PACKETS + number] == packets[number], (name, direction, number)
                assert told[direction + PACKET_BYTES + number] == sizes[number], (name, direction, number)


@pytest.mark.parametrize("seed", range(4))
def test_the_clients_together_are_the_broker(seed: int) -> None:
    world, lives = busy_world(seed)
    world.open().send_bytes(b"\xff\x00")  # somebody who never becomes a client
    told = [figures(world, name) for name in lives]
    meter = world.broker.meter
    told.append(meter.nobody.month)
    assert meter.nobody.month[RECEIVED + MQTT] == 2
    assert [sum(column) for column in zip(*told, strict=True)] == meter.total.month
    statistics = world.broker.statistics
    assert meter.total.month[RECEIVED + MQTT] == statistics.bytes_received
    assert meter.total.month[SENT + MQTT] == statistics.bytes_sent
    assert meter.total.month[RECEIVED + PAYLOAD] == statistics.publish_bytes_received
    assert meter.total.month[RECEIVED + PACKETS + PUBLISH] == statistics.publish_received


@pytest.mark.parametrize("seed", range(4))
def test_the_branches_together_are_what_was_published_and_delivered(seed: int) -> None:
    world, lives = busy_world(seed)
    figures(world, next(iter(lives)))
    meter = world.broker.meter
    assert set(meter.branches) <= {b"plant/1", b"plant/2", b"office", b"office/lamp"}
    statistics = world.broker.statistics
    for place, expected in (
        (RECEIVED + PAYLOAD, statistics.publish_bytes_received),
        (RECEIVED + PACKETS + PUBLISH, statistics.publish_received),
        (RECEIVED + MQTT, meter.total.month[RECEIVED + PACKET_BYTES + PUBLISH]),
        (SENT + PAYLOAD, statistics.publish_bytes_sent),
        (SENT + PACKETS + PUBLISH, statistics.publish_sent),
        (SENT + MQTT, statistics.publish_packet_bytes_sent),
    ):
        assert sum(branch.month[place] for branch in meter.branches.values()) == expected


def test_runs_are_counted_once_each_and_read_and_written_once() -> None:
    world = World()
    reader, five = connect(world, "reader"), connect(world, "five", 5)
    for each in (reader, five):
        each.subscribe("a/#")
    writer = connect(world, "writer")
    before = list(figures(world, "reader"))
    writer.send(*[Publish(b"a/b", b"1234")] * 100)
    told = figures(world, "reader")
    assert told[SENT + PACKETS + PUBLISH] == 100
    assert told[SENT + PAYLOAD] == 400
    assert told[SENT + TRANSFERS] - before[SENT + TRANSFERS] == 1
    assert figures(world, "five")[SENT + PACKET_BYTES + PUBLISH] == figures(world, "writer")[RECEIVED + MQTT] - 20 + 100
    assert world.broker.meter.branches[b"a/b"].month[SENT + PACKETS + PUBLISH] == 200


def test_what_was_never_handed_to_the_transport_is_not_counted() -> None:
    world = World()
    for version in (4, 5):
        reader = connect(world, f"reader {version}", version, clean_start=True)
        reader.subscribe("a", qos=1)
        reader.block()
        writer = connect(world, "writer")
        writer.publish("a", b"12345")
        writer.publish("a", b"12345", qos=1)
        reader.send(Pingreq())
        reader.lose()
        told = figures(world, f"reader {version}")
        assert (told[SENT + PAYLOAD], told[SENT + PACKETS + PUBLISH], told[SENT + PACKET_BYTES + PUBLISH]) == (0, 0, 0)
        assert (told[RECEIVED + PACKETS + PINGREQ], told[SENT + PACKETS + PINGRESP]) == (1, 0)
        assert told[SENT + MQTT] == len(reader.streams[SENT])


def test_clients_and_branches_beyond_the_bound_share_an_account() -> None:
    world = World(metered_clients=2, metered_branches=1)
    for name in ("a", "b", "c", "d"):
        peer = connect(world, name)
        peer.publish(f"{name}/x", b"1234")
        peer.disconnect()
    meter = world.broker.meter
    meter.collect_branches()
    assert (sorted(meter.clients), sorted(meter.branches)) == (["a", "b"], [b"a/x"])
    assert meter.other_clients.month[RECEIVED + PAYLOAD] == 8
    assert meter.other_branches.month[RECEIVED + PAYLOAD] == 12
    assert meter.total.month[RECEIVED + PAYLOAD] == 16


def test_a_day_begins_with_nothing_and_a_month_makes_room_for_others() -> None:
    world = World(metered_clients=2)
    idle, there = connect(world, "idle"), connect(world, "there")
    figures(world, "idle")
    idle.disconnect()
    meter = world.broker.meter
    meter.turn(next_month=False)
    assert meter.clients["idle"].day == [0] * 2 * SPAN
    assert meter.clients["idle"].month[RECEIVED + PACKETS + CONNECT] == 1
    meter.turn(next_month=True)
    assert sorted(meter.clients) == ["idle", "there"]  # both have moved something in the month that has ended
    meter.turn(next_month=True)
    assert sorted(meter.clients) == ["there"]
    there.send(Pingreq())
    assert figures(world, "there")[SENT + PACKETS + PINGRESP] == 1
    assert meter.clients["there"].month[RECEIVED + PACKETS + SUBSCRIBE] == 0


@given(st.lists(st.tuples(st.integers(0, 2 * SPAN - 1), st.integers(1, 9)) | st.booleans()))
def test_an_account_counts_for_the_day_and_the_month_and_leaves_those_of_before_as_they_were(
    steps: list[tuple[int, int] | bool],
) -> None:
    account = Account(CLIENT_KIND, "a")
    day, month = [0] * 2 * SPAN, [0] * 2 * SPAN
    before: list[tuple[list[int], list[int]]] = []
    for step in steps:
        if isinstance(step, bool):
            before += [(account.day, day), (account.month, month)][: 1 + step]
            account.turn(step)
            day = [0] * 2 * SPAN
            month = [0] * 2 * SPAN if step else month
        else:
            place, amount = step
            account.add(place, amount)
            day[place] += amount
            month[place] += amount
        assert (account.day, account.month) == (day, month)
    assert all(kept == expected for kept, expected in before)


def test_what_was_counted_before_is_taken_up_again() -> None:
    world = World()
    connect(world, "a").publish("t", b"1234")
    told = list(figures(world, "a"))
    meter = Meter(10, 10, 2)
    meter.restore("client", "a", "anna", told, False)
    meter.restore("client", "a", "anna", told, True)
    assert (meter.clients["a"].month, meter.clients["a"].day, meter.clients["a"].user_name) == (told, told, "anna")
    full = Meter(0, 0, 2)
    full.restore("client", "a", None, told, False)
    full.restore("branch", "t", None, told, False)
    assert (full.other_clients.month, full.other_branches.month) == (told, told)


def test_sys_says_what_all_clients_cost() -> None:
    world = World()
    connect(world, "a").publish("t", b"1234")
    figures(world, "a")
    world.broker.publish_sys(world.now)
    found = {m.topic.decode(): m.payload.decode() for m in world.broker.retained.match(b"$SYS/broker/meter/#")}
    total = world.broker.meter.total.month
    assert found["$SYS/broker/meter/month/received/payload"] == "4"
    assert found["$SYS/broker/meter/day/received/total"] == str(total[RECEIVED + MQTT])
    assert total[SENT + PACKETS + CONNACK] == 1
    assert total[SENT + PACKETS + SUBACK] == 0


# -- budgets


class Fixed(Budgets):
    """The same for everybody."""

    def __init__(self, restraint: int) -> None:
        super().__init__()
        self.wanted = restraint

    def restraint(self, account: Account) -> int:
        return self.wanted

    def allowance(self, account: Account) -> tuple[int, int]:
        return 1, 0


def test_a_client_of_5_that_is_refused_hears_0x97_and_the_ledger_says_why() -> None:
    world = World()
    peer = connect(world, "spent", 5)
    peer.connection.restrain(REFUSED, world.now)
    peer.publish("a", qos=1)
    peer.publish("a", qos=2, packet_identifier=2)
    peer.publish("a")
    assert codes(peer) == [ReasonCode.QUOTA_EXCEEDED] * 2
    assert world.events.of("dropped") == [("spent", "budget exceeded", 1)]
    session = world.broker.sessions["spent"]
    assert session.ledger is not None and session.ledger.counts[8] == 3
    peer.connection.restrain(UNRESTRAINED, world.now)
    peer.publish("a", qos=1)
    assert codes(peer) == [ReasonCode.NO_MATCHING_SUBSCRIBERS]


def test_what_is_for_a_client_that_is_refused_waits_and_qos_0_is_dropped() -> None:
    world = World()
    peer, writer = connect(world, "spent", 5), connect(world, "writer")
    peer.subscribe("a", qos=1)
    peer.connection.restrain(REFUSED, world.now)
    writer.publish("a", b"late", qos=1)
    writer.publish("a", b"never")
    assert peer.take() == []
    assert world.events.of("dropped") == [("spent", "budget exceeded", 1)]
    peer.connection.restrain(UNRESTRAINED, world.now)
    world.flush()
    assert [message.payload for message in peer.messages()] == [b"late"]


def test_an_older_client_that_is_refused_is_disconnected_and_not_let_in() -> None:
    world = World()
    peer = connect(world, "spent", 4)
    peer.connection.restrain(REFUSED, world.now)
    assert peer.transport.ended
    assert world.events.of("disconnected") == [("spent", ReasonCode.QUOTA_EXCEEDED, "its budget is used up")]
    world.broker.meter.budgets = Fixed(REFUSED)
    again = world.open()
    again.send(Connect("spent", 4))
    assert codes(again) == [3]  # server unavailable
    five = connect(world, "five", 5)
    assert five.connection.barred and not five.transport.ended


@pytest.mark.parametrize("version", [4, 5])
def test_a_client_that_is_throttled_publishes_as_much_as_it_may(version: int) -> None:
    world = World()
    world.broker.meter.budgets = Fixed(THROTTLED)
    peer = connect(world, "eager", version)
    peer.send(*[Publish(b"a", b"", 1, packet_identifier=number) for number in (1, 2)])
    peer.take()
    if version == 5:
        peer.publish("a", qos=1, packet_identifier=3)
        assert codes(peer) == [ReasonCode.QUOTA_EXCEEDED]
        assert world.events.of("dropped") == [("eager", "rate exceeded", 1)]
    else:
        assert not peer.transport.reading
    peer.connection.restrain(UNRESTRAINED, world.now)
    assert peer.connection.allowance is None


def test_a_limit_of_all_clients_holds_beside_the_budget() -> None:
    world = World(publish_messages_per_s=1000)
    peer = connect(world, "a", 5)
    assert peer.connection.allowance is not None
    peer.connection.restrain(REFUSED, world.now)
    peer.publish("a", qos=1)
    assert codes(peer) == [ReasonCode.QUOTA_EXCEEDED]
    peer.send(Disconnect())
    assert figures(world, "a")[RECEIVED + PACKETS + PUBREL] == 0
