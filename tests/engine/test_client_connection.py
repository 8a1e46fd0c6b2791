"""Does a client's connection read what a server sends, say what MQTT wants said, and notice what is wrong?"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.engine.client_harness import NOW, Client, Reader, message_packet
from tests.engine.harness import NO_LIMIT, integers
from tidewire.engine.client_connection import PING_AFTER, PING_PATIENCE
from tidewire.engine.limits import REMEMBERED_TOPICS
from tidewire.engine.reading import _LARGE_PACKET_BYTES as LARGE_PACKET_BYTES
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL, ReasonCode
from tidewire.wire.errors import MalformedPacket, ProtocolError, ProtocolViolation
from tidewire.wire.framing import Decoder
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
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
)
from tidewire.wire.properties import (
    AUTHENTICATION_METHOD,
    RESPONSE_TOPIC,
    TOPIC_ALIAS,
    Properties,
)


def connected(version: int = 5, **fields: Any) -> tuple[Client, Reader]:
    """A client that was let in, and its reader of everything."""
    client = Client(version, **fields)
    client.connect()
    return client, client.reader("#")


def aliased(topic: str, alias: int, payload: str = "x", qos: int = 0, identifier: int = 0) -> Publish:
    return message_packet(topic, payload, qos, identifier, properties=integers(topic_alias=alias))


def seen(reader: Reader) -> list[tuple[str, str, int]]:
    return [(message.topic, message.text(), message.qos) for message in reader.read()]


# -- reading the stream


packets_of_a_server = st.lists(
    st.one_of(
        st.builds(
            message_packet,
            st.sampled_from(["t", "t/u", "é", "other"]),
            st.sampled_from(["", "x", "y" * 200, "z" * 20_000]),
            retain=st.booleans(),
            identifiers=st.sampled_from([(), (5,), (300, 7)]),
        ),
        st.builds(aliased, st.sampled_from(["t", "t/u", ""]), st.just(1), st.sampled_from(["x", "y"])),
        st.sampled_from([Pingresp(), Suback(1, [0]), Unsuback(2, [0]), Acknowledgement(PUBACK, 9)]),
        st.builds(message_packet, st.just("t"), st.just("p" * (LARGE_PACKET_BYTES + 500))),
    ),
    max_size=12,
)


@given(sent=packets_of_a_server, cuts=st.lists(st.integers(0, 300_000), max_size=8), crumbs=st.integers(0, 40))
@settings(deadline=None)
def test_a_stream_that_is_cut_anywhere_brings_the_same(sent: list[Packet], cuts: list[int], crumbs: int) -> None:
    first = aliased("first", 1)
    qos = [message_packet("t", "again", 1 + number % 2, 1 + number) for number in range(3)]
    stream = b"".join(packet.encode(5) for packet in [Connack(), first, *sent, *qos])

    def outcome(pieces: list[bytes]) -> object:
        client = Client(topic_alias_maximum=1)
        reader = client.reader("#")
        client.open()
        for piece in pieces:
            client.send_bytes(piece)
        messages = reader.read()
        for message in messages:
            message.ack()
        shown = [(m.topic, m.payload, m.qos, m.retain, m.packet_identifier, m.properties) for m in messages]
        received = client.outgoing.statistics
        counts = (received.publish_received, received.publish_bytes_received, received.bytes_received)
        return shown, client.handled, counts, client.take_bytes()

    places = sorted({0, len(stream), *range(crumbs), *[min(cut, len(stream)) for cut in cuts]})
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert outcome(pieces) == outcome([stream])


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_run_of_messages_comes_whole_whatever_interrupts_it(version: int) -> None:
    client, reader = connected(version)
    run = [message_packet("t", str(number)) for number in range(5)]
    client.send(*run, message_packet("u", "6"), *run, message_packet("t", "long"), message_packet("t", "7"), *run)
    assert [message.text() for message in reader.read()] == [*"012346", *"01234", "long", "7", *"01234"]
    assert client.outgoing.statistics.publish_received == 18


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_retained_message_among_others_of_its_topic_is_told_apart(qos: int) -> None:
    client = Client()
    client.connect()
    earlier, newest = client.reader("t"), client.reader("t")
    only = client.reader("u")
    for topic in "tu":
        for number in range(4):
            identifier = 10 * ord(topic) + number if qos else 0
            client.send(message_packet(topic, str(number), qos, identifier, retain=number in (1, 2)))
    for reader in (newest, only):
        shown = [(message.text(), message.retain) for message in reader.read()]
        assert shown == [("0", False), ("1", True), ("2", True), ("3", False)]
    assert [message.text() for message in earlier.read()] == ["0", "3"]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_readers_that_come_and_go_between_messages_of_one_topic_get_theirs(qos: int) -> None:
    client, first = connected()
    client.send(message_packet("t", "a", qos, 1 if qos else 0))
    second = Reader()
    interest = client.subscribe(second, "t")
    client.send(message_packet("t", "b", qos, 2 if qos else 0))
    client.session.reception.detach(interest, second)
    client.send(message_packet("t", "c", qos, 3 if qos else 0))
    assert (len(first.messages), [message.text() for message in second.read()]) == (3, ["b"])


def test_messages_show_all_that_came_with_them() -> None:
    client, reader = connected()
    properties = integers(message_expiry_interval=7, payload_format_indicator=1)
    properties.texts[RESPONSE_TOPIC] = "answers"
    properties.user_properties = [("a", "1"), ("a", "2")]
    client.send(message_packet("t", "x", 1, 77, properties=properties, dup=True, retain=True))
    message = reader.read()[0]
    assert (message.topic, message.payload, message.qos, message.dup, message.retain) == ("t", b"x", 1, True, True)
    assert (message.packet_identifier, message.message_expiry, message.response_topic) == (77, 7, "answers")
    assert message.user_properties == [("a", "1"), ("a", "2")]


def test_messages_of_one_topic_have_each_their_own_properties_and_readers() -> None:
    client = Client()
    client.connect()
    narrow, wide = client.reader("t"), client.reader("#")
    interests = client.session.reception.interests
    to_narrow, to_wide = interests[b"t"].identifier, interests[b"#"].identifier
    for expiry in (1, 2):
        for identifiers in ((to_narrow,), (to_wide,), (to_narrow, to_wide), ()):
            properties = integers(message_expiry_interval=expiry)
            client.send(message_packet("t", str(identifiers), 0, 0, identifiers, properties=properties))
    for reader, own in ((narrow, to_narrow), (wide, to_wide)):
        both = str((to_narrow, to_wide))
        assert [(message.message_expiry, message.text()) for message in reader.read()] == [
            (expiry, text) for expiry in (1, 2) for text in (f"({own},)", both, "()")
        ]


def test_the_parts_of_a_large_packet_are_collected_until_it_is_whole() -> None:
    client, reader = connected()
    packet = message_packet("t", "x" * (3 * LARGE_PACKET_BYTES)).encode(5)
    for start in range(0, len(packet), LARGE_PACKET_BYTES):
        assert (client.connection.chunks is not None) is (start > 0)
        client.send_bytes(packet[start : start + LARGE_PACKET_BYTES])
    assert client.connection.chunks is None
    assert len(reader.read()[0].payload) == 3 * LARGE_PACKET_BYTES


def test_the_topics_that_are_remembered_are_bounded_in_number_and_size() -> None:
    client, reader = connected(topic_alias_maximum=1, remembered_properties_bytes=100)
    for number in range(REMEMBERED_TOPICS + 10):
        client.send(message_packet(f"t/{number}"))
    assert 0 < len(client.connection._known) <= REMEMBERED_TOPICS
    client.connection._known.clear()
    large = Properties()
    large.user_properties = [("trace", "x" * 100)]
    for _ in range(2):
        client.send(message_packet("u", properties=large))
    assert client.connection._known == {}
    assert all(message.topic == "u" for message in reader.read()[-2:])


def test_a_closed_connection_reads_nothing_more() -> None:
    client, reader = connected()
    client.connection.closed = True
    client.send(message_packet("t"))
    assert reader.read() == []

    class Leaving(Client):
        def handle(self, packet: Packet) -> None:
            super().handle(packet)
            if isinstance(packet, Disconnect):
                self.connection.closed = True

    client = Leaving()
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t", "before"), Disconnect(0x8B), message_packet("t", "after"))
    assert reader.texts() == ["before"]


# -- what is wrong with it

PUBLISHES_GONE_WRONG = [
    (b"\x36\x05\0\1t\0\1", MalformedPacket),
    (b"\x38\x03\0\1t", MalformedPacket),
    (b"\x30\x00", MalformedPacket),
    (b"\x30\x01\0", MalformedPacket),
    (b"\x30\x03\0\2t", MalformedPacket),
    (b"\x32\x03\0\1t", MalformedPacket),
    (b"\x32\x04\0\1t\0", MalformedPacket),
    (b"\x32\x06\0\1t\0\0\0", MalformedPacket),
    (b"\x30\x03\0\1\xff", MalformedPacket),
    (b"\x30\x04\0\1\0\0", MalformedPacket),
]
PROPERTIES_GONE_WRONG = [
    (b"\x30\x03\0\1t", MalformedPacket),
    (b"\x30\x04\0\1t\1", MalformedPacket),
    (b"\x30\x05\0\1t\x80\0", MalformedPacket),
    (b"\x30\x05\0\1t\x80\1", MalformedPacket),
    (b"\x30\x06\0\1t\2\x01\2", ProtocolError),
    (b"\x30\x06\0\1t\2\x7f\1", MalformedPacket),
    (b"\x30\x05\0\1t\1\x23", MalformedPacket),
    (b"\x30\x08\0\1t\4\x01\1\x01\1", ProtocolError),
    (b"\x30\x06\0\1t\2\x0b\0", ProtocolError),
    (b"\x30\x03\0\0\0", ProtocolError),
    (b"\x30\x80\x00", MalformedPacket),
]


@pytest.mark.parametrize(("data", "error"), [(data, error) for data, error in PUBLISHES_GONE_WRONG])
@pytest.mark.parametrize("version", [4, 5])
def test_a_malformed_publish_is_a_violation(version: int, data: bytes, error: type[ProtocolViolation]) -> None:
    client, reader = connected(version)
    with pytest.raises(error):
        client.send_bytes(data)
    assert reader.read() == []


@pytest.mark.parametrize(("data", "error"), PROPERTIES_GONE_WRONG)
def test_malformed_properties_are_a_violation(data: bytes, error: type[ProtocolViolation]) -> None:
    client, reader = connected()
    with pytest.raises(error):
        client.send_bytes(data)
    assert reader.read() == []


def test_a_topic_that_is_none_is_a_violation() -> None:
    for topic in ("a/#", "+"):
        client, _ = connected()
        with pytest.raises(ProtocolViolation) as violated:
            client.send(message_packet(topic))
        assert violated.value.reason_code == ReasonCode.TOPIC_NAME_INVALID
    client, _ = connected(4)
    with pytest.raises(ProtocolError, match="neither a topic name nor a topic alias"):
        client.send(message_packet(""))


def test_a_response_topic_with_a_wildcard_is_a_violation() -> None:
    properties = Properties()
    properties.texts[RESPONSE_TOPIC] = "answers/#"
    client, _ = connected()
    with pytest.raises(ProtocolViolation, match="wildcard") as violated:
        client.send(message_packet("t", properties=properties))
    assert violated.value.reason_code == ReasonCode.PROTOCOL_ERROR


publishes = st.builds(
    message_packet,
    st.sampled_from(["t", "t/u", "é", ""]),
    st.text(max_size=3),
    st.integers(0, 2),
    st.integers(1, 0xFFFF),
    st.sampled_from([(), (5,), (300, 7)]),
    retain=st.booleans(),
    properties=st.sampled_from(
        [{}, {"topic_alias": 1}, {"topic_alias": 3, "payload_format_indicator": 1}, {"message_expiry_interval": 300}]
    ).map(lambda named: integers(**named)),
)


@given(
    publishes,
    st.integers(4, 5),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=2),
)
@settings(deadline=None)
def test_a_publish_is_read_in_place_as_the_wire_format_reads_it(
    packet: Publish, version: int, changes: list[tuple[int, int]]
) -> None:
    """Some of its bytes are others than they were; but it stays one PUBLISH."""
    encoded = bytearray(packet.encode(version))
    for position, byte in changes:
        if position not in (0, 1) and position < len(encoded):
            encoded[position] = byte
        elif position == 0:
            encoded[0] = 0x30 | byte & 0x0F
    data = bytes(encoded)
    expected: Packet | None = None
    code = 0
    try:
        [expected] = Decoder(version, NO_LIMIT).feed(data)
    except ProtocolViolation as violation:
        code = violation.reason_code
    assert expected is None or isinstance(expected, Publish)
    assume(expected is None or not expected.topic.startswith(b"$"))  # our reader's filter does not match it
    client, reader = connected(version, topic_alias_maximum=0xFFFF)
    client.connection._topic_aliases = dict.fromkeys(range(1, 0x10000), b"known")
    if expected is None:
        with pytest.raises(ProtocolViolation) as violated:
            client.send_bytes(data)
        assert violated.value.reason_code == code
        return
    assume(expected.properties.integers.get(TOPIC_ALIAS) != 0)  # which only the engine refuses
    client.send_bytes(data)
    [message] = reader.read()
    assert message.topic.encode() == (expected.topic or b"known")
    assert (message.payload, message.qos, message.dup, message.retain, message.packet_identifier) == (
        expected.payload,
        expected.qos,
        expected.dup,
        expected.retain,
        expected.packet_identifier,
    )
    assert message.properties == expected.properties


@pytest.mark.parametrize(
    "packet",
    [
        message_packet("t"),
        message_packet("t", "x", 1, 1),
        Acknowledgement(PUBACK, 1),
        Acknowledgement(PUBREL, 1),
        Suback(1, [0]),
        Unsuback(1, [0]),
        Pingresp(),
        Pingreq(),
    ],
)
def test_before_connack_nothing_else_may_come(packet: Packet) -> None:
    client = Client()
    client.open()
    with pytest.raises(ProtocolError, match="at the wrong time"):
        client.send(packet)


@pytest.mark.parametrize(
    ("packet", "fault"),
    [
        (Connack(), "CONNACK came at the wrong time"),
        (Connect("c", 5), "CONNECT is not for a client"),
        (Subscribe(1, [SubscriptionRequest(b"t")]), "SUBSCRIBE is not for a client"),
        (Pingreq(), "PINGREQ is not for a client"),
    ],
)
def test_what_only_clients_send_and_a_second_connack_are_protocol_errors(packet: Packet, fault: str) -> None:
    client, _ = connected()
    with pytest.raises(ProtocolError, match=fault):
        client.send(packet)


@pytest.mark.parametrize(("qos", "wrong"), [(1, PUBREC), (2, PUBACK), (2, PUBCOMP)])
def test_an_acknowledgement_of_the_other_qos_is_a_protocol_error(qos: int, wrong: int) -> None:
    client, _ = connected()
    client.publish("t", b"x", qos)
    with pytest.raises(ProtocolError):
        client.send(Acknowledgement(wrong, 1))
    assert not client.session.is_idle()


@pytest.mark.parametrize("end", [b"", b"\0"])
def test_an_acknowledgement_that_carries_the_qos_in_place_of_a_reason_code_is_a_success(end: bytes) -> None:
    client, _ = connected()
    publications = [client.publish("t", b"x", qos) for qos in (1, 2, 1)]
    packets = [(0x40, b"\0\1\1"), (0x50, b"\0\2\2"), (0x40, b"\0\3\x10")]
    client.send_bytes(b"".join(bytes([first, len(body + end)]) + body + end for first, body in packets))
    assert [publication.reason_code for publication in publications] == [0, 0, 0x10]


def test_the_host_gets_what_is_its_own_business() -> None:
    client = Client()
    client.open()
    challenge = Auth(0x18)
    challenge.properties.texts[AUTHENTICATION_METHOD] = "m"
    packets = [challenge, Connack(), Suback(1, [0]), Unsuback(2, [0x11]), Disconnect(0x8B)]
    client.send(*packets)
    assert client.handled == packets


@pytest.mark.parametrize("maximum", [20, 127, 128, 129, 130, 131, 500])
def test_a_packet_larger_than_we_allow_is_a_violation_as_soon_as_its_length_is_known(maximum: int) -> None:
    client, reader = connected(4, maximum_packet_size=maximum)
    encoded = [message_packet("t", "x" * size).encode(4) for size in range(500)]
    allowed = [packet for packet in encoded if len(packet) <= maximum]
    client.send_bytes(allowed[-1])
    assert len(reader.messages) == 1
    with pytest.raises(ProtocolViolation) as violated:
        client.send_bytes(encoded[len(allowed)][:4])
    assert violated.value.reason_code == ReasonCode.PACKET_TOO_LARGE


# -- topic aliases of the server


def test_an_alias_is_set_used_and_set_to_another_topic() -> None:
    client, reader = connected(topic_alias_maximum=2)
    client.send(aliased("a", 1, "1"), aliased("", 1, "2"), aliased("", 1, "3"))
    client.send(aliased("b", 2, "4"), aliased("", 2, "5"), aliased("", 1, "6"))
    client.send(aliased("c", 1, "7"), aliased("", 1, "8"), aliased("", 2, "9"), message_packet("a", "10"))
    client.send(aliased("", 1, "11", 1, 5))
    assert "".join(topic for topic, _, _ in seen(reader)) == "aaabbaccbac"


def test_an_alias_that_moves_moves_for_messages_with_more_properties_too() -> None:
    client, reader = connected(topic_alias_maximum=1)
    used = message_packet("", properties=integers(topic_alias=1, payload_format_indicator=1))
    client.send(aliased("a", 1), used, used)
    client.send(message_packet("b", properties=integers(payload_format_indicator=1, topic_alias=1)), used, used)
    assert "".join(topic for topic, _, _ in seen(reader)) == "aaabbb"


def test_what_an_alias_brings_goes_to_the_readers_of_the_moment() -> None:
    client, first = connected(topic_alias_maximum=1)
    client.send(aliased("a", 1), aliased("", 1))
    second = client.reader("a")
    client.send(aliased("", 1))
    assert (len(first.messages), len(second.messages)) == (3, 1)
    assert second.read()[0].topic == "a"


@pytest.mark.parametrize("alias", [0, 3, 0xFFFF])
@pytest.mark.parametrize("topic", ["a", ""])
def test_an_alias_outside_what_we_allow_is_a_violation(alias: int, topic: str) -> None:
    client, _ = connected(topic_alias_maximum=2)
    with pytest.raises(ProtocolViolation) as violated:
        client.send(aliased(topic, alias))
    assert violated.value.reason_code == ReasonCode.TOPIC_ALIAS_INVALID


def test_an_alias_that_was_never_set_is_a_protocol_error_also_when_it_was_on_another_connection() -> None:
    client, _ = connected(topic_alias_maximum=2)
    client.send(aliased("a", 1))
    client.lose()
    client.connect(session_present=True)
    with pytest.raises(ProtocolError, match="topic alias 1 was never set"):
        client.send(aliased("", 1))


# -- keep alive


class Clock:
    """Lets time pass for a client as the host does: a tick whenever it asked for one."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.sent: list[float] = []
        """When PINGREQ left."""
        self.wrong = ""
        self._next = client.now
        self.tick()

    def tick(self) -> None:
        client = self.client
        self.wrong = client.connection.tick(client.now)
        self.sent += [client.now for packet in client.take() if isinstance(packet, Pingreq)]
        self._next = client.now + client.connection.next_tick(client.now)

    def run_until(self, end: float) -> None:
        while self._next <= end and not self.wrong:
            self.client.now = self._next
            self.tick()
        if not self.wrong:
            self.client.now = end


