"""MQTT 5.0, section 3.1: CONNECT. What concerns its Will Message is in `test_v5_will`."""

from __future__ import annotations

import string

import pytest

from tests.conformance.exchange import end_code, payloads, properties
from tests.conformance.v5 import (
    block,
    raw_connect,
    raw_publish,
    raw_subscribe,
    refusal_of,
    refusal_reported,
    silent_refusal_of,
)
from tests.conformance.v311 import ILL_FORMED, RecordingAccess
from tests.engine.harness import Peer, World
from tests.wire.malformed import framed, sized
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBREC, PUBREL
from tidewire.wire.packets import (
    Acknowledgement,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Publish,
    Subscribe,
    SubscriptionRequest,
    Will,
)

KEPT = properties(session_expiry_interval=60)
ill_formed = pytest.mark.parametrize("text", [b"a\0b", *ILL_FORMED.values()], ids=["U+0000", *ILL_FORMED])


@pytest.mark.parametrize(
    "first", [Publish(b"t"), Subscribe(1, [SubscriptionRequest(b"t")]), Pingreq(), Disconnect(), Auth(), Connack()]
)
def test_v5_3_1_0_1_the_first_packet_must_be_connect(first: Packet) -> None:
    assert silent_refusal_of(first.encode(5)) == 0x82


def test_v5_3_1_0_2_a_second_connect_is_a_protocol_error() -> None:
    peer = World().connect("c", 5)
    peer.send(Connect("c", 5))
    assert peer.take() == [Disconnect(0x82, properties(reason_string="a second CONNECT"))]
    assert peer.is_closed


@pytest.mark.parametrize("name", [b"MQIsdp", b"mqtt", b"MQTTT", b"", b"HTTP"])
def test_v5_3_1_2_1_another_protocol_name_must_be_refused(name: bytes) -> None:
    world = World()
    peer = world.open(5)
    peer.send_bytes(raw_connect(name=name))
    assert peer.take_bytes() == b"\x20\x02\x00\x01"  # as every version's clients understand it, 3.1.1 in place of 0x84
    assert peer.is_closed
    assert refusal_reported(world) == 0x84


@pytest.mark.parametrize("level", [0, 2, 6, 127, 0x85])
def test_v5_3_1_2_2_another_protocol_version_must_be_refused(level: int) -> None:
    world = World()
    peer = world.open(5)
    peer.send_bytes(raw_connect(level=level))
    assert peer.take_bytes() == b"\x20\x02\x00\x01"
    assert peer.is_closed
    assert refusal_reported(world) == 0x84


def test_v5_3_1_2_3_the_reserved_connect_flag_must_be_zero() -> None:
    assert refusal_of(raw_connect(flags=0x03)) == 0x81


def test_v5_3_1_2_4_clean_start_must_discard_the_session() -> None:
    world = World()
    old = world.connect("c", 5, properties=KEPT)
    old.subscribe("t", qos=1)
    old.disconnect()
    world.connect("d", 5).publish("t", qos=1)
    new = world.connect("c", 5, clean_start=True, properties=KEPT)
    world.connect("d", 5).publish("t", qos=1)
    assert not new.connack.session_present
    assert new.messages() == []


def test_v5_3_1_2_5_without_clean_start_the_session_must_be_resumed() -> None:
    world = World()
    old = world.connect("c", 5, properties=KEPT)
    old.subscribe("t", qos=1)
    old.disconnect()
    world.connect("d", 5).publish("t", b"waited", qos=1)
    new = world.connect("c", 5, clean_start=False, properties=KEPT)
    world.connect("d", 5).publish("t", b"later")
    assert new.connack.session_present
    assert payloads(new) == [b"waited", b"later"]


def test_v5_3_1_2_6_without_clean_start_and_session_a_new_one_must_begin() -> None:
    world = World()
    peer = world.connect("c", 5, clean_start=False, properties=KEPT)
    assert peer.connack.reason_code == 0 and not peer.connack.session_present
    peer.lose()
    assert world.connect("c", 5, clean_start=False).connack.session_present


