"""The clock of a broker under test: it stands still until the test lets time pass."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from tidewire.engine.timers import BUCKETS_PER_SECOND

if TYPE_CHECKING:
    from tidewire.server.server import Server

START_S: Final = 1_000_000.0
"""Where it starts. Zero would do, but for deadlines of which zero means that there are none."""

SETTLING_PASSES: Final = 10
"""Passes of the loop in which what lies in the sockets is handled; a new connection takes four until its answer."""


class Clock:
    """The broker's time. Only `advance` moves it: nothing expires while a test thinks, or stops in a debugger."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """`run` carries something out on the broker's loop and returns when it is done."""
        self.now = START_S
        """Seconds."""
        self.server: Server | None = None
        self._run = run
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything that is due happen in its order; what comes of it is written on return.

        A client does not know of this clock: while time passes it is silent, so that one with a keep-alive is cut after
        one and a half times of it. Connect with keep-alive 0 where that is not what is tested.
        """
        if seconds < 0:
            raise ValueError(f"time does not run backwards: advance({seconds})")
        self._run(self._pass_time(seconds))

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """On the broker's loop: call it when so much time has passed."""
        heapq.heappush(self._planned, (self.now + seconds, next(self._order), callback))

    async def settle(self) -> None:
        """On the broker's loop: handle what clients have sent, and write what comes of it."""
        assert self.server is not None
        for _ in range(SETTLING_PASSES):
            await asyncio.sleep(0)
        while self.server.broker.has_work():
            self.server.plan_flush()
            await asyncio.sleep(0)

    async def _pass_time(self, seconds: float) -> None:
        assert self.server is not None
        await self.settle()
        end = self.now + seconds
        while self.now < end:
            # Not by quarters of a second, but from one at which something is due to the next.
            planned = self._planned[0][0] if self._planned else end
            self.now = max(self.now, min(end, planned, self.server.broker.timers.next_look()))
            while self._planned and self._planned[0][0] <= self.now:
                heapq.heappop(self._planned)[2]()
            self.server.tick(self.now)
            self.server.flush()
        if seconds:
            # Timers fire in the quarter of a second after their time, and what is due now should have happened.
            self.server.tick(end + 1.0 / BUCKETS_PER_SECOND)
        await self.settle()
