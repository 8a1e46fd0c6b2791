"""How does a broker keep its sessions and messages in a file? Batch by batch, each in one transaction of SQLite.

Whoever has called `write` and is back has the batch on the disk (`full`), or where the end of the process cannot reach
it (`relaxed`). The write-ahead log is carried over into the file by `tend` alone, between two batches, so no commit
does that work; others may read the file all the time.

A file that is damaged is set aside under another name, and a new one begun. `open` runs SQLite's quick_check, which
reads every page, and sees that what refers to a row finds it; `read` holds every message against its checksum. The
check costs a second for 283 MB, a tenth of what reading them costs: `read` needs the same pages, and finds them in
memory then. So it is run at every opening, whatever the size.
"""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

from tidewire.engine.changes import Batch, Contents
from tidewire.store import rows
from tidewire.store.errors import StoreError, explained, is_damage
from tidewire.store.rows import Damaged
from tidewire.store.schema import DANGLING, migrate, version_of

_OLDEST_SQLITE: Final = (3, 38, 0)
"""The first with the operator ->> for JSON, and room for 32 766 parameters in a statement."""

_SYNCHRONOUS: Final = {"full": "FULL", "relaxed": "NORMAL"}

_WAIT_S: Final = 5.0
"""For another program that writes the file, or takes up its log, which both are short."""

_CACHE_KIB: Final = 16 * 1024
"""The upper levels of the tables, and the ends where they grow: what a batch needs is there."""

_LOG_BYTES: Final = 16 * 1024 * 1024
"""Carried over when about so much is in the write-ahead log: with less, the same pages are carried over again and
again; with more, the next commit waits longer than some hundredths of a second. The log's file is kept at this size,
since overwriting is faster than appending."""

_COMMIT_BYTES: Final = 16 * 1024
"""What a commit adds to the log beside its rows: the pages around them."""

_SPARE_PAGES: Final = 512
"""Empty pages of 4 KiB that the file keeps at least, for the next messages."""

_SHRINK_PAGES: Final = 256
"""Given back in one step, which takes some milliseconds: the next batch may be waiting."""


