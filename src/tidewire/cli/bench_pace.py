"""When may a benchmark's sender send the next one? When it is due, and when there is room."""

from __future__ import annotations

import asyncio
import math
from time import perf_counter_ns
from typing import Final

GRAIN_NS: Final = 2_000_000
"""The timers of an event loop are no finer: being late by less is our own doing."""
QUIET_S: Final = 1.0
"""After so long without any arrival, what is still missing counts as lost."""
FAIRNESS: Final = 64
"""After so many messages a sender lets the others have the loop, in case that none of its awaits did."""


class Pace:
    """When is the next one due? One clock that all senders share."""

    def __init__(self, rate: float, limit: int | None, duration_s: float) -> None:
        self.taken = 0
        self._limit = math.inf if limit is None else limit
        self._interval_ns = 1e9 / rate if rate else 0.0
        self._began_ns = perf_counter_ns()
        self._ends_ns = self._began_ns + duration_s * 1e9

    async def slot(self) -> int | None:
        """Wait for the next turn. The nanosecond from which its time counts; None after the last.

        That is now, unless we are late: a broker that stalls must not look better for holding us up.
        """
        now_ns = perf_counter_ns()
        due_ns = self._began_ns + int(self.taken * self._interval_ns) if self._interval_ns else now_ns
        if self.taken >= self._limit or max(due_ns, now_ns) >= self._ends_ns:
            return None
        self.taken += 1
        if due_ns > now_ns:
            await asyncio.sleep((due_ns - now_ns) / 1e9)
        elif self.taken % FAIRNESS == 0:
            await asyncio.sleep(0)
        now_ns = perf_counter_ns()
        return due_ns if now_ns - due_ns > GRAIN_NS else now_ns


class Window:
    """How many are under way, and is there room for more?"""

    def __init__(self, size: float) -> None:
        self.under_way = 0
        self._size = size
        self._changed = asyncio.Event()

    async def room(self) -> None:
        """Wait until another may go."""
        await self._until(self._size - 1)

    async def empty(self) -> None:
        """Wait until all came, or nothing has come for `QUIET_S`."""
        await self._until(0)

    def came(self, count: int) -> None:
        self.under_way -= min(count, self.under_way)
        self._changed.set()

    async def _until(self, most: float) -> None:
        while self.under_way > most:
            self._changed.clear()
            try:
                async with asyncio.timeout(QUIET_S):
                    await self._changed.wait()
            except TimeoutError:
                self.under_way = 0  # lost