def test_a_quiet_client_sends_pingreq_well_within_each_keep_alive_and_is_content_with_answers() -> None:
    client = Client(keep_alive=60)
    client.connect()
    clock = Clock(client)
    for _ in range(10):
        before = len(clock.sent)
        clock.run_until(client.now + 60 * PING_AFTER)
        assert len(clock.sent) == before + 1
        client.send(Pingresp())
    assert clock.wrong == ""


@given(st.lists(st.tuples(st.floats(0.1, 200.0), st.sampled_from(["send", "receive"])), max_size=20))
@settings(deadline=None)
def test_the_server_hears_something_within_each_keep_alive_and_a_dead_one_is_noticed_in_one_and_a_half(
    events: list[tuple[float, str]],
) -> None:
    """[MQTT-3.1.2-20]; `next_tick` may lie some hundredths of a second after the deadline."""
    client = Client(keep_alive=60)
    client.connect()
    client.connection.put(b"")  # CONNECT was sent
    clock = Clock(client)
    heard = said = client.now
    for wait, what in events:
        end = client.now + wait
        clock.run_until(end)
        for at in clock.sent:
            assert at - said <= 60 * PING_AFTER + 0.06
            said = at
        clock.sent.clear()
        if clock.wrong:
            assert client.now - heard <= 60 * (PING_AFTER + PING_PATIENCE) + 0.06
            return
        assert client.now - heard <= 60 * (PING_AFTER + PING_PATIENCE) + 0.06
        assert client.now - said <= 60 * PING_AFTER + 0.06
        if what == "send":
            client.connection.publish_at_most_once("t", b"", False)
            client.take()
            said = client.now
        else:
            client.send(Pingresp())
            heard = client.now


