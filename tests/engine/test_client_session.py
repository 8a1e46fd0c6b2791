"""Does a client's session keep what QoS promises, over connections that break anywhere?"""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.engine.client_harness import NOW, Client, Reader, Wire, message_packet
from tests.engine.harness import World, integers
from tidewire.engine.client_session import PENDING, ClientSession, Host, Publication
from tidewire.engine.delivery import RELEASED
from tidewire.engine.limits import REMEMBERED_TOPICS, SUBSCRIBE_IDENTIFIERS, Limits
from tidewire.engine.message import IDENTIFIERS, Message
from tidewire.engine.ports import Store
from tidewire.engine.received import DROP_NEWEST, DROP_OLDEST, ERROR
from tidewire.engine.received import Message as ReceivedMessage
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL, ReasonCode
from tidewire.wire.errors import InvalidTopic, ProtocolError
from tidewire.wire.packets import Acknowledgement, Packet, Publish

EVERYTHING = 1 << 30


# -- the law: over whatever network, QoS 1 comes at least once, QoS 2 exactly once, each in order


class ClientAndBroker(RuleBasedStateMachine):
    """A client and a broker over pipes that are cut at any byte, and a neighbour of the broker who loses nothing."""

    @initialize(
        version=st.sampled_from([4, 5]),
        window=st.integers(1, 4),
        receive_maximum=st.integers(1, 4),
        aliases=st.integers(0, 2),
        repeats_length=st.booleans(),
    )
    def connect(self, version: int, window: int, receive_maximum: int, aliases: int, repeats_length: bool) -> None:
        self.world = World(outgoing_topic_aliases=aliases, topic_alias_maximum=aliases)
        self.neighbour = self.world.connect("neighbour")
        self.neighbour.subscribe("up/#", qos=2)
        client = Client(version, window, topic_alias_maximum=aliases)
        limits = {"receive_maximum": receive_maximum}
        if aliases:
            limits["topic_alias_maximum"] = aliases
        self.wire = Wire(self.world, client, **limits)
        self.wire.connect()
        self.wire.carry_all()
        self.reader = Reader()
        self.wire.subscribe(self.reader, "down/#")
        self.wire.carry_all()
        self.in_hand: list[ReceivedMessage] = []
        self.went_up: list[list[str]] = [[], [], []]
        self.went_down: list[list[str]] = [[], [], []]
        self.came_up: list[list[str]] = [[], [], []]
        self.came_down: list[list[str]] = [[], [], []]
        self.format = "%05d" if repeats_length else "%d"

    @rule(qos=st.integers(0, 2))
    def publish_up(self, qos: int) -> None:
        text = self.format % len(self.went_up[qos])
        client = self.wire.client
        if qos:
            client.publish(f"up/{qos}", text.encode(), qos)
        elif client.session.connection is None:
            return
        else:
            client.connection.publish_at_most_once("up/0", text.encode(), False)
        self.went_up[qos].append(text)

    @rule(qos=st.integers(0, 2))
    def publish_down(self, qos: int) -> None:
        text = self.format % len(self.went_down[qos])
        self.went_down[qos].append(text)
        self.neighbour.publish(f"down/{qos}", text.encode(), qos)
        self.neighbours_messages()

    @rule(count=st.integers(1, 60))
    def carry_up(self, count: int) -> None:
        self.wire.carry_up(count)
        self.neighbours_messages()

    @rule(count=st.integers(1, 60))
    def carry_down(self, count: int) -> None:
        self.wire.carry_down(count)

    @rule()
    def take(self) -> None:
        """The reader takes what has come, and acknowledges it later."""
        for message in self.reader.read():
            self.came_down[message.qos].append(message.text())
            self.in_hand.append(message)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        self.in_hand.pop(data.draw(st.integers(0, len(self.in_hand) - 1))).ack()

    @rule()
    def cut(self) -> None:
        self.wire.cut()
        self.wire.connect()

    def neighbours_messages(self) -> None:
        for message in self.neighbour.settle():
            self.came_up[int(message.topic[-1:])].append(message.payload.decode())

    def teardown(self) -> None:
        if not hasattr(self, "wire"):
            return
        while True:
            self.wire.carry_all()
            self.neighbours_messages()
            self.take()
            if not self.in_hand:
                break
            while self.in_hand:
                self.in_hand.pop().ack()
        for went, came in ((self.went_up, self.came_up), (self.went_down, self.came_down)):
            assert came[2] == went[2]
            assert list(dict.fromkeys(came[1])) == went[1]
            remaining = iter(went[0])
            assert all(text in remaining for text in came[0])  # each at most once, and in order
        self.wire.client.assert_nothing_is_left()
        session = self.world.broker.sessions["client"]
        assert session.waiting_messages() == 0
        assert session.received is None


