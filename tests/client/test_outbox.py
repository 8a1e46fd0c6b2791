"""Does the outbox bring back, after any kill, what was committed: nothing lost, nothing twice, all in order?"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import random
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.engine.harness import NO_LIMIT, FakeTransport
from tidewire.client.errors import TidewireError
from tidewire.client.outbox import OutboxError, SQLiteOutbox
from tidewire.engine.delivery import RELEASED, Delivery
from tidewire.engine.limits import MAXIMUM_INTERVAL, Limits
from tidewire.engine.link import Link, Outgoing
from tidewire.engine.message import IDENTIFIERS, Message
from tidewire.engine.ports import Events, Store, StoredSession
from tidewire.engine.statistics import Statistics
from tidewire.store.memory import MemoryStore
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Acknowledgement, Packet, Publish

NOW = 1_000_000.0
LAST = 2_000  # messages of the publisher that is killed
NOBODY = Delivery(Limits())
"""Whom an outbox serves makes no difference to it."""


def opened(path: Path, **options: Any) -> SQLiteOutbox:
    outbox = SQLiteOutbox(path, **options)
    outbox.bind("me")
    return outbox


def message(payload: bytes = b"x", qos: int = 1, expires_at: float = 0.0) -> Message:
    return Message(b"topic", payload, qos, False, b"", expires_at)


def after_kill(outbox: SQLiteOutbox, below: Path, **options: Any) -> SQLiteOutbox:
    """An outbox over what lies on the disk while the other one still holds its file."""
    directory = Path(tempfile.mkdtemp(dir=below))
    for file in outbox.path.parent.glob(outbox.path.name + "*"):
        shutil.copy(file, directory)
    return opened(directory / outbox.path.name, **options)


def taken_up(delivery: Delivery, stored: StoredSession) -> None:
    """Give a fresh Delivery the state of the last life."""
    delivery.inflight = {key: RELEASED if kept is None else kept for key, kept in stored.inflight.items()}
    delivery.queue = deque(stored.queue) or None
    delivery.queue_bytes = sum(waiting.size() for waiting in stored.queue)
    delivery.received = set(stored.received) or None


class Model(MemoryStore):
    """The reference model, for the one Delivery that there is."""

    def __init__(self, stored: StoredSession) -> None:
        super().__init__()
        self.stored = StoredSession("me", None, 0)
        self.stored.inflight = dict(stored.inflight)
        self.stored.queue = list(stored.queue)
        self.stored.received = set(stored.received)

    def _of(self, delivery: Delivery) -> StoredSession:
        return self.stored


class Both(Store):
    """Tells two stores."""

    def __init__(self, *stores: Store) -> None:
        super().__init__()
        self.stores = stores

    def kept(self, delivery: Delivery, message: Message) -> None:
        for store in self.stores:
            store.kept(delivery, message)

    def sent(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        for store in self.stores:
            store.sent(delivery, identifier, message)

    def released(self, delivery: Delivery, identifier: bytes) -> None:
        for store in self.stores:
            store.released(delivery, identifier)

    def settled(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        for store in self.stores:
            store.settled(delivery, identifier, message)

    def received(self, delivery: Delivery, identifier: bytes) -> None:
        for store in self.stores:
            store.received(delivery, identifier)

    def forgotten(self, delivery: Delivery, identifier: bytes) -> None:
        for store in self.stores:
            store.forgotten(delivery, identifier)


class End:
    """A Delivery with its side of the wire."""

    def __init__(self, limits: Limits) -> None:
        self.delivery = Delivery(limits)
        self.arrived: list[bytes] = []
        self.outgoing = Outgoing(Statistics(NOW), Events())
        self.transport = FakeTransport()
        self.link = Link(self.transport, self.outgoing)
        self.decoder = Decoder(4, NO_LIMIT)

    def connect(self, window: int, now: float) -> None:
        self.outgoing.dirty.clear()
        self.transport = FakeTransport()
        self.link = Link(self.transport, self.outgoing)
        self.link.version = 4
        self.link.refresh_passthrough()
        self.decoder = Decoder(4, NO_LIMIT)
        self.delivery.resume(self.link, window, now)

    def take(self) -> list[Packet]:
        """What goes onto the wire."""
        self.outgoing.flush()
        packets = self.decoder.feed(b"".join(self.transport.written))
        self.transport.written.clear()
        return packets

    def hear(self, packet: Packet, now: float) -> None:
        """Do what the specification says, and answer."""
        if isinstance(packet, Publish):
            identifier = IDENTIFIERS[packet.packet_identifier]
            if packet.qos == 1 or self.delivery.receive(identifier):
                self.arrived.append(packet.payload)
            self._answer(PUBACK if packet.qos == 1 else PUBREC, identifier)
            return
        assert isinstance(packet, Acknowledgement)
        identifier = IDENTIFIERS[packet.packet_identifier]
        if packet.packet_type == PUBACK:
            self.delivery.acknowledge(identifier, 0, now)
        elif packet.packet_type == PUBREC:
            self.delivery.pubrec(identifier, 0, now)
        elif packet.packet_type == PUBREL:
            self.delivery.release(identifier)
            self._answer(PUBCOMP, identifier)
        else:
            self.delivery.complete(identifier, now)

    def _answer(self, packet_type: int, identifier: bytes) -> None:
        self.link.put(Acknowledgement(packet_type, int.from_bytes(identifier, "big")).encode(4))


class Lives(RuleBasedStateMachine):
    """A client that is cut off and killed at any point, a broker that is not, and two wires that a cut empties."""

    @initialize(window=st.integers(1, 4))
    def begin(self, window: int) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.limits = Limits()
        self.limits.queue_messages = 5
        self.now = NOW
        self.wall = 1_700_000_000.0
        self.window = window
        self.numbers = itertools.count()
        self.accepted: list[bytes] = []
        self.fleeting: list[bytes] = []
        self.broker = End(Limits())
        self.broker_sent: list[bytes] = []
        self.to_broker: list[Packet] = []
        self.to_client: list[Packet] = []
        self.arrived: list[bytes] = []
        self.connected = False
        self.committed: list[Any] = [[], [], [], [], set()]
        self.live(opened(Path(self.directory.name, "outbox"), **self.clocks()))

    def clocks(self) -> dict[str, Callable[[], float]]:
        return {"clock": lambda: self.now, "wall_clock": lambda: self.wall}

    def live(self, outbox: SQLiteOutbox) -> None:
        """The client starts, over what the last life has left."""
        stored = outbox.restore(self.now)
        assert self.state(stored) == self.committed
        self.outbox = outbox
        self.model = Model(stored)
        self.client = End(self.limits)
        taken_up(self.client.delivery, stored)
        self.client.delivery.store = Both(outbox, self.model)
        self.uncommitted: list[bytes] = []

    def state(self, stored: StoredSession) -> list[Any]:
        """A stored session as comparable values, expiry by the wall clock."""
        messages = [kept for kept in stored.inflight.values() if kept is not None] + stored.queue
        fields = [(kept.topic, kept.payload, kept.qos, kept.retain, kept.properties) for kept in messages]
        expiry = [kept.expires_at and kept.expires_at - self.now + self.wall for kept in messages]
        released = [identifier for identifier, kept in stored.inflight.items() if kept is None]
        inflight = [identifier for identifier, kept in stored.inflight.items() if kept is not None]
        return [released, inflight, fields, expiry, set(stored.received)]

    @rule(qos=st.integers(1, 2), retain=st.booleans(), properties=st.sampled_from([b"", b"\x01\x01"]))
    def publish(self, qos: int, retain: bool, properties: bytes) -> None:
        payload = b"%d at %d" % (next(self.numbers), qos)
        if self.client.delivery.send(Message(b"to/broker", payload, qos, retain, properties), self.now):
            self.uncommitted.append(payload)

    @rule(qos=st.integers(1, 2), expiry=st.integers(1, 9))
    def publish_with_expiry(self, qos: int, expiry: int) -> None:
        payload = b"%d at %d, fleeting" % (next(self.numbers), qos)
        self.fleeting.append(payload)
        self.client.delivery.send(Message(b"to/broker", payload, qos, False, b"", self.now + expiry), self.now)

    @precondition(lambda self: self.connected)
    @rule()
    def broker_publishes(self) -> None:
        payload = b"%d" % next(self.numbers)
        assert self.broker.delivery.send(Message(b"to/client", payload, 2, False), self.now)
        self.broker_sent.append(payload)
        self.to_client += self.broker.take()

    @rule()
    def commit(self) -> None:
        self.outbox.commit()
        assert not self.outbox.has_changes
        self.committed = self.state(self.model.stored)
        self.accepted += self.uncommitted
        self.uncommitted.clear()
        self.arrived += self.client.arrived  # a program's own effects go with the commit
        self.client.arrived.clear()

    @precondition(lambda self: self.connected)
    @rule()
    def write(self) -> None:
        self.commit()
        self.to_broker += self.client.take()

    @precondition(lambda self: self.to_broker)
    @rule(count=st.integers(1, 5))
    def carry_to_broker(self, count: int) -> None:
        for packet in self.to_broker[:count]:
            self.broker.hear(packet, self.now)
        del self.to_broker[:count]
        self.to_client += self.broker.take()

    @precondition(lambda self: self.to_client)
    @rule(count=st.integers(1, 5))
    def carry_to_client(self, count: int) -> None:
        for packet in self.to_client[:count]:
            self.client.hear(packet, self.now)
        del self.to_client[:count]

    @precondition(lambda self: self.connected)
    @rule()
    def cut(self) -> None:
        self.connected = False
        self.to_broker.clear()
        self.to_client.clear()
        self.client.delivery.pause()
        self.broker.delivery.pause()

    @precondition(lambda self: not self.connected)
    @rule(window=st.integers(1, 4))
    def connect(self, window: int) -> None:
        self.connected = True
        self.client.connect(window, self.now)
        self.broker.connect(window, self.now)
        self.to_client += self.broker.take()

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.wall += seconds

    @rule(seconds=st.integers(0, 5))
    def kill(self, seconds: int) -> None:
        if self.connected:
            self.cut()
        killed = self.outbox
        self.now = NOW - seconds  # the machine was started again: its clock begins anew
        self.wall += seconds
        self.live(after_kill(killed, Path(self.directory.name), **self.clocks()))
        killed.close()

    @rule()
    def close_and_open_again(self) -> None:
        if self.connected:
            self.cut()
        self.commit()
        self.outbox.close()
        self.outbox.bind("me")
        self.live(self.outbox)

    @invariant()
    def every_unfinished_message_is_counted(self) -> None:
        assert len(self.outbox) == self.client.delivery.waiting_messages()

    def teardown(self) -> None:
        if not self.connected:
            self.connect(4)
        while self.outbox.has_changes or self.client.outgoing.dirty or self.to_broker or self.to_client:
            self.write()
            if self.to_broker:
                self.carry_to_broker(5)
            if self.to_client:
                self.carry_to_client(5)
        assert len(self.outbox) == 0
        lasting = [payload for payload in self.broker.arrived if payload not in self.fleeting]
        exactly_once = [payload for payload in lasting if payload.endswith(b"2")]
        assert exactly_once == [payload for payload in self.accepted if payload.endswith(b"2")]
        at_least_once = dict.fromkeys(payload for payload in lasting if payload.endswith(b"1"))
        assert list(at_least_once) == [payload for payload in self.accepted if payload.endswith(b"1")]
        fleeting = [payload for payload in self.broker.arrived if payload.endswith(b"2, fleeting")]
        assert len(fleeting) == len(set(fleeting))
        assert self.arrived == self.broker_sent
        self.outbox.close()
        self.directory.cleanup()


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


class _Pipe(FakeTransport):
    """A publisher's transport: commits, says which messages are accepted, and only then writes."""

    def __init__(self, pipe: Connection, outbox: SQLiteOutbox) -> None:
        super().__init__()
        self.pipe = pipe
        self.outbox = outbox
        self.accepted = 0

    def write(self, data: bytes) -> None:
        self.outbox.commit()
        self.pipe.send((self.accepted, data))