def test_v5_3_1_2_16_without_its_flag_there_must_be_no_user_name() -> None:
    access = RecordingAccess()
    World(access).open(5).send_bytes(raw_connect(0x02, sized(b"c")))
    assert access.seen[0].user_name is None
    assert refusal_of(raw_connect(0x02, sized(b"c") + sized(b"user"))) == 0x81


def test_v5_3_1_2_17_with_its_flag_there_must_be_a_user_name() -> None:
    access = RecordingAccess()
    World(access).open(5).send_bytes(raw_connect(0x82, sized(b"c") + sized(b"user")))
    assert access.seen[0].user_name == "user"
    assert refusal_of(raw_connect(0x82, sized(b"c"))) == 0x81


def test_v5_3_1_2_18_without_its_flag_there_must_be_no_password() -> None:
    access = RecordingAccess()
    World(access).open(5).send_bytes(raw_connect(0x82, sized(b"c") + sized(b"user")))
    assert access.seen[0].password is None
    assert refusal_of(raw_connect(0x82, sized(b"c") + sized(b"user") + sized(b"secret"))) == 0x81


def test_v5_3_1_2_19_with_its_flag_there_must_be_a_password() -> None:
    access = RecordingAccess()
    World(access).open(5).send_bytes(raw_connect(0x42, sized(b"c") + sized(b"\xff\0")))  # no user name needed in 5.0
    assert access.seen[0].password == b"\xff\0"
    assert refusal_of(raw_connect(0xC2, sized(b"c") + sized(b"user"))) == 0x81


def test_v5_3_1_2_22_one_and_a_half_keep_alive_of_silence_must_end_the_connection() -> None:
    world = World()
    watcher = world.connect("watcher", 5)
    watcher.subscribe("will")
    peer = world.connect("c", 5, keep_alive=10, will=Will(b"will"))
    world.advance(14)
    peer.send(Pingreq())
    assert peer.take() == [Pingresp()]
    world.advance(14.5)
    assert not peer.is_closed
    world.advance(1)
    assert end_code(peer) == 0x8D
    assert [message.topic for message in watcher.messages()] == [b"will"]  # as after a network failure


def test_v5_3_1_2_22_without_a_keep_alive_silence_must_not_end_the_connection() -> None:
    world = World()
    peer = world.connect("c", 5, keep_alive=0)
    world.advance(100_000)
    assert not peer.is_closed


@pytest.mark.parametrize("end", [Peer.disconnect, Peer.lose])
def test_v5_3_1_2_23_a_session_with_an_expiry_interval_must_be_stored(end) -> None:  # type: ignore[no-untyped-def]
    for pause, present in ((59, True), (61, False)):
        world = World()
        peer = world.connect("c", 5, properties=KEPT)
        peer.subscribe("t", qos=2)
        peer.publish("t", qos=2, packet_identifier=7)
        (message,) = peer.messages()
        end(peer)
        world.advance(pause)
        again = world.connect("c", 5, clean_start=False)
        assert again.connack.session_present is present
        assert [resent.packet_identifier for resent in again.messages()] == [message.packet_identifier] * present
        again.publish("t", qos=2, packet_identifier=7)  # one that the broker has already is not sent on again
        assert len(again.messages()) == 0


@pytest.mark.parametrize("maximum", [16, 17, 20, 30, 40, 50])
def test_v5_3_1_2_24_no_packet_must_exceed_the_maximum_packet_size(maximum: int) -> None:
    world = World()
    peer = world.connect("c", 5, properties=properties(maximum_packet_size=maximum))
    peer.send(Subscribe(1, [SubscriptionRequest(b"t", 2)]), Subscribe(2, [SubscriptionRequest(b"$share/g/t", 2)] * 60))
    other = world.connect("d", 5)
    for size in range(60):
        for qos in range(3):
            other.publish("t", bytes(size), qos)
    peer.send(Pingreq(), Publish(b"t", b"", 2, packet_identifier=1), Acknowledgement(PUBREL, 9), Connect("c", 5))
    received = peer.take()
    assert Pingresp() in received and peer.is_closed
    assert max(len(packet.encode(5)) for packet in [peer.connack, *received]) <= maximum


