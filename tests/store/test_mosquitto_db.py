"""Is a `mosquitto.db` read as Mosquitto wrote it, and nothing taken from one that is damaged?"""

from __future__ import annotations

import getpass
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.process import PATIENCE_S, BareClient, BrokerProcess
from tidewire.store.export import ImportFault, import_records
from tidewire.store.mosquitto_db import MAGIC, MosquittoDB, open_mosquitto_db
from tidewire.store.records import Delivery, Message, Record, Released, Retained, Session, Subscription
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import Acknowledgement, Publish, Subscribe, SubscriptionRequest
from tidewire.wire.properties import Properties

needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None,
    reason="mosquitto is not installed; on Debian: apt install mosquitto",
)

NOW = 1_800_000_000.0
NEVER_ENDS = 0xFFFF_FFFF


class Mosquitto:
    """A Mosquitto that keeps what it has in `directory`/mosquitto.db when it is told to stop."""

    def __init__(self, directory: Path) -> None:
        self.socket = str(directory / "socket")
        self.file = directory / "mosquitto.db"
        configuration = directory / "mosquitto.conf"
        configuration.write_text(
            f"listener 0 {self.socket}\nallow_anonymous true\nuser {getpass.getuser()}\nqueue_qos0_messages true\n"
            f"persistence true\npersistence_location {directory}/\n"
        )
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self.process = subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.endswith("running\n"):
                return
        raise AssertionError("it does not run")

    def client(self, client_identifier: str, version: int = 4, **fields: object) -> BareClient:
        return BareClient(self.socket, version).connect(client_identifier, clean_start=False, **fields)

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_S)