class StoreFile:
    """What one broker keeps, in the file `path`; used by one thread at a time."""

    def __init__(self, path: Path, *, durability: str = "full") -> None:
        """`durability`: "full" survives the loss of power; "relaxed" may lose the last moments then."""
        self.path = path
        self.set_aside: Path | None = None
        """Where a damaged file is now, found by `open` or by `read`."""
        self._synchronous = _SYNCHRONOUS[durability]
        self._database: sqlite3.Connection | None = None
        self._logged_bytes = 0
        """About what is in the write-ahead log."""
        self._may_shrink = True
        """Something was deleted since `tend` saw last that there is no space to give back."""
        self._has_shrunk = False
        """Since the log was carried over, and the file will be cut then."""

    @property
    def is_due(self) -> bool:
        """`tend` should be called before the next batch, even if one waits."""
        return self._logged_bytes >= _LOG_BYTES

    def open(self) -> None:
        """Raises StoreError if it is another program's file or a later version's, or cannot be opened or written."""
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            needed = ".".join(map(str, _OLDEST_SQLITE))
            raise StoreError(f"SQLite is {sqlite3.sqlite_version}, the store needs {needed}: use a newer Python")
        with explained(self.path), self._setting_aside():
            self._begin()

    def read(self) -> Contents:
        """All that is kept; nothing, if it is damaged and was set aside. Raises StoreError if it cannot be read."""
        collects = gc.isenabled()
        gc.disable()  # it would look through millions of new objects again and again, and find nothing
        try:
            with explained(self.path), self._setting_aside():
                return rows.read(self._open_database())
        finally:
            if collects:
                gc.enable()
        return Contents()

    def write(self, batch: Batch) -> None:
        """Commit a batch. Raises StoreError when nothing of it was written: the same batch may be tried again."""
        database = self._open_database()
        with explained(self.path):
            before = database.total_changes
            database.execute("BEGIN IMMEDIATE")
            try:
                rows.write(database, batch)
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # SQLite has rolled back already when the disk is full
                    database.execute("ROLLBACK")
                raise
        self._may_shrink |= bool(batch.settled or batch.dead_messages or batch.ended_sessions or batch.cleared)
        self._logged_bytes += _COMMIT_BYTES + 64 * (database.total_changes - before)
        self._logged_bytes += sum([message.size() for _, message, _ in batch.messages])
        self._logged_bytes += sum([message.size() for _, message, _, _, _ in batch.retained])

    def tend(self) -> bool:
        """What is due between two batches: carry the log over, or give back some of the space that is no longer used.

        True: there may be more to do, when no batch waits. Raises StoreError if it cannot be done; commits may go on.
        """
        database = self._open_database()
        with explained(self.path):
            if self.is_due:
                self._carry_over(database)
            elif self._may_shrink:
                self._may_shrink = self._shrink(database)
            elif self._has_shrunk:
                self._carry_over(database)
        return self._may_shrink or self._has_shrunk

    def close(self) -> None:
        """Carry the log over, and let the file go. Raises StoreError when that fails: nothing is lost by it."""
        database, self._database = self._database, None
        if database is None:
            return
        with explained(self.path):
            try:
                database.execute("PRAGMA busy_timeout = 0")  # a reader may keep the log for as long as it likes
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                database.close()

    def _shrink(self, database: sqlite3.Connection) -> bool:
        """Give back some empty pages of those beyond what messages to come need; False: there are no more."""
        free, pages = database.execute(
            "SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count"
        ).fetchone()
        surplus = free - max(_SPARE_PAGES, pages - free)
        if surplus <= 0:
            return False
        surplus = min(surplus, _SHRINK_PAGES)
        database.executescript(f"PRAGMA incremental_vacuum({surplus})")  # `execute` would give back one page only
        self._has_shrunk = True
        self._logged_bytes += _COMMIT_BYTES
        return True

    def _carry_over(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._logged_bytes = 0  # what a reader held back is carried over the next time
        self._has_shrunk = False

    def _open_database(self) -> sqlite3.Connection:
        if self._database is None:
            raise StoreError(f"the store {self.path} is not open: call `open` first")
        return self._database

    # -- opening

    def _begin(self) -> None:
        with suppress(OSError):  # SQLite says it better
            self.path.touch(0o600, exist_ok=False)  # what it will hold is nobody else's business
        database = self._database = sqlite3.connect(
            self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        try:
            version = version_of(database, self.path)
            database.execute(f"PRAGMA synchronous = {self._synchronous}")
            database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            database.execute("PRAGMA temp_store = MEMORY")  # another disk may be full
            if version == 0:
                database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # possible before the first page is written only
            else:
                self._check(database)
            mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StoreError(f"the store {self.path} is on a disk that cannot share memory: choose a local one")
            database.execute("PRAGMA wal_autocheckpoint = 0")
            database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            migrate(database, version)
            database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except (StoreError, sqlite3.Error) as error:
            if not (isinstance(error, sqlite3.Error) and is_damage(error)):
                self._database = None
                database.close()
            raise

    def _check(self, database: sqlite3.Connection) -> None:
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise Damaged(verdict)
        if database.execute(DANGLING).fetchone()[0]:
            raise Damaged("a row refers to one that is not there")

    @contextmanager
    def _setting_aside(self) -> Iterator[None]:
        """Where damage comes to light, the file is set aside and a new one begun."""
        try:
            yield
        except (Damaged, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.Error) and not is_damage(error):
                raise
            self._put_aside()
            self._begin()

    def _put_aside(self) -> None:
        """Under another name, with its log, and only then let go: else SQLite would delete the log."""
        name = f"{self.path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        names = (self.path.with_name(f"{name}-{number}" if number else name) for number in count())
        aside = next(path for path in names if not path.exists())
        try:
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + suffix).rename(aside.with_name(aside.name + suffix))
        except OSError as error:
            raise StoreError(
                f"the store {self.path} is damaged, and cannot be set aside: {error.strerror}; move it away"
            ) from error
        self.set_aside = aside
        database, self._database = self._database, None
        if database is not None:
            with suppress(sqlite3.Error):
                database.close()