TestClientAndBroker = ClientAndBroker.TestCase
TestClientAndBroker.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


# -- what came in is acknowledged


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_acknowledgements_leave_in_the_order_of_arrival_whatever_is_read_first(order: tuple[int, ...]) -> None:
    client = Client()
    client.connect()
    reader = client.reader("#")
    client.send(*[message_packet("t", str(number), 1, 10 + number) for number in range(3)])
    messages = reader.read()
    answers: list[Packet] = []
    for number in order:
        messages[number].ack()
        answers += client.take()
    assert answers == [Acknowledgement(PUBACK, 10 + number) for number in range(3)]


@given(st.lists(st.tuples(st.integers(1, 2), st.booleans()), max_size=20).flatmap(
    lambda sent: st.tuples(st.just(sent), st.permutations(range(len(sent))))
))  # fmt: skip
@settings(deadline=None)
def test_the_answers_are_those_to_all_that_was_let_go_before_the_first_that_was_not(
    drawn: tuple[list[tuple[int, bool]], list[int]],
) -> None:
    """[MQTT-4.6.0-2, 4.6.0-3]; some messages have two readers, and both must let go."""
    sent, order = drawn
    client = Client()
    client.connect()
    readers = [client.reader("one", "both"), client.reader("both")]
    for number, (qos, has_two) in enumerate(sent):
        client.send(message_packet("both" if has_two else "one", str(number), qos, 1 + number))
    copies = [message for reader in readers for message in reader.read()]
    open_copies = [1 + has_two for _, has_two in sent]
    assert len(copies) == sum(open_copies)
    by_number = {int(message.text()): message for message in copies}
    answers: list[Packet] = []
    for number in [*order, *order]:
        if open_copies[number]:
            open_copies[number] -= 1
            by_number[number].ack()
        answers += client.take()
        done = next((index for index, left in enumerate(open_copies) if left), len(sent))
        assert answers == [
            Acknowledgement(PUBACK if qos == 1 else PUBREC, 1 + index) for index, (qos, _) in enumerate(sent[:done])
        ]


def test_letting_go_twice_is_once() -> None:
    client = Client()
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t", "a", 1, 1), message_packet("t", "b", 1, 2))
    first, second = reader.read()
    for message in (first, first, second, second, first):
        message.ack()
    assert client.take() == [Acknowledgement(PUBACK, 1), Acknowledgement(PUBACK, 2)]


def test_the_host_says_when_a_message_that_a_reader_let_go_is_acknowledged() -> None:
    let_go: list[ReceivedMessage] = []

    class Later(Client):
        def consumed(self, message: ReceivedMessage) -> None:
            let_go.append(message)

    client = Later()
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t", "a", 1, 1))
    assert reader.texts() == ["a"]
    assert client.take() == []
    client.session.consumed(let_go[0])
    assert client.take() == [Acknowledgement(PUBACK, 1)]


def test_a_message_without_acknowledgement_has_nothing_to_let_go() -> None:
    client = Client()
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t"))
    reader.read()[0].ack()
    assert client.take() == []


