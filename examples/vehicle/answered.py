"""Which commands were answered, and how? The memory that makes a command happen once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from examples.vehicle.messages import Response, encode

ANSWERS_MAXIMUM: Final = 1000
"""Of one vehicle: a quarter of an hour at a command a second, and no command lives that long on its way."""

INTERRUPTED: Final = "the board restarted while it did this; look at the vehicle, then send a new command"


class Answered:
    """The last answers by the id of their command, in a file that outlives the board's program.

    QoS 2 brings a message once as long as both ends keep their session. This holds for the rest: a driver that asks
    again because it heard nothing, a broker that has lost its disk, a board whose program was killed while it obeyed.
    An id is written down before the vehicle moves, so such a command is not done again: at most once.
    """

    def __init__(self, file: Path | None = None, maximum: int = ANSWERS_MAXIMUM) -> None:
        """Without a file it is forgotten with the program. Raises sqlite3.Error where the file cannot be used."""
        self._maximum = maximum
        self._rows = sqlite3.connect(file or ":memory:", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute(
            "CREATE TABLE IF NOT EXISTS answered (number INTEGER PRIMARY KEY, id TEXT UNIQUE, answer BLOB)"
        )

    def find(self, id: str) -> Response | None:
        """The answer that this command got."""
        row = self._rows.execute("SELECT answer FROM answered WHERE id = ?", (id,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Response)

    def begin(self, id: str) -> None:
        """It is about to be done. Until `finish`, the answer is that it was interrupted."""
        self._rows.execute(
            "INSERT INTO answered (id, answer) VALUES (?, ?)", (id, encode(Response(id, "refused", INTERRUPTED)))
        )
        self._rows.execute(
            "DELETE FROM answered WHERE number <= (SELECT max(number) FROM answered) - ?", (self._maximum,)
        )

    def finish(self, response: Response) -> None:
        """This is its answer from now on."""
        self._rows.execute("UPDATE answered SET answer = ? WHERE id = ?", (encode(response), response.id))

    def close(self) -> None:
        self._rows.close()