def _publisher(path: Path, pipe: Connection, first: int, last: int) -> None:
    """Publish the numbers from first to last at QoS 2, until all are finished."""
    outbox = opened(path)
    stored = outbox.restore(0.0)
    end = End(Limits())
    taken_up(end.delivery, stored)
    end.delivery.store = outbox
    known = [int(kept.payload) for kept in [*stored.inflight.values(), *stored.queue] if kept is not None]
    number = max([first - 1, *known])
    end.link = Link(_Pipe(pipe, outbox), end.outgoing)
    end.link.version = 4
    end.delivery.resume(end.link, 8, 0.0)
    decoder = Decoder(4, NO_LIMIT)
    while number < last or len(outbox):
        while number < last and len(outbox) < 20:
            number += 1
            assert end.delivery.send(message(b"%d" % number, 2), 0.0)
        assert isinstance(end.link.transport, _Pipe)
        end.link.transport.accepted = number
        end.outgoing.flush()
        for packet in decoder.feed(pipe.recv_bytes()):
            end.hear(packet, 0.0)
    outbox.close()


def test_a_publisher_killed_again_and_again_delivers_exactly_once_and_in_order(tmp_path: Path) -> None:
    chance = random.Random(20)
    processes = multiprocessing.get_context("spawn")
    broker = End(Limits())
    accepted = 0
    for kill_after in [chance.randrange(2, 40) for _ in range(6)] + [0]:
        pipe, other = processes.Pipe()
        first = max([accepted, *map(int, broker.arrived)]) + 1
        process = processes.Process(target=_publisher, args=(tmp_path / "outbox", other, first, LAST), daemon=True)
        process.start()
        other.close()
        broker.connect(8, 0.0)
        arrives = True
        with contextlib.suppress(EOFError, ConnectionError):
            for received in itertools.count(1):
                accepted, data = pipe.recv()
                if arrives:
                    for packet in broker.decoder.feed(data):
                        broker.hear(packet, 0.0)
                broker.outgoing.flush()
                with contextlib.suppress(ConnectionError):
                    pipe.send_bytes(b"".join(broker.transport.written))
                broker.transport.written.clear()
                if received == kill_after:
                    process.kill()  # whatever it is doing by now
                    arrives = chance.random() < 0.5  # what it still wrote may get lost on the way
        process.join()
        assert (process.exitcode == 0) == (not kill_after)
        broker.delivery.pause()
    assert broker.arrived == [b"%d" % number for number in range(1, LAST + 1)]


