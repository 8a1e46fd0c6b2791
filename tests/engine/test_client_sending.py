"""Do messages of a client start as the last of their topics did, within the aliases and sizes the server allows?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.client_harness import NOW, Client
from tidewire.engine.client_sending import ALIAS_BYTES
from tidewire.engine.limits import REMEMBERED_TOPICS
from tidewire.wire.codes import ReasonCode
from tidewire.wire.errors import ProtocolViolation
from tidewire.wire.packets import Publish
from tidewire.wire.properties import MESSAGE_EXPIRY_INTERVAL, PAYLOAD_FORMAT_INDICATOR, TOPIC_ALIAS


def heads(client: Client) -> list[tuple[bytes, int]]:
    """Topic and alias of each PUBLISH that was sent."""
    return [
        (packet.topic, packet.properties.integers.get(TOPIC_ALIAS, 0))
        for packet in client.take()
        if isinstance(packet, Publish)
    ]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_topic_goes_plain_then_with_its_alias_then_as_the_alias_alone(qos: int) -> None:
    client = Client()
    client.connect(topic_alias_maximum=1)
    publish = client.publish if qos else _publish_at_most_once(client)
    for number in range(5):
        publish("long/topic", b"%d" % number, qos)
    publish("long/topic", b"longer", qos)
    publish("other/topic", b"x", qos)
    publish("other/topic", b"x", qos)
    assert heads(client) == [
        (b"long/topic", 0),
        (b"long/topic", 1),
        *[(b"", 1)] * 4,
        *[(b"other/topic", 0)] * 2,
    ]


def _publish_at_most_once(client: Client):  # type: ignore[no-untyped-def]
    return lambda topic, payload, qos: client.connection.publish_at_most_once(topic, payload, False)


@pytest.mark.parametrize("version", [4, 5])
def test_messages_of_one_topic_and_length_have_each_their_own_flags(version: int) -> None:
    client = Client(version)
    client.connect(topic_alias_maximum=1)
    flags = [(qos, retain) for qos in (0, 1, 2) for retain in (False, True)] * 3
    for qos, retain in flags:
        if qos:
            client.publish("topic", b"x", qos, retain)
        else:
            client.connection.publish_at_most_once("topic", b"x", retain)
    assert [(packet.qos, packet.retain) for packet in client.take() if isinstance(packet, Publish)] == flags


def test_a_topic_as_short_as_its_alias_gets_none() -> None:
    client = Client()
    client.connect(topic_alias_maximum=10)
    for _ in range(3):
        client.publish("t" * ALIAS_BYTES)
    assert heads(client) == [(b"t" * ALIAS_BYTES, 0)] * 3


def test_our_own_limit_of_aliases_holds_where_the_server_allows_more() -> None:
    client = Client(outgoing_topic_aliases=1)
    client.connect(topic_alias_maximum=10)
    for topic in ("first", "second") * 3:
        client.publish(topic)
    assert heads(client)[2:] == [(b"first", 1), (b"second", 0), (b"", 1), (b"second", 0)]


def test_aliases_begin_anew_with_the_connection_also_for_what_is_sent_again() -> None:
    client = Client()
    client.connect(topic_alias_maximum=1)
    for number in range(3):
        client.publish("long/topic", b"%d" % number)
    client.take()
    client.lose()
    client.connect(session_present=True, topic_alias_maximum=1)
    client.publish("long/topic", b"new")
    sent = [packet for packet in client.take() if isinstance(packet, Publish)]
    assert [(packet.topic, packet.payload, packet.dup) for packet in sent] == [
        (b"long/topic", b"0", True),
        (b"", b"1", True),
        (b"", b"2", True),
        (b"long/topic", b"new", False),
    ]
    client.lose()
    client.connect(session_present=True)
    assert heads(client) == [(b"long/topic", 0)] * 4


def test_an_alias_that_did_not_leave_is_not_set() -> None:
    client = Client()
    client.connect(topic_alias_maximum=5, maximum_packet_size=40)
    client.publish("long/topic", b"x")
    client.publish("long/topic", bytes(24))  # with the alias's property it is too large
    client.publish("long/topic", b"x")
    client.publish("long/topic", b"x")
    assert heads(client) == [(b"long/topic", 0), (b"long/topic", 1), (b"", 1)]
    assert len(client.given_up) == 1


messages_out = st.lists(
    st.tuples(
        st.sampled_from(["a/long/topic", "another/topic", "t"]),
        st.integers(0, 2),
        st.booleans(),
        st.integers(1, 60),
        st.sampled_from([b"", b"\x01\x01"]),
        st.sampled_from([0.0, NOW + 60]),
    ),
    max_size=30,
)


@given(messages_out, st.integers(0, 2), st.sampled_from([0, 40, 60]), st.sampled_from([4, 5]))
@settings(deadline=None)
def test_what_is_published_comes_out_whatever_aliases_and_limits_the_server_has(
    messages: list[tuple[str, int, bool, int, bytes, float]], aliases: int, maximum: int, version: int
) -> None:
    client = Client(version)
    limits: dict[str, Any] = {"topic_alias_maximum": aliases, "maximum_packet_size": maximum}
    client.connect(**{name: value for name, value in limits.items() if value})
    published = []
    for number, (topic, qos, retain, size, properties, expires_at) in enumerate(messages):
        payload = b"%d " % number + bytes(size)
        is_plain = version == 4 or qos == 0
        options = (b"", 0.0) if is_plain else (properties, expires_at)
        if qos:
            if client.publish(topic, payload, qos, retain, *options).done():
                continue
        else:
            try:
                client.connection.publish_at_most_once(topic, payload, retain)
            except ProtocolViolation:
                continue
        published.append((topic.encode(), payload, qos, retain, bool(options[0]), bool(options[1])))
    known: dict[int, bytes] = {}
    arrived = []
    for packet in client.take():
        assert isinstance(packet, Publish)
        named = packet.properties.integers
        alias = named.pop(TOPIC_ALIAS, 0)
        assert alias <= aliases
        assert not maximum or version == 4 or len(packet.encode(version)) <= maximum
        if alias and packet.topic:
            known[alias] = packet.topic
        topic_name = packet.topic or known[alias]
        has = (PAYLOAD_FORMAT_INDICATOR in named, MESSAGE_EXPIRY_INTERVAL in named)
        arrived.append((topic_name, packet.payload, packet.qos, packet.retain, *has))
    assert arrived == published
    if version == 4 or not maximum:
        assert len(published) == len(messages)


def test_a_message_of_exactly_the_servers_maximum_goes_and_a_larger_one_is_refused_at_once() -> None:
    client = Client()
    client.connect(maximum_packet_size=50)
    room = 50 - len(Publish(b"t").encode(5))
    assert client.connection.publish_at_most_once("t", bytes(room), False)
    with pytest.raises(ProtocolViolation, match="packets of at most 50 bytes, not 51") as violated:
        client.connection.publish_at_most_once("t", bytes(room + 1), False)
    assert violated.value.reason_code == ReasonCode.PACKET_TOO_LARGE
    client.publish("t", bytes(room - 2))
    client.publish("t", bytes(room - 1))
    assert client.connection.publish_at_most_once("t", bytes(room), True)
    assert [(packet.qos, len(packet.encode(5))) for packet in client.take()] == [(0, 50), (1, 50), (0, 50)]  # type: ignore[attr-defined]
    assert len(client.given_up) == 1


def test_the_starts_of_topics_that_are_remembered_are_bounded() -> None:
    client = Client()
    client.connect(topic_alias_maximum=1)
    for number in range(REMEMBERED_TOPICS + 10):
        client.connection.publish_at_most_once(f"topic/{number}", b"x", False)
        client.publish(f"other/{number}")
    assert len(client.connection._heads) <= REMEMBERED_TOPICS
    assert len(client.connection._heads_by_name) <= REMEMBERED_TOPICS
    sent = [packet.topic for packet in client.take() if isinstance(packet, Publish)]
    assert sent[:4] == [b"topic/0", b"other/0", b"topic/1", b"other/1"]
    assert len(sent) == REMEMBERED_TOPICS + 10 + client.session.window


def test_qos_0_says_when_the_transport_should_catch_up() -> None:
    client = Client(early_flush_bytes=100)
    client.connect()
    assert client.connection.publish_at_most_once("t", bytes(50), False)
    assert not client.connection.publish_at_most_once("t", bytes(50), False)
    client.connection.block()
    assert client.take() == []
    client.publish("t", b"later")
    assert not client.connection.publish_at_most_once("t", bytes(50), False)
    client.connection.unblocked(client.now)
    assert [packet.qos for packet in client.take() if isinstance(packet, Publish)] == [0, 0, 0, 1]
    client.open()
    client.connection.block()
    client.connection.unblocked(client.now)
    assert client.take() == []
