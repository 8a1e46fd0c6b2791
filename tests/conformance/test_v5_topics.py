"""MQTT 5.0, sections 4.7 and 4.8: topic names and topic filters, shared subscriptions."""

from __future__ import annotations

import pytest

from tests.conformance.exchange import answer_to, end_code, lasting, only_message, payloads, subscriber
from tests.engine.harness import Peer, World
from tests.wire.malformed import sized
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL, V5
from tidewire.wire.packets import Acknowledgement, Publish, Subscribe, SubscriptionRequest

ID = b"\x00\x07"
SIMILAR_NAMES = [
    "accounts", "Accounts", "ACCOUNTS", "/accounts", "accounts/", "accounts//", " accounts",
    "acco\u0301unts", "acc\u00f3unts", "\ufeffaccounts",
]  # fmt: skip
every_qos = pytest.mark.parametrize("qos", [0, 1, 2])
acknowledged_qos = pytest.mark.parametrize("qos", [1, 2])


def refused_filter(topic_filter: bytes) -> bool:
    """Whether SUBSCRIBE and UNSUBSCRIBE both end the connection of who names this filter, as an invalid one."""
    return [
        answer_to(0x82, ID, b"\0", sized(topic_filter), b"\0"),
        answer_to(0xA2, ID, b"\0", sized(topic_filter)),
    ] == [0x8F, 0x8F]


def matching(topic_filter: str, *topics: str) -> list[str]:
    """Those of the topics whose messages come to a subscriber of the filter, published now or retained before."""
    world = World()
    early, late, publisher = (world.connect(name, V5) for name in ("early", "late", "publisher"))
    early.subscribe(topic_filter)
    for topic in topics:
        publisher.publish(topic, retain=True)
    late.subscribe(topic_filter)
    came = [message.topic.decode() for message in early.messages()]
    assert sorted(came) == sorted(message.topic.decode() for message in late.messages())
    return came


# 4.7: topic names and topic filters


@pytest.mark.parametrize("topic", ["+", "#", "a/+/b", "a/#", "a+", "#a"])
def test_v5_4_7_0_1_a_topic_name_has_no_wildcard(topic: str) -> None:
    peer = World().connect("client", V5)
    peer.publish(topic)
    assert end_code(peer) == 0x90


@pytest.mark.parametrize("topic_filter", [b"a#", b"a/b#", b"#a", b"#/a", b"a/#/b", b"##", b"a/#/", b"$share/g/a#"])
def test_v5_4_7_1_1_a_hash_is_the_whole_last_level(topic_filter: bytes) -> None:
    assert refused_filter(topic_filter)


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [("#", ["a", "a/b", "a/b/c", "/", "b"]), ("a/#", ["a", "a/b", "a/b/c"]), ("a/b/#", ["a/b", "a/b/c"])],
)
def test_v5_4_7_1_1_a_hash_stands_for_its_parent_and_all_levels_below(topic_filter: str, expected: list[str]) -> None:
    assert matching(topic_filter, "a", "a/b", "a/b/c", "/", "b") == expected


@pytest.mark.parametrize("topic_filter", [b"a+", b"+a", b"a/b+", b"a/+b/c", b"++", b"+#", b"$share/g/a+"])
def test_v5_4_7_1_2_a_plus_is_a_whole_level(topic_filter: bytes) -> None:
    assert refused_filter(topic_filter)


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [("+", ["a"]), ("a/+", ["a/", "a/b"]), ("+/+", ["/a", "a/", "a/b"]), ("/+", ["/a"]), ("+/b/#", ["a/b", "a/b/c"])],
)
def test_v5_4_7_1_2_a_plus_stands_for_one_level_wherever_it_is(topic_filter: str, expected: list[str]) -> None:
    assert matching(topic_filter, "a", "/a", "a/", "a/b", "a/b/c") == expected


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [("#", ["a"]), ("+", ["a"]), ("+/b", []), ("+/#", ["a"]), ("$x/#", ["$x", "$x/b"]), ("$x/+", ["$x/b"])],
)
def test_v5_4_7_2_1_a_leading_wildcard_does_not_match_a_topic_with_a_dollar(
    topic_filter: str, expected: list[str]
) -> None:
    assert matching(topic_filter, "a", "$x", "$x/b") == expected


def test_v5_4_7_2_1_a_hash_does_not_match_the_topics_of_the_server() -> None:
    world = World(sys_interval_s=1)
    everything, server = world.connect("everything", V5), world.connect("server", V5)
    everything.subscribe("#", "+/broker/#", "$share/group/#")
    server.subscribe("$SYS/#")
    world.advance(5)
    assert server.messages()
    assert everything.messages() == []


def test_v5_4_7_3_1_a_topic_name_or_filter_is_not_empty() -> None:
    assert refused_filter(b"")
    peer = World().connect("client", V5)
    peer.publish("")
    assert end_code(peer) == 0x82


@pytest.mark.parametrize("text", [b"\0", b"a/\0", b"a\0b"])
def test_v5_4_7_3_2_a_topic_name_or_filter_does_not_hold_u_0000(text: bytes) -> None:
    assert answer_to(0x30, sized(text), b"\0") == 0x81
    assert answer_to(0x82, ID, b"\0", sized(text), b"\0") == 0x81
    assert answer_to(0xA2, ID, b"\0", sized(text)) == 0x81


