"""Does the broker keep 3.1.3, 3.1.4 and 3.2 of MQTT 3.1.1: the payload of CONNECT, and how it is answered?"""

from __future__ import annotations

import pytest

from tests.conformance.v311 import (
    RecordingAccess,
    ill_formed,
    old_versions,
    raw_connect,
    raw_publish,
    refused_silently,
    watcher,
)
from tests.engine.harness import World
from tests.wire.malformed import framed
from tidewire.wire.codes import V311, ConnectReturnCode, ReasonCode
from tidewire.wire.packets import Connack, Connect, Pingreq, Pingresp, Publish

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def test_v311_3_1_3_1_the_payload_fields_have_one_order() -> None:
    access = RecordingAccess()
    World(access).open().send_bytes(raw_connect(0xC6, b"alice", b"topic", b"message", b"user", b"password"))
    [packet] = access.seen
    assert packet.will is not None
    fields = (packet.client_identifier, packet.will.topic, packet.will.payload, packet.user_name, packet.password)
    assert fields == ("alice", b"topic", b"message", "user", b"password")


@old_versions
def test_v311_3_1_3_2_a_session_belongs_to_its_client_identifier(version: int) -> None:
    world = World()
    for name in ("one", "two"):
        client = world.connect(name, version, clean_start=False)
        client.subscribe(name, qos=1)
        client.disconnect()
    alice = world.connect("alice", version)
    alice.publish("one", qos=1)
    alice.publish("two", qos=1)
    for name in ("two", "one"):
        messages = world.connect(name, version, clean_start=False).messages()
        assert [message.topic for message in messages] == [name.encode()]


@pytest.mark.parametrize("flags", [0x00, 0x02])
def test_v311_3_1_3_3_the_client_identifier_is_never_left_out(flags: int) -> None:
    peer = World().open()
    peer.send_bytes(raw_connect(flags))
    assert refused_silently(peer)


@ill_formed
def test_v311_3_1_3_4_the_client_identifier_is_utf_8(text: bytes) -> None:
    peer = World().open()
    peer.send_bytes(raw_connect(0x02, text))
    assert refused_silently(peer)


@old_versions
@pytest.mark.parametrize("identifier", ["0", "Z", *[LETTERS[start : start + 23] for start in (0, 23, 39)]])
def test_v311_3_1_3_5_identifiers_of_up_to_23_letters_and_digits_are_accepted(version: int, identifier: str) -> None:
    world = World()
    assert world.connect(identifier, version).connack == Connack(False, 0)
    assert identifier in world.broker.sessions


def test_v311_3_1_3_6_an_empty_client_identifier_is_replaced_by_a_unique_one() -> None:
    world = World()
    clients = [world.connect("") for _ in range(3)]
    assert [client.connack for client in clients] == [Connack(False, 0)] * 3
    assert not any(client.is_closed for client in clients)
    assert len(world.broker.sessions) == 3
    assert all(world.broker.sessions)


def answer(data: bytes, access: RecordingAccess | None = None) -> bytes:
    """What a CONNECT is answered before the connection is closed."""
    peer = World(access).open()
    peer.send_bytes(data)
    assert peer.is_closed
    return peer.take_bytes()


def test_v311_3_1_3_7_an_empty_client_identifier_needs_clean_session_1() -> None:
    assert not World().connect("", clean_start=True).is_closed
    assert answer(raw_connect(0x00, b"")) != b"\x20\x02\x00\x00"


def test_v311_3_1_3_8_an_empty_client_identifier_with_clean_session_0_gets_return_code_2() -> None:
    assert answer(raw_connect(0x00, b"")) == b"\x20\x02\x00\x02"


@old_versions
def test_v311_3_1_3_9_a_client_identifier_that_is_refused_gets_return_code_2(version: int) -> None:
    too_long = "x" * (World().limits.client_identifier_bytes + 1)
    assert answer(Connect(too_long, version).encode(version)) == b"\x20\x02\x00\x02"


@ill_formed
def test_v311_3_1_3_10_the_will_topic_is_utf_8(text: bytes) -> None:
    assert answer(raw_connect(0x06, b"alice", text, b"message")) == b""


@ill_formed
def test_v311_3_1_3_11_the_user_name_is_utf_8(text: bytes) -> None:
    assert answer(raw_connect(0x82, b"alice", text)) == b""