@pytest.mark.parametrize("maximum", range(1, 16))
def test_v5_3_1_2_24_a_client_that_takes_no_connack_must_be_refused(maximum: int) -> None:
    peer = World().open(5)
    peer.send(Connect("c", 5, properties=properties(maximum_packet_size=maximum)))
    assert peer.take() == ([Connack(False, 0x83)] if maximum >= 5 else [])
    assert peer.is_closed


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"retain_as_published": True}], ids=["plain", "with options"])
def test_v5_3_1_2_25_a_message_too_large_for_the_client_must_count_as_sent(qos: int, options: dict[str, bool]) -> None:
    world = World()
    limited = properties(maximum_packet_size=50, receive_maximum=1, session_expiry_interval=60)
    peer = world.connect("c", 5, properties=limited)
    peer.subscribe("t", qos=qos, **options)
    other = world.connect("d", 5)
    other.publish("t", bytes(100), qos, packet_identifier=1)
    other.publish("t", b"small", qos, packet_identifier=2)
    assert [packet.reason_code for packet in other.take()] == [0, 0][: 2 * min(qos, 1)]  # type: ignore[attr-defined]
    assert payloads(peer) == [b"small"]
    assert ("dropped", "c", "too large", 1) in world.events.log
    peer.lose()
    again = world.connect("c", 5, clean_start=False)
    assert payloads(again) == [b"small"] * min(qos, 1)


def aliases_used(**values: int) -> list[int]:
    """The topic aliases that a client with these properties gets, for three topics sent twice."""
    world = World()
    peer = world.connect("c", 5, properties=properties(**values))
    peer.subscribe("#", qos=1)
    for topic in ("a", "b", "c", "a", "b", "c"):
        world.connect("d", 5).publish(topic, qos=1)
    return [message.properties.integer(p.TOPIC_ALIAS, 0) for message in peer.messages()]


def test_v5_3_1_2_26_no_topic_alias_must_exceed_the_maximum() -> None:
    assert aliases_used(topic_alias_maximum=2) == [1, 2, 0, 1, 2, 0]


def test_v5_3_1_2_27_without_a_maximum_there_must_be_no_topic_alias() -> None:
    assert aliases_used() == [0] * 6
    assert aliases_used(topic_alias_maximum=0) == [0] * 6


@pytest.mark.parametrize("values", [{}, {"request_response_information": 0}])
def test_v5_3_1_2_28_unasked_there_must_be_no_response_information(values: dict[str, int]) -> None:
    peer = World().connect("c", 5, properties=properties(**values))
    assert p.RESPONSE_INFORMATION not in peer.connack.properties.texts


def test_v5_3_1_2_29_without_problem_information_only_some_packets_may_explain() -> None:
    world = World(topic_levels=3, retained_messages=0)
    peer = world.connect("c", 5, properties=properties(request_problem_information=0))
    peer.send(Subscribe(1, [SubscriptionRequest(b"a/b/c/d")]))
    peer.send_bytes(framed(0xA2, b"\0\2\0" + sized(b"nothing")))
    peer.publish("t", qos=1, retain=True)
    peer.publish("$SYS/x", qos=2, packet_identifier=2)
    peer.acknowledge(PUBREL, 9)
    peer.acknowledge(PUBREC, 9)
    answers = peer.take()
    assert [getattr(answer, "reason_code", 0) or answer.reason_codes[0] for answer in answers] == [  # type: ignore[attr-defined]
        0x8F,
        0x11,
        0x97,
        0x87,
        0x92,
        0x92,
    ]
    assert all(answer.properties == properties() for answer in answers)  # type: ignore[attr-defined]


