"""How do a store's contents leave it, and come back? As records, which are lines of JSON, and as a copy of its file.

What is exported, imported and exported again is the same.

    with reading(path) as database:
        write_lines(sys.stdout.buffer, records(database))
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from tidewire.store.errors import StoreError, explained
from tidewire.store.records import (
    FORMAT,
    Delivery,
    Head,
    Message,
    Record,
    Released,
    Retained,
    Session,
    Subscription,
    Will,
    content,
    encoded_identifiers,
    moment,
    seconds,
    subscription_identifiers,
)
from tidewire.store.rows import checksum
from tidewire.store.schema import migrate, version_of
from tidewire.store.sqlite import StoreFile
from tidewire.wire.errors import ProtocolViolation
from tidewire.wire.topics import check_topic_filter

LINE_LIMIT_BYTES: Final = 2**31
"""A line longer than this is damage, and not kept: the largest MQTT packet is 256 MiB, and JSON makes at most six
bytes of each of its bytes."""

# -- out of a store


def records(database: sqlite3.Connection) -> Iterator[Record]:
    """Everything in a store: sessions, then messages, then what is retained; each read when it is asked for.

    StoreError where a row cannot be what it should be.
    """
    try:
        yield from _sessions(database)
        yield from _messages(database)
        yield from _retained(database)
    except (ValueError, TypeError, AttributeError, ProtocolViolation) as error:
        raise StoreError(f"the store is damaged ({error}); see where: tidewire store verify") from None


def write_lines(file: IO[bytes], written: Iterable[Record]) -> None:
    """Write the head and a line for each record. Raises OSError."""
    encoder = msgspec.json.Encoder()
    file.write(encoder.encode(Head(FORMAT)) + b"\n")
    for record in written:
        file.write(encoder.encode(record) + b"\n")


def _sessions(database: sqlite3.Connection) -> Iterator[Session]:
    for row in database.execute(
        "SELECT number, client_identifier, user_name, expiry_interval, ends_at, will_topic, will_payload,"
        " will_properties, will_qos, will_retain, will_expiry, will_delay, will_at"
        " FROM session ORDER BY client_identifier"
    ):
        number, client, user, expiry_interval, ends_at, will_topic, *_ = row
        subscriptions = database.execute(
            "SELECT topic_filter, qos, no_local, retain_as_published, identifier FROM subscription"
            " WHERE session = ? ORDER BY topic_filter",
            (number,),
        )
        received = database.execute(
            "SELECT packet_identifier FROM received WHERE session = ? ORDER BY packet_identifier", (number,)
        )
        released = database.execute(
            "SELECT packet_identifier, position FROM delivery WHERE session = ? AND message = 0 ORDER BY position",
            (number,),
        )
        yield Session(
            client,
            user,
            expiry_interval,
            moment(ends_at),
            None if will_topic is None else _will(*row[5:]),
            [
                Subscription(topic_filter.decode(), qos, bool(no_local), bool(retain_as_published), identifier)
                for topic_filter, qos, no_local, retain_as_published, identifier in subscriptions
            ],
            [identifier for (identifier,) in received],
            [Released(*each) for each in released],
        )


def _will(
    topic: bytes, payload: bytes, properties: bytes, qos: int, retain: int, expiry: float, delay: int, at: float
) -> Will:
    return Will(
        **content(topic, payload, properties),
        qos=qos,
        retain=bool(retain),
        message_expiry=None if expiry < 0 else expiry,
        delay=delay,
        due_at=moment(at),
    )


def _messages(database: sqlite3.Connection) -> Iterator[Message]:
    deliveries = database.execute(
        "SELECT message, client_identifier, position, qos, retain, identifiers, packet_identifier"
        " FROM delivery JOIN session ON session.number = delivery.session WHERE message > 0"
        " ORDER BY message, client_identifier, position"
    )
    for number, group in groupby(deliveries, key=lambda row: row[0]):
        row = database.execute(
            "SELECT topic, payload, properties, publisher, expires_at FROM message WHERE number = ?", (number,)
        ).fetchone()
        if row is None:
            raise ValueError(f"message {number} is missing")
        *said, publisher, expires_at = row
        to = [
            Delivery(client, position, qos, bool(retain), subscription_identifiers(identifiers), packet or None)
            for _, client, position, qos, retain, identifiers, packet in group
        ]
        yield Message(**content(*said), publisher=publisher, expires_at=moment(expires_at), to=to)


def _retained(database: sqlite3.Connection) -> Iterator[Retained]:
    for *said, qos, expires_at, publisher, user, address, published_at in database.execute(
        "SELECT topic, payload, properties, qos, expires_at, publisher, user_name, address, published_at"
        " FROM retained ORDER BY topic"
    ):
        yield Retained(
            **content(*said),
            qos=qos,
            expires_at=moment(expires_at),
            publisher=publisher,
            user=user,
            address=address,
            published_at=moment(published_at),
        )


# -- into a store


class ImportFault(ValueError):
    """What cannot be imported; one line that says where and why."""


def read_lines(file: IO[bytes]) -> Iterator[tuple[str, Record]]:
    """The records of an export, each with its place, such as "line 7". Raises ImportFault."""
    head = msgspec.json.Decoder(Head)
    decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
    is_first = True
    for number, line in enumerate(iter(lambda: file.readline(LINE_LIMIT_BYTES), b""), start=1):
        if line.isspace():
            continue
        if is_first:
            is_first = False
            try:
                version = head.decode(line).format
            except (msgspec.DecodeError, UnicodeDecodeError):
                break
            if version > FORMAT:
                raise ImportFault(
                    f"is of format {version}, and this Tidewire reads up to {FORMAT}; install a newer one"
                )
            continue
        try:
            yield f"line {number}", decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ImportFault(f"line {number} is wrong: {error}") from None
    else:
        if not is_first:
            return
    raise ImportFault('is not an export of `tidewire store export`: that begins with {"kind":"store","format":1}')


class Importer:
    """Writes records into a store, in a transaction that the caller has begun and ends."""

    def __init__(self, database: sqlite3.Connection, replace: bool) -> None:
        """`replace`: what the store has of the same client or topic goes; else that is a fault."""
        self.sessions = 0
        self.messages = 0
        self.retained = 0
        self._database = database
        self._replace = replace
        self._earlier_sessions = self._session = self._largest("number", "session")
        self._message = self._largest("number", "message")
        self._position = self._largest("position", "delivery")

    def write(self, placed: Iterable[tuple[str, Record]]) -> None:
        """Write all of them, each told with its place. Raises ImportFault, and what SQLite raises."""
        writers: dict[type, Any] = {
            Session: self._add_session,
            Message: self._add_message,
            Retained: self._add_retained,
        }
        for place, record in placed:
            try:
                writers[type(record)](record)
            except sqlite3.IntegrityError:
                raise ImportFault(f"{place} says again what a line before it has said; leave one out") from None
            except (ValueError, OverflowError) as error:
                raise ImportFault(f"{place} is wrong: {error}") from None
        twice = self._database.execute(
            "SELECT client_identifier, packet_identifier FROM delivery JOIN session ON number = session"
            " WHERE session > ? AND packet_identifier > 0 GROUP BY session, packet_identifier HAVING count(*) > 1",
            (self._earlier_sessions,),
        ).fetchone()
        if twice is not None:
            raise ImportFault(f"is wrong: the client {twice[0]!r} has the packet identifier {twice[1]} twice")
        if self._replace:
            self._execute("DELETE FROM message WHERE number NOT IN (SELECT message FROM delivery)")

    def _add_session(self, session: Session) -> None:
        earlier = self._number_of(session.client)
        if 0 < earlier <= self._earlier_sessions:
            self._take_the_place_of(f"a session of the client {session.client!r}")
            for table in ("subscription", "delivery", "received"):
                self._execute(f"DELETE FROM {table} WHERE session = ?", earlier)
            self._execute("DELETE FROM session WHERE number = ?", earlier)
        self._session += 1
        will = session.will
        self._insert(
            "session",
            self._session,
            session.client,
            session.user,
            session.expiry_interval,
            seconds(session.ends_at),
            *(_will_row(will) if will is not None else (None, None, None, None, None, None, 0, 0.0)),
        )
        for each in session.subscriptions:
            topic_filter = each.topic_filter.encode()
            check_topic_filter(topic_filter)
            options = (each.qos, each.no_local, each.retain_as_published, each.identifier)
            self._insert("subscription", self._session, topic_filter, *options)
        for identifier in session.received:
            self._insert("received", self._session, identifier)
        for each_released in session.released:
            identifier, order = each_released.packet_identifier, each_released.order
            self._deliver(self._session, 0, Delivery(session.client, order, 2, packet_identifier=identifier))
        self.sessions += 1

    def _add_message(self, message: Message) -> None:
        said = message.published()
        self._message += 1
        self._insert(
            "message",
            self._message,
            said.topic,
            said.payload,
            said.properties,
            seconds(message.expires_at),
            message.publisher,
            checksum(said),
        )
        for delivery in message.to:
            number = self._number_of(delivery.client)
            if number <= self._earlier_sessions:
                raise ValueError(f"the client {delivery.client!r} has no session in a line before it")
            self._deliver(number, self._message, delivery)
        self.messages += 1

    def _add_retained(self, retained: Retained) -> None:
        said = retained.published()
        if not said.payload:
            raise ValueError("a retained message needs a payload; leave out the line where there is none")
        if self._replace:
            self._execute("DELETE FROM retained WHERE topic = ?", said.topic)
        elif self._one("SELECT 1 FROM retained WHERE topic = ?", said.topic):
            self._take_the_place_of(f"a retained message of the topic {retained.topic!r}")
        self._insert(
            "retained",
            said.topic,
            said.payload,
            retained.qos,
            said.properties,
            seconds(retained.expires_at),
            retained.publisher,
            retained.user,
            retained.address,
            seconds(retained.published_at),
            checksum(said),
        )
        self.retained += 1

    def _deliver(self, session: int, message: int, delivery: Delivery) -> None:
        position = self._position + 1 if delivery.order is None else delivery.order
        self._position = max(self._position, position)
        identifiers = encoded_identifiers(delivery.subscription_identifiers)
        packet_identifier = delivery.packet_identifier or 0
        self._insert(
            "delivery", session, position, message, delivery.qos, delivery.retain, identifiers, packet_identifier
        )

    def _take_the_place_of(self, what: str) -> None:
        if not self._replace:
            raise ValueError(f"the store has {what} already; to take the file's: --replace")

    def _number_of(self, client: str) -> int:
        return self._one("SELECT number FROM session WHERE client_identifier = ?", client)

    def _largest(self, column: str, table: str) -> int:
        return self._one(f"SELECT max({column}) FROM {table}")

    def _one(self, question: str, *values: object) -> int:
        """The number that answers it, 0 for none."""
        row = self._database.execute(question, values).fetchone()
        return 0 if row is None or row[0] is None else int(row[0])

    def _insert(self, table: str, *row: object) -> None:
        self._execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", *row)

    def _execute(self, command: str, *values: object) -> None:
        self._database.execute(command, values)


def _will_row(will: Will) -> tuple[object, ...]:
    said = will.published()
    expiry = -1.0 if will.message_expiry is None else will.message_expiry
    options = (will.qos, will.retain, said.properties, expiry, will.delay, seconds(will.due_at))
    return said.topic, said.payload, *options


# -- as a whole


def import_records(path: Path, placed: Iterable[tuple[str, Record]], replace: bool) -> Importer:
    """Write records into the store in the file `path`, all of them or none; it is made if there is none.

    The caller has locked its directory. `replace` as in `Importer`. Raises ImportFault and StoreError.
    """
    if not path.exists() or not path.stat().st_size:
        store = StoreFile(path)
        store.open()
        store.close()
    with _writing(path) as database:
        migrate(database, version_of(database, path))
        database.execute("BEGIN IMMEDIATE")
        importer = Importer(database, replace)
        importer.write(placed)
        database.execute("COMMIT")
    return importer


def compact(path: Path) -> tuple[int, int]:
    """Make the file as small as it can be; returns its bytes before and after.

    The caller has locked its directory. Raises StoreError, also where there is no room for a second copy.
    """
    before = path.stat().st_size
    with _writing(path) as database:
        version_of(database, path)
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before, path.stat().st_size


def back_up(database: sqlite3.Connection, target: Path) -> None:
    """Copy a store, as it is now, to a file of its own. Raises FileExistsError, OSError, and what SQLite raises."""
    if target.exists():
        raise FileExistsError(errno.EEXIST, "it exists already", str(target))
    part = target.with_name(f"{target.name}.part")
    os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))  # nobody else's business
    try:
        with explained(part), closing(sqlite3.connect(part, isolation_level=None)) as copy:
            database.backup(copy)  # in one step, so that a broker's commits do not begin it anew
        part.rename(target)
    except BaseException:
        part.unlink()
        raise


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    with explained(path), closing(sqlite3.connect(path, isolation_level=None)) as database:
        yield database  # closing it undoes what is not committed