def test_v5_4_7_3_3_a_topic_name_or_filter_takes_65535_bytes_and_no_more() -> None:
    longest = "é" * 32_767 + "a"
    assert matching(longest, longest) == [longest]
    assert matching("+", longest) == [longest]
    for packet in (Publish(b"a" * 65_536), Subscribe(1, [SubscriptionRequest(b"a" * 65_536)])):
        with pytest.raises(ValueError, match="65535"):
            packet.encode(V5)


@pytest.mark.parametrize("topic", SIMILAR_NAMES)
def test_v5_4_7_3_4_names_match_as_they_are(topic: str) -> None:
    assert matching(topic, *SIMILAR_NAMES) == [topic]


# 4.8: shared subscriptions


@pytest.mark.parametrize("topic_filter", [b"$share//a", b"$share/", b"$share//", b"$share//#"])
def test_v5_4_8_2_1_a_group_has_a_name_of_one_character_or_more(topic_filter: bytes) -> None:
    assert refused_filter(topic_filter)


def test_v5_4_8_2_1_a_filter_is_shared_when_it_begins_with_share() -> None:
    world = World()
    members = [world.connect(f"member {number}", V5) for number in range(2)]
    for member in members:
        assert member.subscribe("$share/g/t") == [0]
    world.connect("publisher", V5).publish("t")
    assert [payload for member in members for payload in payloads(member)] == [b"x"]


@pytest.mark.parametrize(
    "topic_filter",
    [b"$share/g", b"$share/g/", b"$share/g+/a", b"$share/+/a", b"$share/#/a", b"$share/g#/a", b"$share/#"],
)
def test_v5_4_8_2_2_a_group_name_has_no_wildcard_and_a_filter_behind_it(topic_filter: bytes) -> None:
    assert refused_filter(topic_filter)


def test_v5_4_8_2_2_a_group_name_ends_at_its_slash() -> None:
    world = World()
    peer = world.connect("client", V5)
    assert peer.subscribe("$share/g/a/b", "$share/g//") == [0, 0]
    for topic in ("a/b", "g/a/b", "b", "/"):
        world.connect("publisher", V5).publish(topic)
    assert [message.topic for message in peer.messages()] == [b"a/b", b"/"]


@every_qos
def test_v5_4_8_2_3_a_shared_message_goes_out_within_the_qos_granted_to_its_client(qos: int) -> None:
    world = World()
    members = [subscriber(world, "$share/g/t", granted, f"member {granted}") for granted in (0, 1, 2)]
    publisher = world.connect("publisher", V5)
    for number in range(6):
        publisher.publish("t", qos=qos, packet_identifier=number + 1)
    for granted, member in enumerate(members):
        assert [message.qos for message in member.messages()] == [min(granted, qos)] * 2


def shared_delivery(world: World, qos: int, *, expiry: int = 3600) -> tuple[Peer, Peer]:
    """The member of a share group that was sent a message, and one that was not."""
    members = [subscriber(world, "$share/g/t", 2, name, session_expiry_interval=expiry) for name in ("one", "two")]
    world.connect("publisher", V5).publish("t", b"shared", qos=qos)
    chosen = next(member for member in members if member.transport.written)
    other = members[1 - members.index(chosen)]
    assert payloads(chosen) == [b"shared"]
    return chosen, other


@pytest.mark.parametrize("received", [False, True])
def test_v5_4_8_2_4_a_cut_off_qos_2_delivery_is_finished_with_the_same_client(received: bool) -> None:
    world = World()
    chosen, other = shared_delivery(world, 2)
    name = chosen.connection.client_identifier()
    if received:
        chosen.acknowledge(PUBREC, 1)
    chosen.lose()
    world.advance(600)
    assert other.take() == []
    chosen = lasting(world, name)
    if not received:
        assert only_message(chosen) == Publish(b"t", b"shared", 2, dup=True, packet_identifier=1)
        chosen.acknowledge(PUBREC, 1)
    assert chosen.take() == [Acknowledgement(PUBREL, 1)]
    chosen.acknowledge(PUBCOMP, 1)
    assert (chosen.take(), other.take()) == ([], [])


def test_v5_4_8_2_5_nobody_else_gets_a_qos_2_message_whose_client_does_not_return() -> None:
    world = World()
    chosen, other = shared_delivery(world, 2, expiry=60)
    chosen.lose()
    world.advance(600)
    assert set(world.broker.sessions) == {other.connection.client_identifier(), "publisher"}
    assert other.take() == []


@acknowledged_qos
@pytest.mark.parametrize("code", [0x80, 0x87, 0x97])
def test_v5_4_8_2_6_a_refused_shared_message_is_offered_to_nobody_else(qos: int, code: int) -> None:
    world = World()
    chosen, other = shared_delivery(world, qos)
    name = chosen.connection.client_identifier()
    chosen.acknowledge(PUBACK if qos == 1 else PUBREC, 1, code)
    chosen.lose()
    world.advance(600)
    assert lasting(world, name).take() == []
    assert other.take() == []