def test_what_a_full_inbox_refuses_is_acknowledged_and_what_it_keeps_is_not() -> None:
    client = Client()
    client.connect()
    for overflow, kept in ((DROP_OLDEST, "bc"), (DROP_NEWEST, "ab"), (ERROR, "ab")):
        reader = Reader(2, overflow)
        topic = f"t/{overflow}"
        client.subscribe(reader, topic)
        client.send(*[message_packet(topic, text, 1, 1 + ord(text)) for text in "abc"])
        assert "".join(message.text() for message in reader.messages) == kept
        assert reader.dropped == 1
        assert reader.overflowed is (overflow == ERROR)
        assert client.take() == ([Acknowledgement(PUBACK, 1 + ord("a"))] if overflow == DROP_OLDEST else [])
        reader.texts()
        assert len(client.take()) == (2 if overflow == DROP_OLDEST else 3)


@pytest.mark.parametrize("qos", [1, 2])
def test_what_comes_again_while_a_reader_has_it_in_hand_is_not_delivered_twice(qos: int) -> None:
    client = Client()
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t", "a", qos, 7), message_packet("t", "b", qos, 8))
    first, second = reader.read()
    second.ack()
    client.lose()
    first_again, second_again = (message_packet("t", text, qos, 7 + (text == "b"), dup=True) for text in "ab")
    client.connect(session_present=True)
    client.send(first_again)
    assert client.take() == []
    client.send(second_again)
    assert client.take() == []  # it was let go while there was no connection, but waits for the one before it
    first.ack()
    answer = PUBACK if qos == 1 else PUBREC
    assert client.take() == [Acknowledgement(answer, 7), Acknowledgement(answer, 8)]
    assert reader.read() == []
    client.send(Acknowledgement(PUBREL, 7), Acknowledgement(PUBREL, 8))
    client.assert_nothing_is_left()


def test_what_was_let_go_without_a_connection_is_acknowledged_when_it_comes_again() -> None:
    client = Client()
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t", "a", 1, 7))
    message = reader.read()[0]
    client.lose()
    message.ack()
    client.connect(session_present=True)
    client.send(message_packet("t", "a", 1, 7, dup=True))
    assert client.take() == [Acknowledgement(PUBACK, 7)]
    client.assert_nothing_is_left()


def test_a_message_survives_several_connections_in_its_readers_hand() -> None:
    client = Client()
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t", "a", 2, 7))
    for _ in range(3):
        client.lose()
        client.connect(session_present=True)
    client.send(message_packet("t", "a", 2, 7, dup=True))
    assert reader.texts() == ["a"]
    assert client.take() == [Acknowledgement(PUBREC, 7)]


def test_a_new_message_under_the_packet_identifier_of_one_that_never_came_again_is_new() -> None:
    client = Client()
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t", "a", 1, 7))
    old = reader.read()[0]
    client.lose()
    client.connect(session_present=True)
    client.send(message_packet("t", "a", 1, 7))
    new = reader.read()[0]
    assert new is not old
    old.ack()
    assert client.take() == []
    new.ack()
    assert client.take() == [Acknowledgement(PUBACK, 7)]
    client.assert_nothing_is_left()


@pytest.mark.parametrize("other", [{"payload": "b"}, {"topic": "t/u"}, {"qos": 1}])
def test_a_packet_identifier_that_comes_again_with_something_else_is_something_else(other: dict[str, object]) -> None:
    client = Client()
    client.connect()
    reader = client.reader("t/#")
    client.send(message_packet("t", "a", 2, 7))
    client.lose()
    client.connect(session_present=True)
    client.send(message_packet(**{"topic": "t", "payload": "a", "qos": 2, "identifier": 7, "dup": True, **other}))  # type: ignore[arg-type]
    assert len(reader.messages) == 2


@pytest.mark.parametrize("qos", [1, 2])
def test_a_server_that_repeats_itself_on_one_connection_gets_one_answer(qos: int) -> None:
    client = Client(version=4)
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t", "a", qos, 7), *[message_packet("t", "a", qos, 7, dup=True)] * 2)
    assert reader.texts() == ["a"]
    assert client.take() == [Acknowledgement(PUBACK if qos == 1 else PUBREC, 7)]


