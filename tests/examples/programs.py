"""How does a test start a program, wait for what it prints and end it? A Mosquitto among them, as any other broker."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Final, Self

import pytest

from examples.vehicle.fleet import free_port
from tests.process import PATIENCE_S

MOSQUITTO: Final = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


class Program:
    """A program that runs, and what it has printed, on either stream."""

    def __init__(self, folder: Path, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._timer = threading.Timer(PATIENCE_S, self._process.kill)
        self._timer.start()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read on until a line matches."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"nothing it printed matches {pattern!r}:\n{self.printed}")

    def finish(self) -> int:
        """Wait for its end, and read what it has printed."""
        assert self._process.stdout is not None
        with self._process.stdout as printed:
            self.lines += printed
        status = self._process.wait()
        self._timer.cancel()
        return status

    def interrupt(self) -> int:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        return self.finish()

    @property
    def printed(self) -> str:
        return "".join(self.lines)


class Mosquitto(Program):
    """With one listener, on this machine; what is special about it stands in its configuration."""

    def __init__(self, folder: Path, configuration: str = "allow_anonymous true") -> None:
        if MOSQUITTO is None:
            pytest.skip("mosquitto is not installed; on Debian: apt install mosquitto")
        self.port = free_port()
        file = folder / "mosquitto.conf"
        file.write_text(
            f"user {getpass.getuser()}\n"  # root would become another user, who may not read the test's files
            "log_dest stderr\nlog_type error\nlog_type information\nlog_type subscribe\n"
            f"listener {self.port} 127.0.0.1\n{configuration}\n",
            encoding="utf-8",
        )
        self.url = f"mqtt://127.0.0.1:{self.port}"
        super().__init__(folder, MOSQUITTO, "-c", file)
        self.wait_for(" running$")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt()
