"""Does a connection read its stream however it is cut, answer what it must, and end alone when something is wrong?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.harness import FakeTransport, Peer, World, integers
from tidewire.engine.ports import EVERYBODY, Access
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL, ConnectReturnCode, ReasonCode
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
    Unsubscribe,
    Will,
)

PING = b"\xc0\x00"


def goodbye(peer: Peer) -> int:
    """The reason code of the DISCONNECT that ended a 5.0 connection."""
    assert peer.is_closed
    last = peer.take()[-1]
    assert isinstance(last, Disconnect)
    return last.reason_code


# -- the stream, cut anywhere

said = st.one_of(
    st.builds(Publish, st.sampled_from([b"a", b"b"]), st.sampled_from([b"", b"xx", b"y" * 200]), st.just(0)),
    st.builds(
        Publish,
        st.sampled_from([b"a", b"a/b"]),
        st.binary(max_size=3),
        st.integers(1, 2),
        st.booleans(),
        packet_identifier=st.integers(1, 4),
    ),
    st.builds(Acknowledgement, st.sampled_from([PUBACK, PUBREC, PUBREL, PUBCOMP]), st.integers(1, 4)),
    st.builds(
        Subscribe,
        st.just(9),
        st.lists(st.builds(SubscriptionRequest, st.sampled_from([b"a", b"#", b"b"]), st.integers(0, 2)), min_size=1),
    ),
    st.builds(Unsubscribe, st.just(9), st.lists(st.sampled_from([b"a", b"#"]), min_size=1)),
    st.builds(Pingreq),
    st.sampled_from([Disconnect(), Connect("talker")]),
)
streams = st.lists(st.tuples(said, st.sampled_from([1, 1, 1, 3])), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([3, 4, 5]), streams, st.sampled_from([b"", b"", b"\xf7\x00", b"\x36\x02ab"]), st.data())
def test_a_stream_has_the_same_effects_however_it_is_cut(
    version: int, stream: list[tuple[Packet, int]], rest: bytes, data: st.DataObject
) -> None:
    whole = Connect("talker", version, will=Will(b"a", b"gone")).encode(version)
    whole += b"".join(packet.encode(version) * repeated for packet, repeated in stream if _fits(packet, version)) + rest
    every = data.draw(st.booleans())
    cuts = range(len(whole)) if every else sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    outcomes = []
    for pieces in ([whole], [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]):
        world = World()
        watcher = world.connect("watcher", 9 - max(version, 4))
        watcher.subscribe("#", qos=2)
        talker = world.open(version)
        for piece in pieces:
            talker.send_bytes(piece)
        statistics = world.broker.statistics
        outcomes.append(
            (talker.take_bytes(), watcher.take_bytes(), talker.is_closed, world.events.log, statistics.publish_received)
        )
    assert outcomes[0] == outcomes[1]


def _fits(packet: Packet, version: int) -> bool:
    return version == 5 or not isinstance(packet, Subscribe) or all(not r.retain_handling for r in packet.requests)


@pytest.mark.parametrize("size", [65_530, 65_536, 200_000, 2_000_000])
@pytest.mark.parametrize("piece", [1000, 65_536, 70_000])
def test_a_large_packet_is_put_together_from_its_parts(size: int, piece: int) -> None:
    world = World()
    watcher = world.connect("watcher")
    watcher.subscribe("a", qos=1)
    talker = world.connect("talker", 5)
    payload = bytes(range(250)) * (size // 250)
    stream = PING + Publish(b"a", payload, 1, packet_identifier=1).encode(5) + PING
    for start in range(0, len(stream), piece):
        talker.send_bytes(stream[start : start + piece])
    assert [message.payload for message in watcher.messages()] == [payload]
    assert talker.take() == [Pingresp(), Acknowledgement(PUBACK, 1), Pingresp()]


def test_the_crumbs_of_a_large_packet_do_not_take_more_than_their_bytes() -> None:
    world = World()
    talker = world.connect("talker")
    stream = Publish(b"a", bytes(200_000)).encode(4)
    for start in range(0, len(stream), 20):
        talker.connection.receive(stream[start : start + 20], world.now)
    assert world.broker.statistics.publish_received == 1
    for start in range(0, len(stream) - 20, 20):
        talker.connection.receive(stream[start : start + 20], world.now)
    chunks = talker.connection.chunks
    assert chunks is not None and len(chunks) < 8


def test_bytes_after_the_end_are_not_read() -> None:
    world = World()
    alice = world.connect("alice")
    alice.disconnect()
    alice.publish("a")
    assert world.broker.statistics.publish_received == 0
    alice.send_bytes(PING)
    alice.lose()
    assert alice.take() == []


def test_what_follows_a_good_bye_in_the_same_read_is_not_read() -> None:
    world = World()
    alice = world.connect("alice")
    alice.send(Disconnect(), Publish(b"a", b"x"), Pingreq())
    assert world.broker.statistics.publish_received == 0
    assert alice.take() == []


# -- CONNECT


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_client_is_welcome(version: int) -> None:
    alice = World().connect("alice", version)
    assert (alice.connack.reason_code, alice.connack.session_present) == (0, False)
    assert not alice.is_closed


@pytest.mark.parametrize(("version", "clean_start", "welcome"), [
    (3, True, False), (3, False, False), (4, True, True), (4, False, False), (5, True, True), (5, False, True),
])  # fmt: skip
def test_a_client_without_an_identifier(version: int, clean_start: bool, welcome: bool) -> None:
    peer = World().connect("", version, clean_start=clean_start)
    assert peer.connack.reason_code == (0 if welcome else ConnectReturnCode.IDENTIFIER_REJECTED)
    assert peer.is_closed == (not welcome)


@pytest.mark.parametrize("head", [b"\x00\x04MQTT\x06", b"\x00\x04MQTT\x03", b"\x00\x04MqTT\x04", b"\x00\x04HTTP\x04"])
def test_another_version_is_refused_in_a_form_that_every_client_understands(head: bytes) -> None:
    world = World()
    peer = world.open(4)
    peer.send_bytes(b"\x10\x0c" + head + b"\x02\0\0\0\0")
    assert peer.take_bytes() == b"\x20\x02\0\x01"
    assert peer.is_closed
    assert world.events.of("refused")[0][0] == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (PING, "the first packet is of type 12, not CONNECT"),
        (b"\x30\x04\0\1ax", "the first packet is of type 3, not CONNECT"),
        (b"GET / HTTP/1.1\r\n", "the first packet is of type 4, not CONNECT; is this HTTP?"),
        (b"\x16\x03\x01\x02\x00", "CONNECT has flags 0110 in its fixed header; is this TLS, on a listener without it?"),
    ],
)
def test_what_does_not_begin_with_connect_is_closed_without_a_word(data: bytes, told: str) -> None:
    world = World()
    peer = world.open()
    peer.send_bytes(data)
    assert peer.is_closed
    assert peer.take() == []
    [(_, detail)] = world.events.of("refused")
    assert detail == told


def test_a_malformed_connect_of_5_0_is_answered_with_its_fault() -> None:
    peer = World().open(5)
    peer.send_bytes(b"\x10\x0d\0\4MQTT\5\3\0\0\0\0\0")
    assert peer.take()[0].reason_code == ReasonCode.MALFORMED_PACKET  # type: ignore[attr-defined]
    assert peer.is_closed


def test_a_second_connect_is_a_protocol_error() -> None:
    alice = World().connect("alice", 5)
    alice.send(Connect("alice", 5))
    assert goodbye(alice) == ReasonCode.PROTOCOL_ERROR


def test_enhanced_authentication_is_refused() -> None:
    properties = integers()
    properties.texts[p.AUTHENTICATION_METHOD] = "SCRAM-SHA-1"
    alice = World().connect("alice", 5, properties=properties)
    assert alice.connack.reason_code == ReasonCode.BAD_AUTHENTICATION_METHOD
    assert alice.is_closed


def test_a_refusal_says_why_unless_that_were_larger_than_the_client_takes() -> None:
    for size, texts in ((1000, 1), (8, 0)):
        properties = integers(maximum_packet_size=size)
        properties.texts[p.AUTHENTICATION_METHOD] = "X"
        alice = World().connect("alice", 5, properties=properties)
        assert len(alice.connack.properties.texts) == texts


def test_a_client_that_cannot_even_take_a_connack_is_closed_without_a_word() -> None:
    world = World()
    peer = world.open(5)
    peer.send(Connect("alice", 5, properties=integers(maximum_packet_size=4)))
    assert peer.take() == []
    assert peer.is_closed
    assert world.broker.sessions == {}


def test_a_maximum_packet_size_beyond_every_packet_is_none() -> None:
    alice = World().connect("alice", 5, properties=integers(maximum_packet_size=0xFFFF_FFFF))
    assert alice.connection.peer_maximum_packet_size == 0
    assert alice.connection.passthrough == 5


# -- time


@pytest.mark.parametrize("seconds", [10.0, 3.0, 45.0])
@pytest.mark.parametrize("sent", [b"", Connect("alice").encode(4)[:-1]])
def test_a_connection_without_its_connect_ends_in_time_and_not_before(seconds: float, sent: bytes) -> None:
    world = World(connect_timeout_s=seconds)
    peer = world.open()
    peer.send_bytes(sent)
    world.advance(seconds - 0.25)
    assert not peer.is_closed
    world.advance(0.75)
    assert peer.is_closed
    assert world.events.of("refused") == [(ReasonCode.KEEP_ALIVE_TIMEOUT, "no CONNECT in time")]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("keep_alive", [2, 10, 60])
def test_a_silent_client_ends_after_one_and_a_half_times_its_keep_alive(version: int, keep_alive: int) -> None:
    world = World()
    alice = world.connect("alice", version, keep_alive=keep_alive)
    for _ in range(3):
        world.advance(1.4 * keep_alive)
        assert not alice.is_closed
        alice.send_bytes(PING)
        alice.take()
    world.advance(1.5 * keep_alive - 0.25)
    assert not alice.is_closed
    world.advance(0.75)
    assert alice.is_closed
    if version == 5:
        assert goodbye(alice) == ReasonCode.KEEP_ALIVE_TIMEOUT
    assert world.events.of("disconnected")[0][1:] == (ReasonCode.KEEP_ALIVE_TIMEOUT, "keep alive time-out")


def test_a_client_without_keep_alive_may_be_silent_for_ever() -> None:
    world = World()
    alice = world.connect("alice")
    for _ in range(48):
        world.advance(3600)
    assert not alice.is_closed


@pytest.mark.parametrize(("asked", "told"), [(0, 20), (10, None), (20, None), (21, 20), (65_535, 20)])
def test_our_own_keep_alive_holds_where_it_is_shorter(asked: int, told: int | None) -> None:
    world = World(keep_alive_maximum_s=20)
    alice = world.connect("alice", 5, keep_alive=asked)
    assert alice.connack.properties.integers.get(p.SERVER_KEEP_ALIVE) == told
    old = world.connect("old", 4, keep_alive=asked)  # which cannot be told
    world.advance(1.5 * (told or asked) + 0.5)
    assert alice.is_closed
    assert old.is_closed == (0 < asked <= 20)


@pytest.mark.parametrize("grace", [5.0, 30.0])
def test_a_closed_connection_that_does_not_drain_is_cut_after_its_grace(grace: float) -> None:
    world = World(closing_grace_s=grace)
    alice = world.connect("alice", 5)
    alice.send_bytes(b"\xf3\x00")
    assert alice.transport.ended
    assert not alice.transport.closed  # it may still read why
    world.advance(grace - 0.25)
    assert not alice.transport.aborted
    world.advance(0.75)
    assert alice.transport.aborted


class ResetTransport(FakeTransport):
    """One whose peer has reset the stream, as asyncio shows it before it calls `connection_lost`."""

    def write_eof(self) -> None:
        raise OSError(107, "Transport endpoint is not connected")


def test_a_stream_that_was_reset_does_not_hinder_whoever_ends_it() -> None:
    world = World()
    alice = world.connect("alice")
    alice.transport = ResetTransport()
    alice.connection.transport = alice.transport
    assert world.connect("alice").connack.reason_code == 0
    assert alice.transport.aborted
    assert world.events.of("disconnected") == [
        ("alice", ReasonCode.SESSION_TAKEN_OVER, "taken over by a new connection")
    ]


def test_a_transport_that_cannot_half_close_is_closed() -> None:
    world = World()
    alice = world.connect("alice", 5)
    alice.transport.can_write_eof = lambda: False  # type: ignore[method-assign]
    alice.send_bytes(b"\xf3\x00")
    assert alice.transport.closed


# -- asynchronous authentication


class Later(Access):
    """Leaves every answer open."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def authenticate(self, packet, connection):  # type: ignore[no-untyped-def]
        self.asked.append(connection)


