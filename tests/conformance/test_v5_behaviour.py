"""MQTT 5.0, sections 4.1, 4.2, 4.4 to 4.6 and 4.9: session state, repeats, order of messages, flow control."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest

from tests.conformance.exchange import lasting, only_message, payloads, subscriber
from tests.engine.harness import NO_LIMIT, World
from tidewire.server.config import Config
from tidewire.server.server import Server
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL, V5
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import (
    Acknowledgement,
    Connect,
    Packet,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
)

every_qos = pytest.mark.parametrize("qos", [0, 1, 2])
acknowledged_qos = pytest.mark.parametrize("qos", [1, 2])


# 4.1 and 4.2: session state, transport


def test_v5_4_1_0_1_the_session_is_kept_while_its_connection_is_open() -> None:
    world = World()
    peer = subscriber(world, session_expiry_interval=1)
    publisher = world.connect("publisher", V5)
    publisher.publish("t", b"open", qos=2)
    identifier = only_message(peer).packet_identifier
    world.advance(30 * 24 * 3600)
    peer.acknowledge(PUBREC, identifier)
    assert peer.take() == [Acknowledgement(PUBREL, identifier)]
    publisher.publish("t", b"new")
    assert payloads(peer) == [b"new"]


@pytest.mark.parametrize(("interval", "absence", "kept"), [(60, 59, True), (60, 61, False), (0, 0, False)])
def test_v5_4_1_0_2_the_session_ends_when_its_expiry_interval_is_over(interval: int, absence: int, kept: bool) -> None:
    world = World()
    peer = subscriber(world, session_expiry_interval=interval)
    world.connect("publisher", V5).publish("t", qos=1)
    peer.lose()
    world.advance(absence)
    assert ("subscriber" in world.broker.sessions) is kept
    assert world.broker.statistics.subscriptions == int(kept)
    peer = lasting(world, "subscriber")
    assert peer.connack.session_present is kept
    assert bool(peer.take()) is kept
    world.connect("publisher", V5).publish("t")
    assert bool(peer.take()) is kept


def test_v5_4_2_0_1_tcp_carries_everything_in_order_both_ways() -> None:
    wanted = [b"%d " % number * (number % 100) for number in range(2000)]

    async def exchange() -> list[bytes]:
        server = Server(Config(bind=["127.0.0.1"], port=0))
        await server.start()
        reader, writer = await asyncio.open_connection(*server.addresses[0].split(":"))
        messages = [Publish(b"t", payload) for payload in wanted]
        packets: list[Packet] = [Connect("client", V5), Subscribe(1, [SubscriptionRequest(b"t")]), *messages]
        writer.write(b"".join(packet.encode(V5) for packet in packets))
        decoder, came = Decoder(V5, NO_LIMIT), list[bytes]()
        while len(came) < len(wanted):
            data = await reader.read(65_536)
            assert data
            came += [packet.payload for packet in decoder.feed(data) if isinstance(packet, Publish)]
        writer.close()
        await server.stop()
        return came

    assert asyncio.run(asyncio.wait_for(exchange(), 30)) == wanted


# 4.4: repeats


def test_v5_4_4_0_1_open_packets_are_repeated_with_their_identifiers_on_resumption_and_only_then() -> None:
    world = World()
    peer = subscriber(world)
    publisher = world.connect("publisher", V5)
    for qos, identifier in ((1, 1), (2, 2), (2, 3)):
        publisher.publish("t", qos=qos, packet_identifier=identifier)
    one, two, three = (message.packet_identifier for message in peer.messages())
    peer.acknowledge(PUBREC, three)
    assert peer.take() == [Acknowledgement(PUBREL, three)]
    world.advance(600)
    peer.send(Pingreq())
    assert peer.take() == [Pingresp()]
    for _ in range(2):
        peer.lose()
        peer = lasting(world, "subscriber")
        again = peer.take()
        assert [packet for packet in again if isinstance(packet, Publish)] == [
            Publish(b"t", b"x", 1, dup=True, packet_identifier=one),
            Publish(b"t", b"x", 2, dup=True, packet_identifier=two),
        ]
        assert [packet for packet in again if not isinstance(packet, Publish)] == [Acknowledgement(PUBREL, three)]
        world.advance(600)
        assert peer.take() == []


def test_v5_4_4_0_1_a_new_session_gets_no_repeats() -> None:
    world = World()
    peer = subscriber(world)
    world.connect("publisher", V5).publish("t", qos=1)
    peer.lose()
    peer = world.connect("subscriber", V5, clean_start=True)
    assert not peer.connack.session_present
    assert peer.take() == []


@acknowledged_qos
@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x90, 0x97, 0x99])
def test_v5_4_4_0_2_a_refused_publish_is_settled_and_never_repeated(qos: int, code: int) -> None:
    world = World()
    peer = subscriber(world, receive_maximum=1)
    publisher = world.connect("publisher", V5)
    publisher.publish("t", b"refused", qos=qos)
    publisher.publish("t", b"next", qos=qos, packet_identifier=2)
    peer.acknowledge(PUBACK if qos == 1 else PUBREC, only_message(peer).packet_identifier, code)
    assert only_message(peer).payload == b"next"
    peer.lose()
    assert payloads(lasting(world, "subscriber")) == [b"next"]


# 4.5 and 4.6: who gets a message, and in which order


@every_qos
def test_v5_4_5_0_1_a_message_goes_into_the_session_of_everybody_with_a_matching_subscription(qos: int) -> None:
    world = World()
    filters = ("a/b", "a/+", "a/#", "#", "+/b", "$share/group/a/b")
    present = [subscriber(world, topic_filter, name=f"present {topic_filter}") for topic_filter in filters]
    subscriber(world, "a/b", name="absent").lose()
    stranger = subscriber(world, "a/c", name="stranger")
    world.connect("publisher", V5).publish("a/b", qos=qos)
    assert [payloads(peer) for peer in present] == [[b"x"]] * len(filters)
    assert payloads(lasting(world, "absent")) == ([b"x"] if qos else [])
    assert payloads(stranger) == []


def published_in_turn(world: World, topics: list[str], qos: int) -> None:
    """Forty messages from each of two publishers, five in a read and by turns; the payload is `publisher number`."""
    publishers = {name: world.connect(name, V5) for name in ("first", "second")}
    for start, (name, publisher) in product(range(0, 40, 5), publishers.items()):
        messages = [(number, topics[number % len(topics)].encode()) for number in range(start, start + 5)]
        publisher.send(*[Publish(t, b"%s %d" % (name.encode(), n), qos, packet_identifier=n + 1) for n, t in messages])


def assert_in_order(came: list[Publish], topics: list[str]) -> None:
    """Every message came once, and each publisher's messages of a topic in their order."""
    for name, (index, topic) in product(("first", "second"), enumerate(topics)):
        payloads_of_topic = [message.payload for message in came if message.topic == topic.encode()]
        of_publisher = [payload for payload in payloads_of_topic if payload.startswith(name.encode())]
        assert of_publisher == [b"%s %d" % (name.encode(), number) for number in range(index, 40, len(topics))]


