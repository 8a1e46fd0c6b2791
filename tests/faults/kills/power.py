"""What does a directory look like after a power failure? What was written to it and not synced is gone.

A program that runs with `environment` keeps, through `unsynced.c`, a journal of what its files held before each change.
`fail` reads it once the program is dead. This needs Linux and a C compiler.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).with_name("unsynced.c")
LINE: Final = struct.Struct("=5Q")  # struct line of unsynced.c
CHANGED: Final = 1
SYNCED: Final = 2
GONE: Final = 3


@dataclass
class Change:
    """What a file held before it was changed."""

    place: int
    """Where in the journal it stands."""
    offset: int
    size: int
    """Of the whole file, before."""
    old: bytes


class Power:
    """The power supply of one directory; `scratch` is a directory elsewhere. Skips the test where there is none."""

    def __init__(self, directory: Path, scratch: Path) -> None:
        self.directory = directory
        self._journal = scratch / "journal"
        self._library = scratch / "unsynced.so"
        compiler = shutil.which("cc")
        if compiler is None or os.uname().sysname != "Linux":
            pytest.skip("dropping unsynced writes needs Linux and a C compiler; on Debian: apt install gcc")
        command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
        self._journal.touch()
        subprocess.run([*command, "-o", self._library, SOURCE, "-ldl"], check=True)

    @property
    def environment(self) -> dict[str, str]:
        """For the program whose power may fail."""
        return {
            "LD_PRELOAD": str(self._library),
            "UNSYNCED_DIRECTORY": str(self.directory),
            "UNSYNCED_JOURNAL": str(self._journal),
        }

    def fail(self, chance: random.Random | None = None) -> int:
        """Take back what is not synced; the program must be dead. How many changes were lost.

        Without `chance` all of it goes. With it, some of each file's oldest unsynced changes stay: a disk writes ahead.
        """
        files = {found.stat().st_ino: found for found in self.directory.rglob("*") if found.is_file()}
        lost = 0
        for inode, changes in unsynced(self._journal.read_bytes()).items():
            if inode not in files:
                continue
            kept = chance.randint(0, len(changes)) if chance else 0
            with files[inode].open("r+b", buffering=0) as file:
                for change in reversed(changes[kept:]):
                    file.seek(change.offset)
                    file.write(change.old)
                    file.truncate(change.size)
                    lost += 1
        for mapped in self.directory.rglob("*-shm"):
            mapped.unlink()
        self._journal.write_bytes(b"")
        return lost


def unsynced(journal: bytes) -> dict[int, list[Change]]:
    """The changes of each file, by inode, that no sync made safe, oldest first."""
    changes: dict[int, list[Change]] = {}
    place = 0
    while place + LINE.size <= len(journal):
        kind, inode, offset, size, length = LINE.unpack_from(journal, place)
        end = place + LINE.size + length
        if end > len(journal):
            break  # killed while it wrote this line, and before the change
        if kind == CHANGED:
            old = journal[place + LINE.size : end]
            changes.setdefault(inode, []).append(Change(place, offset, size, old))
        elif kind == SYNCED:
            changes[inode] = [change for change in changes.get(inode, ()) if change.place >= offset]
        else:
            changes.pop(inode, None)
        place = end
    return changes
