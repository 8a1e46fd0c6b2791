"""Commands under test: one in this process, to its end, and one in its own, to be watched and sent signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from click.testing import CliRunner, Result

from tests.process import PATIENCE_S
from tidewire.cli.main import main


def run(*arguments: str | Path) -> Result:
    """Run `tidewire …` to its end here, which spares starting another Python."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="tidewire")


class Running:
    """`tidewire …`, with what it says on standard error line by line.

    with Running("record", "-", "#", "-p", "1883") as recorder:
        recorder.said("recording to")
        assert recorder.end(signal.SIGINT) == 0
    """

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tidewire", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        with self.process:  # closes its pipes and waits
            pass

    def said(self, text: str) -> None:
        """Wait until a line of standard error holds `text`."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError(f"it never said {text!r}: {''.join(self.lines)}")

    def end(self, number: signal.Signals | None = None) -> int:
        """Wait for its end, after a signal if one is given, and return the status; `lines` then has all it said."""
        if number is not None:
            self.process.send_signal(number)
        self.output, errors = self.process.communicate(timeout=PATIENCE_S)
        self.lines += errors.splitlines(keepends=True)
        return self.process.returncode
