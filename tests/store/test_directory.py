"""One broker for one directory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tidewire.store import directory
from tidewire.store.directory import DataDirectory, default_directory
from tidewire.store.errors import StoreError


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "new" / "data")
    data.take()
    assert stat.S_IMODE(data.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((data.path / "lock").stat().st_mode) == 0o600
    assert (data.path / "lock").read_text() == f"{os.getpid()}\n"
    assert data.database == data.path / "broker.db"
    data.release()


def test_a_second_broker_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first = DataDirectory(tmp_path)
    first.take()
    second = DataDirectory(tmp_path)
    with pytest.raises(StoreError) as refusal:
        second.take()
    assert str(refusal.value) == (
        f"{tmp_path} is in use by process {os.getpid()}:"
        " give this broker a directory of its own, --data DIR, or --memory"
    )
    first.release()
    second.take()
    second.release()


def test_a_broker_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from tidewire.store.directory import DataDirectory\n"
        "DataDirectory(pathlib.Path(sys.argv[1])).take()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=30)
    assert ended.returncode < 0
    assert int((tmp_path / "lock").read_text()) != os.getpid()
    data = DataDirectory(tmp_path)
    data.take()
    assert int((tmp_path / "lock").read_text()) == os.getpid()
    data.release()


def test_a_path_that_cannot_be_a_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot keep data in .*/file/data: Not a directory; name a directory"):
        DataDirectory(tmp_path / "file" / "data").take()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/state/one", "HOME": "/home/a"}, "/state/one"),
        ({"STATE_DIRECTORY": "/state/one:/state/two"}, "/state/one"),
        ({"XDG_DATA_HOME": "/share", "HOME": "/home/a"}, "/share/tidewire"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/home/a"}, "/home/a/.local/share/tidewire"),
        ({"HOME": "/home/a"}, "/home/a/.local/share/tidewire"),
    ],
)
def test_the_default_directory_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(directory, "SYSTEM_DIRECTORY", tmp_path / "missing")
    assert default_directory(environ) == Path(expected)


def test_the_systems_directory_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(directory, "SYSTEM_DIRECTORY", tmp_path)
    assert default_directory({"HOME": "/home/a"}) == tmp_path
    assert default_directory({"HOME": "/home/a", "STATE_DIRECTORY": "/state"}) == Path("/state")
    monkeypatch.setattr(directory.os, "access", lambda path, mode: False)
    assert default_directory({"HOME": "/home/a"}) == Path("/home/a/.local/share/tidewire")