def test_nothing_is_read_until_authentication_has_answered() -> None:
    access = Later()
    world = World(access)
    peer = world.open(5)
    peer.send(Connect("alice", 5), Subscribe(1, [SubscriptionRequest(b"a")]), Publish(b"a", b"x"))
    peer.send_bytes(PING[:1])
    assert peer.take() == []
    assert not peer.transport.reading
    assert access.asked == [peer.connection]
    peer.connection.authenticated(0, EVERYBODY, world.now)
    world.flush()
    assert peer.transport.reading
    assert [type(packet) for packet in peer.take()] == [Connack, Suback, Publish]
    peer.send_bytes(PING[1:])
    assert peer.take() == [Pingresp()]
    peer.connection.authenticated(0, EVERYBODY, world.now)
    assert peer.take() == []


@pytest.mark.parametrize(("code", "told"), [(0x86, 0x86), (0x87, 0x87), (0, 0x87)])
def test_authentication_may_refuse_later(code: int, told: int) -> None:
    world = World(Later())
    peer = world.open(5)
    peer.send(Connect("alice", 5), Publish(b"a", b"x"))
    peer.connection.authenticated(code, None, world.now)
    assert peer.take()[0].reason_code == told  # type: ignore[attr-defined]
    assert peer.is_closed
    assert world.broker.sessions == {}
    assert world.broker.statistics.publish_received == 0