def test_a_packet_identifier_in_use_is_a_protocol_error() -> None:
    """So the messages that wait for an acknowledgement are never more than there are identifiers."""
    client = Client()
    client.connect()
    client.reader("t")
    client.send(message_packet("t", "a", 1, 7))
    with pytest.raises(ProtocolError, match="packet identifier 7 is in use"):
        client.send(message_packet("t", "b", 1, 7))


def test_a_qos_2_message_whose_pubrec_was_lost_is_only_answered() -> None:
    client = Client()
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t", "a", 2, 7))
    assert reader.texts() == ["a"]
    client.lose()
    client.connect(session_present=True)
    client.send(message_packet("t", "a", 2, 7, dup=True))
    assert reader.read() == []
    assert client.take() == [Acknowledgement(PUBREC, 7)]
    client.send(Acknowledgement(PUBREL, 7))
    assert client.take() == [Acknowledgement(PUBCOMP, 7)]
    client.assert_nothing_is_left()


@pytest.mark.parametrize("version", [4, 5])
def test_a_pubrel_for_nothing_is_answered_so_that_the_server_can_forget_it(version: int) -> None:
    client = Client(version)
    client.connect()
    client.send(Acknowledgement(PUBREL, 7))
    assert client.take() == [Acknowledgement(PUBCOMP, 7, 0x92 if version == 5 else 0)]


def test_when_the_server_has_lost_the_session_what_came_before_is_not_acknowledged() -> None:
    client = Client()
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t", "a", 1, 1), message_packet("t", "b", 2, 2))
    reader.messages.pop().ack()
    before = reader.read()[0]
    client.lose()
    client.connect(session_present=False)
    client.send(message_packet("t", "b", 2, 2))
    assert len(reader.messages) == 1
    before.ack()
    assert client.take() == []
    reader.texts()
    assert client.take() == [Acknowledgement(PUBREC, 2)]


# -- messages that nobody reads


def test_messages_of_a_resumed_session_wait_for_whoever_subscribes_and_are_not_acknowledged_before() -> None:
    client = Client()
    client.connect(session_present=True)
    client.send(message_packet("t/a", "1", 1, 1), message_packet("u", "2", 2, 2), message_packet("t/b", "3", 1, 3))
    assert client.take() == []
    assert len(client.session.reception.parked) == 3
    reader = client.reader("t/#")
    assert reader.texts() == ["1", "3"]
    assert client.take() == [Acknowledgement(PUBACK, 1)]
    client.subscribe(Reader(0, DROP_NEWEST), "u")
    assert client.take() == [Acknowledgement(PUBREC, 2), Acknowledgement(PUBACK, 3)]
    client.send(Acknowledgement(PUBREL, 2))
    client.assert_nothing_is_left()
    assert client.session.reception.unclaimed == 0


def test_a_parked_message_that_comes_again_is_parked_once() -> None:
    client = Client()
    for dup in (False, True):
        client.connect(session_present=True)
        client.send(message_packet("t", "a", 1, 7, dup=dup))
        client.lose()
    client.connect(session_present=True)
    assert client.reader("t").texts() == ["a"]
    client.send(message_packet("t", "a", 1, 7, dup=True))
    assert client.take() == [Acknowledgement(PUBACK, 7)]
    client.assert_nothing_is_left()


def test_qos_0_that_nobody_reads_is_counted() -> None:
    client = Client()
    client.connect(session_present=True)
    client.send(message_packet("t"), message_packet("t"))
    assert client.session.reception.unclaimed == 2
    client.assert_nothing_is_left()