def test_v5_3_1_2_30_after_an_authentication_method_nothing_else_may_come_before_connack() -> None:
    world = World()
    watcher = world.connect("watcher", 5)
    watcher.subscribe("#")
    peer = world.open(5)
    peer.send(Connect("c", 5, properties=properties(authentication_method="GS2-KRB5")), Publish(b"t"))
    (connack,) = peer.take()
    assert isinstance(connack, Connack) and connack.reason_code == 0x8C
    assert peer.is_closed
    assert watcher.messages() == []


def test_v5_3_1_3_1_payload_fields_must_come_in_their_order() -> None:
    access = RecordingAccess()
    peer = World(access).open(5)
    will = block(b"\x03" + sized(b"type")) + sized(b"topic") + sized(b"payload")
    peer.send_bytes(raw_connect(0xC6, sized(b"c") + will + sized(b"user") + sized(b"secret")))
    (packet,) = access.seen
    assert packet.client_identifier == "c"
    assert packet.will == Will(b"topic", b"payload", properties=properties(content_type="type"))
    assert (packet.user_name, packet.password) == ("user", b"secret")
    assert not peer.is_closed


def test_v5_3_1_3_2_session_state_must_be_that_of_the_client_identifier() -> None:
    world = World()
    for name in ("a", "b"):
        peer = world.connect(name, 5, properties=KEPT)
        peer.subscribe(name, qos=1)
        peer.lose()
    world.connect("d", 5).publish("b", qos=1)
    assert world.connect("a", 5, clean_start=False).messages() == []
    assert [message.topic for message in world.connect("b", 5, clean_start=False).messages()] == [b"b"]
    assert not world.connect("B", 5, clean_start=False).connack.session_present


def test_v5_3_1_3_3_there_must_be_a_client_identifier() -> None:
    assert refusal_of(raw_connect(payload=b"")) == 0x81


@ill_formed
def test_v5_3_1_3_4_the_client_identifier_must_be_a_valid_string(text: bytes) -> None:
    assert refusal_of(raw_connect(payload=sized(text))) == 0x81


@pytest.mark.parametrize("length", range(1, 24))
def test_v5_3_1_3_5_up_to_23_letters_and_digits_must_be_accepted(length: int) -> None:
    alphabet = string.digits + string.ascii_letters
    for start in range(0, len(alphabet), length):
        assert World().connect((alphabet * 2)[start : start + length], 5).connack.reason_code == 0


def test_v5_3_1_3_6_an_empty_client_identifier_must_be_replaced_by_a_unique_one() -> None:
    world = World()
    given = [world.connect("", 5).connack.properties.texts[p.ASSIGNED_CLIENT_IDENTIFIER] for _ in range(10)]
    assert len({*given, ""}) == 11


def test_v5_3_1_3_7_the_given_client_identifier_must_be_used_and_reported() -> None:
    world = World()
    peer = world.connect("", 5, properties=KEPT)
    given = peer.connack.properties.texts[p.ASSIGNED_CLIENT_IDENTIFIER]
    assert ("connected", given, False) in world.events.log
    peer.lose()
    assert world.connect(given, 5, clean_start=False).connack.session_present


def test_v5_3_1_3_8_a_client_identifier_may_be_refused_with_0x85() -> None:
    peer = World(client_identifier_bytes=30).connect("c" * 31, 5)
    assert peer.connack.reason_code == 0x85
    assert peer.is_closed


@ill_formed
def test_v5_3_1_3_12_the_user_name_must_be_a_valid_string(text: bytes) -> None:
    assert refusal_of(raw_connect(0x82, sized(b"c") + sized(text))) == 0x81


