"""How is `tidewire overhead` run from the page? As its own process, one at a time; the last result is remembered."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from tidewire.overhead.report import Report

PATIENCE_S: Final = 300.0
"""All that can be measured takes a quarter of a minute; a machine that needs twenty times that has another trouble."""

OUTPUT_BYTES: Final = 4 * 1024 * 1024
"""Of the report, which has some 75 kB."""

SAID_CHARACTERS: Final = 2_000
"""Of what it says on its way: the end of it is of interest."""

_STEP: Final = re.compile(r"measuring ([^\r\x1b]+?) …")


class Measurement:
    """The one that runs, or has run last, in this process."""

    def __init__(self) -> None:
        self.report: Report | None = None
        """Of the last one that came to its end."""
        self.fault = ""
        """Why the last one did not; empty while there is nothing to say."""
        self.running = False
        self.steps: list[str] = []
        """What has been begun so far, in words; the last one is under way."""
        self.options: list[str] = []
        """Of the one that runs, or has run last."""
        self._process: asyncio.subprocess.Process | None = None
        self._said = ""

    async def run(self, options: Sequence[str]) -> None:
        """Measure with these options of the command; see `report` and `fault` then. One that runs already goes on."""
        if self.running:
            return
        self.running, self.fault, self.steps, self._said = True, "", [], ""
        self.options = list(options)
        try:
            async with asyncio.timeout(PATIENCE_S):
                self.report = await self._measured(options)
        except TimeoutError:
            self.fault = f"the measurement has not ended in {PATIENCE_S:g} s"
        except (OSError, msgspec.MsgspecError) as error:
            self.fault = f"the measurement cannot be run: {error}"
        except _Failed as failed:
            self.fault = str(failed)
        finally:
            self.running = False

    def stop(self) -> None:
        """End the one that runs."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    async def _measured(self, options: Sequence[str]) -> Report:
        """It tells its steps only to a terminal, so it gets one."""
        command = (sys.executable, "-m", "tidewire", "overhead", "--json", *options)
        loop = asyncio.get_running_loop()
        ours, its = os.openpty()
        os.set_blocking(ours, False)
        try:
            try:
                self._process = process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=its,
                    limit=OUTPUT_BYTES,
                )
            finally:
                os.close(its)
            loop.add_reader(ours, self._hear, ours)
            try:
                assert process.stdout is not None
                output = await process.stdout.readline()
                status = await process.wait()
                while self._hear(ours):  # its last words
                    pass
            finally:
                loop.remove_reader(ours)
                self.stop()
                self._process = None
        except ValueError:
            raise _Failed("the measurement has said more than can be read") from None
        finally:
            os.close(ours)
        if status != 0:
            lines = [line for line in re.split(r"[\r\n]+|\x1b\[K", self._said) if line and not _STEP.search(line)]
            raise _Failed(lines[-1] if lines else "the measurement was stopped")
        return msgspec.json.decode(output, type=Report)

    def _hear(self, descriptor: int) -> bool:
        """Whether it has said something."""
        try:
            said = os.read(descriptor, 4096).decode(errors="replace")
        except BlockingIOError:
            return False
        except OSError:  # its end is closed
            said = ""
        if not said:
            asyncio.get_running_loop().remove_reader(descriptor)
            return False
        self._said = (self._said + said)[-SAID_CHARACTERS:]
        self.steps += _STEP.findall(said)
        return True


class _Failed(Exception):
    """It has ended without a report; the text says why."""


MEASUREMENT: Final = Measurement()
"""All pages share it: two at a time would disturb each other's segments."""