def test_pubrels_are_repeated_in_the_order_of_the_pubrecs(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "outbox")
    for number in (1, 2, 3):
        outbox.kept(NOBODY, sent := message(qos=2))
        outbox.sent(NOBODY, IDENTIFIERS[number], sent)
    outbox.commit()
    for number in (3, 1):
        outbox.released(NOBODY, IDENTIFIERS[number])
    outbox.close()
    outbox.bind("me")
    assert list(outbox.restore(NOW).inflight) == [IDENTIFIERS[number] for number in (3, 1, 2)]
    outbox.close()


def test_what_is_settled_before_it_was_committed_costs_no_disk(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "outbox")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for number in range(1, 1000):
        outbox.kept(NOBODY, sent := message(qos=2))
        outbox.sent(NOBODY, IDENTIFIERS[number], sent)
        outbox.released(NOBODY, IDENTIFIERS[number])
        outbox.settled(NOBODY, IDENTIFIERS[number], RELEASED)
        outbox.received(NOBODY, IDENTIFIERS[number])
        outbox.forgotten(NOBODY, IDENTIFIERS[number])
    assert not outbox.has_changes
    outbox.commit()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    outbox.close()


def test_space_is_given_back_while_a_backlog_drains_and_all_of_it_at_the_end(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "outbox")
    backlog = [message(bytes(50_000)) for _ in range(400)]
    for waiting in backlog:
        outbox.kept(NOBODY, waiting)
    outbox.commit()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > 20_000_000
    for waiting in backlog:
        outbox.settled(NOBODY, b"", waiting)
        outbox.commit()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 10_000_000
    outbox.close()
    assert [file.name for file in tmp_path.iterdir()] == ["outbox"]
    assert (tmp_path / "outbox").stat().st_size < 50_000