@pytest.mark.parametrize(
    ("packet", "reason_code"),
    [
        (framed(0x10, sized(b"MQTT") + b"\x05\x02\0"), 0x81),
        (raw_connect()[:-1].replace(b"\x0e", b"\x0d", 1), 0x81),
        (raw_connect(payload=sized(b"c") + b"\0"), 0x81),
        (framed(0x10, sized(b"MQTT") + b"\x05\x02\0\0" + block(b"\x23\0\1") + sized(b"c")), 0x81),
        (framed(0x10, sized(b"MQTT") + b"\x05\x02\0\0" + block(b"\x7f") + sized(b"c")), 0x81),
        (framed(0x10, sized(b"MQTT") + b"\x05\x02\0\0" + block(b"\x21\0\0") + sized(b"c")), 0x82),
        (framed(0x10, sized(b"MQTT") + b"\x05\x02\0\0" + block(b"\x27\0\0\0\0") + sized(b"c")), 0x82),
        (framed(0x10, sized(b"MQTT") + b"\x05\x02\0\0" + block(b"\x17\2") + sized(b"c")), 0x82),
        (framed(0x10, sized(b"MQTT") + b"\x05\x02\0\0" + block(b"\x21\0\1" * 2) + sized(b"c")), 0x82),
        (framed(0x10, sized(b"MQTT") + b"\x05\x02\0\0" + block(b"\x16\0\1d") + sized(b"c")), 0x82),
    ],
    ids=[
        "cut short",
        "client identifier cut short",
        "a byte too many",
        "property that does not belong there",
        "unknown property",
        "Receive Maximum 0",
        "Maximum Packet Size 0",
        "Request Problem Information 2",
        "property given twice",
        "Authentication Data without method",
    ],
)
def test_v5_3_1_4_1_a_wrong_connect_must_close_the_connection(packet: bytes, reason_code: int) -> None:
    assert refusal_of(packet) == reason_code


@pytest.mark.parametrize(("start", "reason_code"), [(b"\x10\xff\xff\xff\xff", 0x81), (b"\x10\xff\xff\xff\x7f", 0x95)])
def test_v5_3_1_4_1_a_connect_of_no_sensible_length_must_close_the_connection(start: bytes, reason_code: int) -> None:
    assert silent_refusal_of(start) == reason_code


@pytest.mark.parametrize("reason_code", [0x86, 0x87, 0x8A])
def test_v5_3_1_4_2_a_client_that_is_not_let_in_must_be_disconnected(reason_code: int) -> None:
    peer = World(RecordingAccess(reason_code)).connect("c", 5)
    assert peer.connack.reason_code == reason_code
    assert peer.is_closed


@pytest.mark.parametrize("clean_start", [False, True])
def test_v5_3_1_4_3_a_client_identifier_in_use_must_end_the_older_connection(clean_start: bool) -> None:
    world = World()
    old = world.connect("c", 5, properties=KEPT)
    new = world.connect("c", 5, clean_start=clean_start)
    assert end_code(old) == 0x8E
    assert new.connack.reason_code == 0 and not new.is_closed


def test_v5_3_1_4_4_clean_start_must_be_carried_out() -> None:
    world = World()
    world.connect("c", 5, properties=KEPT)
    assert world.connect("c", 5, clean_start=False, properties=KEPT).connack.session_present  # taken over
    assert not world.connect("c", 5, clean_start=True).connack.session_present


def test_v5_3_1_4_5_a_valid_connect_must_be_acknowledged_with_code_0() -> None:
    peer = World().open(5)
    peer.send_bytes(raw_connect())
    (connack,) = peer.take()
    assert isinstance(connack, Connack) and connack.reason_code == 0


def test_v5_3_1_4_6_nothing_must_be_processed_after_a_refused_connect() -> None:
    world = World(RecordingAccess(0x87))
    peer = world.open(5)
    peer.send_bytes(raw_connect() + raw_publish() + raw_subscribe())
    peer.send_bytes(raw_publish() + raw_connect())
    (connack,) = peer.take()
    assert isinstance(connack, Connack) and connack.reason_code == 0x87
    assert world.broker.statistics.publish_received == 0 and not world.broker.sessions
