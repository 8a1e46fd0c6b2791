"""What can be wrong with a store, and what is its mend?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MENDS: Final = {
    sqlite3.SQLITE_BUSY: "is being written by another program: let that finish, or end it",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check its directory and your access to it",
    sqlite3.SQLITE_CORRUPT: "is damaged: restart the broker, which sets the file aside and begins another",
    sqlite3.SQLITE_FULL: "cannot be written, the disk is full: make room",
    sqlite3.SQLITE_IOERR: "cannot be read or written, the disk fails: see that there is room, and the system's log",
    sqlite3.SQLITE_NOMEM: "cannot be read or written, there is not enough memory: give the broker more",
    sqlite3.SQLITE_NOTADB: "is damaged: restart the broker, which sets the file aside and begins another",
    sqlite3.SQLITE_PERM: "may not be accessed: check its permissions",
    sqlite3.SQLITE_READONLY: "may not be written: check its permissions, its directory's, and how its disk is mounted",
}
_PASSING: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM}
    | {sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY}
)
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class StoreError(Exception):
    """The store cannot be used or written; the text is one line that says why, and what to do."""

    def __init__(self, text: str, may_pass: bool = False) -> None:
        super().__init__(text)
        self.may_pass = may_pass
        """Trying the same again makes sense: the disk is full, say, and somebody may make room."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """What SQLite says of the file, as StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        code = _code(error)
        mend = _MENDS.get(code, "cannot be used")
        raise StoreError(f"the store {path} {mend} ({error})", code in _PASSING) from error


def is_damage(error: sqlite3.Error) -> bool:
    """Whether it is the file's content that SQLite cannot read."""
    return _code(error) in _DAMAGE


def _code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF  # the upper bits are details