def test_an_answer_that_comes_after_the_client_went_away_opens_nothing() -> None:
    world = World(Later())
    peer = world.open(5)
    peer.send(Connect("alice", 5))
    peer.lose()
    peer.connection.authenticated(0, EVERYBODY, world.now)
    assert world.broker.sessions == {}


def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    world = World(Later())
    peer = world.open(5)
    peer.send(Connect("alice", 5))
    world.advance(11)
    assert peer.is_closed


@pytest.mark.parametrize(("version", "code", "told"), [(5, 0x86, 0x86), (4, 0x86, 4), (4, 0x87, 5), (3, 0x89, 3)])
def test_a_refusal_is_told_in_the_words_of_the_version(version: int, code: int, told: int) -> None:
    class Refusing(Access):
        def authenticate(self, packet, connection):  # type: ignore[no-untyped-def]
            return code, None

    alice = World(Refusing()).connect("alice", version)
    assert alice.connack.reason_code == told
    assert alice.is_closed


# -- errors of ours


class Broken(Access):
    """Fails at one of its questions."""

    def __init__(self, question: str) -> None:
        super().__init__()
        self.unrestricted = False
        self.question = question

    def _answer(self, question: str) -> bool:
        if question == self.question:
            raise RuntimeError(question)
        return True

    def authenticate(self, packet, connection):  # type: ignore[no-untyped-def]
        if packet.client_identifier == "alice":
            self._answer("authenticate")
        return 0, EVERYBODY

    def may_publish(self, principal, topic):  # type: ignore[no-untyped-def]
        return self._answer("may_publish")

    def may_subscribe(self, principal, topic_filter):  # type: ignore[no-untyped-def]
        return self._answer("may_subscribe")

    def may_read(self, principal, topic):  # type: ignore[no-untyped-def]
        return self._answer("may_read")


