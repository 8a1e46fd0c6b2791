"""What stands in a page between ``` and ```, and how is it run? For tests/test_snippets.py, which has the rules."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tidewire.server.config import make_limits, read_config
from tidewire.testing import BrokerThread

ROOT: Final = Path(__file__).parent.parent

PRINTING: Final = {"python", "console"}
RUN: Final = {*PRINTING, "toml"}

PATIENCE_S: Final = 20.0
"""How long a block that fails takes to say so."""

BENCH_S: Final = 0.2
"""How long `tidewire bench` measures here."""

TYPED: Final = "secret\nsecret\n"
"""What a command reads that asks for a password, and for the same once more."""

ENDED: Final = (0, -signal.SIGINT, 128 + signal.SIGINT)
"""How a block in the background may end."""

MAIN: Final = """\
import asyncio

async def main():
{}

try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
"""
"""Around a block that awaits outside of a function, as `python -m asyncio` lets one do."""

PART: Final = re.compile(r"<!-- (background|not run|prints)(?:: (.*?))? -->|^```(\S*)\n(.*?)^```$", re.DOTALL | re.M)


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
            found.append(Block(page, line, language, inside, said.get("background"), said.get("not run", "")))
            said.clear()
    return found


def check(page: Path, folder: Path) -> None:
    """Do what a page says, block by block. AssertionError says which one does something else."""
    with _Reader(folder) as reader:
        for block in blocks(page):
            if block.language in RUN and not block.not_run:
                reader.run(block)
        reader.end()


class _Reader:
    """Runs blocks in one folder, with one broker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._background: list[_Program] = []
        self._subscribed = 0
        self._broker = BrokerThread(on_subscribe=self._count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._background:
            program.kill()
        self._broker.stop()

    def run(self, block: Block) -> None:
        """Run it to its end, or until it is ready."""
        if block.language == "toml":
            file = self._folder / "broker.toml"
            file.write_text(block.text, encoding="utf-8")
            make_limits(read_config(file))
            return
        before = self._subscribed
        program = _Program(block, self._command(block), self._folder)
        if block.ready is None:
            program.finish((0,))
            return
        self._background.append(program)
        if block.ready:
            program.wait_for(block.ready)
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

    def _command(self, block: Block) -> list[str]:
        if block.language == "console":
            return ["bash", "-c", _script(block, self._broker.port)]
        file = self._folder / f"test_line_{block.line}.py"
        if "def test_" in block.text:
            file.write_text(block.text, encoding="utf-8")
            return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
        text = _to_port(block.text, self._broker.port)
        code = compile(text, str(block), "exec", PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            text = MAIN.format(textwrap.indent(text, "    "))
        file.write_text(text, encoding="utf-8")
        return [sys.executable, str(file)]


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
            env=os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1", "XDG_CONFIG_HOME": str(folder)},
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
            printed = "\n".join(line.rstrip() for line in self._lines).strip("\n")
            measures = "tidewire bench" in self._block.text
            assert re.fullmatch(_pattern(expected, measures), printed), (
                f"{self._block} should print\n{expected}\n{self}"
            )

    def kill(self) -> None:
        """End it, and all that it has started."""
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


def _to_port(text: str, port: int) -> str:
    """Where localhost is meant, the broker of the page is."""
    text = re.sub(r"(mqtt://(?:[^\s/@\"']*@)?(?:localhost|127\.0\.0\.1))(:1883)?(?![:\w.])", rf"\1:{port}", text)
    return re.sub(r'hostname="(?:localhost|127\.0\.0\.1)"', rf"\g<0>, port={port}", text)


def _script(block: Block, port: int) -> str:
    """The commands of a console block, each of which has to succeed."""
    commands = []
    for line in _to_port(block.text, port).splitlines():
        if not line.startswith("$ "):
            continue
        command = re.sub(r"^make\b", f"make -n -C '{ROOT}'", line.removeprefix("$ "))
        command = command.replace("tidewire serve", "tidewire serve --port 0").replace("0.0.0.0", "127.0.0.1")
        if not re.search(r" (-L|--url|--unix) ", command):
            command = _CLIENTS.sub(rf"\g<0> -p {port}", command)
        command = _BENCH.sub(rf"\g<0> --duration {BENCH_S}", command)
        commands.append(f"{{ {command}\n}} || exit\n")
    return "".join(commands)


_CLIENTS: Final = re.compile(r"\b(mosquitto_(pub|sub|rr)|tidewire (pub|sub|rr|record|replay|bench [a-z-]+))\b")
_BENCH: Final = re.compile(r"\btidewire bench [a-z-]+")


def _outputs(block: Block) -> list[str]:
    """What stands in a console block below its commands."""
    return [line for line in block.text.splitlines() if block.language == "console" and not line.startswith("$ ")]


def _pattern(expected: str, measures: bool) -> str:
    """What the output has to match: … is anything, and of a measurement each number is any, and what limited it."""
    pattern = re.escape(expected).replace("…", ".*")
    if not measures:
        return pattern
    pattern = re.sub(r"(limited\\ by(?:\\ )+).*", r"\1.*", pattern)
    number = r"\d+(?:(?:\\ )\d{3})*(?:\\\.\d+)?"
    return re.sub(number, lambda _: r"\d+(?: \d{3})*(?:\.\d+)?", pattern)
