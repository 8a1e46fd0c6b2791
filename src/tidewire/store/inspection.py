"""What is in a store's file, and is it whole? Asked of a stopped broker's, or of one that goes on writing it.

Everything is read in one transaction, so it is the store of one moment, and row by row, so it may be large.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from tidewire.engine.message import Message
from tidewire.store.errors import StoreError, explained, is_damage
from tidewire.store.records import moment
from tidewire.store.rows import checksum
from tidewire.store.schema import MIGRATIONS, pragma, version_of
from tidewire.wire.topics import check_topic_filter, matches

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LARGEST_QUEUES: Final = 5
"""As many stand in an overview: who needs all of them asks for the sessions."""


class NoSuchSession(StoreError):
    """No session in the store has that client identifier."""


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The store in the file `path` as it is now. Raises StoreError where it cannot be read, or is none of ours."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(
            f"there is no store in {path.parent}: say where the broker keeps its data, --data DIR"
        ) from None
    except OSError as error:
        mend = "; be the user that the broker runs as" if isinstance(error, PermissionError) else ""
        raise StoreError(f"cannot read {path}: {error.strerror}{mend}") from None
    with (
        explained(path),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as database,
    ):
        database.execute("BEGIN")
        if version_of(database, path) < len(MIGRATIONS):
            raise StoreError(f"the store {path} was written by an older Tidewire: start the broker on it once")
        yield database


def broker_on(directory: Path) -> int | None:
    """The process of the broker that has locked the directory, 0 where it cannot be told; None where there is none."""
    try:
        with (directory / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = lock.read(32).strip()
                return int(holder) if holder.isdigit() else 0
    except OSError:
        pass
    return None


class Overview(Struct):
    """A store in figures. Bytes of messages are those of topic, payload and properties."""

    file: str
    file_bytes: int
    log_bytes: int
    """Of the write-ahead log beside the file."""
    free_pages: int
    free_bytes: int
    """Of the file, for what comes next."""
    schema_version: int
    broker_pid: int | None
    """The broker that runs on it; 0 where its number cannot be told."""
    sessions: int
    subscriptions: int
    messages: int
    message_bytes: int
    waiting: int
    """Deliveries to sessions that were not sent yet."""
    in_flight: int
    """Deliveries that were sent, and are not acknowledged."""
    retained: int
    retained_bytes: int
    largest_queues: list[SessionState]
    oldest_waiting: Oldest | None


class Oldest(Struct):
    """The message that came first among those that wait, and a client that it waits for."""

    topic: str
    client: str


class SessionState(Struct):
    """A session in figures."""

    client: str
    user: str | None
    ends_at: datetime | None
    """None while it is connected, or was when the broker ended."""
    subscriptions: int
    waiting: int
    in_flight: int
    bytes: int
    """Of what waits or is in flight."""


class Waiting(Struct):
    """A message in a session's queue."""

    client: str
    state: str
    """"waiting", "in flight", or "released" where only PUBREL is left to send and nothing of the message is kept."""
    packet_identifier: int
    qos: int
    retain: bool
    topic: str
    payload_bytes: int
    payload: bytes
    """Its beginning, as long as was asked for."""
    publisher: str
    expires_at: datetime | None


class Kept(Struct):
    """A retained message, and who published it when."""

    topic: str
    qos: int
    payload_bytes: int
    payload: bytes
    """Its beginning, as long as was asked for."""
    expires_at: datetime | None
    publisher: str
    user: str | None
    address: str
    published_at: datetime | None


_BYTES: Final = "CAST(total(length(topic) + length(payload) + length(properties)) AS INTEGER)"