@every_qos
@pytest.mark.parametrize("receive_maximum", [1, 3, 100])
def test_v5_4_6_0_5_each_publishers_order_is_kept_for_a_topic(qos: int, receive_maximum: int) -> None:
    world = World()
    peer = subscriber(world, receive_maximum=receive_maximum)
    published_in_turn(world, ["t"], qos)
    assert_in_order(peer.settle(), ["t"])


@acknowledged_qos
def test_v5_4_6_0_5_the_order_outlives_the_connection(qos: int) -> None:
    world = World()
    peer = subscriber(world, receive_maximum=10)
    published_in_turn(world, ["t"], qos)
    peer.lose()
    assert_in_order(lasting(world, "subscriber", receive_maximum=7).settle(), ["t"])


@every_qos
def test_v5_4_6_0_5_the_order_outlives_a_pause_of_the_reader(qos: int) -> None:
    world = World()
    peer = subscriber(world)
    peer.block()
    published_in_turn(world, ["t"], qos)
    peer.unblock()
    assert_in_order(peer.settle(), ["t"])


@every_qos
@pytest.mark.parametrize("options", [{}, {"retain_as_published": True}, {"no_local": True}], ids=str)
def test_v5_4_6_0_6_every_topic_is_an_ordered_one(qos: int, options: dict[str, bool]) -> None:
    world = World()
    topics = ["a", "a/b", "/", "$other/topic", "a/b/c/d"]
    peer = lasting(world, "subscriber", receive_maximum=3)
    peer.subscribe("#", "$other/#", qos=2, **options)
    published_in_turn(world, topics, qos)
    assert_in_order(peer.settle(), topics)