@pytest.mark.parametrize("question", ["authenticate", "may_publish", "may_subscribe", "may_read"])
@pytest.mark.parametrize("version", [4, 5])
def test_an_access_that_raises_costs_only_the_connection_that_asked(question: str, version: int) -> None:
    world = World(Broken(question))
    world.events.expects_faults = True
    bob = world.connect("bob")
    if question != "may_subscribe":
        bob.subscribe("a")
    alice = world.open(version)
    alice.send(Connect("alice", version), Subscribe(1, [SubscriptionRequest(b"a")]), Publish(b"a", b"x"))
    assert alice.is_closed
    assert world.events.of("fault")[0][1] == question
    if version == 5 and question != "authenticate":
        assert goodbye(alice) == ReasonCode.UNSPECIFIED_ERROR
    assert "alice" not in world.broker.sessions
    bob.send_bytes(PING)
    assert Pingresp() in bob.take()
    assert not bob.is_closed


def test_an_error_of_ours_while_a_late_answer_is_taken_costs_only_that_connection() -> None:
    world = World(Later())
    world.events.expects_faults = True

    def fail(session: Any, peer: str, resumed: bool) -> None:
        raise RuntimeError("connected")

    world.events.connected = fail  # type: ignore[method-assign]
    peer = world.open(5)
    peer.send(Connect("alice", 5))
    peer.connection.authenticated(0, EVERYBODY, world.now)
    world.flush()
    assert world.events.of("fault") == [("alice", "connected")]
    assert goodbye(peer) == ReasonCode.UNSPECIFIED_ERROR
    assert world.broker.statistics.connections == 0