def test_a_leaving_interests_messages_are_acknowledged() -> None:
    client = Client()
    client.connect(session_present=True)
    reader = Reader()
    interest = client.subscribe(reader, "t")
    client.session.reception.detach(interest, reader)
    interest.leaving = True
    client.send(message_packet("t", "a", 1, 1), message_packet("t", "b", 2, 2))
    assert client.take() == [Acknowledgement(PUBACK, 1), Acknowledgement(PUBREC, 2)]
    assert client.session.reception.unclaimed == 2


def test_what_the_server_had_queued_for_a_filter_that_was_unsubscribed_is_acknowledged() -> None:
    """[MQTT-3.10.4-4]; parked, it would hold up every acknowledgement after it for ever."""
    client = Client()
    client.connect(session_present=True)
    reader = Reader()
    interest = client.subscribe(reader, "t/#")
    client.session.reception.detach(interest, reader)
    interest.leaving = True
    client.session.reception.forget(interest)
    client.send(message_packet("t/a", "a", 1, 1), message_packet("u", "b", 1, 2))
    assert client.take() == [Acknowledgement(PUBACK, 1)]
    assert client.session.reception.unclaimed == 1
    assert [message.text() for message in client.session.reception.parked] == ["b"]


def test_a_session_without_an_earlier_life_parks_only_what_a_subscription_left_open_brings() -> None:
    client = Client()
    client.connect(session_present=False)
    reader = Reader()
    interest = client.subscribe(reader, "t")
    client.session.reception.detach(interest, reader)
    client.send(message_packet("unknown", "a", 1, 1), message_packet("t", "b", 1, 2))
    assert client.take() == [Acknowledgement(PUBACK, 1)]
    assert client.reader("t").texts() == ["b"]


def test_what_an_unsubscribed_reader_left_undone_is_let_go_with_its_subscription() -> None:
    client = Client()
    client.connect()
    reception = client.session.reception
    reader = Reader()
    interest = client.subscribe(reader, "t/#")
    other = client.subscribe(Reader(), "t/kept")
    client.send(message_packet("t/a", "a", 1, 1), message_packet("t/kept", "b", 1, 2, (interest.identifier,)))
    reception.detach(interest, reader)
    reception.park(reader.read())
    reception.detach(other, other.inboxes[0])
    interest.leaving = True
    reception.forget(interest)
    assert client.take() == [Acknowledgement(PUBACK, 1)]
    assert [message.text() for message in reception.parked] == ["b"]


# -- what goes out


def test_a_publication_knows_its_state_and_tells_who_waits() -> None:
    client = Client()
    client.connect()
    publication = client.publish("a/b", b"x")
    silent = client.publish("c", b"x", 2)
    assert repr(publication) == "Publication('a/b', qos=1, pending)"
    assert not publication.done()
    waiting = publication.__await__()
    next(waiting)
    client.send(Acknowledgement(PUBACK, 1, ReasonCode.NO_MATCHING_SUBSCRIBERS), Acknowledgement(PUBREC, 2))
    with pytest.raises(StopIteration) as ended:
        next(waiting)
    assert ended.value.value == ReasonCode.NO_MATCHING_SUBSCRIBERS
    assert repr(publication) == "Publication('a/b', qos=1, 0x10)"
    assert publication.done() and silent.done()
    assert client.answers == [publication]


def test_a_publication_that_the_server_refuses_is_done_with_its_reason() -> None:
    client = Client()
    client.connect()
    publications = [client.publish("t", b"x", qos) for qos in (1, 2, 2)]
    client.send(Acknowledgement(PUBACK, 1, 0x87), Acknowledgement(PUBREC, 2, 0x97), Acknowledgement(PUBREC, 3, 0x10))
    client.send(Acknowledgement(PUBREC, 3), Acknowledgement(PUBCOMP, 3))
    assert [publication.reason_code for publication in publications] == [0x87, 0x97, 0x10]
    assert client.session.is_idle()


def test_a_publication_may_be_answered_by_a_host_that_does_not_wait() -> None:
    session = ClientSession(Limits(), Host())
    publication = Publication(session, b"t", b"x", 1, False, b"", 0.0)
    host = session.host
    host.answered(publication)
    host.progressed()
    host.dropped(publication, "expired")
    host.handle(Acknowledgement(PUBACK, 1))
    assert host.may_write()
    assert publication.reason_code == PENDING


