"""Is the broker that a process file names one that runs?"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidewire.server.config import ConfigError
from tidewire.server.process_file import process_file, running


@pytest.fixture(autouse=True)
def hangup() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_it_names_this_process_while_it_is_held_and_is_gone_after(tmp_path: Path) -> None:
    with process_file(tmp_path / "pid"):
        assert running(tmp_path / "pid") == os.getpid()
    assert not (tmp_path / "pid").exists()


def test_a_number_that_was_left_behind_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    with pytest.raises(ConfigError, match="does not run any more"):
        running(tmp_path / "pid")


def test_a_file_that_was_left_behind_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("123456789\n")
    with process_file(tmp_path / "pid"):
        assert running(tmp_path / "pid") == os.getpid()


def test_two_brokers_cannot_hold_one_file(tmp_path: Path) -> None:
    with process_file(tmp_path / "pid"):
        with pytest.raises(ConfigError, match="is held by a broker that runs"), process_file(tmp_path / "pid"):
            pass
        assert running(tmp_path / "pid") == os.getpid()


def test_what_cannot_be_a_process_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        running(tmp_path / "no")
    (tmp_path / "pid").write_text("one\n")
    with pytest.raises(ConfigError, match="holds no process number"):
        running(tmp_path / "pid")
    with pytest.raises(ConfigError, match="cannot write"), process_file(tmp_path / "no" / "pid"):
        pass
