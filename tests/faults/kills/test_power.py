"""Does the test's power failure take what was not synced, and nothing else?"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.faults.kills.power import Power
from tests.process import PATIENCE_S

ROWS: Final = 200


@pytest.fixture
def power(tmp_path: Path) -> Power:
    for name in ("data", "scratch"):
        (tmp_path / name).mkdir()
    return Power(tmp_path / "data", tmp_path / "scratch")


def run_and_kill(power: Power, program: str) -> None:
    """Run the program in the directory; it kills itself at its end."""
    program = f"import os, signal, sqlite3, threading\n{program}\nos.kill(os.getpid(), signal.SIGKILL)\n"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=power.directory,
        env=power.environment,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == -9, ended.stderr.decode()


def rows(power: Power) -> list[int]:
    """What the database holds, found sound."""
    with sqlite3.connect(power.directory / "test.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [number for (number,) in database.execute("SELECT number FROM row ORDER BY number")]


def database(synchronous: str, *, checkpoint: int = 1000) -> str:
    return f"""
database = sqlite3.connect(os.path.abspath("test.db"), isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA wal_autocheckpoint={checkpoint}")
database.execute("PRAGMA synchronous=FULL")
database.execute("CREATE TABLE row (number INTEGER PRIMARY KEY, filler BLOB)")
database.execute("INSERT INTO row VALUES (0, '')")
database.execute("PRAGMA synchronous={synchronous}")
for number in range(1, {ROWS}):
    database.execute("INSERT INTO row VALUES (?, ?)", (number, bytes(1000)))
"""


def test_a_synced_commit_survives_and_the_database_is_sound(power: Power) -> None:
    run_and_kill(power, database("FULL"))
    power.fail()
    assert rows(power) == list(range(ROWS))


def test_a_commit_that_was_not_synced_is_lost_and_the_database_is_sound(power: Power) -> None:
    run_and_kill(power, database("OFF"))
    assert power.fail() > 0
    assert rows(power) == [0]


def test_a_disk_that_wrote_ahead_keeps_the_first_of_the_commits_that_were_not_synced(power: Power) -> None:
    run_and_kill(power, database("OFF"))
    power.fail(random.Random(1))
    kept = rows(power)
    assert kept == list(range(len(kept)))
    assert 1 < len(kept) < ROWS


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_synced_commits_survive_a_checkpoint_that_was_not_finished(power: Power, seed: int | None) -> None:
    again = "for number in range(0, 50): database.execute('UPDATE row SET filler = 1 WHERE number = ?', (number,))"
    run_and_kill(power, database("FULL", checkpoint=7) + again)
    power.fail(random.Random(seed) if seed else None)
    assert rows(power) == list(range(ROWS))


def test_what_one_thread_syncs_is_safe_while_another_one_writes(power: Power) -> None:
    run_and_kill(
        power,
        """
def fill(name):
    with open(name, "wb", buffering=0) as file:
        for number in range(500):
            file.write(b"%08d" % number)
            if number % 7 == 0:
                os.fsync(file)
threads = [threading.Thread(target=fill, args=[name]) for name in "abcd"]
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
    )
    power.fail()
    for name in "abcd":
        assert (power.directory / name).read_bytes() == b"".join(b"%08d" % number for number in range(498))


def test_overwriting_appending_and_cutting_are_all_taken_back(power: Power) -> None:
    whole = bytes(range(256)) * 40
    (power.directory / "file").write_bytes(whole)
    run_and_kill(
        power,
        """
with open("file", "r+b", buffering=0) as file:
    file.seek(100)
    file.write(b"x" * 5000)
    file.truncate(3000)
    os.writev(file.fileno(), [b"gap", b"ped"])
    os.pwrite(file.fileno(), b"y" * 9000, 2000)
with open("file", "ab", buffering=0) as file:
    file.write(b"z" * 100)
""",
    )
    assert power.fail() == 5
    assert (power.directory / "file").read_bytes() == whole


def test_a_renamed_file_loses_its_writes_and_one_that_took_its_inode_does_not_get_them(power: Power) -> None:
    run_and_kill(
        power,
        """
def write(name, text, sync):
    with open(name, "wb", buffering=0) as file:
        file.write(text)
        sync and os.fsync(file)
write("old", b"gone", False)
write("replaced", b"gone", False)
os.rename("old", "renamed")
for number in range(20):
    write("short", b"gone", False)
    os.unlink("short")
    write("kept", b"kept", True)
write("new", b"synced", True)
os.replace("new", "replaced")
""",
    )
    power.fail()
    found = {file.name: file.read_bytes() for file in power.directory.iterdir()}
    assert found == {"renamed": b"", "replaced": b"synced", "kept": b"kept"}


def test_files_elsewhere_are_left_alone(power: Power, tmp_path: Path) -> None:
    elsewhere = tmp_path / "data-elsewhere"
    run_and_kill(power, f"open({str(elsewhere)!r}, 'wb', buffering=0).write(b'kept')\nopen('in', 'wb').close()")
    assert power.fail() == 0
    assert elsewhere.read_bytes() == b"kept"
