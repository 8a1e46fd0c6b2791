"""Does the WebSocket listener keep RFC 6455 and section 6 of MQTT, and is it a match for those who do not?"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.server.frames import BINARY, CLOSE, CONTINUATION, HEADERS, PING, PONG, TEXT, FrameClient, frame
from tidewire.server.listener_config import ListenerConfig
from tidewire.server.websocket import KEPT_BUFFER_BYTES, STRANGER_BYTES, UNREAD_PONG_BYTES, WebSocketProtocol
from tidewire.testing import BrokerThread
from tidewire.wire.codes import PUBACK
from tidewire.wire.packets import (
    Acknowledgement,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Will,
)

LISTENER = {"bind": ["127.0.0.1"], "port": 0, "protocol": "websocket"}
PING_PACKET = Pingreq().encode(4)


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerThread]:
    with BrokerThread({"bind": [], "listener": [LISTENER]}) as broker:
        yield broker


@pytest.fixture
def client(broker: BrokerThread) -> Iterator[FrameClient]:
    with FrameClient(broker.url) as client:
        yield client


@contextlib.contextmanager
def serving(**settings: object) -> Iterator[BrokerThread]:
    """A broker whose WebSocket listener has these settings."""
    with BrokerThread({"bind": [], "listener": [LISTENER | settings]}) as broker:
        yield broker


def answers_pings(client: FrameClient) -> bool:
    client.send(frame(PING_PACKET))
    return client.packet() == Pingresp()


# The upgrade


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("mqtt", b"mqtt"),
        ("mqttv3.1", b"mqttv3.1"),
        ("chat, mqtt", b"mqtt"),
        ("mqttv3.1, mqtt", b"mqttv3.1"),
    ],
)
def test_the_first_subprotocol_that_is_mqtt_is_chosen(client: FrameClient, offered: str, chosen: bytes) -> None:
    status, head = client.request(Sec_WebSocket_Protocol=offered)
    assert status == 101
    assert b"\r\nSec-WebSocket-Protocol: " + chosen in head
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # the example of section 1.3


@pytest.mark.parametrize("connection", ["keep-alive, Upgrade", "upgrade", "Upgrade, foo"])
def test_an_upgrade_may_be_named_among_other_options(client: FrameClient, connection: str) -> None:
    assert client.request(Connection=connection)[0] == 101


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"path": "/elsewhere"}, 404),
        ({"path": "/mqtt/"}, 404),
        ({"Sec_WebSocket_Protocol": None}, 400),
        ({"Sec_WebSocket_Protocol": "MQTT"}, 400),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": None}, 426),
        ({"Upgrade": None}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Connection": None}, 400),
        ({"Connection": "close"}, 400),
        ({"Host": None}, 400),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400),
    ],
)
def test_a_request_that_is_no_upgrade_is_told_so_and_closed(
    client: FrameClient, changes: dict[str, str | None], status: int
) -> None:
    assert client.request(**changes)[0] == status  # type: ignore[arg-type]
    assert client.ends()


def test_a_query_after_the_path_does_not_matter(client: FrameClient) -> None:
    assert client.request("/mqtt?token=1")[0] == 101


def test_pages_of_other_origins_are_kept_out_and_programs_are_not() -> None:
    with serving(origins=["https://example.org"]) as broker:
        for origin, status in [("https://example.org", 101), ("HTTPS://Example.org", 101), (None, 101)]:
            with FrameClient(broker.url) as client:
                assert client.request(Origin=origin)[0] == status
        for origin in ["https://example.org.evil", "http://example.org", "null", ""]:
            with FrameClient(broker.url) as client:
                assert client.request(Origin=origin)[0] == 403


def test_the_path_can_be_another() -> None:
    with serving(path="/") as broker, FrameClient(broker.url) as client:
        assert broker.url.endswith("/")
        assert client.request("/")[0] == 101


SMUGGLED = frame(Connect("smuggled").encode(4)) + frame(Publish(b"smuggled", b"x").encode(4))


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /mqtt HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n",
        b"POST /mqtt HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /mqtt HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET /mqtt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /mqtt HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n",
        b"GET /mqtt HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + b"REST",
        b"GET /mqtt HTTP/1.1\r\nHost : a\r\n" + b"REST",
        b"GET /mqtt HTTP/1.1\r\n Host: a\r\n" + b"REST",
        b"GET /mqtt HTTP/1.1\r\nHost: a\r\nX: b\rGET / HTTP/1.1\r\n" + b"REST",
        b"GET /mqtt HTTP/1.1\nHost: a\n\n",
        b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n\r\n",
        b"GET http://inside/ HTTP/1.1\r\nHost: a\r\n" + b"REST",
    ],
)
def test_nothing_is_smuggled_behind_a_request_that_was_refused(broker: BrokerThread, request_head: bytes) -> None:
    rest = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    rest += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    with FrameClient(broker.url) as client:
        client.send(request_head.replace(b"REST", rest) + SMUGGLED)
        client.socket.shutdown(1)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := client.socket.recv(65_536):
                answer += data
        assert b" 101 " not in answer
        assert answer.count(b"HTTP/1.1 4") <= 1  # what came behind is no second request
    with FrameClient(broker.url) as honest:
        assert answers_pings(honest.connect("honest"))
    assert "smuggled" not in [message.topic for message in broker.received]


def test_a_head_that_does_not_end_is_closed(client: FrameClient) -> None:
    assert client.ask(b"GET /mqtt HTTP/1.1\r\n" + b"X: " + b"y" * 20_000)[0] == 0


# Frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000])
def test_a_packet_of_any_size_travels_in_one_frame(client: FrameClient, size: int) -> None:
    client.connect()
    client.send(frame(Subscribe(1, [SubscriptionRequest(b"size", 0)]).encode(4)))
    assert isinstance(client.packet(), Suback)
    client.send(frame(Publish(b"size", b"x" * size).encode(4)))
    assert client.packet() == Publish(b"size", b"x" * size)


def test_many_packets_share_a_frame_and_one_is_spread_over_many(client: FrameClient) -> None:
    client.upgrade()
    data = Connect("spread").encode(4) + Subscribe(1, [SubscriptionRequest(b"#", 1)]).encode(4) + PING_PACKET * 3
    for index in range(0, len(data), 5):
        client.send(frame(data[index : index + 5]))
    client.send(frame(PING_PACKET * 1000))
    assert client.packet() == Connack()
    assert isinstance(client.packet(), Suback)
    assert [client.packet() for _ in range(1003)] == [Pingresp()] * 1003


def test_packets_that_are_sent_at_once_come_in_a_frame_each(client: FrameClient) -> None:
    client.connect()
    client.send(frame(Subscribe(1, [SubscriptionRequest(b"each", 0)]).encode(4)))
    assert isinstance(client.packet(), Suback)
    packets = [Publish(b"each", b"x" * size).encode(4) for size in (1, 1, 1, 2, 300, 0)]
    client.send(frame(b"".join(packets)) + frame(PING_PACKET * 2))
    answers = [*packets, Pingresp().encode(4), Pingresp().encode(4)]
    assert [client.frame() for _ in answers] == [(BINARY, answer) for answer in answers]


def test_frames_may_come_byte_by_byte(client: FrameClient) -> None:
    client.upgrade()
    for byte in frame(Connect("slow").encode(4)) + frame(b"") + frame(PING_PACKET):
        client.send(bytes([byte]))
    assert client.packet() == Connack()
    assert client.packet() == Pingresp()


def test_a_message_may_be_fragmented_with_pings_between(client: FrameClient) -> None:
    client.connect()
    client.send(frame(PING_PACKET[:1], fin=False) + frame(b"1", PING) + frame(b"", CONTINUATION, fin=False))
    client.send(frame(b"2", PING) + frame(PING_PACKET[1:], CONTINUATION))
    assert [client.frame(), client.frame()] == [(PONG, b"1"), (PONG, b"2")]
    assert client.packet() == Pingresp()
    assert answers_pings(client)


@pytest.mark.parametrize("payload", [b"", b"x", b"\x00\xff" * 60, b"y" * 125])
def test_a_ping_is_answered_with_what_it_holds(client: FrameClient, payload: bytes) -> None:
    client.upgrade().send(frame(payload, PING) + frame(payload, PONG))
    assert client.frame() == (PONG, payload)
    client.send(frame(b"still there", PING))
    assert client.frame() == (PONG, b"still there")


VIOLATIONS: dict[str, tuple[bytes, int]] = {
    "text": (frame(b"hello", TEXT), 1003),
    "text after a fragment": (frame(b"", fin=False) + frame(b"hello", TEXT), 1003),
    "not masked": (frame(PING_PACKET, masked=False), 1002),
    "reserved bit 1": (frame(PING_PACKET, reserved=4), 1002),
    "reserved bit 3": (frame(PING_PACKET, reserved=1), 1002),
    "reserved bit of a ping": (frame(b"", PING, reserved=2), 1002),
    "reserved opcode": (frame(b"", 3), 1002),
    "reserved control opcode": (frame(b"", 11), 1002),
    "ping of 126 bytes": (frame(b"x" * 126, PING), 1002),
    "fragmented ping": (frame(b"", PING, fin=False), 1002),
    "continuation of nothing": (frame(b"x", CONTINUATION), 1002),
    "continuation after the end": (frame(b"", fin=False) + frame(b"", CONTINUATION) + frame(b"", CONTINUATION), 1002),
    "message within a message": (frame(b"", fin=False) + frame(PING_PACKET), 1002),
    "length of 16 bits for 8": (b"\x82\xfe\x00\x05" + b"\0" * 9, 1002),
    "length of 64 bits for 16": (b"\x82\xff" + (300).to_bytes(8, "big") + b"\0" * 304, 1002),
    "length of 2^63": (b"\x82\xff\x80" + b"\0" * 11, 1002),
    "larger than a packet may be": (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"\0" * 4, 1009),
    "close of one byte": (frame(b"\x03", CLOSE), 1002),
    "close with a code that is none": (frame(b"\x03\xed", CLOSE), 1002),
    "close with a code below all": (frame(b"\x00\x05", CLOSE), 1002),
    "close with a reason that is no text": (frame(b"\x03\xe8\xff\xfe", CLOSE), 1007),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_violation_is_told_and_the_connection_closed(client: FrameClient, violation: str) -> None:
    data, code = VIOLATIONS[violation]
    client.connect("violating")
    client.send(data + frame(PING_PACKET))
    assert client.close_code() == code
    assert client.is_closed()


@pytest.mark.parametrize(
    ("body", "answer"),
    [(b"", 1000), (b"\x03\xe8", 1000), (b"\x03\xe8bye", 1000), (b"\x03\xe9", 1001), (b"\x0f\xa0", 4000)],
)
def test_a_close_is_answered_and_what_came_before_it_counts(
    broker: BrokerThread, client: FrameClient, body: bytes, answer: int
) -> None:
    topic = f"before/{body.hex()}"
    client.connect("leaving")
    client.send(frame(Publish(topic.encode(), b"x").encode(4)) + frame(body, CLOSE) + frame(PING_PACKET))
    assert client.close_code() == answer
    assert client.is_closed()
    broker.wait_for(topic)


def test_the_client_says_good_bye_and_the_server_closes_in_order(client: FrameClient) -> None:
    client.connect()
    client.send(frame(Disconnect().encode(4)))
    assert client.close_code() == 1000
    client.send(frame(b"\x03\xe8", CLOSE))
    assert client.is_closed()


@pytest.mark.parametrize("end", [frame(b"", TEXT), frame(b"", CLOSE)])
def test_nothing_is_sent_after_a_close(client: FrameClient, end: bytes) -> None:
    client.connect()
    client.send(frame(PING_PACKET) + end)  # its answer is made when the end was read, and told
    found = list(iter(client.frame, None))
    assert found[-1][0] == CLOSE


def test_what_mqtt_forbids_ends_with_a_policy_violation(client: FrameClient) -> None:
    client.connect()
    client.send(frame(Connect("again").encode(4)))
    assert client.close_code() == 1008


def test_a_server_that_stops_says_that_it_goes_away() -> None:
    broker = BrokerThread({"bind": [], "listener": [LISTENER]})
    try:
        client = FrameClient(broker.url).connect()
    finally:
        broker.stop()
    with client:
        assert client.close_code() == 1001


def test_an_end_without_a_close_publishes_the_will(broker: BrokerThread) -> None:
    with FrameClient(broker.url) as client:
        client.upgrade().send(frame(Connect("gone", will=Will(b"will/ws", b"", 0, False)).encode(4)))
        client.packet()
    broker.wait_for("will/ws")


class Stream(asyncio.Protocol):
    """What comes out of the frames; it is its own client, server and socket."""

    def __init__(self) -> None:
        self.received = b""
        self.written: list[bytes] = []
        self.connection: Any = self
        self.session: Any = self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.tunnel = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.written.append(data)


SIZES = st.one_of(st.integers(0, 300), st.sampled_from([65_535, 65_536, 1_966_080, 2_000_000, 5_000_000]))


@settings(max_examples=20, deadline=None)
@given(
    messages=st.lists(st.tuples(SIZES, st.integers(0, 100)), max_size=8),
    reads=st.lists(st.integers(1, 2_500_000), min_size=1, max_size=5),
)
def test_any_frames_in_any_reads_come_out_as_one_stream(messages: list[tuple[int, int]], reads: list[int]) -> None:
    async def feed() -> None:
        stream = Stream()
        protocol = WebSocketProtocol(cast(Any, stream), ListenerConfig(protocol="websocket"), 10_000_000)
        protocol.connection_made(cast(Any, stream))
        lines = ["GET /mqtt HTTP/1.1", *(f"{name}: {value}" for name, value in HEADERS.items()), "", ""]
        sent, expected = ["\r\n".join(lines).encode()], []
        for number, (size, cut) in enumerate(messages):
            payload = (b"%d" % number * size)[:size]
            part = size * cut // 100
            expected.append(payload)
            sent += [frame(payload[:part], fin=False), frame(b"", PING), frame(payload[part:], CONTINUATION)]
        data = b"".join(sent)
        position = 0
        for size in itertools.cycle(reads):
            if position >= len(data):
                break
            protocol.data_received(data[position : position + size])
            position += size
        assert stream.received == b"".join(expected)

    asyncio.run(feed())


RUNS = st.tuples(st.one_of(st.integers(0, 400), st.sampled_from([16_378, 16_379, 65_526, 65_527])), st.integers(1, 40))


@settings(deadline=None)
@example([(68, 1000)])
@example([(200, 1), (328, 13)])  # the first's length comes back in all its distances, but for the second byte
@example([(118, 1), (119, 1), (65_526, 1), (65_527, 1)])  # frames of 125, 126, 65 535 and 65 536 bytes
@given(st.lists(RUNS, min_size=1, max_size=6))
def test_a_write_of_many_packets_stays_one_with_each_in_its_frame(runs: list[tuple[int, int]]) -> None:
    stream = Stream()
    packets = [Publish(b"run", b"\xcd" * size).encode(4) for size, count in runs for _ in range(count)]

    async def send() -> None:
        protocol = WebSocketProtocol(cast(Any, stream), ListenerConfig(protocol="websocket"), 10_000_000)
        protocol.connection_made(cast(Any, stream))
        stream.tunnel.write(b"".join(packets))

    asyncio.run(send())
    assert stream.written == [b"".join(frame(packet, masked=False) for packet in packets)]


# Bounds


def test_a_stranger_gets_no_memory_for_a_large_frame(broker: BrokerThread) -> None:
    with FrameClient(broker.url) as client:
        client.upgrade()
        with contextlib.suppress(ConnectionError):
            client.send(b"\x82\xff" + (9 * 1024 * 1024).to_bytes(8, "big") + b"\0" * 4)
            for _ in range(STRANGER_BYTES // 65_536 + 1):
                client.send(b"\0" * 65_536)
        with contextlib.suppress(ConnectionError):
            assert client.close_code() in (0, 1009)


def test_the_memory_of_a_large_frame_is_given_back(broker: BrokerThread, client: FrameClient) -> None:
    def room() -> int:
        (protocol,) = [
            each for each in broker._broker.server.gate.connections if each.connection.client_identifier() == "large"
        ]
        return len(protocol.connection.transport._transport._outer._frames.get_buffer(-1))  # type: ignore[attr-defined]

    client.connect("large")
    for size in (2_000_000, 5_000_000, 3_000_000, 10_000_000):  # of each the buffer grows by doubling
        client.send(frame(Publish(b"large", b"x" * size, 1, packet_identifier=1).encode(4)))
        assert client.packet() == Acknowledgement(PUBACK, 1)
        if size == 3_000_000:
            continue  # the next one follows while the buffer is still large
        assert broker._call(room) > KEPT_BUFFER_BYTES
        client.send(frame(PING_PACKET[:1], fin=False))  # a message is under way while the buffer is changed
        client.send(frame(PING_PACKET[1:], CONTINUATION))
        assert client.packet() == Pingresp()
        assert broker._call(room) < KEPT_BUFFER_BYTES
    client.send(frame(b"", TEXT))
    assert client.close_code() == 1003


def test_pings_of_a_peer_that_reads_nothing_are_not_answered_for_ever(
    broker: BrokerThread, client: FrameClient
) -> None:
    client.connect("deaf")
    pings = frame(b"x" * 125, PING) * 1000
    for _ in range(80):  # ten megabytes: many times what sockets and UNREAD_PONG_BYTES hold
        client.send(pings)

    def unsent() -> int:
        (protocol,) = [
            each for each in broker._broker.server.gate.connections if each.connection.client_identifier() == "deaf"
        ]
        return protocol.connection.transport.get_write_buffer_size()  # type: ignore[attr-defined, no-any-return]

    assert broker._call(unsent) <= UNREAD_PONG_BYTES + 65_536
    with FrameClient(broker.url) as other:
        assert answers_pings(other.connect("other"))


def test_after_a_violation_nothing_more_is_read(client: FrameClient) -> None:
    client.connect()
    with contextlib.suppress(ConnectionError):
        client.send(frame(b"", TEXT) + frame(b"x" * 65_000) * 20)
    with contextlib.suppress(ConnectionError):
        assert client.close_code() in (0, 1003)
        assert client.is_closed()


def test_faults_of_a_test_broker_work_on_packets_inside_frames(broker: BrokerThread) -> None:
    fault = broker.faults.drop("PINGREQ", client="faulty")
    with FrameClient(broker.url) as client:
        client.connect("faulty")
        client.send(frame(PING_PACKET * 2))
        assert client.packet() == Pingresp()
        assert fault.done
