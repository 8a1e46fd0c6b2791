"""What stands in a page between ``` and ```, and how is it run? For tests/test_snippets.py, which has the rules."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tests.snippet_commands import READERS, TYPED, command, lacking
from tidewire.testing import BrokerThread

ROOT: Final = Path(__file__).parent.parent

PRINTING: Final = {"python", "console", "java"}
RUN: Final = {*PRINTING, *READERS}

PATIENCE_S: Final = 60.0
"""How long a block that fails takes to say so."""

GRACE_S: Final = 5.0
"""How long a program in the background has when another block has failed."""

ENDED: Final = (0, -signal.SIGINT, 128 + signal.SIGINT)
"""How a block in the background may end."""

PART: Final = re.compile(
    r"<!-- (background|not run|run by|from|prints)(?:: (.*?))? -->|^```(\S*)\n(.*?)^```$", re.DOTALL | re.M
)

MEASURING: Final = re.compile(r"tidewire (bench|overhead|serve --console)|make (surf|vehicle)")
"""What prints other figures each time."""

PORTS: Final = re.compile(r"\b(mqtts|http)://[\d.]+:(\d+)|serves MQTT on ()[\d.]+:(\d+)")
"""Where a broker that a page has started says that it listens."""


@dataclass
class Block:
    """One fenced block of a page, and what the comments around it say."""

    page: Path
    line: int
    language: str
    text: str
    ready: str | None = None
    """It runs in the background; what it says when it is ready, empty: it subscribes."""
    not_run: str = ""
    """Why."""
    run_by: str = ""
    """The test that runs it."""
    source: str = ""
    """The file that it is a part of."""
    prints: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All of a page's blocks but those of ```text that say what the one before prints."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    said: dict[str, str] = {}
    end = 0
    for part in PART.finditer(text):
        comment, detail, language, inside = part.groups()
        follows = bool(found) and found[-1].language in PRINTING and not text[end : part.start()].strip()
        end = part.end()
        if comment == "prints" and detail:
            found[-1].prints += detail.splitlines()
        elif comment:
            said[comment] = detail or ""
        elif language == "text" and (follows or "prints" in said):
            found[-1].prints += inside.splitlines()
            said.clear()
        else:
            line = text.count("\n", 0, part.start()) + 1
            why, who, source = (said.get(name, "") for name in ("not run", "run by", "from"))
            found.append(Block(page, line, language, inside, said.get("background"), why, who, source))
            said.clear()
    return found


def check(page: Path, folder: Path) -> list[str]:
    """Do what a page says, block by block, and say which blocks could not be run for want of what.

    AssertionError says which block does something else."""
    wanting = []
    with _Reader(folder) as reader:
        for block in blocks(page):
            if block.language not in RUN or block.not_run or block.run_by:
                continue
            if want := lacking(block.language, block.text):
                wanting.append(f"{block} ({want})")
            else:
                reader.run(block)
        reader.end()
    return wanting


class _Reader:
    """Runs blocks in one folder, with one broker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._background: list[_Program] = []
        self._subscribed = 0
        self._broker = BrokerThread(on_subscribe=self._count)
        self._ports = {"mqtt": self._broker.port}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._background:
            program.kill()
        self._broker.stop()

    def run(self, block: Block) -> None:
        """Run it to its end, or until it is ready; read what cannot run."""
        if block.source:
            assert _flat(block.text) in _flat((ROOT / block.source).read_text(encoding="utf-8")), (
                f"{block} does not stand in {block.source}"
            )
            return
        if reader := READERS.get(block.language):
            reader(block.text, self._folder)
            return
        before = self._subscribed
        name = f"line {block.line}"
        program = _Program(block, command(block.language, block.text, name, self._folder, self._ports), self._folder)
        if block.ready is None:
            program.finish((0,))
            return
        self._background.append(program)
        if block.ready:
            program.wait_for(block.ready)
            for scheme, port, _, served in PORTS.findall(str(program)):
                self._ports[scheme or "served"] = int(port or served)
            return
        with suppress(TimeoutError):
            self._broker.wait_until(lambda: self._subscribed > before)
        assert self._subscribed > before, f"{block} has not subscribed\n{program}"

    def end(self) -> None:
        """Ctrl-C for what runs in the background, the last one first."""
        while self._background:
            program = self._background[-1]
            program.wait_until_printed()
            program.interrupt()
            program.finish(ENDED)
            self._background.pop()

    def _count(self, request: object) -> None:
        self._subscribed += 1