def overview(database: sqlite3.Connection, path: Path) -> Overview:
    """The figures of a store."""
    log = path.with_name(f"{path.name}-wal")
    free_pages = pragma(database, "freelist_count")
    waiting, in_flight = _row(
        database,
        "SELECT count(*) FILTER (WHERE packet_identifier = 0), count(nullif(packet_identifier, 0)) FROM delivery",
    )
    largest = database.execute(
        "SELECT session FROM delivery GROUP BY session ORDER BY count(*) DESC, session LIMIT ?", (LARGEST_QUEUES,)
    ).fetchall()
    return Overview(
        file=str(path),
        file_bytes=path.stat().st_size,
        log_bytes=log.stat().st_size if log.exists() else 0,
        free_pages=free_pages,
        free_bytes=free_pages * pragma(database, "page_size"),
        schema_version=pragma(database, "user_version"),
        broker_pid=broker_on(path.parent),
        sessions=_row(database, "SELECT count(*) FROM session")[0],
        subscriptions=_row(database, "SELECT count(*) FROM subscription")[0],
        messages=_row(database, "SELECT count(*) FROM message")[0],
        message_bytes=_row(database, f"SELECT {_BYTES} FROM message")[0],
        waiting=waiting,
        in_flight=in_flight,
        retained=_row(database, "SELECT count(*) FROM retained")[0],
        retained_bytes=_row(database, f"SELECT {_BYTES} FROM retained")[0],
        largest_queues=[_state(database, number) for (number,) in largest],
        oldest_waiting=_oldest(database),
    )


def sessions(database: sqlite3.Connection, pattern: str = "*") -> Iterator[SessionState]:
    """The sessions whose client identifier is like the pattern, with * and ? as in a shell, by client identifier."""
    for (number,) in database.execute(
        "SELECT number FROM session WHERE client_identifier GLOB ? ORDER BY client_identifier", (pattern,)
    ):
        yield _state(database, number)


def queue(database: sqlite3.Connection, client: str, limit: int = -1, payload_bytes: int = -1) -> Iterator[Waiting]:
    """What a session has not acknowledged, what is sent first standing first; a limit below 0 is none.

    Raises NoSuchSession.
    """
    session = database.execute("SELECT number FROM session WHERE client_identifier = ?", (client,)).fetchone()
    if session is None:
        raise NoSuchSession(f"there is no session of the client {client!r}")
    for row in database.execute(
        "SELECT message, packet_identifier, qos, retain, topic, length(payload), substr(payload, 1, ?), publisher,"
        " expires_at FROM delivery LEFT JOIN message ON number = message WHERE session = ? ORDER BY position LIMIT ?",
        (_shown(payload_bytes), *session, limit),
    ):
        message, packet_identifier, qos, retain, topic, length, payload, publisher, expires_at = row
        if message:
            state = "in flight" if packet_identifier else "waiting"
            said = (_text(topic), length, payload, publisher, _time(expires_at))
            yield Waiting(client, state, packet_identifier, qos, bool(retain), *said)
        else:
            yield Waiting(client, "released", packet_identifier, qos, False, "", 0, b"", "", None)


def retained(database: sqlite3.Connection, topic_filter: str | None = None, payload_bytes: int = -1) -> Iterator[Kept]:
    """The retained messages that a topic filter matches (4.7), None for all, by topic. InvalidTopic for no filter."""
    wanted = b"" if topic_filter is None else topic_filter.encode()
    if topic_filter is not None:
        check_topic_filter(wanted)
    parent = re.split(b"[+#]", wanted)[0].removesuffix(b"/")  # a/# matches a as well [MQTT-4.7.1-2]
    for *said, expires_at, publisher, user, address, published_at in database.execute(
        "SELECT topic, qos, length(payload), substr(payload, 1, ?), expires_at, publisher, user_name, address,"
        " published_at FROM retained WHERE topic BETWEEN ? AND ? ORDER BY topic",
        (_shown(payload_bytes), parent, parent + b"\xff"),  # a byte that UTF-8 does not have
    ):
        topic, qos, length, payload = said
        if topic_filter is None or matches(wanted, topic):
            yield Kept(
                _text(topic), qos, length, payload, _time(expires_at), publisher, user, address, _time(published_at)
            )


