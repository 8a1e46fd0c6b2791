"""Does the broker keep 3.12 to 3.14, 4.7, 4.8 and 7 of MQTT 3.1.1: the end, topics, errors, transport?"""

from __future__ import annotations

import socket

import pytest

from tests.conformance.v311 import (
    ends_the_connection,
    every_qos,
    old_versions,
    raw_connect,
    raw_publish,
    raw_subscribe,
    raw_unsubscribe,
    refused_in_connect,
    refused_silently,
    watcher,
)
from tests.engine.harness import World
from tests.wire.malformed import framed
from tidewire.engine.ports import Access, Events, Principal
from tidewire.server.listener import tcp_socket
from tidewire.sync import Client
from tidewire.testing import BrokerThread
from tidewire.wire.fields import encode_binary, encode_text
from tidewire.wire.packets import Pingreq, Pingresp, Publish, Will


@old_versions
def test_v311_3_12_4_1_every_pingreq_is_answered_with_pingresp(version: int) -> None:
    alice = World().connect("alice", version)
    alice.send(Pingreq())
    assert alice.take_bytes() == b"\xd0\x00"
    alice.send(Pingreq(), Pingreq())
    assert alice.take() == [Pingresp(), Pingresp()]


@pytest.mark.parametrize("flags", range(1, 16))
def test_v311_3_14_1_1_disconnect_with_reserved_bits_is_a_violation(flags: int) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice", will=Will(b"will"))
    alice.send_bytes(framed(0xE0 | flags, b""))
    assert refused_silently(alice)
    assert seen.messages() == [Publish(b"will")]


@old_versions
@pytest.mark.parametrize("clean_start", [False, True])
def test_v311_3_14_4_3_disconnect_drops_the_will(version: int, clean_start: bool) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice", version, clean_start=clean_start, keep_alive=10, will=Will(b"will"))
    alice.disconnect()
    alice.lose()
    world.advance(3600)
    assert seen.messages() == []


@pytest.mark.parametrize("topic", [b"#", b"+", b"a/+", b"a/#", b"a#", b"+a"])
def test_v311_4_7_1_1_wildcards_stand_in_filters_only(topic: bytes) -> None:
    assert ends_the_connection(raw_publish(0x30, topic))
    assert ends_the_connection(raw_publish(0x31, topic, b"kept"))
    assert ends_the_connection(raw_publish(0x32, topic, b"\0\7"))
    assert refused_in_connect(raw_connect(0x06, b"alice", topic, b"will"))


@pytest.mark.parametrize("topic_filter", [b"a#", b"#/a", b"a/#/b", b"a/b#", b"#a", b"##", b"a/#b"])
def test_v311_4_7_1_2_a_number_sign_is_the_whole_last_level(topic_filter: bytes) -> None:
    assert ends_the_connection(raw_subscribe(topic_filter))
    assert ends_the_connection(raw_unsubscribe(topic_filter))


@pytest.mark.parametrize("topic_filter", [b"a+", b"+a", b"a/b+", b"a/+b/c", b"++", b"+#"])
def test_v311_4_7_1_3_a_plus_sign_is_a_whole_level(topic_filter: bytes) -> None:
    assert ends_the_connection(raw_subscribe(topic_filter))
    assert ends_the_connection(raw_unsubscribe(topic_filter))


@old_versions
@pytest.mark.parametrize("retain", [False, True])
def test_v311_4_7_2_1_leading_wildcards_do_not_match_a_leading_dollar(version: int, retain: bool) -> None:
    world = World()
    alice = world.connect("alice", version)
    bob = world.connect("bob", version)
    filters = ["#", "+/b", "+/#", "/#", "$other/#", "$a/+", "$a/#", "$a/b"]
    received = []
    for topic_filter in filters:
        bob.subscribe(topic_filter)
        alice.publish("$a/b", retain=retain)
        received.append(len(bob.messages()) > 0)
    assert received == [False, False, False, False, False, True, True, True]
    bob.subscribe("#", "+/b")
    assert bob.messages() == []


def test_v311_4_7_3_1_topic_names_and_filters_are_not_empty() -> None:
    assert ends_the_connection(raw_publish(0x30, b"", b"x"))
    assert ends_the_connection(raw_publish(0x32, b"", b"\0\7x"))
    assert ends_the_connection(raw_subscribe(b""))
    assert ends_the_connection(raw_unsubscribe(b""))
    assert refused_in_connect(raw_connect(0x06, b"alice", b"", b"will"))


@pytest.mark.parametrize("topic", [b"\0", b"a/\0", b"\0/a", b"a/b\0c"])
def test_v311_4_7_3_2_topic_names_and_filters_do_not_hold_u_0000(topic: bytes) -> None:
    assert ends_the_connection(raw_publish(0x30, topic, b"x"))
    assert ends_the_connection(raw_publish(0x32, topic, b"\0\7x"))
    assert ends_the_connection(raw_subscribe(topic))
    assert ends_the_connection(raw_unsubscribe(topic))
    assert refused_in_connect(raw_connect(0x06, b"alice", topic, b"will"))