@pytest.mark.parametrize(
    ("topic", "fault"),
    [
        ("", "at least one character"),
        ("a/#", "must not contain a wildcard"),
        ("a\0", "U[+]0000"),
        ("a\ud800", "cannot be written as UTF-8"),
        ("é" * 32_768, "at most 65535 bytes, not 65536"),
    ],
)
def test_a_topic_name_that_is_none_is_refused_at_once(topic: str, fault: str) -> None:
    client = Client()
    client.connect()
    with pytest.raises(InvalidTopic, match=fault):
        client.publish(topic)
    with pytest.raises(InvalidTopic, match=fault):
        client.connection.publish_at_most_once(topic, b"", False)
    with pytest.raises(InvalidTopic, match=fault):
        client.publish(topic, qos=0)
    assert client.session.is_idle()


def test_the_topics_that_are_remembered_are_bounded() -> None:
    session = Client().session
    for number in range(REMEMBERED_TOPICS + 10):
        assert session.encode_topic(f"t/{number}") == b"t/%d" % number
    assert len(session._topics) <= REMEMBERED_TOPICS


def test_publish_says_when_there_is_no_room_and_again_when_there_is() -> None:
    client = Client(queue_messages=2, queue_bytes=30)
    assert [client.session.publish("t", b"x", 1, False, b"", 0.0, NOW) is None for _ in range(3)] == [
        False,
        False,
        True,
    ]
    client.connect()
    assert client.session.queue is None
    client = Client(queue_bytes=30)
    client.publish("t", bytes(20))
    assert client.session.publish("t", bytes(9), 1, False, b"", 0.0, NOW) is None
    client.publish("t", bytes(8))
    assert client.session.queue_bytes == 30


def test_qos_0_waits_for_a_connection_goes_once_and_is_done_with_that() -> None:
    client = Client()
    acknowledged = client.publish("t", b"1", 1)
    waiting = [client.publish("t", text, 0, True, b"\x01\x01", expires_at=NOW + 50) for text in (b"2", b"3")]
    assert (client.session.waiting_messages(), client.session.unanswered()) == (3, [acknowledged, *waiting])
    client.now += 10
    client.connect()
    waiting.append(client.publish("t", b"4", 0))
    assert [publication.reason_code for publication in (acknowledged, *waiting)] == [PENDING, 0, 0, 0]
    expiring = integers(payload_format_indicator=1, message_expiry_interval=40)
    assert client.take() == [
        Publish(b"t", b"1", 1, packet_identifier=1),
        *[Publish(b"t", text, 0, True, properties=expiring) for text in (b"2", b"3")],
        Publish(b"t", b"4"),
    ]
    statistics = client.outgoing.statistics
    assert (statistics.publish_sent, statistics.publish_bytes_sent) == (4, 4)
    client.send(Acknowledgement(PUBACK, 1))
    client.lose()
    client.connect(session_present=True)
    assert client.take() == []
    client.assert_nothing_is_left()


def test_what_waits_for_a_connection_is_bounded_in_number_and_bytes_at_any_qos() -> None:
    def takes(client: Client, qos: int, size: int) -> bool:
        return client.session.publish("t", bytes(size), qos, False, b"", 0.0, NOW) is not None

    client = Client(queue_messages=2)
    assert [takes(client, 0, 1) for _ in range(3)] == [True, True, False]
    client = Client(queue_bytes=30)
    assert [takes(client, qos, size) for qos, size in ((0, 9), (1, 9), (0, 10), (1, 10), (1, 9))] == [
        *(True, True),
        *(False, False),
        True,
    ]
    client.session.restore({}, [Message(b"t", bytes(18), 1, False)], set())
    assert (takes(client, 0, 1), client.session.queue_bytes) == (False, 29)
    client.connect()
    assert client.session.queue_bytes == 0


