"""One client's program while it runs: what it tells, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from tests.interop.matrix.clients import OtherClient

STEP_S: Final = 20.0
"""How long one step may take: a virtual machine of Java or a browser starts in it on a busy machine."""


class Arrived(NamedTuple):
    """A message as its receiver saw it."""

    payload: str
    qos: int
    retain: bool


class Failed(Exception):
    """One line: what the client did not do."""


@dataclass(frozen=True)
class Cell:
    """One client, with one transport and version, and where the broker is for it."""

    client: OtherClient
    built: Path
    url: str
    authority: Path
    version: str


class Program:
    """`async with` starts it; at the end of the block its whole process group is killed.

    What waits for it raises `Failed` when it ends or tells otherwise than it should, or nothing for `STEP_S`.
    """

    def __init__(self, cell: Cell, role: str, topic: str, qos: int, count: int) -> None:
        words = (role, cell.url, cell.authority, cell.version, topic, qos, count)
        self._role, self._topic = role, topic
        self._command = [str(word) for word in (*cell.client.run, *words)]
        self._place = cell.built

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=self._place, stdout=pipe, stderr=pipe, start_new_session=True
        )
        assert self._process.stdout and self._process.stderr
        self._told = self._process.stdout
        self._complaints = asyncio.create_task(self._process.stderr.read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self._complaints.cancel()

    async def kill(self) -> None:
        """As a power cut would: the broker hears no DISCONNECT."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def ready(self) -> None:
        """Wait until it is ready for others."""
        event = await self._event("before it was ready")
        if not event:
            await self.done()
        if event != {"event": "ready"}:
            raise Failed(f"{self._role}: {event} where it should be ready")

    async def messages(self) -> list[Arrived]:
        """All that it told until it ended, as it should. A retained message may be told before `ready`."""
        arrived: list[Arrived] = []
        while event := await self._event(f"after {len(arrived)} messages"):
            if event["event"] == "message":
                arrived.append(Arrived(event["payload"], event["qos"], event["retain"]))
                if event["topic"] != self._topic:
                    raise Failed(f"{self._role}: a message of {event['topic']}")
        await self.done()
        return arrived

    async def done(self) -> None:
        """Wait until it has ended as it should."""
        try:
            status = await asyncio.wait_for(self._process.wait(), STEP_S)
        except TimeoutError:
            raise Failed(f"{self._role}: not done in {STEP_S:.0f} s") from None
        if status:
            said = (await self._complaints).decode(errors="replace").strip().splitlines()
            raise Failed(f"{self._role}: ended with status {status}: {said[-1] if said else 'silently'}")

    async def _event(self, when: str) -> dict[str, Any]:
        """What it tells next; nothing when it has ended."""
        try:
            line = await asyncio.wait_for(self._told.readline(), STEP_S)
        except TimeoutError:
            raise Failed(f"{self._role}: silent for {STEP_S:.0f} s {when}") from None
        event: dict[str, Any] = json.loads(line or "{}")
        return event
