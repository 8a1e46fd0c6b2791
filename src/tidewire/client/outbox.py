"""What survives when the program is killed? A client's QoS 1 and 2 messages and packet identifiers, in an SQLite file.

Delivery tells of every change; changes gather in memory, and `commit` writes them in one transaction. The client
commits before each write to the network, so that the broker never sees what the file does not know. On the next start:

| the file has | the broker has seen at most | so the client |
|---|---|---|
| a message that waits | nothing | sends it, under a new packet identifier |
| a message in flight | its PUBLISH | sends it again under its packet identifier; at QoS 2 the broker knows it by that |
| a released identifier | its PUBREL | sends PUBREL again |
| a received identifier | our PUBREC | takes the PUBLISH, if it comes again, for a duplicate |

The last used packet identifier is not kept: every one that the broker may still know is in flight here, so not reused.
The file has no bound of its own: it holds what the client's queue and its messages in flight hold, and those have.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tidewire.client.errors import TidewireError
from tidewire.engine.delivery import RELEASED, Delivery
from tidewire.engine.limits import MAXIMUM_INTERVAL
from tidewire.engine.message import IDENTIFIERS, Message
from tidewire.engine.ports import Store, StoredSession

_APPLICATION_ID: Final = 0x5457_4F42  # "TWOB", in the file's header: `file` and other programs can tell what it is
_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = f"""
    BEGIN;
    PRAGMA application_id = {_APPLICATION_ID};
    PRAGMA user_version = {_SCHEMA_VERSION};
    CREATE TABLE owner (client_id TEXT NOT NULL);
    CREATE TABLE message (
        position INTEGER PRIMARY KEY,  -- orders the messages, and the PUBRELs
        identifier BLOB,               -- the packet identifier's two bytes, NULL while the message waits
        topic BLOB NOT NULL,           -- empty once PUBREL was sent: the message itself is the broker's then
        payload BLOB NOT NULL,
        qos INTEGER NOT NULL,
        retain INTEGER NOT NULL,
        properties BLOB NOT NULL,      -- as MQTT 5.0 encodes them
        expires_at REAL NOT NULL       -- seconds since 1970, 0 for never
    );
    CREATE TABLE received (identifier INTEGER PRIMARY KEY);
    COMMIT
