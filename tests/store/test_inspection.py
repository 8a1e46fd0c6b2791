"""Is told what is in a store, of a stopped broker's as of one that goes on writing, and what is wrong with it?"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidewire.engine.changes import Batch
from tidewire.store.directory import DataDirectory
from tidewire.store.errors import StoreError
from tidewire.store.export import import_records
from tidewire.store.inspection import broker_on, faults, overview, queue, reading, retained, sessions
from tidewire.store.records import Delivery, Message, Record, Released, Retained, Session, Subscription
from tidewire.store.sqlite import StoreFile
from tidewire.wire.errors import InvalidTopic

THEN = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
CONTENTS: list[Record] = [
    Session("panel-1", "anna", 60, None, None, [Subscription("a/#", 1), Subscription("b", 2)], [], [Released(9, 5)]),
    Session("panel-2", None, 60, THEN),
    Session("archive", None, 60, THEN),
    Message(topic="a/1", payload="one", publisher="gateway", to=[Delivery("panel-1", 1, 1, False, [], 7)]),
    Message(topic="a/2", payload="second", to=[Delivery("panel-1", 2, 2), Delivery("panel-2", 3)], expires_at=THEN),
    Retained(topic="lamp", payload="?"),
    Retained(topic="lamp/1", payload="on", qos=1, publisher="app", user="anna", address="[::1]:9", published_at=THEN),
    Retained(topic="lamp/1/state", payload_base64=b"\xff\xfe", qos=2, expires_at=THEN),
    Retained(topic="lamp/2", payload="off"),
    Retained(topic="lamps", payload="many"),
    Retained(topic="löschen", payload="ja"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "broker.db"
    import_records(path, [("here", record) for record in CONTENTS], replace=False)
    return path


def test_the_overview_counts_what_is_there(path: Path) -> None:
    with reading(path) as database:
        told = overview(database, path)
    assert (told.sessions, told.subscriptions, told.messages, told.retained) == (3, 2, 2, 6)
    assert (told.message_bytes, told.retained_bytes) == (3 + 3 + 3 + 6, 5 + 8 + 14 + 9 + 9 + 10)
    assert (told.waiting, told.in_flight) == (2, 2)
    assert told.file_bytes == path.stat().st_size
    assert (told.schema_version, told.broker_pid) == (2, None)
    assert [(state.client, state.waiting + state.in_flight) for state in told.largest_queues] == [
        ("panel-1", 3),
        ("panel-2", 1),
    ]
    assert told.oldest_waiting is not None
    assert (told.oldest_waiting.topic, told.oldest_waiting.client) == ("a/2", "panel-1")


def test_an_empty_store_has_an_overview(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    import_records(path, [], replace=False)
    with reading(path) as database:
        told = overview(database, path)
    assert (told.sessions, told.message_bytes, told.largest_queues, told.oldest_waiting) == (0, 0, [], None)


def test_sessions_come_by_client_identifier_with_what_they_hold(path: Path) -> None:
    with reading(path) as database:
        archive, first, second = sessions(database)
    assert (archive.client, archive.subscriptions, archive.waiting, archive.in_flight, archive.bytes) == (
        "archive",
        0,
        0,
        0,
        0,
    )
    assert (first.client, first.user, first.ends_at) == ("panel-1", "anna", None)
    assert (first.subscriptions, first.waiting, first.in_flight, first.bytes) == (2, 1, 2, 6 + 9)
    assert (second.client, second.user, second.ends_at, second.waiting) == ("panel-2", None, THEN, 1)


@pytest.mark.parametrize(
    ("pattern", "clients"), [("panel-*", ["panel-1", "panel-2"]), ("archive", ["archive"]), ("PANEL-1", [])]
)
def test_sessions_are_chosen_by_a_pattern(path: Path, pattern: str, clients: list[str]) -> None:
    with reading(path) as database:
        assert [state.client for state in sessions(database, pattern)] == clients


@pytest.mark.parametrize(
    ("topic_filter", "topics"),
    [
        (None, ["lamp", "lamp/1", "lamp/1/state", "lamp/2", "lamps", "löschen"]),
        ("#", ["lamp", "lamp/1", "lamp/1/state", "lamp/2", "lamps", "löschen"]),
        ("lamp/#", ["lamp", "lamp/1", "lamp/1/state", "lamp/2"]),
        ("lamp/+", ["lamp/1", "lamp/2"]),
        ("+/1/#", ["lamp/1", "lamp/1/state"]),
        ("lamp/1", ["lamp/1"]),
        ("löschen", ["löschen"]),
        ("lam", []),
    ],
)
def test_retained_messages_are_chosen_by_a_topic_filter(
    path: Path, topic_filter: str | None, topics: list[str]
) -> None:
    with reading(path) as database:
        assert [kept.topic for kept in retained(database, topic_filter)] == topics


def test_a_retained_message_says_who_published_it_and_when(path: Path) -> None:
    with reading(path) as database:
        (kept,) = retained(database, "lamp/1")
    assert (kept.publisher, kept.user, kept.address, kept.published_at) == ("app", "anna", "[::1]:9", THEN)
    assert (kept.qos, kept.payload, kept.payload_bytes) == (1, b"on", 2)


def test_no_topic_filter_is_refused(path: Path) -> None:
    with reading(path) as database, pytest.raises(InvalidTopic):
        list(retained(database, "a/#/b"))


def test_a_queue_is_in_the_order_of_sending(path: Path) -> None:
    with reading(path) as database:
        waits = list(queue(database, "panel-1"))
        assert [(each.state, each.packet_identifier, each.topic, each.payload) for each in waits] == [
            ("in flight", 7, "a/1", b"one"),
            ("waiting", 0, "a/2", b"second"),
            ("released", 9, "", b""),
        ]
        assert (waits[0].publisher, waits[1].qos, waits[1].expires_at) == ("gateway", 2, THEN)
        assert [each.topic for each in queue(database, "panel-1", limit=1)] == ["a/1"]


def test_of_a_payload_comes_as_much_as_is_asked_for(path: Path) -> None:
    with reading(path) as database:
        (waits,) = queue(database, "panel-2", payload_bytes=3)
        (kept,) = retained(database, "lamp/2", 2)
    assert (waits.payload, waits.payload_bytes) == (b"sec", 6)
    assert (kept.payload, kept.payload_bytes) == (b"of", 3)


def test_the_queue_of_nobody_is_told(path: Path) -> None:
    with reading(path) as database, pytest.raises(StoreError, match="no session of the client 'nobody'"):
        list(queue(database, "nobody"))


def test_what_is_read_stays_that_of_one_moment_while_the_broker_writes(path: Path) -> None:
    writer = StoreFile(path)
    writer.open()
    ending = Batch(1)
    ending.cleared = [b"lamp/1", b"lamp/2"]
    with reading(path) as database:
        told = retained(database, "lamp/+")
        assert next(told).topic == "lamp/1"
        writer.write(ending)
        assert [kept.topic for kept in told] == ["lamp/2"]
    with reading(path) as database:
        assert list(retained(database, "lamp/+")) == []
    writer.close()


def test_what_a_killed_broker_left_in_its_log_is_read(path: Path, tmp_path: Path) -> None:
    writer = StoreFile(path)
    writer.open()
    ending = Batch(1)
    ending.cleared = [b"lamp/1"]
    writer.write(ending)
    left = tmp_path / "left"
    left.mkdir()
    for file in (path, path.with_name("broker.db-wal")):
        shutil.copy(file, left)
    writer.close()
    with reading(left / "broker.db") as database:
        assert [kept.topic for kept in retained(database, "lamp/+")] == ["lamp/2"]


def test_a_broker_that_runs_is_told_by_its_lock(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    assert broker_on(tmp_path) is None
    directory.take()
    assert broker_on(tmp_path) == os.getpid()
    directory.release()
    assert broker_on(tmp_path) is None


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "UPDATE message SET payload = x'00' WHERE topic = CAST('a/1' AS BLOB)",
            "a message on 'a/1' is not what it was",
        ),
        (
            "UPDATE retained SET checksum = 1 WHERE topic = CAST('lamp/1' AS BLOB)",
            "retained message of 'lamp/1' is not",
        ),
        ("UPDATE retained SET payload = 'text' WHERE topic = CAST('lamp/1' AS BLOB)", "is not in bytes"),
        ("DELETE FROM session WHERE client_identifier = 'panel-2'", "1 of the table delivery"),
        ("DELETE FROM message WHERE topic = CAST('a/2' AS BLOB)", "is not there, but 2 deliveries are of it"),
        ("INSERT INTO received VALUES (77, 1)", "session 77 is not there, but 1 of the table received"),
        (
            "UPDATE delivery SET packet_identifier = 7 WHERE message = 0",
            "has the packet identifier 7 in flight more than",
        ),
    ],
)
def test_each_fault_is_a_line(path: Path, command: str, said: str) -> None:
    assert list(faults(path)) == []
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(command)
    (fault,) = faults(path)
    assert said in fault


@pytest.mark.parametrize("offset", [0, 100, 4096 * 3])
def test_a_damaged_page_is_a_fault_wherever_it_is(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * 600)
    found = list(faults(path))
    assert found
    assert not [fault for fault in found if "\n" in fault]


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (None, "there is no store in"),
        (b"", "older Tidewire"),
        (b"a letter" * 1000, "is damaged"),
    ],
)
def test_what_is_no_store_is_told_with_its_mend(tmp_path: Path, contents: bytes | None, said: str) -> None:
    path = tmp_path / "broker.db"
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(StoreError, match=said) as raised, reading(path):
        pass
    assert "\n" not in str(raised.value)


def test_the_user_is_doubted_only_where_the_right_to_read_is_lacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "broker.toml"
    file.touch()
    nothing = pytest.raises(StoreError, match=r"there is no store in .*broker\.toml: say where .*, --data DIR$")
    with nothing, reading(file / "broker.db"):
        pass
    for code, ending in ((errno.EACCES, "; be the user that the broker runs as"), (errno.EIO, "")):

        def fails(path: Path, code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(Path, "stat", fails)
        with pytest.raises(StoreError, match=f"^cannot read .*: {os.strerror(code)}{ending}$"), reading(file):
            pass


def test_the_database_of_another_program_is_told(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE diary (entry)")
    with pytest.raises(StoreError, match="the database of another program"), reading(path):
        pass
