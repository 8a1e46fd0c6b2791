"""MQTT 5.0, sections 3.12 to 3.15, 4.12 and 4.13: PINGREQ, DISCONNECT, AUTH, and how errors end a connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.exchange import TIGHT_BYTES, answer_to, end_code, payloads, properties
from tests.conformance.v5 import raw_connect
from tests.engine.harness import NO_LIMIT, Peer, World
from tests.engine.test_handshake import CountingAccess, auth, begin
from tests.wire.malformed import FORMS, framed, sized
from tidewire.engine.connection import Connection
from tidewire.engine.ports import Access, Principal
from tidewire.wire import properties as p
from tidewire.wire.codes import AUTH, CONNECT, DISCONNECT, PACKET_NAMES, PINGREQ, PUBLISH, PUBREL, V5
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Auth, Connack, Connect, Disconnect, Pingreq, Pingresp, Publish, Will

DISCONNECT_CODES_OF_A_SERVER = {0x00, *range(0x80, 0x84), 0x87, 0x89, 0x8B, *range(0x8D, 0x91), *range(0x93, 0xA3)}
"""Table 3-10."""
METHOD = "SCRAM-SHA-256"
WITH_METHOD = Connect("client", V5, properties=properties(authentication_method=METHOD))
CONTINUE = Auth(0x18, properties(authentication_method=METHOD, authentication_data=b"n,,n=user,r=nonce"))
AUTHENTICATE_ANEW = Auth(0x19, properties(authentication_method=METHOD))


class NeverAnswering(Access):
    """Leaves every log-in open."""

    def authenticate(self, packet: Connect, connection: Connection) -> tuple[int, Principal | None] | None:
        return None


class AlwaysRefusing(Access):
    """Lets nobody in."""

    def authenticate(self, packet: Connect, connection: Connection) -> tuple[int, Principal | None] | None:
        return 0x86, None


def qos_2_flood(peer: Peer) -> None:
    for identifier in range(1, 4):
        peer.publish("t", qos=2, packet_identifier=identifier)


# What ends a connection: a deed of the peer or of the broker, and the code that is to be told.
ENDINGS: dict[str, tuple[Callable[[Peer], object], int]] = {
    "malformed": (lambda peer: peer.send_bytes(b"\xc1\x00"), 0x81),
    "protocol error": (lambda peer: peer.send_bytes(framed(0x82, b"\x00\x01\x00")), 0x82),
    "second CONNECT": (lambda peer: peer.send_bytes(raw_connect()), 0x82),
    "second CONNECT of another protocol": (lambda peer: peer.send_bytes(raw_connect(name=b"HTTP")), 0x82),
    "second CONNECT of another version": (lambda peer: peer.send_bytes(raw_connect(level=6)), 0x82),
    "server shutting down": (lambda peer: peer.world.broker.shut_down(peer.world.now), 0x8B),
    "keep alive time-out": (lambda peer: peer.world.advance(20), 0x8D),
    "taken over": (lambda peer: peer.world.connect("client", V5), 0x8E),
    "topic filter": (lambda peer: peer.send_bytes(framed(0x82, b"\0\1\0" + sized(b"a#") + b"\0")), 0x8F),
    "topic name": (lambda peer: peer.publish("a/#"), 0x90),
    "receive maximum": (qos_2_flood, 0x93),
    "topic alias": (lambda peer: peer.publish("t", properties=properties(topic_alias=9)), 0x94),
    "packet too large": (lambda peer: peer.publish("t", bytes(1000)), 0x95),
}


def ended(ending: str, **fields: object) -> Peer:
    """A client after one of `ENDINGS`; `fields` are those of its CONNECT."""
    world = World(receive_maximum=2, topic_alias_maximum=8, maximum_packet_size=500)
    peer = world.connect("client", V5, keep_alive=10, **fields)
    deed, _ = ENDINGS[ending]
    deed(peer)
    world.flush()
    return peer


every_ending = pytest.mark.parametrize("ending", ENDINGS)


# PINGREQ


def test_v5_3_12_4_1_every_pingreq_is_answered() -> None:
    client = World().connect("client", V5)
    client.send(Pingreq())
    assert client.take() == [Pingresp()]
    client.send(Pingreq(), Publish(b"t"), Pingreq(), Pingreq())
    assert client.take() == [Pingresp()] * 3


# DISCONNECT


@pytest.mark.parametrize(
    "first", [b"\xc0\x00", b"\xe0\x00", b"\xf0\x00", b"\x10\x01\x00", b"\x00\x00", b"\x10\xff\xff\xff\xff"]
)
def test_v5_3_14_0_1_bytes_that_are_no_connect_get_no_disconnect(first: bytes) -> None:
    peer = World().open(V5)
    peer.send_bytes(first)
    assert peer.is_closed
    assert peer.take() == []


def test_v5_3_14_0_1_no_disconnect_comes_before_connack() -> None:
    world = World(NeverAnswering())
    silent, waiting, leaving = world.open(V5), world.open(V5), world.open(V5)
    waiting.send(Connect("waiting", V5))
    leaving.send(Connect("leaving", V5), Disconnect())
    world.advance(60)
    world.broker.shut_down(world.now)
    for peer in (silent, waiting, leaving):
        assert peer.is_closed
        assert peer.take() == []


def test_v5_3_14_0_1_a_refused_connect_gets_no_disconnect() -> None:
    peer = World(AlwaysRefusing()).open(V5)
    peer.send(Connect("client", V5))
    peer.send(Pingreq())
    (connack,) = peer.take()
    assert isinstance(connack, Connack) and connack.reason_code == 0x86


@pytest.mark.parametrize("flags", range(1, 16))
def test_v5_3_14_1_1_disconnect_with_flags_is_malformed(flags: int) -> None:
    assert answer_to(DISCONNECT << 4 | flags) == 0x81


@every_ending
def test_v5_3_14_2_1_a_disconnect_tells_the_reason_with_a_code_of_its_table(ending: str) -> None:
    code = end_code(ended(ending))
    assert code == ENDINGS[ending][1]
    assert code in DISCONNECT_CODES_OF_A_SERVER


@pytest.mark.parametrize("code", [0x01, 0x02, 0x10, 0x18, 0x7F, 0x84, 0x91, 0x92, 0xFF])
def test_v5_3_14_2_1_a_disconnect_with_another_code_is_a_protocol_error(code: int) -> None:
    assert answer_to(0xE0, bytes([code])) == 0x82


@every_ending
def test_v5_3_14_2_2_a_disconnect_from_the_server_has_no_session_expiry_interval(ending: str) -> None:
    last = ended(ending, properties=properties(session_expiry_interval=60)).take()[-1]
    assert isinstance(last, Disconnect)
    assert p.SESSION_EXPIRY_INTERVAL not in last.properties.integers


@every_ending
def test_v5_3_14_2_3_a_disconnect_has_a_reason_string_only_where_it_fits(ending: str) -> None:
    roomy = ended(ending).take()[-1]
    assert isinstance(roomy, Disconnect)
    size = len(roomy.encode(V5))
    assert roomy.properties.texts[p.REASON_STRING]
    for limit, expected in ((size, roomy), (size - 1, Disconnect(roomy.reason_code))):
        tight = ended(ending, properties=properties(maximum_packet_size=max(limit, TIGHT_BYTES)))
        assert tight.take()[-1] == expected


@every_ending
def test_v5_3_14_2_4_a_disconnect_has_no_user_properties_that_are_too_large(ending: str) -> None:
    last = ended(ending, properties=properties(maximum_packet_size=TIGHT_BYTES)).take()[-1]
    assert last == Disconnect(ENDINGS[ending][1])


@every_ending
def test_v5_3_14_4_1_after_its_disconnect_the_server_sends_nothing(ending: str) -> None:
    peer = ended(ending)
    end_code(peer)
    peer.send(Pingreq(), Publish(b"t", qos=1, packet_identifier=1))
    peer.world.advance(60)
    assert peer.take_bytes() == b""


def test_v5_3_14_4_1_what_waited_for_a_slow_client_comes_before_the_disconnect_or_not_at_all() -> None:
    world = World()
    slow = world.connect("slow", V5)
    slow.subscribe("t", qos=1)
    slow.block()
    publisher = world.connect("publisher", V5)
    publisher.publish("t", b"0")
    publisher.publish("t", b"1", qos=1)
    world.connect("slow", V5)
    slow.unblock()
    publisher.publish("t", b"late")
    last = slow.take()[-1]
    assert isinstance(last, Disconnect) and last.reason_code == 0x8E


def test_v5_3_14_4_1_messages_to_a_client_that_was_sent_away_stay_unsent() -> None:
    world = World()
    peer = world.connect("client", V5, properties=properties(session_expiry_interval=60))
    peer.subscribe("t", qos=1)
    peer.send_bytes(b"\xc1\x00")
    assert end_code(peer) == 0x81
    world.connect("publisher", V5).publish("t", qos=1)
    assert peer.take_bytes() == b""


@every_ending
def test_v5_3_14_4_2_after_its_disconnect_the_server_closes_the_connection(ending: str) -> None:
    peer = ended(ending)
    assert peer.is_closed
    peer.world.advance(10)
    assert peer.transport.closed


@pytest.mark.parametrize("code", [0x00, 0x04, 0x80])
def test_v5_3_14_4_3_a_disconnect_with_code_0_drops_the_will(code: int) -> None:
    world = World()
    watcher = world.connect("watcher", V5)
    watcher.subscribe("will")
    peer = world.connect("client", V5, will=Will(b"will", b"gone"))
    peer.disconnect(code)
    assert peer.is_closed
    world.advance(60)
    assert payloads(watcher) == ([] if code == 0 else [b"gone"])


# AUTH: no method is configured, so the server sends none and accepts none


def everything_sent() -> bytes:
    """What the server sends to clients that authenticate, or try to, at each moment at which they can."""
    sent = []
    for before, packets in (
        (None, [WITH_METHOD]),
        (None, [WITH_METHOD, CONTINUE]),
        (None, [CONTINUE]),
        ("client", [CONTINUE]),
        ("client", [AUTHENTICATE_ANEW]),
        ("client", [Auth()]),
    ):
        world = World()
        peer = world.connect(before, V5) if before else world.open(V5)
        peer.send(*packets)
        world.advance(60)
        assert peer.is_closed
        sent.append(peer.take_bytes())
    return b"".join(sent)


def auth_packets() -> list[Auth]:
    """The AUTH packets among them."""
    return [packet for packet in Decoder(V5, NO_LIMIT).feed(everything_sent()) if isinstance(packet, Auth)]


@pytest.mark.parametrize("flags", range(1, 16))
def test_v5_3_15_1_1_auth_with_flags_is_malformed(flags: int) -> None:
    assert answer_to(AUTH << 4 | flags) == 0x81


@pytest.mark.parametrize("code", [0x01, 0x80, 0x87, 0x8C, 0xFF])
def test_v5_3_15_2_1_auth_with_another_code_is_a_protocol_error(code: int) -> None:
    method = b"\x15" + sized(METHOD.encode())
    assert answer_to(0xF0, bytes([code, len(method)]), method) == 0x82


def test_v5_3_15_2_2_no_auth_is_sent_and_none_with_a_reason_string() -> None:
    assert auth_packets() == []


def test_v5_3_15_2_3_no_auth_is_sent_and_none_with_user_properties() -> None:
    assert auth_packets() == []


def test_v5_4_12_0_1_an_unknown_authentication_method_is_refused_with_0x8c() -> None:
    peer = World().open(V5)
    peer.send(WITH_METHOD)
    (connack,) = peer.take()
    assert isinstance(connack, Connack) and connack.reason_code == 0x8C
    assert peer.is_closed


def test_v5_4_12_0_2_the_server_asks_for_no_more_data() -> None:
    assert auth_packets() == []


@pytest.mark.parametrize(("code", "goes_on"), [(0x18, True), (0x19, False), (0x00, False)])
def test_v5_4_12_0_3_the_clients_answer_to_auth_is_an_auth_of_0x18(code: int, goes_on: bool) -> None:
    peer = begin(CountingAccess())
    peer.take()
    peer.send(auth(b"2", code))
    answers = peer.take()
    assert [type(answer) for answer in answers if isinstance(answer, Auth)] == ([Auth] if goes_on else [])
    assert peer.is_closed is not goes_on


@pytest.mark.parametrize(
    ("access", "packet", "code"), [(None, WITH_METHOD, 0x8C), (AlwaysRefusing(), Connect("client", V5), 0x86)]
)
def test_v5_4_12_0_4_a_refused_authentication_ends_the_connection(
    access: Access | None, packet: Connect, code: int
) -> None:
    world = World(access)
    peer = world.open(V5)
    peer.send(packet)
    (connack,) = peer.take()
    assert isinstance(connack, Connack) and connack.reason_code == code
    assert peer.is_closed
    assert "client" not in world.broker.sessions


def test_v5_4_12_0_5_no_connect_with_a_method_succeeds_and_no_auth_names_another() -> None:
    peer = World().open(V5)
    peer.send(WITH_METHOD, CONTINUE)
    assert [packet.reason_code for packet in peer.take() if isinstance(packet, Connack)] == [0x8C]
    assert auth_packets() == []


def test_v5_4_12_0_6_without_a_method_there_is_no_auth_and_no_method_in_the_connack() -> None:
    peer = World().open(V5)
    peer.send(Connect("client", V5, user_name="user", password=b"password"))
    (connack,) = peer.take()
    assert isinstance(connack, Connack) and connack.reason_code == 0
    assert p.AUTHENTICATION_METHOD not in connack.properties.texts
    assert p.AUTHENTICATION_DATA not in connack.properties.binaries


@pytest.mark.parametrize("packet", [Auth(), CONTINUE, AUTHENTICATE_ANEW])
def test_v5_4_12_0_7_auth_of_a_client_without_a_method_is_a_protocol_error(packet: Auth) -> None:
    peer = World().connect("client", V5)
    peer.send(packet)
    assert end_code(peer) == 0x82


def test_v5_4_12_1_1_a_new_authentication_with_a_method_that_connect_did_not_name_is_refused() -> None:
    peer = World().connect("client", V5)
    peer.send(AUTHENTICATE_ANEW)
    assert end_code(peer) == 0x82


def test_v5_4_12_1_2_after_a_failed_new_authentication_the_connection_is_closed() -> None:
    world = World()
    peer = world.connect("client", V5)
    peer.send(AUTHENTICATE_ANEW)
    last = peer.take()[-1]
    assert isinstance(last, Disconnect) and last.reason_code >= 0x80
    assert peer.is_closed
    peer.publish("t", qos=1)
    assert peer.take() == []


# Errors

TYPES_OF_A_CLIENT = (PUBLISH, 4, 5, PUBREL, 7, 8, 10, PINGREQ, DISCONNECT, AUTH)


@pytest.mark.parametrize("packet_type", TYPES_OF_A_CLIENT, ids=lambda number: PACKET_NAMES[number])
def test_v5_4_13_1_1_a_malformed_packet_or_protocol_error_closes_the_connection(packet_type: int) -> None:
    forms = [form for form in FORMS if V5 in form.versions and form.first_byte >> 4 == packet_type]
    assert forms
    for form in forms:
        peer = World().connect("client", V5)
        peer.send_bytes(form.data(V5))
        assert end_code(peer) == form.verdict[1], form.title


@pytest.mark.parametrize("packet_type", [2, 9, 11, 13])
def test_v5_4_13_1_1_a_packet_that_only_servers_send_closes_the_connection(packet_type: int) -> None:
    bodies = {2: b"\0\0\0", 9: b"\0\1\0\0", 11: b"\0\1\0\0", 13: b""}
    assert answer_to(packet_type << 4, bodies[packet_type]) == 0x82


def test_v5_4_13_1_1_a_malformed_connect_closes_the_connection() -> None:
    for form in FORMS:
        if V5 in form.versions and form.first_byte >> 4 == CONNECT:
            peer = World().open(V5)
            peer.send_bytes(form.data(V5))
            assert peer.is_closed, form.title


@every_ending
def test_v5_4_13_2_1_a_disconnect_from_0x80_up_closes_the_connection(ending: str) -> None:
    assert end_code(ended(ending)) >= 0x80


def test_v5_4_13_2_1_a_connack_that_cannot_be_sent_closes_the_connection_all_the_same() -> None:
    peer = World().open(V5)
    connect = Connect("client", V5, properties=properties(maximum_packet_size=2, authentication_method=METHOD))
    peer.send(connect)
    assert peer.is_closed
    assert peer.take() == []


@pytest.mark.parametrize("code", [0x80, 0x81, 0x93, 0x98])
def test_v5_4_13_2_1_a_disconnect_of_the_client_closes_the_connection(code: int) -> None:
    peer = World().connect("client", V5)
    peer.disconnect(code)
    assert peer.is_closed
    assert peer.take() == []