@pytest.mark.parametrize(
    ("expires_in", "wall_clock_went", "left"),
    [
        (60.0, 10.0, 50.0),
        (60.0, 100.0, -40.0),
        (1.0, 10.0 * NOW, pytest.approx(-NOW)),  # before the engine's clock began: at its beginning, which is not never
        (1.0, -1_600_000_000.0, 1_600_000_001.0),  # the machine has lost its time
        (float(MAXIMUM_INTERVAL), -3600.0, float(MAXIMUM_INTERVAL)),  # never more than a PUBLISH can tell
    ],
)
def test_expiry_goes_on_by_the_wall_clock(
    tmp_path: Path, expires_in: float, wall_clock_went: float, left: float
) -> None:
    began = 1_700_000_000.0
    outbox = opened(tmp_path / "outbox", clock=lambda: 5.0, wall_clock=lambda: began)
    outbox.kept(NOBODY, message(expires_at=5.0 + expires_in))
    outbox.kept(NOBODY, message())
    outbox.close()
    outbox = opened(tmp_path / "outbox", wall_clock=lambda: began + wall_clock_went)
    expiring, lasting = outbox.restore(NOW).queue
    assert expiring.expires_at - NOW == left
    assert expiring.expires_at > 0.0
    assert lasting.expires_at == 0.0
    outbox.close()