# -- violations end their connection, and it alone


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x36\x05\0\1a\0\1", 0x81),  # QoS 3
        (b"\x38\x04\0\1a\0", 0x81),  # DUP at QoS 0
        (b"\x30\x01\0", 0x81),
        (b"\x30\x03\0\5a", 0x81),
        (b"\x30\x03\0\1a", 0x81),  # no properties
        (b"\x32\x01\0", 0x81),
        (b"\x32\x03\0\5a", 0x81),
        (b"\x32\x04\0\1a\0", 0x81),
        (b"\x32\x06\0\1a\0\0\0", 0x81),  # packet identifier 0
        (b"\x32\x05\0\1a\0\1", 0x81),
        (b"\x30\x03\0\0\0", 0x82),  # no topic
        (b"\x32\x05\0\0\0\1\0", 0x82),
        (b"\x30\x05\0\0\2\1\1", 0x82),  # no topic, and properties without alias
        (b"\x30\x04\0\1+\0", 0x90),
        (b"\x30\x04\0\1#\0", 0x90),
        (b"\x30\x04\0\1\0\0", 0x81),
        (b"\x30\x04\0\1\xff\0", 0x81),
        (b"\x31\x06\0\1a\2\1\7", 0x82),
        (b"\x30\x06\0\1a\2\x0b\5", 0x82),  # a subscription identifier from a client
        (b"\x30\x08\0\1a\4\x08\0\1#", 0x82),  # a response topic with a wildcard
        (b"\x30\x07\0\1a\3\x08\0\0", 0x82),
        (b"\x30\x07\0\1a\3\x23\0\0", 0x94),
        (b"\x30\x07\0\1a\3\x23\0\x21", 0x94),
        (b"\x30\x06\0\0\3\x23\0\1", 0x82),  # an alias that was never set
        (b"\x40\x02\0\0", 0x81),
        (b"\xc0\x01\0", 0x81),
        (b"\xd0\x00", 0x82),
        (b"\x20\x03\0\0\0", 0x82),
        (b"\x00\x00", 0x81),
        (b"\x30\xff\xff\xff\xff\x01", 0x81),
        (b"\x30\x84\x00\0\1a\0", 0x81),  # a remaining length longer than it needs
        (Auth(0x18).encode(5), None),
    ],
)
def test_a_violation_is_named_and_ends_its_connection(data: bytes, code: int | None) -> None:
    world = World()
    bob = world.connect("bob")
    alice = world.connect("alice", 5, will=Will(b"a", b"gone"))
    bob.subscribe("a")
    alice.send_bytes(data)
    if code is None:
        assert goodbye(alice) in (ReasonCode.MALFORMED_PACKET, ReasonCode.PROTOCOL_ERROR)
    else:
        assert goodbye(alice) == code
    assert [message.payload for message in bob.messages()] == [b"gone"]
    assert not bob.is_closed