# 4.9: flow control


@acknowledged_qos
@pytest.mark.parametrize("receive_maximum", [1, 2, 20])
def test_v5_4_9_0_1_the_send_quota_starts_at_the_receive_maximum_on_every_connection(
    qos: int, receive_maximum: int
) -> None:
    world = World()
    peer = subscriber(world, receive_maximum=100)
    publisher = world.connect("publisher", V5)
    for number in range(30):
        publisher.publish("t", qos=qos, packet_identifier=number + 1)
    assert len(peer.messages()) == 30
    peer.lose()
    assert len(lasting(world, "subscriber", receive_maximum=receive_maximum).messages()) == receive_maximum


@pytest.mark.parametrize("retain", [False, True])
@acknowledged_qos
def test_v5_4_9_0_2_with_the_quota_used_up_no_publish_is_sent_until_one_is_acknowledged(qos: int, retain: bool) -> None:
    world = World()
    peer = lasting(world, "subscriber", receive_maximum=2)
    publisher = world.connect("publisher", V5)
    if not retain:
        peer.subscribe("#", qos=2)
    for number in range(5):
        publisher.publish(f"t/{number}", qos=qos, retain=retain, packet_identifier=number + 1)
    if retain:
        peer.subscribe("#", qos=2)
    first, second = peer.messages()
    for end in (first, second):
        world.advance(60)
        assert peer.messages() == []
        if qos == 1:
            peer.acknowledge(PUBACK, end.packet_identifier)
        else:
            peer.acknowledge(PUBREC, end.packet_identifier)
            assert peer.take() == [Acknowledgement(PUBREL, end.packet_identifier)]
            peer.acknowledge(PUBCOMP, end.packet_identifier)
        third = only_message(peer)
    peer.acknowledge(PUBACK if qos == 1 else PUBREC, third.packet_identifier, 0x80)
    assert payloads(peer) == [b"x"]


def test_v5_4_9_0_3_with_the_quota_used_up_all_other_packets_are_answered() -> None:
    world = World()
    peer = subscriber(world, "t", receive_maximum=1)
    publisher = world.connect("publisher", V5)
    publisher.publish("t", qos=2)
    publisher.publish("t", qos=2, packet_identifier=2)
    assert len(peer.messages()) == 1
    peer.send(Pingreq(), Subscribe(3, [SubscriptionRequest(b"u")]), Unsubscribe(4, [b"v"]))
    peer.send(Publish(b"w", qos=1, packet_identifier=5), Publish(b"w", qos=2, packet_identifier=6))
    peer.acknowledge(PUBREL, 6)
    peer.acknowledge(PUBREC, 1)
    publisher.publish("u", b"at QoS 0")
    assert peer.take() == [
        Pingresp(),
        Suback(3, [0]),
        Unsuback(4, [0x11]),
        Acknowledgement(PUBACK, 5, 0x10),
        Acknowledgement(PUBREC, 6, 0x10),
        Acknowledgement(PUBCOMP, 6),
        Acknowledgement(PUBREL, 1),
        Publish(b"u", b"at QoS 0"),
    ]


def test_v5_4_9_0_3_repeated_pubrels_do_not_wait_for_the_quota() -> None:
    world = World()
    peer = subscriber(world)
    publisher = world.connect("publisher", V5)
    for identifier in (1, 2, 3):
        publisher.publish("t", qos=2, packet_identifier=identifier)
    _, second, third = (message.packet_identifier for message in peer.messages())
    peer.acknowledge(PUBREC, second)
    peer.acknowledge(PUBREC, third)
    peer.lose()
    again = lasting(world, "subscriber", receive_maximum=1).take()
    assert [packet for packet in again if isinstance(packet, Acknowledgement)] == [
        Acknowledgement(PUBREL, second),
        Acknowledgement(PUBREL, third),
    ]