@pytest.mark.parametrize("topic", ["t" * 65_535, "ö" * 32_767], ids=["ASCII", "two bytes each"])
def test_v311_4_7_3_3_topics_take_up_to_65535_bytes(topic: str) -> None:
    world = World()
    bob = world.connect("bob")
    assert bob.subscribe(topic) == [0]
    world.connect("alice").publish(topic)
    assert bob.messages() == [Publish(topic.encode(), b"x")]
    for too_long in (topic + "ö", "ö" + topic):
        with pytest.raises(ValueError, match="65535"):
            encode_binary(too_long.encode())
        with pytest.raises(ValueError, match="65535"):
            encode_text(too_long)


@old_versions
def test_v311_4_7_3_4_topics_are_matched_as_they_are(version: int) -> None:
    world = World()
    topics = ["a", "A", "a ", " a", "/a", "a/", "a//b", "a/b", "caf\u00e9", "cafe\u0301", "\u212b", "\u00c5", "ﬁ", "fi"]
    clients = {topic: world.connect(f"client of {topic!r}", version) for topic in topics}
    for topic, client in clients.items():
        client.subscribe(topic)
    alice = world.connect("alice", version)
    for topic in topics:
        alice.publish(topic)
    assert all(client.messages() == [Publish(topic.encode(), b"x")] for topic, client in clients.items())


VIOLATIONS = {
    "packet type 0": b"\x00\x00",
    "packet type 15": b"\xf0\x00",
    "a packet of the server": b"\x20\x02\x00\x00",
    "PINGREQ with a body": b"\xc0\x01x",
    "DISCONNECT with a body": b"\xe0\x01\x00",
    "PUBACK of three bytes": b"\x40\x03\x00\x01\x00",
    "PUBACK of one byte": b"\x40\x01\x00",
    "a length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "SUBSCRIBE without QoS": b"\x82\x05\x00\x01\x00\x01a",
}


@pytest.mark.parametrize("data", VIOLATIONS.values(), ids=VIOLATIONS)
def test_v311_4_8_0_1_a_protocol_violation_ends_its_connection_only(data: bytes) -> None:
    world = World()
    seen = watcher(world)
    alice = world.connect("alice", will=Will(b"will"))
    alice.send_bytes(data + Pingreq().encode(4))
    assert refused_silently(alice)
    assert not seen.is_closed
    assert seen.messages() == [Publish(b"will")]


class FailingAccess(Access):
    """Cannot be asked at the moment."""

    def __init__(self) -> None:
        super().__init__()
        self.unrestricted = False

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        raise OSError("the directory of users does not answer")


@every_qos
def test_v311_4_8_0_2_a_transient_error_ends_its_connection_only(qos: int) -> None:
    world = World(FailingAccess())
    world.broker.events = Events()  # those of the harness would fail the test
    other = watcher(world)
    alice = world.connect("alice")
    alice.publish("a", qos=qos)
    assert refused_silently(alice)
    other.send(Pingreq())
    assert other.take() == [Pingresp()]


def test_v311_7_0_0_1_a_broker_that_connects_to_another_one_is_a_client_there_and_a_server_here() -> None:
    with BrokerThread() as hub:
        bridge = {"name": "hub", "url": hub.url, "version": "3.1.1", "topics": [{"filter": "up/#", "qos": 1}]}
        with (
            BrokerThread({"bind": ["127.0.0.1"], "port": 0, "bridge": [bridge]}) as site,
            Client(hub.url) as reader,
            reader.subscribe("up/#", qos=1) as stream,
            Client(site.url) as sensor,
        ):
            sensor.publish("up/a", b"x", qos=1)
            assert stream.get(timeout=30).topic == "up/a"


def test_v311_7_0_0_2_a_client_needs_nothing_that_is_not_in_the_specification() -> None:
    alice = World().open()
    for data, answer in (
        (b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a", b"\x20\x02\x00\x00"),
        (b"\x82\x06\x00\x01\x00\x01t\x02", b"\x90\x03\x00\x01\x02"),
        (b"\x30\x05\x00\x01thi", b"\x30\x05\x00\x01thi"),
        (b"\xa2\x05\x00\x02\x00\x01t", b"\xb0\x02\x00\x02"),
        (b"\x34\x07\x00\x01t\x00\x03hi", b"\x50\x02\x00\x03"),
        (b"\x62\x02\x00\x03", b"\x70\x02\x00\x03"),
        (b"\xc0\x00", b"\xd0\x00"),
        (b"\xe0\x00", b""),
    ):
        assert not alice.is_closed
        alice.send_bytes(data)
        assert alice.take_bytes() == answer
    assert alice.is_closed


def test_v311_7_1_1_1_the_transport_is_tcp() -> None:
    with tcp_socket("127.0.0.1", 0) as listener:
        assert listener.type == socket.SOCK_STREAM
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