@pytest.mark.parametrize("data", [b"\x30\x01\0", b"\x30\x02\0\0", b"\x36\x02ab", b"\xc0\x01\0", b"\x32\x06\0\1a\0\0\0"])
def test_before_5_0_a_violation_ends_its_connection_without_a_word(data: bytes) -> None:
    alice = World().connect("alice", 4)
    alice.send_bytes(data)
    assert alice.is_closed
    assert alice.take() == []


def test_properties_that_repeat_but_run_past_their_packet_are_malformed() -> None:
    alice = World().connect("alice", 5)
    alice.send_bytes(b"\x32\x08\0\1a\0\1\2\1\1" + b"\x32\x06\0\1a\0\2\2" + b"\1\1")
    assert goodbye(alice) == ReasonCode.MALFORMED_PACKET


# -- answers


def test_a_ping_is_answered_however_its_length_is_spelled_before_5_0() -> None:
    alice = World().connect("alice")
    alice.send_bytes(PING + b"\xc0\x80\x00")
    assert alice.take() == [Pingresp()] * 2


def test_acknowledgements_in_their_long_form_are_understood() -> None:
    world = World()
    alice = world.connect("alice", 5)
    alice.subscribe("a", qos=2)
    world.connect("bob").publish("a", qos=2)
    identifier = alice.messages()[0].packet_identifier
    alice.send_bytes(b"\x50\x04" + identifier.to_bytes(2, "big") + b"\0\0")
    assert alice.take() == [Acknowledgement(PUBREL, identifier)]
    alice.send_bytes(b"\x70\x03" + identifier.to_bytes(2, "big") + b"\0")
    assert not world.broker.sessions["alice"].inflight
    alice.publish("b", qos=2, packet_identifier=5)
    alice.take()
    alice.send_bytes(b"\x62\x03\0\5\0")
    assert alice.take() == [Acknowledgement(PUBCOMP, 5)]


@pytest.mark.parametrize(("version", "code"), [(4, 0), (5, 0x92)])
def test_a_pubrel_for_nothing_is_answered(version: int, code: int) -> None:
    alice = World().connect("alice", version)
    alice.acknowledge(PUBREL, 9)
    assert alice.take() == [Acknowledgement(PUBCOMP, 9, code)]