def test_a_silent_server_is_given_up_within_a_keep_alive_and_half() -> None:
    client = Client(keep_alive=60)
    client.connect()
    clock = Clock(client)
    clock.run_until(client.now + 1000)
    assert clock.wrong == "the server did not answer PINGREQ in 30 s"
    assert client.now == NOW + 75
    assert clock.sent == [NOW + 45]


def test_while_we_do_not_read_the_server_is_not_given_up_but_still_hears_from_us() -> None:
    client = Client(keep_alive=60)
    client.connect()
    clock = Clock(client)
    clock.run_until(client.now + 70)
    client.connection.reading_paused = True
    said = clock.sent[-1]
    clock.run_until(client.now + 1000)
    assert clock.wrong == ""
    for at in clock.sent[1:]:
        assert at - said <= 60
        said = at
    assert client.now - said <= 60
    count = len(clock.sent)
    while len(clock.sent) == count:
        clock.run_until(client.now + 1)
    client.connection.reading_paused = False
    clock.run_until(client.now + 30)  # the answer to what was sent just before may be on its way
    assert clock.wrong == ""
    clock.run_until(client.now + 1000)
    assert "did not answer" in clock.wrong


def test_without_a_keep_alive_or_a_connection_nothing_is_sent() -> None:
    client = Client(keep_alive=0)
    client.connect()
    assert client.connection.tick(NOW + 10_000) == ""
    assert client.take() == []
    client = Client(keep_alive=60)
    client.open()
    assert client.connection.tick(NOW + 10_000) == ""
    assert client.take() == []
