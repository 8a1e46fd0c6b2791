"""Where are the rides kept? In one SQLite file, which several scoring services write and the page reads."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final, Self

import msgspec

from examples.surf.messages import Ride, Scored

PATIENCE_S: Final = 10.0
"""How long a service waits for the other one's commit, which takes milliseconds."""


class History:
    """The rides of one heat with their scores, each of them once; for `with`."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, timeout=PATIENCE_S, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")  # what is acknowledged after it must survive a power cut
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS rides (id TEXT PRIMARY KEY, at REAL, ride TEXT, score REAL, judge TEXT) STRICT"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, ride: Ride, score: float, judge: str) -> bool:
        """Keep a ride, on the disk when this returns. False: it was there already, and nothing has changed."""
        row = (ride.id, ride.at, msgspec.json.encode(ride).decode(), score, judge)
        return self._database.execute("INSERT OR IGNORE INTO rides VALUES (?, ?, ?, ?, ?)", row).rowcount == 1

    def count(self) -> int:
        """How many rides there are."""
        (count,) = self._database.execute("SELECT count(*) FROM rides").fetchone()
        return int(count)

    def rides(self) -> list[Scored]:
        """All of them, in the order of their beginning."""
        with closing(self._database.execute("SELECT ride, score FROM rides ORDER BY at, id")) as rows:
            return [Scored(msgspec.json.decode(ride, type=Ride), score) for ride, score in rows]