@pytest.mark.parametrize("version", [4, 5])
def test_a_qos_2_message_that_comes_twice_is_passed_on_once(version: int) -> None:
    world = World()
    bob = world.connect("bob")
    bob.subscribe("a", qos=2)
    alice = world.connect("alice", version)
    for dup in (False, True, True):
        alice.publish("a", qos=2, dup=dup)
    assert alice.take() == [Acknowledgement(PUBREC, 1)] * 3
    assert len(bob.settle()) == 1
    alice.acknowledge(PUBREL, 1)
    alice.publish("a", qos=2)
    assert len(bob.settle()) == 1


def test_a_qos_2_message_that_was_refused_frees_its_identifier_at_once() -> None:
    alice = World().connect("alice", 5)
    for _ in range(3):
        alice.publish("$SYS/mine", qos=2)
    assert alice.take() == [Acknowledgement(PUBREC, 1, 0x87)] * 3


def test_answers_that_nobody_reads_stop_the_reading_rather_than_grow() -> None:
    world = World(unread_answer_bytes=1000)
    alice = world.connect("alice")
    alice.block()
    sent = 0
    while alice.transport.reading:
        alice.send_bytes(PING * 50)
        sent += 50
        assert sent < 1000
    assert alice.connection.outbox_bytes <= 1000 + 100
    alice.send_bytes(PING)
    alice.unblock()
    assert alice.transport.reading
    assert len(alice.take()) == sent + 1


# -- incoming topic aliases (3.3.2.3.4)


def aliased(topic: bytes, alias: int, payload: bytes = b"x", qos: int = 0) -> Publish:
    return Publish(topic, payload, qos, packet_identifier=1 if qos else 0, properties=integers(topic_alias=alias))


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_an_alias_stands_for_the_topic_it_was_last_set_to(qos: int) -> None:
    world = World(topic_alias_maximum=2)
    bob = world.connect("bob", 5)
    bob.subscribe("#")
    alice = world.connect("alice", 5)
    for topic, alias in ((b"a", 1), (b"b", 2), (b"", 1), (b"", 2), (b"c", 1), (b"", 1), (b"", 2)):
        alice.send(aliased(topic, alias, qos=qos))
        alice.settle()
    messages = bob.messages()
    assert [message.topic for message in messages] == [b"a", b"b", b"a", b"b", b"c", b"c", b"b"]
    assert not any(message.properties.integers for message in messages)


def test_aliases_belong_to_one_connection() -> None:
    world = World()
    properties = integers(session_expiry_interval=100)
    alice = world.connect("alice", 5, properties=properties)
    alice.send(aliased(b"a", 1))
    alice.lose()
    alice = world.connect("alice", 5, clean_start=False, properties=properties)
    alice.send(aliased(b"", 1))
    assert goodbye(alice) == ReasonCode.PROTOCOL_ERROR


def test_a_topic_behind_an_alias_is_a_topic_too() -> None:
    alice = World().connect("alice", 5)
    alice.send_bytes(b"\x30\x08\0\2a+\3\x23\0\1")
    assert goodbye(alice) == ReasonCode.TOPIC_NAME_INVALID


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"a", b"b"]),
            st.integers(0, 2),
            st.sampled_from([{}, {"message_expiry_interval": 9}, {"payload_format_indicator": 1}, {"topic_alias": 3}]),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_properties_that_repeat_are_recognised_and_those_that_do_not_are_read(
    stream: list[tuple[bytes, int, dict[str, int], bool]],
) -> None:
    world = World()
    bob = world.connect("bob", 5)
    bob.subscribe("#", qos=2)
    alice = world.connect("alice", 5)
    expected = []
    for topic, qos, named, user in stream:
        packet = Publish(topic, b"x", qos, packet_identifier=1 if qos else 0, properties=integers(**named))
        kept = integers(**{name: value for name, value in named.items() if name != "topic_alias"})
        if user:
            packet.properties.user_properties = kept.user_properties = [("k", "v")]
        alice.send(packet)
        alice.settle()
        expected.append((topic, qos, kept))
    received = bob.settle()
    assert [(message.topic, message.qos, message.properties) for message in received] == expected