WRONG_FORMATS = {
    "no body": framed(0x10, b""),
    "half a protocol name": framed(0x10, b"\0\4MQ"),
    "no keep alive": framed(0x10, b"\0\4MQTT\x04\x02"),
    "half a client identifier": framed(0x10, b"\0\4MQTT\x04\x02\0\0\0\5al"),
    "bytes at the end": raw_connect(0x02, b"alice", b"more"),
    "wrong fixed header flags": b"\x11" + raw_connect(0x02, b"alice")[1:],
    "the reserved connect flag": raw_connect(0x03, b"alice"),
    "a will topic with a wildcard": raw_connect(0x06, b"alice", b"a/#", b"message"),
    "a will at QoS 3": raw_connect(0x1E, b"alice", b"will", b"message"),
    "a password without a user name": raw_connect(0x42, b"alice", b"password"),
    "a length of five bytes": b"\x10\xff\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("data", WRONG_FORMATS.values(), ids=WRONG_FORMATS)
def test_v311_3_1_4_1_a_connect_of_wrong_format_is_closed_without_connack(data: bytes) -> None:
    world = World()
    before = world.connect("alice")
    peer = world.open()
    peer.send_bytes(data)
    assert refused_silently(peer)
    assert not before.is_closed


@old_versions
@pytest.mark.parametrize("clean_start", [False, True])
def test_v311_3_1_4_2_a_client_identifier_in_use_disconnects_who_used_it(version: int, clean_start: bool) -> None:
    world = World()
    first = world.connect("alice", version, clean_start=clean_start)
    second = world.connect("alice", version, clean_start=clean_start)
    assert refused_silently(first)
    assert not second.is_closed
    second.send(Pingreq())
    assert second.take() == [Pingresp()]


@old_versions
@pytest.mark.parametrize("clean_start", [False, True])
def test_v311_3_1_4_3_a_valid_connect_is_handled_by_its_clean_session(version: int, clean_start: bool) -> None:
    world = World()
    bob = world.connect("bob", version, clean_start=False)
    bob.subscribe("a")
    bob = world.connect("bob", version, clean_start=clean_start)
    world.connect("alice", version).publish("a")
    assert len(bob.messages()) == (0 if clean_start else 1)


@old_versions
def test_v311_3_1_4_4_a_valid_connect_is_answered_with_return_code_0(version: int) -> None:
    peer = World().open(version)
    peer.send(Connect("alice", version))
    assert peer.take_bytes() == b"\x20\x02\x00\x00"
    assert not peer.is_closed


def test_v311_3_1_4_5_what_follows_a_refused_connect_is_ignored() -> None:
    world = World()
    seen = watcher(world)
    peer = world.open()
    more = raw_publish(0x30, b"a", b"x") + Pingreq().encode(V311) + raw_connect(0x02, b"alice")
    peer.send_bytes(raw_connect(0x00, b"") + more)
    peer.send_bytes(more)
    assert peer.take() == [Connack(False, ConnectReturnCode.IDENTIFIER_REJECTED)]
    assert seen.messages() == []
    assert list(world.broker.sessions) == ["watcher"]


@old_versions
def test_v311_3_2_0_1_connack_is_the_first_packet(version: int) -> None:
    world = World()
    bob = world.connect("bob", version, clean_start=False)
    bob.subscribe("a", qos=1)
    bob.disconnect()
    alice = world.connect("alice", version)
    alice.publish("a", qos=1)
    bob = world.open(version)
    alice.publish("a", qos=1)
    assert bob.take_bytes() == b""
    bob.send(Connect("bob", version, clean_start=False), Pingreq())
    first, *others = bob.take()
    assert isinstance(first, Connack)
    assert len(others) == 3


@pytest.mark.parametrize("stored", [False, True])
def test_v311_3_2_2_1_a_clean_session_is_accepted_without_session_present(stored: bool) -> None:
    world = World()
    if stored:
        world.connect("alice", clean_start=False).disconnect()
    assert world.connect("alice", clean_start=True).connack == Connack(False, 0)


def test_v311_3_2_2_2_a_stored_session_is_told_by_session_present_1() -> None:
    world = World()
    world.connect("alice", clean_start=False).disconnect()
    assert world.connect("alice", clean_start=False).connack == Connack(True, 0)


def test_v311_3_2_2_3_without_a_stored_session_session_present_is_0() -> None:
    world = World()
    assert world.connect("alice", clean_start=False).connack == Connack(False, 0)
    world.connect("alice", clean_start=True).disconnect()
    assert world.connect("alice", clean_start=False).connack == Connack(False, 0)


REFUSALS = {
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: 1,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: 2,
    ReasonCode.SERVER_BUSY: 3,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: 4,
    ReasonCode.NOT_AUTHORIZED: 5,
}
"""Why access may refuse a client, and the return code for it."""

refusals = pytest.mark.parametrize("reason_code", REFUSALS)


@refusals
def test_v311_3_2_2_4_a_connack_that_refuses_has_session_present_0(reason_code: int) -> None:
    access = RecordingAccess()
    world = World(access)
    world.connect("alice", clean_start=False).disconnect()
    access.reason_code = reason_code
    assert world.connect("alice", clean_start=False).connack == Connack(False, REFUSALS[ReasonCode(reason_code)])


@old_versions
@refusals
def test_v311_3_2_2_5_a_connack_that_refuses_is_followed_by_the_close(version: int, reason_code: int) -> None:
    data = Connect("alice", version).encode(version)
    assert answer(data, RecordingAccess(reason_code)) == bytes([0x20, 2, 0, REFUSALS[ReasonCode(reason_code)]])


def test_v311_3_2_2_6_where_no_return_code_fits_there_is_no_connack() -> None:
    world = World()
    malformed, late, other = world.open(), world.open(), world.open()
    malformed.send_bytes(raw_connect(0x42, b"alice", b"password"))
    other.send(Publish(b"a"))
    world.advance(world.limits.connect_timeout_s + 0.5)
    assert refused_silently(malformed)
    assert refused_silently(late)
    assert refused_silently(other)