"""

_SPARE_PAGES: Final = 1024
"""Empty pages of 4 KiB that the file keeps for the next messages: past that it shrinks."""
_SHRINK_PAGES: Final = 256
"""Pages given back after one commit: a backlog that drained must not hold up the client while its file shrinks."""
_LOG_BYTES: Final = 4 * 1024 * 1024
"""What the write-ahead log is cut back to: SQLite itself starts it over after a thousand pages."""

_MENDS: Final = {
    sqlite3.SQLITE_BUSY: "is in use by another client: stop that one, or give each an outbox of its own",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check its directory and your access to it",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup, or move it away and lose what it holds",
    sqlite3.SQLITE_FULL: "cannot be written, the disk is full: make room",
    sqlite3.SQLITE_IOERR: "cannot be read or written, the disk fails: see that there is room, and the system's log",
    sqlite3.SQLITE_NOTADB: "is a file of another kind, not an outbox: choose another path",
    sqlite3.SQLITE_PERM: "may not be accessed: check its permissions",
    sqlite3.SQLITE_READONLY: "may not be written: check its permissions and those of its directory",
}


class OutboxError(TidewireError):
    """The outbox cannot be used or written; the text says why, and what to do."""


class SQLiteOutbox(Store):
    """Keeps the unfinished QoS 1 and 2 messages of one client identifier in the file `path`.

    They survive the end of the program, `kill -9` included; with `power_loss`, that of the machine as well, for some
    milliseconds a commit. Belongs to one client at a time, and is called from one thread at a time.

    `clock` is the one that the engine's `now` comes from. It begins anew with the machine, so expiry is kept by
    `wall_clock`, in seconds since 1970.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        power_loss: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.path = Path(path)
        self._power_loss = power_loss
        self._clock = clock
        self._wall_clock = wall_clock
        self._database: sqlite3.Connection | None = None
        self._client_id = ""
        self._is_bound = False
        self._last_position = 0

        # Where each unfinished message stands.
        self._waiting: dict[Message, int] = {}
        self._inflight: dict[bytes, int] = {}

        # What the next commit writes.
        self._added: dict[int, tuple[bytes | None, Message]] = {}
        self._sent: dict[int, bytes] = {}
        self._removed: list[tuple[int]] = []
        self._received: dict[bytes, bool] = {}
        """Identifier → whether it was received, or forgotten."""

    def __len__(self) -> int:
        """Messages that the broker has not finished: waiting, in flight and released."""
        return len(self._waiting) + len(self._inflight)

    def open(self) -> str:
        """Open the file and lock it; returns the client identifier that it belongs to, "" when it is new.

        Raises OutboxError if it is in use, not an outbox, newer than this version, or cannot be opened.
        """
        if self._database is None:
            with contextlib.suppress(OSError):  # SQLite says it better
                self.path.touch(0o600, exist_ok=False)  # what it will hold is nobody else's business
            with self._explaining():
                self._database = self._opened()
        return self._client_id

    def bind(self, client_id: str) -> None:
        """Open the file for this client.

        Raises OutboxError as `open` does, and if the file belongs to another client identifier: it is let go then.
        """
        if not client_id:
            raise OutboxError(f"the outbox {self.path} needs a client identifier: the broker knows it by that")
        if self._is_bound:
            raise OutboxError(f"the outbox {self.path} {_MENDS[sqlite3.SQLITE_BUSY]}")
        owner = self.open()
        if owner and owner != client_id:
            self.close()
            raise OutboxError(
                f"the outbox {self.path} belongs to the client identifier {owner!r}, not {client_id!r}:"
                f" use that one, or give each an outbox of its own"
            )
        if not owner:
            with self._explaining():
                self._file().execute("INSERT INTO owner VALUES (?)", (client_id,))
            self._client_id = client_id
        self._is_bound = True

    def restore(self, now: float) -> StoredSession:
        """What the last life left behind, to be called once after `bind`, before anything is told.

        In flight are first the released identifiers in the order of their PUBRECs, then messages in the order of
        sending. What has expired meanwhile is among them, for Delivery to drop.
        """
        shift = now - self._wall_clock()
        stored = StoredSession(self._client_id, None, 0)
        unreleased: dict[bytes, Message | None] = {}
        database = self._file()
        with self._explaining():
            for row in database.execute("SELECT * FROM message ORDER BY position"):
                position, identifier_bytes, topic, payload, qos, retain, properties, expires_at = row
                message = Message(topic, payload, qos, bool(retain), properties, _moved(expires_at, shift, now))
                if identifier_bytes is None:
                    self._waiting[message] = position
                    stored.queue.append(message)
                    continue
                identifier = IDENTIFIERS[int.from_bytes(identifier_bytes, "big")]
                self._inflight[identifier] = position
                if topic:
                    unreleased[identifier] = message
                else:
                    stored.inflight[identifier] = None
            stored.received = {IDENTIFIERS[number] for (number,) in database.execute("SELECT * FROM received")}
        stored.inflight.update(unreleased)
        return stored

    def close(self) -> None:
        """Commit, shrink the file and let it go. Raises OutboxError when the last changes cannot be written."""
        database = self._database
        if database is None:
            return
        try:
            self.commit()
            self._shrink(database, 0)
        finally:
            self._database = None
            database.close()
            self._client_id = ""
            self._is_bound = False
            for gathered in (self._waiting, self._inflight, self._added, self._sent, self._removed, self._received):
                gathered.clear()

    @property
    def has_changes(self) -> bool:
        """Whether a commit is due."""
        return bool(self._added or self._removed or self._sent or self._received)

    def commit(self) -> None:
        """Make all that was told safe.

        Raises OutboxError when that fails: nothing of it is written then, nothing may be sent, and the next commit
        tries all of it again.
        """
        if not self.has_changes:
            return
        database = self._file()
        shift = self._wall_clock() - self._clock()
        with self._explaining(), database:
            database.execute("BEGIN")
            if self._removed:
                database.executemany("DELETE FROM message WHERE position = ?", self._removed)
            if self._sent:
                database.executemany(
                    "UPDATE message SET identifier = ? WHERE position = ?",
                    [(identifier, position) for position, identifier in self._sent.items()],
                )
            if self._added:
                database.executemany(
                    "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        (
                            position,
                            identifier,
                            message.topic,
                            message.payload,
                            message.qos,
                            int(message.retain),
                            message.properties,
                            message.expires_at + shift if message.expires_at else 0.0,
                        )
                        for position, (identifier, message) in self._added.items()
                    ],
                )
            for identifier, is_received in self._received.items():
                database.execute(
                    "REPLACE INTO received VALUES (?)" if is_received else "DELETE FROM received WHERE identifier = ?",
                    (int.from_bytes(identifier, "big"),),
                )
        shrinks = bool(self._removed)
        for written in (self._added, self._sent, self._removed, self._received):
            written.clear()
        if shrinks:
            self._shrink(database, _SPARE_PAGES, _SHRINK_PAGES)

    # -- what Delivery tells; a message is told from others by being another object

    def kept(self, delivery: Delivery, message: Message) -> None:
        self._last_position = position = self._last_position + 1
        self._waiting[message] = position
        self._added[position] = (None, message)

    def sent(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        position = self._waiting.pop(message)
        self._inflight[identifier] = position
        if position in self._added:
            self._added[position] = (identifier, message)
        else:
            self._sent[position] = identifier

    def released(self, delivery: Delivery, identifier: bytes) -> None:
        self._remove(self._inflight[identifier])
        self._last_position = position = self._last_position + 1  # PUBRELs are repeated in the order of the PUBRECs
        self._inflight[identifier] = position
        self._added[position] = (identifier, RELEASED)

    def settled(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        self._remove(self._inflight.pop(identifier) if identifier else self._waiting.pop(message))

    def received(self, delivery: Delivery, identifier: bytes) -> None:
        self._turn(identifier, True)

    def forgotten(self, delivery: Delivery, identifier: bytes) -> None:
        self._turn(identifier, False)

    def _remove(self, position: int) -> None:
        """What was never committed leaves no trace."""
        if self._added.pop(position, None) is None:
            self._removed.append((position,))

    def _turn(self, identifier: bytes, is_received: bool) -> None:
        """Two turns since the last commit are none."""
        if self._received.pop(identifier, None) is None:
            self._received[identifier] = is_received

    # -- the file

    def _opened(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=0.0, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")  # from the first access until the end
            is_new = self._is_new(database)
            if is_new:
                database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # possible before the first page is written only
            database.execute("PRAGMA journal_mode = WAL")
            if is_new:
                database.executescript(_SCHEMA)
            database.execute(f"PRAGMA synchronous = {'FULL' if self._power_loss else 'NORMAL'}")
            database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            owner = database.execute("SELECT client_id FROM owner").fetchone()
            self._client_id = owner[0] if owner else ""
            self._last_position = database.execute("SELECT ifnull(max(position), 0) FROM message").fetchone()[0]
        except BaseException:
            database.close()
            raise
        return database

    def _is_new(self, database: sqlite3.Connection) -> bool:
        """Whether there is nothing in the file; OutboxError if it is another program's, or a later version's."""
        application_id = _pragma(database, "application_id")
        version = _pragma(database, "user_version")
        if application_id == _APPLICATION_ID:
            if version > _SCHEMA_VERSION:
                raise OutboxError(f"the outbox {self.path} was written by a newer Tidewire: update this one")
            return False
        if application_id or version or _pragma(database, "schema_version"):
            raise OutboxError(f"{self.path} is the database of another program, not an outbox: choose another path")
        return True

    def _shrink(self, database: sqlite3.Connection, spare_pages: int, maximum_pages: int = 0) -> None:
        """Give empty pages back to the disk, beyond those to spare; with a maximum, not more than that at once."""
        with contextlib.suppress(sqlite3.Error):  # space is all that is lost
            pages = _pragma(database, "freelist_count") - spare_pages
            if pages > 0:
                pages = min(pages, maximum_pages or pages)
                database.executescript(f"PRAGMA incremental_vacuum({pages})")  # `execute` would give back one page only

    def _file(self) -> sqlite3.Connection:
        if self._database is None:
            raise OutboxError(f"the outbox {self.path} is not open: bind it to a client identifier first")
        return self._database

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """What SQLite says, as one line with the mend."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bits are details
            mend = _MENDS.get(code, "cannot be used")
            raise OutboxError(f"the outbox {self.path} {mend} ({error})") from error


def _moved(expires_at: float, shift: float, now: float) -> float:
    """An expiry on another clock. Whatever clocks did, it stays one (0.0 is never) that a PUBLISH can tell."""
    return min(max(expires_at + shift, 1e-9), now + MAXIMUM_INTERVAL) if expires_at else 0.0


def _pragma(database: sqlite3.Connection, name: str) -> int:
    value: int = database.execute(f"PRAGMA {name}").fetchone()[0]
    return value
