"""Does delivery keep what QoS promises, over a link that loses, blocks and breaks?"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.engine.harness import NO_LIMIT, FakeTransport, Peer, World, integers
from tidewire.engine.delivery import RELEASED, Delivery
from tidewire.engine.ledger import EXPIRED
from tidewire.engine.limits import Limits
from tidewire.engine.link import Link, Outgoing
from tidewire.engine.message import IDENTIFIERS, Message
from tidewire.engine.ports import Events, Store
from tidewire.engine.statistics import Statistics
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL, ReasonCode
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Acknowledgement, Disconnect, Packet, Publish

NOW = 1000.0


class Ends(RuleBasedStateMachine):
    """A sender and a receiver, each a Delivery, and two wires between them that a cut empties."""

    @initialize(window=st.integers(1, 4))
    def connect(self, window: int) -> None:
        limits = Limits()
        self.outgoing = Outgoing(Statistics(NOW), Events())
        self.sender = Delivery(limits)
        self.receiver = Delivery(limits)
        self.sent: dict[int, list[bytes]] = {1: [], 2: []}
        self.arrived: dict[int, list[bytes]] = {1: [], 2: []}
        self.next_link(window)

    def next_link(self, window: int) -> None:
        self.transport = FakeTransport()
        self.link = Link(self.transport, self.outgoing)
        self.link.version = 4
        self.link.refresh_passthrough()
        self.decoder = Decoder(4, NO_LIMIT)
        self.to_receiver: list[Packet] = []
        self.to_sender: list[Acknowledgement] = []
        self.unfinished: set[int] = set()
        self.window = window
        self.sender.resume(self.link, window, NOW)

    def pass_over(self) -> None:
        """What the sender wrote in this pass goes onto the wire."""
        self.outgoing.flush()
        for packet in self.decoder.feed(b"".join(self.transport.written)):
            if isinstance(packet, Publish):
                self.unfinished.add(packet.packet_identifier)
            self.to_receiver.append(packet)
        self.transport.written.clear()

    @rule(qos=st.integers(1, 2))
    def send(self, qos: int) -> None:
        payload = b"%d" % len(self.sent[qos])
        self.sent[qos].append(payload)
        assert self.sender.send(Message(b"t", payload, qos, False), NOW)
        self.pass_over()

    @precondition(lambda self: self.to_receiver)
    @rule(count=st.integers(1, 5))
    def carry_to_receiver(self, count: int) -> None:
        for packet in self.to_receiver[:count]:
            if isinstance(packet, Publish):
                if packet.qos == 1 or self.receiver.receive(IDENTIFIERS[packet.packet_identifier]):
                    self.arrived[packet.qos].append(packet.payload)
                answer = PUBACK if packet.qos == 1 else PUBREC
            else:
                assert isinstance(packet, Acknowledgement)
                assert packet.packet_type == PUBREL
                self.receiver.release(IDENTIFIERS[packet.packet_identifier])
                answer = PUBCOMP
            self.to_sender.append(Acknowledgement(answer, packet.packet_identifier))
        del self.to_receiver[:count]

    @precondition(lambda self: self.to_sender)
    @rule(count=st.integers(1, 5))
    def carry_to_sender(self, count: int) -> None:
        for packet in self.to_sender[:count]:
            identifier = IDENTIFIERS[packet.packet_identifier]
            if packet.packet_type != PUBREC:
                self.unfinished.discard(packet.packet_identifier)
            if packet.packet_type == PUBACK:
                self.sender.acknowledge(identifier, 0, NOW)
            elif packet.packet_type == PUBREC:
                self.sender.pubrec(identifier, 0, NOW)
            else:
                self.sender.complete(identifier, NOW)
        del self.to_sender[:count]
        self.pass_over()

    @rule(window=st.integers(1, 4), meanwhile=st.lists(st.integers(1, 2), max_size=3))
    def cut_and_resume(self, window: int, meanwhile: list[int]) -> None:
        self.sender.pause()
        for qos in meanwhile:
            self.send(qos)
        self.next_link(window)
        self.pass_over()

    @rule()
    def block(self) -> None:
        self.link.block()

    @rule()
    def unblock(self) -> None:
        self.link.unblock()
        self.sender.pump(NOW)
        self.pass_over()

    @invariant()
    def nothing_is_in_flight_beyond_the_window(self) -> None:
        assert len(self.unfinished) <= self.window

    @invariant()
    def qos_2_arrives_exactly_once_and_in_order(self) -> None:
        assert self.arrived[2] == self.sent[2][: len(self.arrived[2])]

    @invariant()
    def qos_1_arrives_in_order_but_for_repetitions(self) -> None:
        first = list(dict.fromkeys(self.arrived[1]))
        assert first == self.sent[1][: len(first)]

    def teardown(self) -> None:
        self.unblock()
        while self.to_receiver or self.to_sender:
            self.carry_to_receiver(1000)
            self.carry_to_sender(1000)
        assert list(dict.fromkeys(self.arrived[1])) == self.sent[1]
        assert self.arrived[2] == self.sent[2]
        assert not self.sender.inflight
        assert self.sender.queue is None
        assert self.sender.queue_bytes == 0
        assert self.receiver.received is None
        assert self.sender.waiting_messages() == 0


TestTwoEnds = Ends.TestCase
TestTwoEnds.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# -- the broker as the sender


def subscriber(world: World, version: int = 5, qos: int = 2, **properties: int) -> Peer:
    peer = world.connect("alice", version, properties=integers(session_expiry_interval=1000, **properties))
    peer.subscribe("t", qos=qos)
    return peer


def again(world: World, **properties: int) -> Peer:
    return world.connect("alice", 5, clean_start=False, properties=integers(session_expiry_interval=1000, **properties))


def publish(world: World, *payloads: str, qos: int = 1, version: int = 4) -> list[int]:
    """Publish to `t` from a client of its own; returns the reason codes of the answers."""
    publisher = world.connect("publisher", version)
    codes: list[int] = []
    for number, payload in enumerate(payloads, 1):
        publisher.publish("t", payload.encode(), qos=qos, packet_identifier=number)
        if qos:
            codes.append(publisher.take()[0].reason_code)  # type: ignore[attr-defined]
    return codes


def text(messages: list[Publish]) -> str:
    return "".join(message.payload.decode() for message in messages)


@pytest.mark.parametrize("qos", [1, 2])
def test_no_more_than_receive_maximum_is_in_flight(qos: int) -> None:
    world = World()
    alice = subscriber(world, receive_maximum=2)
    publish(world, *"abcde", qos=qos)
    first = alice.messages()
    assert text(first) == "ab"
    alice.acknowledge(PUBACK if qos == 1 else PUBREC, first[0].packet_identifier)
    if qos == 2:
        assert alice.take() == [Acknowledgement(PUBREL, first[0].packet_identifier)]
        alice.acknowledge(PUBCOMP, first[0].packet_identifier)
    assert text(second := alice.messages()) == "c"
    assert second[0].packet_identifier not in (first[0].packet_identifier, first[1].packet_identifier)


def test_our_own_limit_holds_where_the_client_names_a_larger_one() -> None:
    world = World(inflight_maximum=3)
    alice = subscriber(world, receive_maximum=100)
    publish(world, *"abcde")
    assert text(alice.messages()) == "abc"


@pytest.mark.parametrize("smaller", [1, 2, 3])
def test_after_a_reconnect_all_comes_again_in_order_also_with_a_smaller_receive_maximum(smaller: int) -> None:
    world = World()
    alice = subscriber(world)
    publish(world, *"abc", qos=2)
    publish(world, *"def", qos=1)
    before = alice.messages()
    alice.acknowledge(PUBREC, before[1].packet_identifier)
    alice.lose()
    publish(world, "g")
    alice = again(world, receive_maximum=smaller)
    packets = alice.take()
    assert len(packets) == smaller
    inbox: list[Packet] = list(packets)
    received: list[Publish] = []
    released: list[int] = []
    while inbox:
        packet = inbox.pop(0)
        if isinstance(packet, Publish):
            received.append(packet)
            alice.acknowledge(PUBACK if packet.qos == 1 else PUBREC, packet.packet_identifier)
        else:
            assert isinstance(packet, Acknowledgement)
            released.append(packet.packet_identifier)
            alice.acknowledge(PUBCOMP, packet.packet_identifier)
        inbox += alice.take()
    assert text(received) == "acdefg"
    assert [message.dup for message in received] == [True] * 5 + [False]
    assert [message.packet_identifier for message in received[:5]] == [
        message.packet_identifier for message in before if message.payload != b"b"
    ]
    assert before[1].packet_identifier in released


def test_what_is_acknowledged_before_it_came_again_does_not_come_again() -> None:
    world = World()
    alice = subscriber(world)
    publish(world, *"abc")
    before = alice.messages()
    alice.lose()
    alice = again(world, receive_maximum=1)
    assert text(alice.messages()) == "a"
    for message in before[1:]:
        alice.acknowledge(PUBACK, message.packet_identifier)
    alice.acknowledge(PUBACK, before[0].packet_identifier)
    assert alice.messages() == []
    assert not world.broker.sessions["alice"].inflight


def test_a_connection_that_breaks_in_the_middle_starts_over_on_the_next() -> None:
    world = World()
    alice = subscriber(world)
    publish(world, *"abc")
    for _ in range(3):
        alice.lose()
        alice = again(world, receive_maximum=2)
        assert text(alice.messages()) == "ab"
    assert [message.dup for message in alice.settle()] == []


@pytest.mark.parametrize("code", [0x80, 0x87, 0x97])
def test_a_pubrec_that_refuses_ends_the_message_and_makes_room(code: int) -> None:
    world = World()
    alice = subscriber(world, receive_maximum=1)
    publish(world, *"ab", qos=2)
    alice.acknowledge(PUBREC, alice.messages()[0].packet_identifier, code)
    packets = alice.take()
    assert text(packets) == "b"  # type: ignore[arg-type]
    alice.acknowledge(PUBREC, packets[0].packet_identifier)  # type: ignore[attr-defined]
    alice.acknowledge(PUBREC, packets[0].packet_identifier, code)  # type: ignore[attr-defined]
    assert world.broker.sessions["alice"].waiting_messages() == 0


def test_a_pubrec_that_comes_twice_is_answered_twice() -> None:
    world = World()
    alice = subscriber(world)
    publish(world, "a", qos=2)
    identifier = alice.messages()[0].packet_identifier
    alice.acknowledge(PUBREC, identifier)
    alice.acknowledge(PUBREC, identifier)
    assert alice.take() == [Acknowledgement(PUBREL, identifier)] * 2


@pytest.mark.parametrize("version", [4, 5])
def test_a_pubrec_for_nothing_is_answered_so_that_the_peer_can_forget_it(version: int) -> None:
    alice = World().connect("alice", version)
    alice.acknowledge(PUBREC, 77)
    assert alice.take() == [Acknowledgement(PUBREL, 77, 0x92 if version == 5 else 0)]
    if version == 5:
        alice.acknowledge(PUBREC, 78, 0x80)
        assert alice.take() == []


def test_acknowledgements_for_nothing_change_nothing() -> None:
    world = World()
    alice = subscriber(world)
    for _ in range(2):
        alice.acknowledge(PUBACK, 77)
        alice.acknowledge(PUBCOMP, 77)
        publish(world, "a")
        assert text(alice.settle()) == "a"
    assert not alice.is_closed


@pytest.mark.parametrize(("qos", "wrong"), [(1, PUBREC), (2, PUBACK), (2, PUBCOMP)])
def test_an_acknowledgement_of_the_other_qos_is_a_protocol_error(qos: int, wrong: int) -> None:
    world = World()
    alice = subscriber(world)
    publish(world, "a", qos=qos)
    alice.acknowledge(wrong, alice.messages()[0].packet_identifier)
    goodbye = alice.take()[-1]
    assert isinstance(goodbye, Disconnect)
    assert goodbye.reason_code == ReasonCode.PROTOCOL_ERROR
    assert world.broker.sessions["alice"].waiting_messages() == 1


def test_identifiers_in_use_are_passed_over_when_they_come_round() -> None:
    world = World()
    alice = subscriber(world)
    publish(world, "a")
    kept = alice.messages()[0].packet_identifier
    session = world.broker.sessions["alice"]
    session._last_identifier = 65_534
    publish(world, *"bcd")
    assert [message.packet_identifier for message in alice.messages()] == [65_535, kept + 1, kept + 2]


def test_a_queue_is_bounded_in_messages_and_what_is_dropped_stands_in_the_ledger() -> None:
    world = World(queue_messages=3)
    alice = subscriber(world)
    alice.lose()
    assert publish(world, *"abcdef", version=5) == [0, 0, 0, 0x97, 0x97, 0x97]
    assert publish(world, *"x", version=4) == [0]
    ledger = world.broker.sessions["alice"].ledger
    assert ledger is not None
    assert ledger.total() == world.broker.ledger.total() == 4
    assert world.events.of("dropped") == [("alice", "queue full", 1)]
    world.advance(9)
    assert publish(world, "g", version=5) == [0x97]
    world.advance(9)
    assert world.events.of("dropped") == [("alice", "queue full", 1)]
    world.advance(2)
    assert world.events.of("dropped")[1:] == [("alice", "queue full", 5)]
    publish(world, "h")
    assert len(world.events.of("dropped")) == 3
    assert text(again(world).settle()) == "abc"


def test_a_full_queue_makes_room_of_what_has_expired_in_it() -> None:
    world = World(queue_messages=3)
    alice = world.connect("alice", 5, properties=integers(session_expiry_interval=1000))
    alice.subscribe("a", qos=1)
    alice.lose()
    bob = world.connect("bob", 5)
    for number in range(3):
        bob.publish("a", b"old", 1, properties=integers(message_expiry_interval=5 + 100 * (number == 2)))
    world.advance(10)
    bob.take()
    for payload, code in ((b"new", 0), (b"newer", 0), (b"newest", ReasonCode.QUOTA_EXCEEDED)):
        bob.publish("a", payload, 1)
        assert bob.take() == [Acknowledgement(PUBACK, 1, code)]
    assert world.events.of("dropped") == [("alice", "expired", 1), ("alice", "queue full", 1)]
    session = world.broker.sessions["alice"]
    assert session.ledger is not None and session.ledger.counts[EXPIRED] == 2
    alice = world.connect("alice", 5, clean_start=False)
    assert [message.payload for message in alice.settle()] == [b"old", b"new", b"newer"]


def test_one_too_large_for_an_emptied_queue_is_dropped_too() -> None:
    world = World(queue_bytes=100)
    alice = world.connect("alice", 5, properties=integers(session_expiry_interval=1000))
    alice.subscribe("a", qos=1)
    alice.lose()
    bob = world.connect("bob", 5)
    bob.publish("a", b"old", 1, properties=integers(message_expiry_interval=5))
    world.advance(10)
    bob.publish("a", bytes(200), 1)
    assert world.broker.sessions["alice"].queue is None
    assert world.broker.sessions["alice"].queue_bytes == 0


def test_a_queue_is_bounded_in_bytes_and_has_room_again_once_it_is_read() -> None:
    world = World(queue_bytes=30)
    alice = subscriber(world, receive_maximum=1)
    assert publish(world, "a" * 9, "b" * 9, "c" * 9, "d" * 9, "e", version=5) == [0, 0, 0, 0, 0x97]
    assert world.broker.sessions["alice"].queue_bytes == 30
    assert len(alice.settle()) == 4
    assert world.broker.sessions["alice"].queue_bytes == 0
    assert publish(world, "f", version=5) == [0]


def test_0x97_means_that_nobody_could_keep_it() -> None:
    world = World(queue_messages=1)
    alice = subscriber(world)
    alice.lose()
    bob = world.connect("bob")
    publish(world, "a")
    bob.subscribe("t", qos=1)
    assert publish(world, "b", version=5) == [0]
    bob.disconnect()
    assert publish(world, "c", version=5) == [0x97]
    assert publish(world, "c", qos=2, version=5) == [0x97]


@pytest.mark.parametrize("kind", ["lower", "special", "shared", "retained"])
def test_0x97_comes_for_every_kind_of_subscriber(kind: str) -> None:
    world = World(queue_messages=1)
    alice = world.connect("alice", 5, properties=integers(session_expiry_interval=1000))
    alice.subscribe("$share/g/t" if kind == "shared" else "t", qos=1, retain_as_published=kind == "special")
    alice.lose()
    assert publish(world, *"abc", qos=2 if kind == "lower" else 1, version=5) == [0, 0x97, 0x97]


def test_a_publish_to_somebody_who_is_away_and_wanted_qos_0_is_no_failure() -> None:
    world = World()
    alice = subscriber(world, qos=0)
    alice.lose()
    for version in (4, 5):
        assert publish(world, "a", version=version) == [0]
    assert world.events.of("dropped") == []


# -- a peer that reads too slowly


def test_qos_0_waits_for_a_slow_reader_up_to_the_limit_and_is_dropped_beyond() -> None:
    world = World(outbox_bytes=100)
    slow = world.connect("slow")
    slow.subscribe("t")
    fast = world.connect("fast")
    fast.subscribe("t")
    slow.block()
    publish(world, *["x" * 30] * 9, qos=0)
    assert len(fast.messages()) == 9
    slow.unblock()
    arrived = len(slow.messages())
    assert 2 <= arrived <= 3
    assert world.events.of("dropped") == [("slow", "slow consumer", 1)]
    assert world.broker.statistics.publish_dropped == 9 - arrived
    publish(world, "again", qos=0)
    assert text(slow.messages()) == "again"


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_slow_consumer_costs_only_itself(qos: int) -> None:
    world = World(outbox_bytes=500, queue_messages=5)
    peers = [world.connect(f"client {number}") for number in range(4)]
    for peer in peers:
        peer.subscribe("t", qos=qos)
    peers[1].block()
    codes = publish(world, *["x" * 100] * 20, qos=qos, version=5)
    assert codes == ([0] * 20 if qos else [])
    for index in (0, 2, 3):
        assert len(peers[index].settle()) == 20
    peers[1].unblock()
    assert 0 < len(peers[1].settle()) <= 6
    assert {entry[0] for entry in world.events.of("dropped")} == {"client 1"}


def test_above_qos_0_a_slow_reader_gets_all_later_and_in_order() -> None:
    world = World()
    alice = subscriber(world)
    alice.block()
    publish(world, *"abc")
    publish(world, *"def", qos=2)
    assert alice.take() == []
    alice.unblock()
    assert text(alice.settle()) == "abcdef"


def test_control_packets_are_never_dropped() -> None:
    world = World(outbox_bytes=0, queue_messages=0, unread_answer_bytes=10_000_000)
    alice = world.connect("alice")
    alice.block()
    for identifier in range(1, 500):
        alice.publish("nobody", qos=1 + identifier % 2, packet_identifier=identifier)
        alice.send_bytes(b"\xc0\x00")
    alice.unblock()
    assert len(alice.take()) == 2 * 499


def test_large_amounts_go_to_the_socket_before_the_pass_ends() -> None:
    world = World(early_flush_bytes=1000)
    alice = subscriber(world)
    publisher = world.connect("publisher")
    packets = b"".join(
        Publish(b"t", b"x" * 400, qos, packet_identifier=1 if qos else 0).encode(4) for qos in (0, 1, 0, 1, 1, 0) * 5
    )
    publisher.connection.receive(packets, world.now)
    assert len(alice.transport.written) > 5
    assert all(len(piece) < 2500 for piece in alice.transport.written)
    world.flush()
    assert len(alice.messages()) == 30
    alice.lose()
    alice = again(world)
    assert len(alice.messages()) == 15


# -- what the peer cannot take, and what has expired


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_is_larger_than_the_peer_takes_is_dropped_and_the_rest_comes(qos: int) -> None:
    world = World()
    alice = subscriber(world, qos=qos, maximum_packet_size=50)
    assert publish(world, "a", "b" * 100, "c", qos=qos, version=5) == ([0] * 3 if qos else [])
    assert text(alice.settle()) == "ac"
    assert world.events.of("dropped") == [("alice", "too large", 1)]
    assert not world.broker.sessions["alice"].inflight


def test_a_packet_of_exactly_the_peers_maximum_comes() -> None:
    world = World()
    alice = subscriber(world, maximum_packet_size=50)
    size = 50 - len(Publish(b"t", b"", 1, packet_identifier=1).encode(5))
    publish(world, "x" * size)
    assert len(alice.messages()) == 1
    publish(world, "x" * (size + 1))
    assert alice.messages() == []


def test_what_is_too_large_for_the_next_connection_is_dropped_from_what_comes_again() -> None:
    world = World()
    alice = subscriber(world)
    publish(world, "a", "b" * 100, "c")
    assert len(alice.messages()) == 3
    alice.lose()
    assert text(again(world, maximum_packet_size=50).settle()) == "ac"
    assert world.events.of("dropped") == [("alice", "too large", 1)]


@pytest.mark.parametrize("qos", [1, 2])
def test_expiry_is_counted_down_while_a_message_waits(qos: int) -> None:
    world = World()
    alice = subscriber(world)
    alice.lose()
    publisher = world.connect("publisher", 5)
    for number, seconds in enumerate((100, 20), 1):
        publisher.publish(
            "t", b"%d" % number, qos=qos, packet_identifier=number, properties=integers(message_expiry_interval=seconds)
        )
    world.advance(30)
    alice = again(world)
    messages = alice.settle()
    assert [message.properties for message in messages] == [integers(message_expiry_interval=70)]
    assert world.events.of("dropped") == [("alice", "expired", 1)]
    assert world.broker.sessions["alice"].queue_bytes == 0


def test_a_message_that_expires_behind_a_full_window_is_dropped_when_its_turn_comes() -> None:
    world = World()
    alice = subscriber(world, receive_maximum=1)
    publisher = world.connect("publisher", 5)
    publisher.publish("t", b"a", qos=1)
    publisher.publish("t", b"b", qos=1, properties=integers(message_expiry_interval=5))
    publisher.publish("t", b"c", qos=1)
    world.advance(10)
    assert text(alice.settle()) == "ac"
    assert world.events.of("dropped") == [("alice", "expired", 1)]


def test_a_message_with_expiry_that_comes_at_once_has_all_of_it_left() -> None:
    world = World()
    alice = subscriber(world)
    old = world.connect("old")
    old.subscribe("t", qos=2)
    publisher = world.connect("publisher", 5)
    for qos in (0, 1, 2):
        publisher.publish("t", b"a", qos=qos, properties=integers(message_expiry_interval=5))
    assert [message.properties for message in alice.messages()] == [integers(message_expiry_interval=5)] * 3
    assert text(old.messages()) == "aaa"


def test_a_delivery_of_its_own_needs_nobody_to_be_told() -> None:
    limits = Limits()
    limits.queue_messages = 0
    delivery = Delivery(limits)
    assert not delivery.send(Message(b"t", b"x", 1, False), NOW)
    assert not delivery.send(Message(b"t", b"x", 0, False), NOW)
    delivery.pump(NOW)
    delivery.complete(IDENTIFIERS[1], NOW)
    delivery.pubrec(IDENTIFIERS[1], 0, NOW)
    assert not delivery.release(IDENTIFIERS[1])
    assert delivery.waiting_messages() == 0


# -- a peer that has lost the session


class Log(Store):
    """What a store was told, in order: what happened, and the packet identifier or payload."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, int | bytes]] = []

    def kept(self, delivery: Delivery, message: Message) -> None:
        self.told.append(("kept", message.payload))

    def sent(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        self.told.append(("sent", number_of(identifier)))

    def released(self, delivery: Delivery, identifier: bytes) -> None:
        self.told.append(("released", number_of(identifier)))

    def settled(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        self.told.append(("settled", number_of(identifier)))

    def received(self, delivery: Delivery, identifier: bytes) -> None:
        self.told.append(("received", number_of(identifier)))

    def forgotten(self, delivery: Delivery, identifier: bytes) -> None:
        self.told.append(("forgotten", number_of(identifier)))


def number_of(identifier: bytes) -> int:
    return int.from_bytes(identifier, "big")


class Sender:
    """A delivery of its own, over links that the test makes."""

    def __init__(self, store: Store | None = None) -> None:
        self.delivery = Delivery(Limits())
        self.delivery.store = store
        self.outgoing = Outgoing(Statistics(NOW), Events())

    def connect(self, window: int = 10) -> None:
        self.transport = FakeTransport()
        link = Link(self.transport, self.outgoing)
        link.version = 4
        link.refresh_passthrough()
        self.delivery.resume(link, window, NOW)

    def take(self) -> list[Packet]:
        self.outgoing.flush()
        written, self.transport.written = self.transport.written, []
        return Decoder(4, NO_LIMIT).feed(b"".join(written))


@pytest.mark.parametrize("has_store", [False, True])
def test_a_peer_that_has_lost_the_session_gets_all_it_has_not_taken_as_new_and_in_order(has_store: bool) -> None:
    store = Log()
    sender = Sender(store if has_store else None)
    delivery = sender.delivery
    sender.connect()
    for qos, payload in ((2, b"a"), (1, b"b"), (2, b"c"), (1, b"d")):
        delivery.send(Message(b"t", payload, qos, False), NOW)
    delivery.pubrec(IDENTIFIERS[3], 0, NOW)
    delivery.receive(IDENTIFIERS[77])
    sender.take()
    delivery.pause()
    delivery.send(Message(b"t", b"e", 1, False), NOW)
    store.told.clear()
    delivery.start_over()
    assert store.told == ([("forgotten", 77), ("settled", 3)] if has_store else [])
    assert delivery.received is None
    sender.connect(window=2)
    taken = sender.take()
    delivery.acknowledge(IDENTIFIERS[2], 0, NOW)
    delivery.pubrec(IDENTIFIERS[1], 0, NOW)
    delivery.complete(IDENTIFIERS[1], NOW)
    taken += [packet for packet in sender.take() if isinstance(packet, Publish)]
    assert taken == [
        Publish(b"t", payload, qos, packet_identifier=number)
        for number, (qos, payload) in {1: (2, b"a"), 2: (1, b"b"), 4: (1, b"d"), 5: (1, b"e")}.items()
    ]
    assert delivery.receive(IDENTIFIERS[77])


def test_what_was_sent_as_new_is_sent_again_as_a_repetition_on_the_next_connection() -> None:
    sender = Sender()
    sender.connect()
    sender.delivery.send(Message(b"t", b"a", 1, False), NOW)
    for lost, dup in ((True, False), (False, True), (True, False)):
        sender.delivery.pause()
        if lost:
            sender.delivery.start_over()
        sender.connect()
        assert [packet.dup for packet in sender.take() if isinstance(packet, Publish)] == [dup]


def test_starting_over_with_nothing_is_nothing() -> None:
    sender = Sender(Log())
    sender.delivery.start_over()
    sender.connect()
    assert sender.take() == []
    assert not sender.delivery.inflight


def test_when_all_in_flight_was_released_starting_over_leaves_nothing() -> None:
    sender = Sender()
    sender.connect()
    sender.delivery.send(Message(b"t", b"a", 2, False), NOW)
    sender.delivery.pubrec(IDENTIFIERS[1], 0, NOW)
    assert sender.delivery.inflight == {IDENTIFIERS[1]: RELEASED}
    sender.take()
    sender.delivery.pause()
    sender.delivery.start_over()
    sender.connect()
    assert sender.take() == []
    assert sender.delivery.waiting_messages() == 0


def test_the_highest_packet_identifier_may_be_lower_so_that_others_have_theirs() -> None:
    sender = Sender()
    sender.delivery.identifier_maximum = 3
    sender.connect()
    for _ in range(2):
        sender.delivery.send(Message(b"t", b"a", 1, False), NOW)
    sender.delivery.acknowledge(IDENTIFIERS[1], 0, NOW)
    for _ in range(2):
        sender.delivery.send(Message(b"t", b"a", 1, False), NOW)
    assert [packet.packet_identifier for packet in sender.take() if isinstance(packet, Publish)] == [1, 2, 3, 1]
