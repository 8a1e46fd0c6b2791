"""The broker that is killed again and again, and starts anew on the same directory."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Final
from unittest import mock

from tests.faults.kills.power import Power
from tests.process import PATIENCE_S, BrokerProcess

CONFIGURATION: Final = """
bind = ["127.0.0.1"]
port = 0
[limits]
queue_messages = 1_000_000
queue_bytes = 1_000_000_000
"""
"""With queues that hold all: a subscriber may be away for many messages."""

START_S: Final = 0.7
"""False starts end within: most before the broker serves, some soon after."""


class Unwell(Exception):
    """The broker did what no kill explains; it ends the run."""


class Mortal:
    """One broker, life after life, on the directory `data`; `lives` counts them. Close it at the end."""

    def __init__(
        self,
        data: Path,
        chance: random.Random,
        power: Power | None = None,
        durability: str = "full",
        ahead: bool = True,
    ) -> None:
        """`power`: it fails with each kill, so that what was not synced is lost; if `ahead`, half the time only a part
        of it, as the disk wrote ahead."""
        self.lives = 0
        self._data = data
        self._chance = chance
        self._power = power
        self._environment = {"TIDEWIRE_DURABILITY": durability, **(power.environment if power else {})}
        self._ahead = ahead
        self._config = data.with_name("tidewire.toml")
        self._config.write_text(CONFIGURATION)
        self._process: BrokerProcess | None = None

    def start(self) -> int:
        """Start it, and wait until it serves; its port."""
        with mock.patch.dict(os.environ, self._environment):
            self._process = BrokerProcess("--config", self._config, "--data", self._data)
        self.lives += 1
        return self._process.port

    async def start_falsely(self) -> None:
        """Start it, and kill it at a random moment before it serves, or soon after."""
        command = [sys.executable, "-m", "tidewire", "serve", "--config", str(self._config), "--data", str(self._data)]
        with mock.patch.dict(os.environ, self._environment):
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            await asyncio.sleep(self._chance.uniform(0, START_S))
        finally:
            process.kill()
            process.wait(PATIENCE_S)
        self._fail_power()

    def kill(self) -> None:
        """SIGKILL, and the power failure. Raises Unwell where it was dead already, or had complained."""
        process = self._process
        assert process is not None
        status = process.process.poll()
        self.close()
        if status is not None or "internal error" in process.log or "Traceback" in process.log:
            raise Unwell(f"the broker of life {self.lives} ended with {status}; its log:\n{process.log}")
        self._fail_power()

    def stop(self) -> None:
        """Ask it to stop. Raises Unwell where it does not end well."""
        assert self._process is not None
        if status := self._process.stop():
            raise Unwell(f"the broker, asked to stop, ended with {status}; its log:\n{self._process.log}")

    def close(self) -> None:
        """End the process, however it is."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _fail_power(self) -> None:
        if self._power is not None:
            self._power.fail(self._chance if self._ahead and self._chance.random() < 0.5 else None)
