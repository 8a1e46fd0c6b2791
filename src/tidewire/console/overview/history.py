"""What has the broker done in the last minutes? Looked at once a second for all pages together, while one is open."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from msgspec import Struct

from tidewire.server.admin import Admin
from tidewire.server.admin_types import ClientInfo, Overview

SECONDS: Final = 300
"""What the charts show: five minutes, a point for each second."""

LISTED: Final = 5
"""Largest queues, and worst droppers."""

CLIENTS_EVERY_S: Final = 3.0
"""How often these are looked for, at most: all sessions are sorted for it …"""

CLIENTS_SHARE: Final = 0.01
"""… and no more of the loop's time than this, however many sessions there are."""


class Sample(Struct, frozen=True):
    """One second; rates are those since the second before."""

    second: int
    messages_in: float
    messages_out: float
    bytes_in: float
    bytes_out: float
    cpu_share: float
    memory_bytes: int


class History:
    """Of one broker; `join` while a page is open, and `leave` when it is closed."""

    def __init__(self, admin: Admin, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds, monotonic."""
        self._admin = admin
        self._clock = clock
        self._samples: deque[Sample] = deque(maxlen=SECONDS)
        self._watchers = 0
        self._next: asyncio.TimerHandle | None = None
        self._clients_at = 0.0
        self._looked_at = 0.0
        self.latest: Overview = admin.overview()
        self.largest_queues: list[ClientInfo] = []
        self.worst_droppers: list[ClientInfo] = []

    @property
    def now(self) -> Sample | None:
        """The last second; None before the first one is over."""
        return self._samples[-1] if self._samples else None

    def join(self) -> None:
        """Look once a second from here on."""
        self._watchers += 1
        if self._next is None:
            self.latest, self._looked_at = self._admin.overview(), self._clock()
            self._look_for_clients()
            self._plan()

    def leave(self) -> None:
        """The last one to leave ends it; what was seen stays."""
        self._watchers -= 1
        if not self._watchers and self._next is not None:
            self._next.cancel()
            self._next = None

    def series(self, *names: str) -> list[list[float | None]]:
        """Values of these fields of `Sample` for each of the last seconds; None where nobody looked."""
        drawn: list[list[float | None]] = [[None] * SECONDS for _ in names]
        if self._samples:
            end = self._samples[-1].second
            for sample in self._samples:
                place = SECONDS - 1 - (end - sample.second)
                if place >= 0:
                    for values, name in zip(drawn, names, strict=True):
                        values[place] = round(getattr(sample, name), 3)
        return drawn

    def look(self) -> None:
        """Note the second that is over."""
        now = self._clock()
        before, elapsed = self.latest, now - self._looked_at
        self.latest, self._looked_at = self._admin.overview(), now
        if elapsed > 0.0:
            old, new = before.totals, self.latest.totals
            self._samples.append(
                Sample(
                    int(now),
                    (new.messages_in - old.messages_in) / elapsed,
                    (new.messages_out - old.messages_out) / elapsed,
                    (new.bytes_in - old.bytes_in) / elapsed,
                    (new.bytes_out - old.bytes_out) / elapsed,
                    max(0.0, self.latest.cpu_share),
                    self.latest.memory_bytes,
                )
            )
        if now >= self._clients_at:
            self._look_for_clients()

    def _plan(self) -> None:
        """At the middle of the next second of the clock, so that none is missed and none is seen twice."""
        now = self._clock()
        self._next = asyncio.get_running_loop().call_later(int(now) + 1.5 - now, self._turn)

    def _turn(self) -> None:
        self._plan()
        self.look()

    def _look_for_clients(self) -> None:
        began = self._clock()
        self.largest_queues = [
            client for client in self._admin.clients(limit=LISTED, order="queue") if client.queue_messages
        ]
        self.worst_droppers = [
            client for client in self._admin.clients(limit=LISTED, order="dropped") if client.dropped
        ]
        now = self._clock()
        self._clients_at = now + max(CLIENTS_EVERY_S, (now - began) / CLIENTS_SHARE)


@lru_cache(1)
def history_of(admin: Admin) -> History:
    """The one that all pages of a broker share; a process has one page, and so one broker that is shown."""
    return History(admin)