def expiring(seconds: int) -> Properties:
    properties = Properties()
    properties.integers[p.SESSION_EXPIRY_INTERVAL] = seconds
    return properties


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Mosquitto has written of a busy hour."""
    mosquitto = Mosquitto(tmp_path_factory.mktemp("mosquitto"))
    try:
        with mosquitto.client("alice") as alice, mosquitto.client("carol") as carol:
            alice.send(Subscribe(1, [SubscriptionRequest(b"/a/+", 2), SubscriptionRequest(b"b/#", 1)]))
            alice.receive()
            identifier = Properties()
            identifier.subscription_identifiers = [7]
            with mosquitto.client("bob", 5, properties=expiring(1000)) as bob:
                bob.send(Subscribe(1, [SubscriptionRequest(b"#", 1, True, True)], identifier))
                bob.receive()
            with mosquitto.client("gone", 5, properties=expiring(0)) as gone:
                gone.subscribe("#", 1)
            said = Properties()
            said.texts[p.CONTENT_TYPE] = "text/plain"
            said.user_properties = [("k", "v"), ("k", "w")]
            said.integers[p.MESSAGE_EXPIRY_INTERVAL] = 5000
            with mosquitto.client("eve", 5, user_name="evelyn", properties=expiring(10)) as eve:
                eve.send(Publish(b"/a/2", b"two", 2, packet_identifier=1))
                eve.receive()
                eve.send(Acknowledgement(PUBREL, 1))
                eve.receive()
                eve.send(Publish(b"b/1", b"\xff\x00", 1, True, packet_identifier=2, properties=said))
                eve.receive()
                eve.send(Publish(b"zero", b"0", 0))
                eve.send(Publish(b"kept", b"it is", 1, True, packet_identifier=3))
                eve.receive()
            two = alice.receive()
            assert isinstance(two, Publish)
            alice.send(Acknowledgement(PUBREC, two.packet_identifier))
            alice.receive()
            alice.receive()
            carol.send(Publish(b"b/held", b"back", 2, packet_identifier=77))
            carol.receive()
    finally:
        mosquitto.stop()
    return mosquitto.file


def all_of(path: Path) -> list[Record]:
    with open_mosquitto_db(path, time.time()) as db:
        return [record for _, record in db.records()]


@needs_mosquitto
def test_sessions_come_with_their_subscriptions_and_with_what_is_under_way(written: Path) -> None:
    sessions = {record.client: record for record in all_of(written) if isinstance(record, Session)}
    assert sessions.keys() == {"alice", "bob", "carol", "eve"}, "the session of expiry 0 has ended"
    alice, bob = sessions["alice"], sessions["bob"]
    assert (alice.user, alice.expiry_interval, alice.ends_at) == (None, NEVER_ENDS, None)
    assert alice.subscriptions == [Subscription("/a/+", 2), Subscription("b/#", 1)]
    assert [released.packet_identifier for released in alice.released] == [1]
    assert bob.subscriptions == [Subscription("#", 1, True, True, 7)]
    assert bob.ends_at is not None
    assert 0 < bob.ends_at.timestamp() - time.time() <= 1000
    assert (sessions["carol"].received, sessions["eve"].user) == ([77], "evelyn")


@needs_mosquitto
def test_waiting_messages_come_once_with_everybody_they_are_for_in_order(written: Path) -> None:
    messages = {record.topic: record for record in all_of(written) if isinstance(record, Message)}
    assert messages.keys() == {"/a/2", "b/1", "kept", "b/held"}
    first = messages["b/1"]
    assert (first.payload, first.payload_base64) == (None, b"\xff\x00")
    assert (first.content_type, first.user_properties) == ("text/plain", [("k", "v"), ("k", "w")])
    assert first.publisher == "eve"
    assert first.expires_at is not None
    assert 0 < first.expires_at.timestamp() - time.time() <= 5000
    to = {delivery.client: delivery for delivery in first.to}
    assert (to["alice"].packet_identifier, to["alice"].retain) == (2, False)
    assert (to["bob"].packet_identifier, to["bob"].retain, to["bob"].subscription_identifiers) == (None, True, [7])
    of_bob = {
        topic: delivery.order or 0
        for topic, said in messages.items()
        for delivery in said.to
        if delivery.client == "bob"
    }
    assert sorted(of_bob, key=of_bob.__getitem__) == ["/a/2", "b/1", "kept", "b/held"]


@needs_mosquitto
def test_a_qos_2_message_that_mosquitto_holds_back_goes_to_its_subscribers(written: Path) -> None:
    """Its PUBLISH was answered; Tidewire hands on at PUBLISH, so its PUBREL would bring nothing any more."""
    (held,) = [record for record in all_of(written) if isinstance(record, Message) and record.topic == "b/held"]
    assert [(delivery.client, delivery.qos) for delivery in held.to] == [("alice", 1), ("bob", 1)]


@needs_mosquitto
def test_retained_messages_come_with_whom_mosquitto_knows(written: Path) -> None:
    retained = {record.topic: record for record in all_of(written) if isinstance(record, Retained)}
    assert retained.keys() == {"b/1", "kept"}
    kept = retained["kept"]
    assert (kept.payload, kept.qos, kept.publisher, kept.user) == ("it is", 1, "eve", "evelyn")


@needs_mosquitto
def test_messages_of_qos_0_are_counted_and_left_out(written: Path) -> None:
    with open_mosquitto_db(written, time.time()) as db:
        assert db.at_most_once == 1


@needs_mosquitto
def test_what_has_expired_is_left_out(written: Path) -> None:
    with open_mosquitto_db(written, time.time() + 6000) as db:
        records = [record for _, record in db.records()]
    assert not [record for record in records if not isinstance(record, Session) and record.topic == "b/1"]
    assert [record for record in records if isinstance(record, Retained)]


@needs_mosquitto
def test_clients_of_mosquitto_find_everything_at_tidewire(written: Path, tmp_path: Path) -> None:
    with open_mosquitto_db(written, time.time()) as db:
        import_records(tmp_path / "broker.db", db.records(), replace=False)
    with BrokerProcess("--data", tmp_path) as broker:
        bob = broker.connect("bob", 5, clean_start=False, properties=expiring(1000))
        assert bob.connack.session_present
        packets = [bob.receive() for _ in range(4)]
        assert [packet.topic for packet in packets if isinstance(packet, Publish)] == [
            b"/a/2",
            b"b/1",
            b"kept",
            b"b/held",
        ]
        first = packets[1]
        assert isinstance(first, Publish)
        assert (first.payload, first.retain, first.properties.texts[p.CONTENT_TYPE]) == (
            b"\xff\x00",
            True,
            "text/plain",
        )
        assert first.properties.subscription_identifiers == [7]
        carol = broker.connect("carol", clean_start=False)
        carol.send(Acknowledgement(PUBREL, 77))
        assert carol.receive() == Acknowledgement(PUBCOMP, 77)
        carol.subscribe("kept", 1)
        kept = carol.receive()
        assert isinstance(kept, Publish)
        assert (kept.payload, kept.retain) == (b"it is", True)


# -- files made here, chunk by chunk


def chunk(kind: int, fixed: bytes, *rest: bytes) -> bytes:
    body = fixed + b"".join(rest)
    return struct.pack("!II", kind, len(body)) + body


def number(of: int) -> bytes:
    return of.to_bytes(8, "little")


def head(version: int, number_bytes: int = 8) -> list[bytes]:
    return [MAGIC + bytes(4) + struct.pack("!I", version), chunk(1, number(9) + bytes([1, number_bytes]) + bytes(6))]


def message(of: int, topic: bytes, payload: bytes, qos: int = 1, retain: int = 0, expires_at: int = 0) -> bytes:
    lengths = struct.pack("!IHHHHH", len(payload), 0, 3, 2, len(topic), 1883)
    fixed = number(of) + number(expires_at) + lengths + bytes([qos, retain])
    return chunk(2, fixed, b"eve", b"ev", topic, payload)


def client(identifier: bytes, version: int, interval: int = 60) -> bytes:
    fixed = number(int(NOW) + 60) + struct.pack("!IHH", interval, 0, len(identifier))
    return chunk(6, fixed + (struct.pack("!HH4x", 1883, 0) if version == 6 else b""), identifier)


def delivery(of: int, identifier: bytes, packet: int, qos: int, state: int, direction: int = 1) -> bytes:
    fixed = number(of) + struct.pack("!HHBBBB", packet, len(identifier), qos, state, 0, direction)
    return chunk(3, fixed, identifier)


def subscription(identifier: bytes, topic_filter: bytes, qos: int, options: int = 0) -> bytes:
    return chunk(
        5, struct.pack("!IHHBB2x", 0, len(identifier), len(topic_filter), qos, options), identifier, topic_filter
    )


def whole(version: int) -> list[bytes]:
    return [
        *head(version),
        message(1, b"a/b", b"first"),
        message(2, b"a/c", b"second", 2, 1),
        message(3, b"old", b"news", expires_at=int(NOW) - 1),
        client(b"alice", version),
        delivery(3, b"alice", 4, 1, 3),
        delivery(1, b"alice", 5, 1, 3),
        delivery(2, b"alice", 6, 2, 9),
        client(b"bob", version),
        delivery(1, b"bob", 0, 1, 11),
        subscription(b"alice", b"a/+", 2, 4 | 8),
        subscription(b"unknown", b"#", 1),
        chunk(4, number(2)),
        chunk(4, number(3)),
    ]


def records(data: bytes) -> list[Record]:
    return [record for _, record in MosquittoDB(data, NOW).records()]


@pytest.mark.parametrize("version", [5, 6])
def test_both_versions_of_the_format_say_the_same(version: int) -> None:
    alice, bob, waiting, retained = records(b"".join(whole(version)))
    assert isinstance(alice, Session)
    assert isinstance(bob, Session)
    assert (alice.expiry_interval, alice.subscriptions) == (60, [Subscription("a/+", 2, True, True)])
    assert alice.ends_at is not None
    assert alice.ends_at.timestamp() == NOW + 60
    assert alice.released == [Released(6, 2)]
    assert isinstance(waiting, Message)
    assert (waiting.topic, waiting.payload) == ("a/b", "first")
    assert waiting.to == [Delivery("alice", 1, packet_identifier=5), Delivery("bob", 3)]
    assert isinstance(retained, Retained)
    assert (retained.topic, retained.payload, retained.user) == ("a/c", "second", "ev")


def user(of: bytes, length: int, name: bytes) -> bytes:
    return chunk(6, number(0) + struct.pack("!IHHHH4x", 60, 0, len(of), 1883, length), of, name)


def test_a_user_name_that_an_older_mosquitto_makes_up_is_none_and_one_that_it_may_is_told() -> None:
    memory = b"al\0" + b"\xff" * 509
    named, nobody, doubtful, certain = (b"alice", b"carol", b"dave", b"erin")
    db = MosquittoDB(
        b"".join(
            [
                *head(6),
                user(named, 2, b"al"),
                user(nobody, 512, memory),
                user(doubtful, 2, b"al"),
                user(certain, 2, b"al"),
            ]
        ),
        NOW,
    )
    users = {record.client: record.user for _, record in db.records() if isinstance(record, Session)}
    assert users == {"alice": "al", "carol": None, "dave": "al", "erin": "al"}
    assert db.doubtful == ["dave"]


def test_a_cut_anywhere_inside_a_chunk_is_found() -> None:
    parts = whole(6)
    data = b"".join(parts)
    ends = {sum(map(len, parts[:count])) for count in range(2, len(parts) + 1)}
    for length in range(len(data)):
        if length not in ends:
            with pytest.raises(ImportFault):
                MosquittoDB(data[:length], NOW)


@given(st.data())
def test_damage_is_told_or_does_no_harm_but_is_never_an_error_of_ours(data: st.DataObject) -> None:
    damaged = bytearray(b"".join(whole(6)))
    for position in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[position] = data.draw(st.integers(0, 255))
    try:
        records(bytes(damaged))
    except ImportFault as error:
        assert "\n" not in str(error)


def faulty() -> Iterator[tuple[str, list[bytes], str]]:
    yield "another file", [b"SQLite format 3\0" + bytes(100)], "is no mosquitto.db"
    yield "an old version", [MAGIC + bytes(4) + struct.pack("!I", 4)], "start and stop a Mosquitto 2 on it"
    yield "other numbers", head(6, 4), "its numbers have 4 bytes"
    yield "nothing after its head", head(6)[:1], "is cut off after its head"
    yield "another order of bytes", [*head(6), message(1, b"a", b"", expires_at=1 << 56)], "another order of bytes"
    yield "an unknown chunk", [*head(6), chunk(9, b"")], "a chunk of kind 9"
    yield "a chunk that is too long", [*head(6), chunk(4, number(1), b"x")], "is longer than"
    yield "a chunk that is too short", [*head(6), chunk(4, b"x")], "is shorter than"
    yield "a name that is no text", [*head(6), client(b"\xff", 6)], "not well-formed UTF-8"
    yield "a quality of service", [*head(6), message(1, b"a", b"", qos=3)], "a message is not what it should be"


@pytest.mark.parametrize(
    ("parts", "said"), [(parts, said) for _, parts, said in faulty()], ids=[n for n, *_ in faulty()]
)
def test_a_fault_is_told_with_its_place(parts: list[bytes], said: str) -> None:
    with pytest.raises(ImportFault, match=said):
        MosquittoDB(b"".join(parts), NOW)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mosquitto.db"
    file.touch()
    with pytest.raises(ImportFault, match="is empty"), open_mosquitto_db(file, NOW):
        pass