def test_qos_0_has_no_room_while_the_transport_has_enough_and_leaves_early_where_it_has_not() -> None:
    client = Client(outbox_bytes=100, early_flush_bytes=50)
    client.connect()
    client.publish("t", bytes(60), 0)
    assert len(b"".join(client.transport.written)) == len(Publish(b"t", bytes(60)).encode(5))
    client.connection.block()
    client.publish("t", bytes(120), 0)
    assert client.session.publish("t", b"", 0, False, b"", 0.0, NOW) is None
    client.connection.unblocked(NOW)
    client.publish("t", b"", 0)
    assert len(client.take()) == 3


def test_qos_0_that_is_too_large_or_has_expired_is_given_up() -> None:
    client = Client()
    old = client.publish("t", b"old", 0, expires_at=NOW + 5)
    client.now += 10
    client.connect(maximum_packet_size=50)
    large = client.publish("t", bytes(100), 0)
    assert client.take() == []
    assert client.given_up == [(old, "expired"), (large, "too large")]
    assert (old.reason_code, large.reason_code) == (ReasonCode.UNSPECIFIED_ERROR, ReasonCode.PACKET_TOO_LARGE)
    assert client.session.publish_dropped == 2


def test_a_publication_that_can_never_be_kept_is_given_up() -> None:
    client = Client(queue_bytes=30)
    publication = client.publish("t", bytes(30))
    assert publication.reason_code == ReasonCode.UNSPECIFIED_ERROR
    assert client.given_up == [(publication, "queue full")]
    assert client.session.publish_dropped == 1


def test_publications_that_are_too_large_or_expired_are_given_up_and_the_rest_goes() -> None:
    client = Client()
    large = client.publish("t", bytes(100))
    old = client.publish("t", b"old", expires_at=NOW + 5)
    client.publish("t", b"good", expires_at=NOW + 50)
    client.now += 10
    client.connect(maximum_packet_size=50)
    assert client.take() == [Publish(b"t", b"good", 1, False, False, 1, integers(message_expiry_interval=40))]
    assert client.given_up == [(large, "too large"), (old, "expired")]
    assert (large.reason_code, old.reason_code) == (ReasonCode.PACKET_TOO_LARGE, ReasonCode.UNSPECIFIED_ERROR)


def test_no_more_than_the_window_is_in_flight_and_it_moves_with_the_answers() -> None:
    client = Client(window=3)
    client.connect(receive_maximum=2)
    for text in "abcd":
        client.publish("t", text.encode(), 2)
    assert [packet.payload for packet in client.take() if isinstance(packet, Publish)] == [b"a", b"b"]
    client.send(Acknowledgement(PUBREC, 1))
    assert client.take() == [Acknowledgement(PUBREL, 1)]
    client.send(Acknowledgement(PUBCOMP, 1))
    assert [packet.payload for packet in client.take() if isinstance(packet, Publish)] == [b"c"]
    client.lose()
    client.connect(session_present=True, receive_maximum=100)
    again = client.take()
    assert [(packet.payload, packet.dup) for packet in again if isinstance(packet, Publish)] == [
        (b"b", True),
        (b"c", True),
        (b"d", False),
    ]
    client.lose()
    client.connect(session_present=True, receive_maximum=1)
    assert len(client.take()) == 1


def test_when_the_server_has_lost_the_session_all_is_sent_as_new_and_no_pubrel() -> None:
    client = Client()
    client.connect()
    for text in "abc":
        client.publish("t", text.encode(), 2)
    client.publish("t", b"d", 1)
    client.take()
    client.send(Acknowledgement(PUBREC, 2))
    client.lose()
    client.connect(session_present=False)
    packets = client.take()
    assert [(packet.payload, packet.dup, packet.packet_identifier) for packet in packets] == [  # type: ignore[attr-defined]
        (b"a", False, 1),
        (b"c", False, 3),
        (b"d", False, 4),
    ]