def faults(path: Path) -> Iterator[str]:
    """What is wrong with a store, a line each: its pages, its messages, what refers to something that is not there.

    Raises StoreError as `reading` does, but for damage.
    """
    for look in (_faulty_pages, _faulty_messages, _faulty_references):
        try:
            with reading(path) as database:
                yield from look(database)
        except StoreError as error:
            cause = error.__cause__
            if not (isinstance(cause, sqlite3.Error) and is_damage(cause)):
                raise
            yield f"the file cannot be read on: {cause}"
            return


def _faulty_pages(database: sqlite3.Connection) -> Iterator[str]:
    for (verdict,) in database.execute("PRAGMA integrity_check"):
        if verdict != "ok":
            yield " ".join(verdict.split())


def _faulty_messages(database: sqlite3.Connection) -> Iterator[str]:
    for table, what in (("message", "a message on"), ("retained", "the retained message of")):
        for *said, expected in database.execute(f"SELECT topic, payload, properties, checksum FROM {table}"):
            if not all(isinstance(part, bytes) for part in said):
                yield f"{what} {said[0]!r} is not in bytes"
            elif checksum(Message(said[0], said[1], 0, False, said[2])) != expected:
                yield f"{what} {_text(said[0])!r} is not what it was: its checksum is wrong"


def _faulty_references(database: sqlite3.Connection) -> Iterator[str]:
    for table in ("subscription", "delivery", "received"):
        for number, count in database.execute(
            f"SELECT session, count(*) FROM {table} WHERE session NOT IN (SELECT number FROM session) GROUP BY session"
        ):
            yield f"session {number} is not there, but {count} of the table {table} are its own"
    for number, count in database.execute(
        "SELECT message, count(*) FROM delivery"
        " WHERE message != 0 AND message NOT IN (SELECT number FROM message) GROUP BY message"
    ):
        yield f"message {number} is not there, but {count} deliveries are of it"
    for client, identifier in database.execute(
        "SELECT client_identifier, packet_identifier FROM delivery JOIN session ON number = session"
        " WHERE packet_identifier > 0 GROUP BY session, packet_identifier HAVING count(*) > 1"
    ):
        yield f"the session of {client!r} has the packet identifier {identifier} in flight more than once"


def _state(database: sqlite3.Connection, number: int) -> SessionState:
    client, user, ends_at, *figures = _row(
        database,
        "SELECT client_identifier, user_name, ends_at,"
        " (SELECT count(*) FROM subscription WHERE session = session.number),"
        " count(*) FILTER (WHERE packet_identifier = 0), count(nullif(packet_identifier, 0)),"
        f" {_BYTES} FROM session LEFT JOIN delivery ON session = session.number"
        " LEFT JOIN message ON message.number = message WHERE session.number = ?",
        number,
    )
    return SessionState(client, user, _time(ends_at), *figures)


def _oldest(database: sqlite3.Connection) -> Oldest | None:
    row = _row(
        database,
        "SELECT topic, client_identifier FROM"
        " (SELECT min(message) AS message, session FROM delivery WHERE packet_identifier = 0) AS first"
        " JOIN message ON message.number = first.message JOIN session ON session.number = first.session",
    )  # SQLite takes the session from the row that has the minimum
    return None if row is None else Oldest(_text(row[0]), row[1])


def _row(database: sqlite3.Connection, question: str, *values: object) -> Any:
    return database.execute(question, values).fetchone()


def _shown(payload_bytes: int) -> int:
    """For `substr`, to which a length below 0 is another thing."""
    return payload_bytes if payload_bytes >= 0 else 1 << 30


def _time(at: float) -> datetime | None:
    with suppress(ValueError):
        return moment(at)
    return None


def _text(topic: bytes) -> str:
    return topic.decode(errors="backslashreplace")
