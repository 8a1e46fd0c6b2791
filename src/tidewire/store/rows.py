"""How do rows get into the tables and out of them? In bulk, and without a word with Python in between.

The writer's thread competes with a loop that keeps the interpreter busy: each time that Python and SQLite hand over
to each other, it may wait for its turn for milliseconds. So one statement takes up to a thousand rows; `executemany`
would hand over at each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final
from zlib import crc32

import msgspec

from tidewire.engine.changes import Batch, Contents, MessageRow, RetainedRow, SessionRow
from tidewire.engine.message import Message
from tidewire.engine.meter import KINDS
from tidewire.engine.ports import Provenance

_MOST_ROWS: Final = 1024
"""In one statement: what SQLite takes to prepare one grows faster than its rows."""

_LEAST_ROWS: Final = 64
"""What is left over goes in one statement, filled up with nothing, rather than in many small ones."""


_NOTHING: Final = bytearray()


class Damaged(Exception):
    """The file can be read, but what is in it is not what was written."""


class _Table:
    """A table that takes rows in bulk, the new ones and those that replace others."""

    def __init__(self, name: str, columns: int) -> None:
        self._name = name
        self._columns = columns
        self._statements: dict[int, str] = {}

    def put(self, database: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Sizes are powers of two, so that few statements have to be prepared."""
        start = 0
        while start < len(rows):
            size = min(max(1 << (len(rows) - start).bit_length() - 1, _LEAST_ROWS), _MOST_ROWS)
            values = list(chain.from_iterable(rows[start : start + size]))
            values += [None] * (size * self._columns - len(values))
            database.execute(self._statement(size), values)
            start += size

    def _statement(self, size: int) -> str:
        statement = self._statements.get(size)
        if statement is None:
            row = f"({', '.join('?' * self._columns)})"
            rows = f"VALUES {', '.join([row] * size)}"
            if size == _LEAST_ROWS:
                rows = f"SELECT * FROM ({rows}) WHERE column1 IS NOT NULL"
            statement = self._statements[size] = f"REPLACE INTO {self._name} {rows}"
        return statement


_SESSION: Final = _Table("session", 13)
_SUBSCRIPTION: Final = _Table("subscription", 6)
_MESSAGE: Final = _Table("message", 7)
_DELIVERY: Final = _Table("delivery", 7)
_RECEIVED: Final = _Table("received", 2)
_RETAINED: Final = _Table("retained", 10)
_METER: Final = _Table("meter", 5)

# These search by the primary key; with VALUES in the place of json_each, SQLite would read the whole table.
_DELETE_SESSION: Final = [
    f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))"
    for table, column in (
        ("session", "number"),
        ("subscription", "session"),
        ("delivery", "session"),
        ("received", "session"),
    )
]
_DELETE_SUBSCRIPTION: Final = (
    "DELETE FROM subscription WHERE (session, topic_filter) IN"
    " (SELECT value->>0, CAST(value->>1 AS BLOB) FROM json_each(?))"
)
_DELETE_DELIVERY: Final = (
    "DELETE FROM delivery WHERE (session, position) IN (SELECT value->>0, value->>1 FROM json_each(?))"
)
_DELETE_MESSAGE: Final = "DELETE FROM message WHERE number IN (SELECT value FROM json_each(?))"
_DELETE_RECEIVED: Final = (
    "DELETE FROM received WHERE (session, packet_identifier) IN (SELECT value->>0, value->>1 FROM json_each(?))"
)
_METERED_KINDS: Final = f"kind IN ({', '.join(map(repr, KINDS))})"  # so that the primary key is searched
_DELETE_METER: Final = f"DELETE FROM meter WHERE {_METERED_KINDS} AND period < ?1 AND length(period) = length(?1)"
_DELETE_RETAINED: Final = "DELETE FROM retained WHERE topic IN (SELECT CAST(value AS BLOB) FROM json_each(?))"


_RUNNING_METER: Final = (
    f"SELECT * FROM meter WHERE {_METERED_KINDS} AND period IN"
    " (SELECT max(period) FROM meter WHERE kind = 'total' GROUP BY length(period)) ORDER BY kind, period, name"
)
"""The last day and the last month that there are: the others are read by who asks for them."""


