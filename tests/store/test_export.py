"""Does everything in a store come out as lines, and come back from them the same; and nothing of what is wrong?"""

from __future__ import annotations

import io
import json
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidewire.engine.changes import Changes
from tidewire.store.errors import StoreError
from tidewire.store.export import ImportFault, back_up, compact, import_records, read_lines, records, write_lines
from tidewire.store.inspection import faults, reading
from tidewire.store.records import Delivery, Message, Record, Released, Retained, Session, Subscription, Will
from tidewire.store.sqlite import StoreFile

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=12)
moments = st.none() | st.datetimes(datetime(1971, 1, 1), datetime(2170, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
intervals = st.integers(0, 0xFFFF_FFFF)
packet_identifiers = st.integers(1, 65_535)
subscription_identifiers = st.integers(1, 268_435_455)


@st.composite
def contents(draw: st.DrawFn, least: int = 0) -> dict[str, Any]:
    payload = draw(
        st.binary(min_size=least, max_size=12) | texts.filter(lambda text: len(text) >= least).map(str.encode)
    )
    said: dict[str, Any] = {"topic": draw(names)}
    try:
        said["payload"] = payload.decode()
    except UnicodeDecodeError:
        said["payload_base64"] = payload
    return {
        **said,
        "payload_format": draw(st.none() | st.integers(0, 1)),
        "content_type": draw(st.none() | texts),
        "response_topic": draw(st.none() | names),
        "correlation_data_base64": draw(st.none() | st.binary(max_size=8)),
        "user_properties": draw(st.lists(st.tuples(texts, texts), max_size=3)),
    }


@st.composite
def wills(draw: st.DrawFn) -> Will:
    return Will(
        **draw(contents()),
        qos=draw(st.integers(0, 2)),
        retain=draw(st.booleans()),
        message_expiry=draw(st.none() | intervals.map(float)),
        delay=draw(intervals),
        due_at=draw(moments),
    )


@st.composite
def stores(draw: st.DrawFn) -> list[Record]:
    """A store's records, as an export has them: sessions by client identifier, messages, retained by topic."""
    clients = sorted(draw(st.sets(names, max_size=4)), key=str.encode)
    orders = iter(draw(st.permutations(range(1, 60))))
    identifiers = iter(draw(st.lists(packet_identifiers, min_size=40, max_size=40, unique=True)))
    sessions = [
        Session(
            client,
            draw(st.none() | texts),
            draw(intervals),
            draw(moments),
            draw(st.none() | wills()),
            [
                Subscription(
                    topic_filter,
                    draw(st.integers(0, 2)),
                    draw(st.booleans()),
                    draw(st.booleans()),
                    draw(st.integers(0, 268_435_455)),
                )
                for topic_filter in sorted(
                    draw(st.sets(names | st.sampled_from(["#", "+/a", "$share/g/b/#"]), max_size=3)), key=str.encode
                )
            ],
            sorted(draw(st.sets(packet_identifiers, max_size=3))),
            [
                Released(next(identifiers), order)
                for order in sorted(next(orders) for _ in range(draw(st.integers(0, 2))))
            ],
        )
        for client in clients
    ]
    messages = [
        Message(
            **draw(contents()),
            publisher=draw(texts),
            expires_at=draw(moments),
            to=[
                Delivery(
                    client,
                    next(orders),
                    draw(st.integers(1, 2)),
                    draw(st.booleans()),
                    draw(st.lists(subscription_identifiers, max_size=2)),
                    next(identifiers) if draw(st.booleans()) else None,
                )
                for client in sorted(draw(st.sets(st.sampled_from(clients), min_size=1)), key=str.encode)
            ],
        )
        for _ in range(draw(st.integers(0, 4)) if clients else 0)
    ]
    retained = {
        said["topic"]: Retained(
            **said,
            qos=draw(st.integers(0, 2)),
            expires_at=draw(moments),
            publisher=draw(texts),
            user=draw(st.none() | texts),
            address=draw(texts),
            published_at=draw(moments),
        )
        for said in draw(st.lists(contents(least=1), max_size=4))
    }
    return [*sessions, *messages, *(retained[topic] for topic in sorted(retained, key=str.encode))]


def lines_of(written: list[Record]) -> bytes:
    file = io.BytesIO()
    write_lines(file, written)
    return file.getvalue()


def exported(path: Path) -> bytes:
    with reading(path) as database:
        file = io.BytesIO()
        write_lines(file, records(database))
    return file.getvalue()


def imported(path: Path, lines: bytes, replace: bool = False) -> Path:
    import_records(path, read_lines(io.BytesIO(lines)), replace)
    return path


@given(stores())
@settings(max_examples=40, deadline=None)
def test_what_is_imported_and_exported_is_the_same_and_the_broker_reads_it(written: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        lines = lines_of(written)
        first = imported(Path(directory, "first.db"), lines)
        assert exported(first) == lines
        assert not list(faults(first))
        file = StoreFile(first)
        file.open()
        sessions, retained = Changes().restore(file.read(), 0.0)
        file.close()
        assert file.set_aside is None
        assert len(sessions) == sum(isinstance(record, Session) for record in written)
        assert len(retained) == sum(isinstance(record, Retained) for record in written)
        queued = sum(len(session.queue) + len(session.inflight) for session in sessions)
        assert queued == sum(
            len(record.to)
            if isinstance(record, Message)
            else len(record.released)
            if isinstance(record, Session)
            else 0
            for record in written
        )


ALICE = Session("alice", "al", 60, None, None, [Subscription("a/#", 1)])
BOB = Session("bob", None, 60)
LAMP = Retained(topic="lamp/1", payload="on", qos=1, publisher="gateway")


def waiting(payload: str, *to: Delivery) -> Message:
    return Message(topic="a/b", payload=payload, to=list(to))


def test_a_line_says_by_itself_what_it_is_in_words(tmp_path: Path) -> None:
    lines = exported(imported(tmp_path / "broker.db", lines_of([ALICE, waiting("hello", Delivery("alice", 3)), LAMP])))
    assert [json.loads(line) for line in lines.splitlines()] == [
        {"kind": "store", "format": 1},
        {
            "kind": "session",
            "client": "alice",
            "user": "al",
            "expiry_interval": 60,
            "subscriptions": [{"topic_filter": "a/#", "qos": 1}],
        },
        {"kind": "message", "topic": "a/b", "payload": "hello", "to": [{"client": "alice", "order": 3}]},
        {"kind": "retained", "topic": "lamp/1", "payload": "on", "qos": 1, "publisher": "gateway"},
    ]


def test_who_writes_lines_by_hand_leaves_the_order_to_that_of_the_lines(tmp_path: Path) -> None:
    path = imported(
        tmp_path / "broker.db",
        lines_of([ALICE, waiting("one", Delivery("alice")), waiting("two", Delivery("alice"))]),
    )
    with reading(path) as database:
        said = [record for record in records(database) if isinstance(record, Message)]
    assert [(message.payload, message.to[0].order) for message in said] == [("one", 1), ("two", 2)]


def test_an_import_adds_to_what_is_there(tmp_path: Path) -> None:
    path = imported(tmp_path / "broker.db", lines_of([ALICE, waiting("one", Delivery("alice", 1))]))
    imported(path, lines_of([BOB, waiting("two", Delivery("bob", 1)), LAMP]))
    assert exported(path) == lines_of(
        [ALICE, BOB, waiting("one", Delivery("alice", 1)), waiting("two", Delivery("bob", 1)), LAMP]
    )


def test_what_is_replaced_goes_with_all_that_belonged_to_it(tmp_path: Path) -> None:
    path = imported(
        tmp_path / "broker.db",
        lines_of([ALICE, BOB, waiting("one", Delivery("alice", 1)), waiting("two", Delivery("bob", 2)), LAMP]),
    )
    off = msgspec.structs.replace(LAMP, payload="off")
    other = Session("alice", "other", 70)
    imported(path, lines_of([other, off]), replace=True)
    assert exported(path) == lines_of([other, BOB, waiting("two", Delivery("bob", 2)), off])
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        assert database.execute("SELECT count(*) FROM message").fetchone() == (1,)


HEAD = '{"kind":"store","format":1}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not an export"),
        ('{"tidewire_recording":1}\n', "is not an export"),
        ("\xff\xfe\n", "is not an export"),
        ('{"kind":"store","format":2}\n', "is of format 2, and this Tidewire reads up to 1"),
        (HEAD + "{", "line 2 is wrong"),
        (HEAD + '\n{"kind":"lamp"}', "line 3 is wrong"),
        (HEAD + '{"kind":"session","client":""}', "line 2 is wrong"),
        (HEAD + '{"kind":"session","client":"a"}\n' * 2, "line 3 says again"),
        (HEAD + '{"kind":"session","client":"a","subscriptions":[{"topic_filter":"a#"}]}', "line 2 is wrong: # must"),
        (HEAD + '{"kind":"retained","topic":"a/#","payload":"x"}', "line 2 is wrong: topic name 'a/#'"),
        (HEAD + '{"kind":"retained","topic":"a"}', "line 2 is wrong: a retained message needs a payload"),
        (HEAD + '{"kind":"retained","topic":"a","payload":"x","payload_base64":"eA=="}', "exclude each other"),
        (HEAD + '{"kind":"retained","topic":"a","payload":"x","published_at":"yesterday"}', "line 2 is wrong"),
        (HEAD + '{"kind":"retained","topic":"there","payload":"x"}', "has a retained message of the topic 'there'"),
        (HEAD + '{"kind":"session","client":"there"}', "has a session of the client 'there' already; .*--replace"),
        (HEAD + '{"kind":"message","topic":"a","to":[]}', "line 2 is wrong"),
        (HEAD + '{"kind":"message","topic":"a","to":[{"client":"there"}]}', "'there' has no session in a line before"),
        (
            HEAD + '{"kind":"session","client":"a"}\n{"kind":"message","topic":"a",'
            '"to":[{"client":"a","order":1,"packet_identifier":4},{"client":"a","order":2,"packet_identifier":4}]}',
            "has the packet identifier 4 twice",
        ),
    ],
)
def test_of_a_file_with_a_fault_nothing_is_imported(tmp_path: Path, text: str, said: str) -> None:
    there = lines_of([Session("there"), Retained(topic="there", payload="x")])
    path = imported(tmp_path / "broker.db", there)
    good = '{"kind":"retained","topic":"good","payload":"x"}\n'
    text = text.replace(HEAD, HEAD + good, 1) if text.startswith(HEAD) else text
    said = said.replace("line 3", "line 4").replace("line 2", "line 3")
    with pytest.raises(ImportFault, match=said):
        imported(path, text.encode("latin-1"))
    assert exported(path) == there


def test_a_backup_is_one_file_that_is_a_store_itself(tmp_path: Path) -> None:
    path = imported(tmp_path / "broker.db", lines_of([ALICE, LAMP]))
    copy = tmp_path / "copy" / "broker.db"
    copy.parent.mkdir()
    with reading(path) as database:
        back_up(database, copy)
    assert [file.name for file in copy.parent.iterdir()] == ["broker.db"]
    assert copy.stat().st_mode & 0o077 == 0
    assert exported(copy) == exported(path)
    file = StoreFile(copy)
    file.open()
    assert len(file.read().sessions) == 1
    file.close()


def test_a_backup_is_of_one_moment_though_the_broker_writes_on(tmp_path: Path) -> None:
    path = imported(tmp_path / "broker.db", lines_of([ALICE, LAMP]))
    before = exported(path)
    with reading(path) as database:
        assert database.execute("SELECT count(*) FROM session").fetchone() == (1,)
        imported(path, lines_of([BOB]))
        back_up(database, tmp_path / "copy.db")
    assert exported(tmp_path / "copy.db") == before
    assert exported(path) != before


def test_a_backup_replaces_no_file_and_leaves_none_behind(tmp_path: Path) -> None:
    path = imported(tmp_path / "broker.db", lines_of([LAMP]))
    there = tmp_path / "there"
    there.write_text("a letter")
    with reading(path) as database, pytest.raises(FileExistsError):
        back_up(database, there)
    assert there.read_text() == "a letter"
    assert not (tmp_path / "there.part").exists()


def test_compacting_gives_space_back_and_loses_nothing(tmp_path: Path) -> None:
    large = [Retained(topic=f"t/{number}", payload="x" * 4000) for number in range(100)]
    path = imported(tmp_path / "broker.db", lines_of([ALICE, *large]))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DELETE FROM retained")
    lines = exported(path)
    before, after = compact(path)
    assert (after, before > 4 * after) == (path.stat().st_size, True)
    assert exported(path) == lines


@pytest.mark.parametrize("touch", [exported, compact, lambda path: imported(path, lines_of([BOB]))])
def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path, touch: Callable[[Path], object]) -> None:
    path = imported(tmp_path / "broker.db", lines_of([ALICE]))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer Tidewire: update this one"):
        touch(path)
    assert path.read_bytes() == before


def test_a_row_that_cannot_be_exported_is_told(tmp_path: Path) -> None:
    path = imported(tmp_path / "broker.db", lines_of([LAMP]))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE retained SET properties = x'ff00'")
    with pytest.raises(StoreError, match=r"damaged .*; see where: tidewire store verify"):
        exported(path)