def test_a_client_without_an_identifier_finds_the_one_that_its_file_belongs_to(tmp_path: Path) -> None:
    outbox = SQLiteOutbox(tmp_path / "outbox")
    assert outbox.open() == ""
    outbox.bind("me")
    outbox.close()
    assert outbox.open() == "me"
    outbox.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "outbox")
    assert (tmp_path / "outbox").stat().st_mode & 0o077 == 0
    outbox.close()


def refusal(of: Callable[[], object]) -> str:
    """What the OutboxError says: one line."""
    with pytest.raises(OutboxError) as error:
        of()
    assert isinstance(error.value, TidewireError)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_client_identifier_is_refused_and_leaves_the_file_free(tmp_path: Path) -> None:
    opened(tmp_path / "outbox").close()
    other = SQLiteOutbox(tmp_path / "outbox")
    assert other.open() == "me"
    assert "belongs to the client identifier 'me', not 'you'" in refusal(lambda: other.bind("you"))
    opened(tmp_path / "outbox").close()


def test_an_empty_client_identifier_is_refused(tmp_path: Path) -> None:
    assert "needs a client identifier" in refusal(lambda: SQLiteOutbox(tmp_path / "outbox").bind(""))


def test_one_outbox_for_two_clients_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "outbox")
    for client_id in ("me", "you"):
        assert "is in use by another client" in refusal(lambda name=client_id: outbox.bind(name))  # type: ignore[misc]
    outbox.kept(NOBODY, message())
    outbox.close()
    outbox.bind("me")
    assert len(outbox.restore(NOW).queue) == 1
    outbox.close()


def test_a_file_in_use_is_refused_until_it_is_closed(tmp_path: Path) -> None:
    first = SQLiteOutbox(tmp_path / "outbox")
    first.open()
    second = SQLiteOutbox(tmp_path / "outbox")
    assert "is in use by another client: stop that one" in refusal(second.open)
    first.bind("me")
    assert "is in use" in refusal(second.open)
    first.close()
    first.bind("me")
    assert "is in use" in refusal(second.open)
    first.close()
    assert second.open() == "me"
    second.close()


@pytest.mark.parametrize("content", [b"hello", b"hello\n" * 1000])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    assert "is a file of another kind" in refusal(SQLiteOutbox(path).open)
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE message (text)")
    content = path.read_bytes()
    assert "is the database of another program" in refusal(SQLiteOutbox(path).open)
    assert path.read_bytes() == content