class _Program:
    """A block that runs."""

    def __init__(self, block: Block, command: list[str], folder: Path) -> None:
        self._block = block
        self._expected = [*_outputs(block), *block.prints]
        self._lines: list[str] = []
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ
            | {
                "PATH": path,
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
                "STATE_DIRECTORY": str(folder / "data"),
                "XDG_CONFIG_HOME": str(folder),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as typed:
            typed.write(TYPED)

    def wait_for(self, text: str) -> None:
        """Wait until it has said that."""
        with self._changed:
            said = self._changed.wait_for(lambda: any(text in line for line in self._lines), PATIENCE_S)
        assert said, f"{self._block} has not said {text!r}\n{self}"

    def wait_until_printed(self) -> None:
        """Wait until it has printed as many lines as it should before Ctrl-C."""
        interrupted = [number for number, line in enumerate(self._expected) if line.startswith("^C")]
        count = interrupted[0] if interrupted else len(self._expected)
        with self._changed:
            self._changed.wait_for(lambda: len(self._lines) >= count, PATIENCE_S)

    def interrupt(self) -> None:
        """Ctrl-C, if it still runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)

    def finish(self, statuses: tuple[int, ...]) -> None:
        """Wait for its end, which is one of these, without a traceback and with what should be printed."""
        try:
            status = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self._block} does not end\n{self}") from None
        self._reader.join()
        assert status in statuses, f"{self._block} ended with status {status}\n{self}"
        assert not any(line.startswith("Traceback") for line in self._lines), f"{self._block} shows a traceback\n{self}"
        if self._expected:
            expected = "\n".join(line.rstrip().removeprefix("^C") for line in self._expected).strip("\n")
            printed = "\n".join(line.rstrip() for line in self._lines).strip("\n") + "\n"
            measures = bool(MEASURING.search(self._block.text))
            assert re.fullmatch(_pattern(expected, measures), printed), (
                f"{self._block} should print\n{expected}\n{self}"
            )

    def kill(self) -> None:
        """End it, and all that it has started: some of that may be out of our reach, so it has a moment to do it."""
        self.interrupt()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()

    def __str__(self) -> str:
        return f"but printed\n{''.join(self._lines)}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as printed:
            for line in printed:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()


def _outputs(block: Block) -> list[str]:
    """What stands in a console block below its commands."""
    return [line for line in block.text.splitlines() if block.language == "console" and not line.startswith("$ ")]


def _pattern(expected: str, measures: bool) -> str:
    """What the output has to match, with a newline at its end."""
    lines = expected.split("\n")
    return "".join(r"(?:.*\n)*" if line == "…" else _line_pattern(line, measures) + r"\n" for line in lines)


def _line_pattern(line: str, measures: bool) -> str:
    """… is anything, and of a measurement each number is any, and what limited it."""
    pattern = re.escape(line).replace("…", ".*")
    if not measures:
        return pattern
    pattern = re.sub(r"(limited\\ by(?:\\ )+).*", r"\1.*", pattern)
    number = r"\d+(?:(?:\\ )\d{3})*(?:\\\.\d+)?"
    return re.sub(number, lambda _: r"\d+(?: \d{3})*(?:\.\d+)?", pattern)


def _flat(text: str) -> str:
    return " ".join(text.split())
