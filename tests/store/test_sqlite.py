"""The broker's file: what is written is read again, damage is found, and space is given back."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.store.stores import batch_of, copy_of
from tidewire.engine.changes import Batch, Contents
from tidewire.engine.message import Message
from tidewire.engine.ports import Provenance
from tidewire.store import rows, schema, sqlite
from tidewire.store.errors import StoreError
from tidewire.store.sqlite import StoreFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "broker.db"


def opened(path: Path, **options: str) -> StoreFile:
    file = StoreFile(path, **options)
    file.open()
    return file


def message(payload: bytes = b"payload", topic: bytes = b"a/b") -> Message:
    return Message(topic, payload, 1, False, b"\x01\x01", 0.0, "publisher")


def queue(count: int, payload: bytes = b"payload", first: int = 1) -> Batch:
    """A session, number 1, and messages that wait for it."""
    numbers = range(first, first + count)
    return batch_of(
        sessions=[(1, "reader", None, 60, 0.0, None, 0, 0.0)],
        messages=[(number, message(payload), 0.0) for number in numbers],
        deliveries=[(1, number, number, 1, False, b"", 0) for number in numbers],
    )


def drained(count: int, first: int = 1) -> Batch:
    numbers = range(first, first + count)
    return batch_of(settled=[(1, number) for number in numbers], dead_messages=list(numbers))


def full_batch() -> Batch:
    """A row of every kind."""
    will = Message(b"will", b"gone", 2, True, b"\x01\x00", -1.0, "reader")
    return batch_of(
        sessions=[
            (1, "reader", "user", 60, 1_800_000_000.25, will, 5, 1_800_000_005.5),
            (2, "Wörter\U0001f600", None, 0xFFFF_FFFF, 0.0, None, 0, 0.0),
        ],
        subscriptions=[(1, b"a/#", 2, True, False, 268_435_455), (2, "ü/+".encode(), 0, False, True, 0)],
        messages=[(1, message(), 1_800_000_000.125), (7, message(b"\x00\xff" * 5000), 0.0)],
        deliveries=[
            (1, 1, 1, 2, True, b"\x0b\x01\x0b\x02", 65_535),
            (1, 2, 0, 2, False, b"", 7),
            (2, 3, 7, 1, False, b"", 0),
        ],
        received=[(1, 1), (1, 65_535), (2, 3)],
        retained=[
            (b"r/1", message(b"one", b"r/1"), 0.0, Provenance("user", "[::1]:9", 0.0), 1_700_000_000.5),
            (b"r/2", message(b"two", b"r/2"), 1_900_000_000.0, Provenance(None, "", 0.0), 1_700_000_001.0),
        ],
    )


TABLES = ("sessions", "subscriptions", "messages", "deliveries", "received", "retained")


def plain(contents: Contents | Batch) -> dict[str, Any]:
    """Rows whose messages and provenances can be compared."""

    def value(column: Any) -> Any:
        if isinstance(column, Message):
            # QoS and RETAIN of a message that is not retained are those of its deliveries
            return (column.topic, column.payload, column.properties, column.publisher)
        if isinstance(column, Provenance):
            return (column.user_name, column.address)
        return column

    return {name: [tuple(value(column) for column in row) for row in getattr(contents, name)] for name in TABLES}


def test_every_row_comes_back_as_it_was_written(path: Path) -> None:
    file = opened(path)
    batch = full_batch()
    file.write(batch)
    survivor = opened(copy_of(path))
    contents = survivor.read()
    assert plain(contents) == plain(batch)
    will = contents.sessions[0][5]
    assert will is not None and (will.qos, will.retain, will.expires_at) == (2, True, -1.0)
    assert [(row[1].qos, row[1].retain) for row in contents.retained] == [(1, True), (1, True)]
    assert survivor.set_aside is None
    file.close()
    survivor.close()


def test_rows_replace_those_before_and_what_has_ended_goes_with_all_it_had(path: Path) -> None:
    file = opened(path)
    file.write(full_batch())
    file.write(
        batch_of(
            ended_sessions=[2],
            sessions=[(3, "Wörter\U0001f600", None, 7, 0.0, None, 0, 0.0)],
            unsubscribed=[(1, b"a/#"), (1, b"unknown")],
            subscriptions=[(3, b"b", 1, False, False, 0)],
            settled=[(1, 2)],
            dead_messages=[7],
            deliveries=[(1, 1, 1, 2, True, b"", 9)],
            forgotten=[(1, 65_535)],
            received=[(1, 4)],
            cleared=[b"r/1"],
            retained=[(b"r/2", message(b"new", b"r/2"), 0.0, Provenance(None, "x", 0.0), 1.0)],
        )
    )
    contents = file.read()
    assert [(row[0], row[1]) for row in contents.sessions] == [(1, "reader"), (3, "Wörter\U0001f600")]
    assert contents.subscriptions == [(3, b"b", 1, False, False, 0)]
    assert [row[0] for row in contents.messages] == [1]
    assert contents.deliveries == [(1, 1, 1, 2, True, b"", 9)]
    assert contents.received == [(1, 1), (1, 4)]
    assert [(topic, kept.payload) for topic, kept, *_ in contents.retained] == [(b"r/2", b"new")]
    file.close()


@pytest.mark.parametrize("count", [1, 2, 3, 4096, 5000])
def test_a_batch_of_any_size_is_written_whole(path: Path, count: int) -> None:
    file = opened(path, durability="relaxed")
    batch = queue(count)
    file.write(batch)
    assert plain(file.read()) == plain(batch)
    file.write(drained(count - 1))
    assert [row[1] for row in file.read().deliveries] == [count]
    file.close()


def test_deletions_search_and_never_read_a_whole_table(path: Path) -> None:
    opened(path).close()
    database = sqlite3.connect(path)
    statements = [value for name, value in vars(rows).items() if name.startswith("_DELETE")]
    for statement in [*statements[0], *statements[1:]]:
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", ("[]",))]
        assert plan[0].startswith("SEARCH "), (statement, plan)
        assert not any("SCAN" in step and "json_each" not in step for step in plan), (statement, plan)
    database.close()


def test_a_batch_that_fails_leaves_nothing_and_is_written_once_there_is_room(path: Path) -> None:
    file = opened(path)
    file.write(queue(10))
    before = plain(file.read())
    database = file._database
    assert database is not None
    database.execute("PRAGMA max_page_count = 30")
    batch = queue(1000, b"x" * 500, first=11)
    for _ in range(2):
        with pytest.raises(StoreError, match="the disk is full: make room") as failure:
            file.write(batch)
        assert failure.value.may_pass
        assert plain(file.read()) == before
    database.execute("PRAGMA max_page_count = 100000")
    file.write(batch)
    assert len(file.read().messages) == 1010
    file.close()


def test_a_file_that_may_not_be_written_says_so_and_may_pass(path: Path) -> None:
    file = opened(path)
    database = file._database
    assert database is not None
    database.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError, match="may not be written: check its permissions") as failure:
        file.write(queue(1))
    assert failure.value.may_pass
    database.execute("PRAGMA query_only = 0")
    file.write(queue(1))
    file.close()


def test_what_was_written_survives_kill_9(path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from tests.store.test_sqlite import opened, queue\n"
        "opened(pathlib.Path(sys.argv[1])).write(queue(100))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=30, cwd=root)
    assert ended.returncode < 0
    file = opened(path)
    assert len(file.read().deliveries) == 100
    file.close()


def test_others_read_while_the_broker_writes(path: Path) -> None:
    file = opened(path)
    file.write(queue(5))
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.0)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM delivery").fetchone() == (5,)
    file.write(queue(5, first=6))
    file.tend()
    assert reader.execute("SELECT count(*) FROM delivery").fetchone() == (5,)
    reader.execute("COMMIT")
    assert reader.execute("SELECT count(*) FROM delivery").fetchone() == (10,)
    file.close()
    reader.close()


def test_the_file_is_its_owners_alone_and_tells_what_it_is(path: Path) -> None:
    opened(path, durability="relaxed").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    header = path.read_bytes()[:100]
    assert header[68:72] == b"TWBR"
    assert not path.with_name("broker.db-wal").exists()


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("relaxed", 1)])
def test_durability_decides_whether_a_commit_waits_for_the_disk(path: Path, durability: str, synchronous: int) -> None:
    file = opened(path, durability=durability)
    assert file._database is not None
    assert file._database.execute("PRAGMA synchronous").fetchone() == (synchronous,)
    assert file._database.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    assert file._database.execute("PRAGMA locking_mode").fetchone() == ("normal",)
    file.close()


# -- other files


def test_a_later_versions_file_is_refused_and_left_alone(path: Path) -> None:
    opened(path).close()
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    database.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="was written by a newer Tidewire: update this one"):
        opened(path)
    assert path.read_bytes() == before


def test_an_older_file_is_migrated_step_by_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(path)
    file.write(queue(3))
    file.close()
    version = len(schema.MIGRATIONS)
    steps = ["CREATE TABLE extra (one)", "INSERT INTO extra SELECT count(*) FROM delivery"]
    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, *steps])
    file = opened(path)
    assert len(file.read().deliveries) == 3
    file.close()
    database = sqlite3.connect(path)
    assert database.execute("SELECT * FROM extra").fetchall() == [(3,)]
    assert database.execute("PRAGMA user_version").fetchone() == (version + 2,)
    database.close()


def test_a_step_that_fails_leaves_the_file_at_the_version_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(path).close()
    version = len(schema.MIGRATIONS)
    steps = ["CREATE TABLE extra (one)", "CREATE TABLE other (one); INSERT INTO missing VALUES (1)"]
    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, *steps])
    with pytest.raises(StoreError, match="no such table: missing") as failure:
        opened(path)
    assert not failure.value.may_pass
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone() == (version + 1,)
    assert database.execute("SELECT name FROM sqlite_schema WHERE name IN ('extra', 'other')").fetchall() == [
        ("extra",)
    ]
    database.close()


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE theirs (one)")
    database.commit()
    database.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is the database of another program, not a store: choose"):
        opened(path)
    assert path.read_bytes() == before


def test_an_sqlite_that_is_too_old_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite.sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(StoreError, match=r"the store needs 3\.38\.0: use a newer Python"):
        opened(path)


def test_a_path_that_cannot_be_opened_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened: check its directory"):
        opened(tmp_path / "missing" / "broker.db")


def test_a_store_that_is_not_open_says_so(path: Path) -> None:
    with pytest.raises(StoreError, match="is not open"):
        StoreFile(path).read()


# -- damage


def test_a_file_of_nonsense_is_set_aside_and_another_begun(path: Path) -> None:
    path.write_bytes(b"nonsense" * 1000)
    file = opened(path)
    assert file.set_aside is not None
    assert re.fullmatch(r"broker\.db\.damaged-\d{8}T\d{6}", file.set_aside.name)
    assert file.set_aside.read_bytes() == b"nonsense" * 1000
    assert plain(file.read()) == plain(Contents())
    file.write(queue(1))
    file.close()
    again = opened(path)
    assert again.set_aside is None
    assert len(again.read().messages) == 1
    again.close()


def test_damage_after_damage_is_kept_under_two_names(path: Path) -> None:
    asides = set()
    for _ in range(3):
        path.write_bytes(os.urandom(5000))
        file = opened(path)
        asides.add(file.set_aside)
        file.close()
    assert len(asides) == 3 and all(aside is not None and aside.stat().st_size == 5000 for aside in asides)


def test_a_page_of_nonsense_is_found_at_opening(path: Path) -> None:
    file = opened(path)
    file.write(queue(2000, b"x" * 100))
    file.close()
    with path.open("r+b") as database:
        database.seek(-20 * 4096, os.SEEK_END)
        database.write(os.urandom(4096))
    file = opened(path)
    assert file.set_aside is not None and file.set_aside.exists()
    assert file.read().messages == []
    file.close()


@pytest.mark.parametrize("kind", ["message", "retained"])
def test_a_turned_bit_in_a_payload_is_found_by_its_checksum(path: Path, kind: str) -> None:
    file = opened(path)
    file.write(queue(1, b"a payload that is told from others"))
    kept = message(b"a retained payload", b"r")
    file.write(batch_of(retained=[(b"r", kept, 0.0, Provenance(None, "", 0.0), 1.0)]))
    file.close()
    content = path.read_bytes()
    needle = b"told from others" if kind == "message" else b"a retained payload"
    assert content.count(needle) == 1
    path.write_bytes(content.replace(needle, bytes([needle[0] ^ 1]) + needle[1:]))
    file = opened(path)
    assert file.set_aside is None
    contents = file.read()
    assert file.set_aside is not None and file.set_aside.exists()
    assert plain(contents) == plain(Contents())
    file.write(queue(1))
    file.close()


@pytest.mark.parametrize("deleted", ["session", "message"])
def test_a_row_whose_session_or_message_is_missing_is_damage(path: Path, deleted: str) -> None:
    file = opened(path)
    file.write(queue(3))
    file.close()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(f"DELETE FROM {deleted} WHERE number = 1")
    database.close()
    file = opened(path)
    assert file.set_aside is not None
    file.close()


def test_what_is_set_aside_has_its_log_with_it(path: Path) -> None:
    file = opened(path)
    file.write(queue(3))
    killed = copy_of(path)
    log = killed.with_name("broker.db-wal")
    held = log.stat().st_size
    assert held > 0
    database = sqlite3.connect(killed, isolation_level=None)
    database.execute("DELETE FROM session")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    killed = copy_of(killed)
    database.close()
    survivor = opened(killed)
    aside = survivor.set_aside
    assert aside is not None
    kept = sqlite3.connect(aside)
    assert kept.execute("SELECT count(*) FROM delivery").fetchone() == (3,)
    kept.close()
    assert survivor.read().deliveries == []
    survivor.close()
    file.close()


# -- housekeeping


def test_space_of_a_backlog_is_given_back_once_it_has_drained(path: Path) -> None:
    file = opened(path, durability="relaxed")
    for first in range(1, 50_001, 5000):
        file.write(queue(5000, b"x" * 1000, first))
        file.tend()
    assert path.stat().st_size + path.with_name("broker.db-wal").stat().st_size > 50_000_000
    for first in range(1, 50_001, 5000):
        file.write(drained(5000, first))
        file.tend()
    while file.tend():
        pass
    assert path.stat().st_size < 5_000_000
    assert not file.tend()
    assert len(file.read().sessions) == 1
    file.close()
    assert path.stat().st_size < 5_000_000


def test_the_log_is_carried_over_when_it_has_grown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_LOG_BYTES", 1_000_000)
    file = opened(path, durability="relaxed")
    file.write(queue(100))
    assert not file.is_due
    batches = 0
    while not file.is_due:
        batches += 1
        file.write(queue(100, b"x" * 1000, 100 * batches + 1))
    before = path.stat().st_size
    assert path.with_name("broker.db-wal").stat().st_size > 500_000
    file.tend()
    assert not file.is_due
    assert path.stat().st_size > before + 500_000
    for number in range(batches + 1, 20 * batches):
        file.write(queue(100, b"x" * 1000, 100 * number + 1))
        if file.is_due:
            file.tend()
    assert path.with_name("broker.db-wal").stat().st_size < 3_000_000
    file.close()