def test_the_host_is_told_of_progress_only_while_it_watches() -> None:
    client = Client()
    client.connect()
    client.publish("t", b"x", 1)
    client.send(Acknowledgement(PUBACK, 1))
    assert client.progresses == 0
    client.session.watched = True
    client.send(message_packet("t"))
    assert client.progresses == 0
    client.publish("t", b"x", 1)
    client.send(Acknowledgement(PUBACK, 2))
    assert client.progresses == 1
    client.lose()
    client.connect(session_present=True)
    assert client.progresses == 2


def test_the_host_is_told_when_the_last_answer_of_a_qos_2_message_makes_the_session_idle() -> None:
    client = Client()
    client.connect()
    client.session.watched = True
    client.publish("t", b"x", 2)
    client.send(Acknowledgement(PUBREC, 1))
    client.progresses = 0
    assert not client.session.is_idle()
    client.send(Acknowledgement(PUBCOMP, 1))
    assert client.session.is_idle()
    assert client.progresses == 1


def test_what_an_outbox_has_kept_is_taken_up() -> None:
    client = Client()
    client.session.restore(
        {IDENTIFIERS[5]: Message(b"t", b"sent", 1, False), IDENTIFIERS[6]: RELEASED},
        [Message(b"t", b"waiting", 1, False)],
        {IDENTIFIERS[9]},
    )
    assert client.session.queue_bytes == 8
    assert not client.session.is_idle()
    client.connect(session_present=True)
    released, again, new = client.take()
    assert released == Acknowledgement(PUBREL, 6)
    assert again == Publish(b"t", b"sent", 1, dup=True, packet_identifier=5)
    assert new == Publish(b"t", b"waiting", 1, packet_identifier=1)
    client.send(message_packet("t", "known", 2, 9, dup=True))
    assert client.take() == [Acknowledgement(PUBREC, 9)]
    client.send(
        *[Acknowledgement(kind, number) for kind, number in ((PUBCOMP, 6), (PUBACK, 5), (PUBACK, 1), (PUBREL, 9))]
    )
    client.assert_nothing_is_left()
    client.session.restore({}, [], set())
    client.assert_nothing_is_left()


def test_subscribe_identifiers_come_from_a_range_of_their_own() -> None:
    session = Client().session
    identifiers = [session.new_subscribe_identifier() for _ in range(SUBSCRIBE_IDENTIFIERS)]
    assert len(set(identifiers)) == SUBSCRIBE_IDENTIFIERS
    assert session.identifier_maximum < min(identifiers)
    assert max(identifiers) <= 65_535
    client = Client()
    client.connect()
    client.session._last_identifier = client.session.identifier_maximum
    client.publish("t")
    assert client.take() == [Publish(b"t", b"x", 1, packet_identifier=1)]


# -- the store


class Told(Store):
    """What the store was told, as tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[str, int]] = []

    def received(self, delivery, identifier):  # type: ignore[no-untyped-def]
        self.log.append(("received", int.from_bytes(identifier, "big")))

    def forgotten(self, delivery, identifier):  # type: ignore[no-untyped-def]
        self.log.append(("forgotten", int.from_bytes(identifier, "big")))


def test_the_store_knows_a_qos_2_identifier_before_its_pubrec_leaves() -> None:
    store = Told()
    client = Client(store=store)
    client.connect()
    reader = client.reader("t")
    client.send(message_packet("t", "a", 2, 7))
    assert store.log == []
    client.writable = False
    reader.texts()
    assert store.log == [("received", 7)]
    assert client.take() == []
    client.writable = True
    client.connection.put(b"")
    assert client.take() == [Acknowledgement(PUBREC, 7)]
    client.send(Acknowledgement(PUBREL, 7))
    assert store.log == [("received", 7), ("forgotten", 7)]


def test_without_a_store_the_host_is_not_asked() -> None:
    client = Client()
    client.writable = False
    client.connect()
    client.publish("t")
    assert len(client.take()) == 1
