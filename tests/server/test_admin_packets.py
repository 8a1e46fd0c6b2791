"""Does a feed show exactly the packets of one client, however they are cut, and leave the others alone?"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.administered import START, administered, run
from tidewire.server import admin_packets
from tidewire.server.admin_packets import PACKET_KEPT_BYTES, Splitter
from tidewire.server.admin_types import PacketSeen
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBREC, PUBREL
from tidewire.wire.framing import find_packet
from tidewire.wire.packets import (
    Acknowledgement,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Publish,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    Will,
)
from tidewire.wire.properties import Properties

CONVERSATION = [
    Subscribe(1, [SubscriptionRequest(b"a/#", 2), SubscriptionRequest(b"b")]),
    Publish(b"a/b", b"x" * 200, 1, packet_identifier=2),
    Acknowledgement(PUBACK, 1),
    Publish(b"a/c", b"", 2, packet_identifier=3),
    Acknowledgement(PUBREL, 3),
    Pingreq(),
    Publish(b"b", b"y"),
    Unsubscribe(4, [b"a/#"]),
    Disconnect(),
]
"""What a client says after CONNECT; all of it is answered but the last."""


def aliased(alias: int) -> Properties:
    properties = Properties()
    properties.integers[p.TOPIC_ALIAS] = alias
    return properties


def sizes(packets: list[Packet], version: int) -> list[int]:
    return [len(packet.encode(version)) for packet in packets]


def shown(packets: list[PacketSeen], direction: str) -> list[tuple[str, int, int]]:
    return [
        (each.packet, each.packet_identifier, each.size_bytes)
        for each in packets
        if each.direction == direction and each.packet != "closed"
    ]


def expected(packets: list[Packet], version: int) -> list[tuple[str, int, int]]:
    names = {PUBACK: "PUBACK", PUBREC: "PUBREC", PUBREL: "PUBREL", 7: "PUBCOMP"}
    return [
        (
            names[packet.packet_type] if isinstance(packet, Acknowledgement) else type(packet).__name__.upper(),
            getattr(packet, "packet_identifier", 0),
            size,
        )
        for packet, size in zip(packets, sizes(packets, version), strict=True)
    ]


# -- laws


@settings(max_examples=60, deadline=None)
@given(
    version=st.sampled_from([3, 4, 5]),
    cuts=st.lists(st.integers(1, 400), max_size=12),
    assigned=st.booleans(),
)
def test_a_feed_shows_exactly_what_was_sent_and_got_at_any_split(version: int, cuts: list[int], assigned: bool) -> None:
    async def check() -> None:
        async with administered() as setup:
            with setup.admin.watch_packets("lamp") as feed:
                peer = setup.peer(version)
                said: list[Packet] = [Connect("lamp", version, keep_alive=30), *CONVERSATION]
                peer.send_bytes(b"".join(packet.encode(version) for packet in said), cuts)
                packets = feed.take().packets
                assert shown(packets, "in") == expected(said, version)
                assert shown(packets, "out") == expected(peer.received, version)
                assert [each.number for each in packets] == list(range(1, len(packets) + 1))
                assert {each.connection for each in packets} == {1}

    run(check())


@settings(max_examples=60, deadline=None)
@given(seen_from=st.integers(0, 300), cuts=st.lists(st.integers(1, 300), max_size=8))
def test_a_feed_that_begins_under_way_begins_with_the_packet_that_is_not_whole(seen_from: int, cuts: list[int]) -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("lamp")
            data = b"".join(packet.encode(5) for packet in CONVERSATION[:-1])
            seen_at = min(seen_from, len(data))
            client.send_bytes(data[:seen_at], cuts)
            got_before = len(client.received)
            with setup.admin.watch_packets("lamp") as feed:
                client.send_bytes(data[seen_at:], cuts)
                packets = feed.take().packets
                ends, end = [], 0
                for size in sizes(CONVERSATION[:-1], 5):
                    end += size
                    ends.append(end)
                whole_after = [packet for packet, end in zip(CONVERSATION, ends, strict=False) if end > seen_at]
                assert shown(packets, "in") == expected(whole_after, 5)
                assert shown(packets, "out") == expected(client.received[got_before:], 5)

    run(check())


@settings(max_examples=100, deadline=None)
@given(
    payloads=st.lists(st.integers(0, 3 * PACKET_KEPT_BYTES), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 4 * PACKET_KEPT_BYTES), max_size=6),
)
def test_a_splitter_says_where_each_packet_begins_and_how_long_it_is(payloads: list[int], cuts: list[int]) -> None:
    packets = [Publish(b"a", bytes(size)).encode(4) for size in payloads]
    data = b"".join(packets)
    splitter, found, start = Splitter(), [], 0
    for end in [*sorted(cuts), len(data)]:
        found += splitter.split(data[start:end])
        start = max(start, end)
    assert found == [(packet[:PACKET_KEPT_BYTES], len(packet)) for packet in packets]


# -- what is shown


def conversation_of(*packets: Packet, version: int = 5, name: str = "lamp") -> list[PacketSeen]:
    """What a feed shows of a client that says this."""

    async def converse() -> list[PacketSeen]:
        async with administered() as setup:
            with setup.admin.watch_packets(name) as feed:
                setup.peer(version).send(*packets)
                return feed.take().packets

    return run(converse())


def test_connect_is_shown_without_its_password() -> None:
    will = Will(b"gone", b"bye", 1, True)
    connect = Connect("lamp", 5, user_name="alice", password=b"secret", keep_alive=9, will=will)
    first = conversation_of(connect)[0]
    assert (first.packet, first.at) == ("CONNECT", START)
    assert first.fields | {"will": None} == {
        "client_identifier": "lamp",
        "version": "5.0",
        "clean_start": True,
        "keep_alive": 9,
        "user_name": "alice",
        "has_password": True,
        "will": None,
    }
    assert first.fields["will"]["topic"] == "gone"
    assert "secret" not in repr(first)


def test_a_topic_alias_is_shown_as_the_topic_that_it_stands_for() -> None:
    packets = conversation_of(
        Connect("lamp", 5),
        Publish(b"a/b", b"1", properties=aliased(3)),
        Publish(b"", b"2", properties=aliased(3)),
    )
    assert [(each.topic, each.payload) for each in packets if each.packet == "PUBLISH"] == [
        ("a/b", b"1"),
        ("a/b", b"2"),
    ]
    assert [each.properties for each in packets if each.packet == "PUBLISH"] == [{"Topic Alias": 3}] * 2


def test_of_a_long_payload_the_beginning_is_shown() -> None:
    publish = conversation_of(Connect("lamp", 5), Publish(b"a", bytes(200_000)))[1]
    assert publish.payload_bytes == 200_000
    assert 0 < len(publish.payload) <= PACKET_KEPT_BYTES


def test_a_refused_connection_is_shown_with_its_reason() -> None:
    connect = Connect("lamp", 5)
    connect.properties.texts[p.AUTHENTICATION_METHOD] = "unknown"
    packets = conversation_of(connect)
    assert (packets[1].packet, packets[1].reason) == ("CONNACK", "bad authentication method")


def test_what_is_no_packet_is_shown_and_is_the_last() -> None:
    async def check() -> None:
        async with administered() as setup:
            with setup.admin.watch_packets("lamp") as feed:
                client = setup.client("lamp")
                client.send_bytes(b"\x30\xff\xff\xff\xff\xff")
                client.leave()
                packets = feed.take().packets
                assert [each.packet for each in packets] == ["CONNECT", "CONNACK", "malformed", "DISCONNECT", "closed"]
                assert "longer than four bytes" in packets[2].reason
                assert packets[3].reason == "malformed packet"

    run(check())


# -- whose packets


def test_the_client_is_followed_over_its_connections() -> None:
    async def check() -> None:
        async with administered() as setup:
            with setup.admin.watch_packets("lamp") as feed:
                setup.client("lamp").leave()
                setup.client("lamp")
                seen = [(each.connection, each.packet) for each in feed.take().packets]
                assert seen == [(1, "CONNECT"), (1, "CONNACK"), (1, "closed"), (2, "CONNECT"), (2, "CONNACK")]

    run(check())


def test_a_client_whose_identifier_the_broker_has_made_is_found() -> None:
    async def check() -> None:
        async with administered() as setup:
            client = setup.client("")
            (info,) = setup.admin.clients()
            with setup.admin.watch_packets(info.client_identifier) as feed:
                client.send(Pingreq())
                assert [each.packet for each in feed.take().packets] == ["PINGREQ", "PINGRESP"]

    run(check())


def test_nobody_else_is_looked_at_and_at_the_end_nobody_is() -> None:
    async def check() -> None:
        async with administered() as setup:
            before = setup.client("before")
            with setup.admin.watch_packets("lamp") as feed:
                lamp, after, assigned = setup.client("lamp"), setup.client("after"), setup.client("")
                for each in (before, after, assigned):
                    each.send(Pingreq())
                    assert each.protocol.receiver is each.protocol.connection
                    assert each.protocol.connection.transport is each.transport
                assert lamp.protocol.receiver is not lamp.protocol.connection
                assert [info.connected for info in setup.admin.clients("lamp")] == [True]
                assert [each.packet for each in feed.take().packets] == ["CONNECT", "CONNACK"]
                nameless = setup.peer()
            for peer in (lamp, nameless):
                assert peer.protocol.receiver is peer.protocol.connection
                assert peer.protocol.connection.transport is peer.transport
            assert setup.server.gate.admitted is None
            lamp.send(Pingreq())
            assert feed.take().packets == []

    run(check())


def test_two_feeds_of_one_client_show_the_same_and_one_may_end_before_the_other() -> None:
    async def check() -> None:
        async with administered() as setup:
            with setup.admin.watch_packets("lamp") as first:
                with setup.admin.watch_packets("lamp") as second:
                    lamp = setup.client("lamp")
                    assert first.take().packets == second.take().packets != []
                lamp.send(Pingreq())
                assert [each.packet for each in first.take().packets] == ["PINGREQ", "PINGRESP"]
                assert second.take().packets == []

    run(check())


def test_what_is_not_taken_in_time_is_counted_and_the_newest_stay() -> None:
    async def check() -> None:
        async with administered() as setup:
            with setup.admin.watch_packets("lamp", packets=3) as feed:
                setup.client("lamp").send(*[Pingreq()] * 4)
                taken = feed.take()
                assert taken.dropped == 10 - 3
                assert [each.number for each in taken.packets] == [8, 9, 10]
                assert {each.packet for each in taken.packets} == {"PINGRESP"}

    run(check())


def test_more_packets_than_one_take_brings_come_with_the_next(monkeypatch: Any) -> None:
    monkeypatch.setattr(admin_packets, "TAKEN_AT_ONCE", 3)

    async def check() -> None:
        async with administered() as setup:
            with setup.admin.watch_packets("lamp") as feed:
                setup.client("lamp").send(Pingreq())
                taken = [[each.number for each in feed.take().packets] for _ in range(3)]
                assert taken == [[1, 2, 3], [4], []]

    run(check())


def test_who_waits_for_packets_is_woken_by_the_first() -> None:
    async def check() -> Any:
        async with administered() as setup:
            with setup.admin.watch_packets("lamp") as feed:
                waiting = asyncio.create_task(feed.wait())
                await asyncio.sleep(0)
                assert not waiting.done()
                setup.client("lamp")
                await waiting
                assert len(feed.take().packets) == 2

    run(check())


def test_a_packet_is_framed_as_the_broker_frames_it() -> None:
    data = Publish(b"a", bytes(130)).encode(4)
    assert find_packet(data, 0, len(data))[1] == len(data) == Splitter().split(data)[0][1]