def test_an_outbox_of_a_later_version_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "outbox").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox")) as database:
        database.execute("PRAGMA user_version = 2")
    assert "was written by a newer Tidewire: update this one" in refusal(SQLiteOutbox(tmp_path / "outbox").open)


def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(SQLiteOutbox(tmp_path).open)
    assert "cannot be opened" in refusal(SQLiteOutbox(tmp_path / "nowhere" / "outbox").open)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    outbox = opened(tmp_path / "outbox")
    for _ in range(1000):
        outbox.kept(NOBODY, message())
    outbox.close()
    content = bytearray((tmp_path / "outbox").read_bytes())
    content[3 * 4096 :] = bytes(len(content) - 3 * 4096)
    (tmp_path / "outbox").write_bytes(content)
    outbox = SQLiteOutbox(tmp_path / "outbox")
    assert "is damaged" in refusal(lambda: (outbox.bind("me"), outbox.restore(NOW)))
    outbox.close()


def test_nothing_is_committed_to_a_file_that_is_not_open(tmp_path: Path) -> None:
    outbox = SQLiteOutbox(tmp_path / "outbox")
    outbox.kept(NOBODY, message())
    assert "is not open" in refusal(outbox.commit)


@pytest.fixture
def databases(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """The connections that outboxes make: where a test makes them fail."""
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def recorded(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made.append(connect(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", recorded)
    return made


@pytest.mark.parametrize(
    ("breaks", "mends", "says"),
    [
        ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000", "the disk is full: make room"),
        ("PRAGMA query_only = ON", "PRAGMA query_only = OFF", "may not be written: check its permissions"),
    ],
)
def test_a_commit_that_fails_writes_nothing_and_the_next_one_all(
    tmp_path: Path, databases: list[sqlite3.Connection], breaks: str, mends: str, says: str
) -> None:
    outbox = opened(tmp_path / "outbox")
    outbox.kept(NOBODY, first := message(b"first"))
    outbox.commit()
    databases[0].execute(breaks)
    outbox.sent(NOBODY, IDENTIFIERS[1], first)
    outbox.received(NOBODY, IDENTIFIERS[9])
    for _ in range(100):
        outbox.kept(NOBODY, message(bytes(1000)))
    for _ in range(2):
        assert says in refusal(outbox.commit)
        assert outbox.has_changes
    killed = after_kill(outbox, tmp_path)
    stored = killed.restore(NOW)
    assert ([kept.payload for kept in stored.queue], stored.inflight, stored.received) == ([b"first"], {}, set())
    killed.close()
    databases[0].execute(mends)
    outbox.commit()
    killed = after_kill(outbox, tmp_path)
    stored = killed.restore(NOW)
    assert (len(stored.queue), list(stored.inflight), stored.received) == (100, [IDENTIFIERS[1]], {IDENTIFIERS[9]})
    killed.close()
    outbox.close()


def test_a_file_that_cannot_take_the_last_changes_says_so_and_is_let_go(
    tmp_path: Path, databases: list[sqlite3.Connection]
) -> None:
    outbox = opened(tmp_path / "outbox")
    outbox.kept(NOBODY, message())
    databases[0].execute("PRAGMA query_only = ON")
    assert "may not be written" in refusal(outbox.close)
    outbox.close()
    again = opened(tmp_path / "outbox")
    assert again.restore(NOW).queue == []
    again.close()


@pytest.mark.parametrize(("power_loss", "synchronous"), [(False, 1), (True, 2)])
def test_each_commit_waits_for_the_disk_only_if_power_loss_matters(
    tmp_path: Path, databases: list[sqlite3.Connection], power_loss: bool, synchronous: int
) -> None:
    outbox = opened(tmp_path / "outbox", power_loss=power_loss)
    assert databases[0].execute("PRAGMA synchronous").fetchone() == (synchronous,)  # NORMAL, FULL
    outbox.close()