def write(database: sqlite3.Connection, batch: Batch) -> None:
    """Everything of a batch, inside the transaction that is open.

    What there are many of goes in as numbers, texts and byte arrays: for any other type the module `sqlite3` looks for
    somebody who adapts it, which takes longer than the copy."""
    for statement in _DELETE_SESSION:
        _delete(database, statement, batch.ended_sessions)
    _delete(database, _DELETE_SUBSCRIPTION, [(number, name.decode()) for number, name in batch.unsubscribed])
    _delete(database, _DELETE_DELIVERY, batch.settled)
    _delete(database, _DELETE_MESSAGE, batch.dead_messages)
    _delete(database, _DELETE_RECEIVED, batch.forgotten)
    _delete(database, _DELETE_RETAINED, [topic.decode() for topic in batch.cleared])
    _SESSION.put(database, [_session_columns(row) for row in batch.sessions])
    _SUBSCRIPTION.put(database, batch.subscriptions)
    _MESSAGE.put(
        database,
        [
            (
                number,
                bytearray(message.topic),
                bytearray(message.payload),
                bytearray(message.properties) if message.properties else _NOTHING,
                at,
                message.publisher,
                checksum(message),
            )
            for number, message, at in batch.messages
        ],
    )
    _DELIVERY.put(
        database,
        [
            (
                session,
                position,
                message,
                qos,
                int(retain),
                bytearray(identifiers) if identifiers else _NOTHING,
                packet_identifier,
            )
            for session, position, message, qos, retain, identifiers, packet_identifier in sorted(batch.deliveries)
        ],
    )
    _RECEIVED.put(database, batch.received)
    _RETAINED.put(database, [_retained_columns(row) for row in batch.retained])
    for first_kept in batch.meter_ends:
        database.execute(_DELETE_METER, (first_kept,))
    _METER.put(database, batch.metered)


def read(database: sqlite3.Connection) -> Contents:
    """Everything that is in the file. Raises Damaged if a checksum says so."""
    contents = Contents()
    contents.sessions = [_session_row(row) for row in database.execute("SELECT * FROM session ORDER BY number")]
    contents.subscriptions = [
        (session, topic_filter, qos, bool(no_local), bool(retain_as_published), identifier)
        for session, topic_filter, qos, no_local, retain_as_published, identifier in database.execute(
            "SELECT * FROM subscription ORDER BY session, topic_filter"
        )
    ]
    contents.messages = list(_message_rows(database.execute("SELECT * FROM message ORDER BY number")))
    contents.deliveries = [
        (session, position, message, qos, bool(retain), identifiers, packet_identifier)
        for session, position, message, qos, retain, identifiers, packet_identifier in database.execute(
            "SELECT * FROM delivery ORDER BY session, position"
        )
    ]
    contents.received = database.execute("SELECT * FROM received ORDER BY session, packet_identifier").fetchall()
    contents.retained = list(_retained_rows(database.execute("SELECT * FROM retained ORDER BY topic")))
    contents.metered = database.execute(_RUNNING_METER).fetchall()
    return contents


def checksum(message: Message) -> int:
    """What tells that a message is still what it was."""
    return crc32(b"".join((message.topic, message.payload, message.properties)))


def _delete(database: sqlite3.Connection, statement: str, rows: Sequence[object]) -> None:
    if rows:
        database.execute(statement, (msgspec.json.encode(rows).decode(),))


def _session_columns(row: SessionRow) -> tuple[Any, ...]:
    number, client_identifier, user_name, expiry_interval, ends_at, will, will_delay, will_at = row
    columns: tuple[Any, ...] = (None,) * 6
    if will is not None:
        columns = (will.topic, will.payload, will.qos, will.retain, will.properties, will.expires_at)
    return number, client_identifier, user_name, expiry_interval, ends_at, *columns, will_delay, will_at


def _session_row(columns: tuple[Any, ...]) -> SessionRow:
    number, client_identifier, user_name, expiry_interval, ends_at, topic, payload, qos, retain, *rest = columns
    properties, expiry, will_delay, will_at = rest
    will = None
    if topic is not None:
        will = Message(topic, payload, qos, bool(retain), properties, expiry, client_identifier)
    return number, client_identifier, user_name, expiry_interval, ends_at, will, will_delay, will_at


def _message_rows(rows: Iterable[tuple[Any, ...]]) -> Iterator[MessageRow]:
    """QoS and RETAIN are those of most deliveries: the others get a variant of it."""
    shared: dict[str, str] = {}
    for number, topic, payload, properties, expires_at, publisher, expected in rows:
        message = Message(topic, payload, 1, False, properties, 0.0, shared.setdefault(publisher, publisher))
        _check(message, expected)
        yield number, message, expires_at


def _retained_columns(row: RetainedRow) -> tuple[Any, ...]:
    topic, message, expires_at, provenance, published_at = row
    return (
        topic,
        message.payload,
        message.qos,
        message.properties,
        expires_at,
        message.publisher,
        provenance.user_name,
        provenance.address,
        published_at,
        checksum(message),
    )


def _retained_rows(rows: Iterable[tuple[Any, ...]]) -> Iterator[RetainedRow]:
    shared: dict[str, str] = {}  # a few clients publish most of them
    for topic, payload, qos, properties, expires_at, publisher, user_name, address, published_at, expected in rows:
        message = Message(topic, payload, qos, True, properties, 0.0, shared.setdefault(publisher, publisher))
        _check(message, expected)
        user = None if user_name is None else shared.setdefault(user_name, user_name)
        provenance = Provenance(user, shared.setdefault(address, address), published_at)
        yield topic, message, expires_at, provenance, published_at


def _check(message: Message, expected: int) -> None:
    if checksum(message) != expected:
        raise Damaged(f"the checksum of a message on {message.topic.decode(errors='replace')} is wrong")
