"""What has the broker done in the last minutes? A sample a second for all pages together.

Samples are taken whoever looks, so that the charts have no holes: they cost next to nothing. The overview, which costs
more the more sessions there are, is looked at only while a page is open."""

from __future__ import annotations

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
    """Of one broker, which gives the time to `tick`; `join` while a page is open, and `leave` when it is closed."""

    def __init__(self, admin: Admin, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds, the broker's."""
        self._admin = admin
        self._clock = clock
        self._samples: deque[Sample] = deque(maxlen=SECONDS)
        self._watchers = 0
        self._clients_at = 0.0
        self._sampled_at = clock()
        self._totals = admin.vitals().totals
        self.latest: Overview = admin.overview()
        self.largest_queues: list[ClientInfo] = []
        self.worst_droppers: list[ClientInfo] = []

    @property
    def now(self) -> Sample | None:
        """The last second; None before the first one is over."""
        return self._samples[-1] if self._samples else None

    def join(self) -> None:
        """Look at the overview too, from here on."""
        self._watchers += 1
        if self._watchers == 1:
            self._look()

    def leave(self) -> None:
        """The last one to leave ends that."""
        self._watchers -= 1

    def series(self, *names: str) -> list[list[float | None]]:
        """Values of these fields of `Sample` for each of the last seconds; None where there is no sample."""
        drawn: list[list[float | None]] = [[None] * SECONDS for _ in names]
        if self._samples:
            end = self._samples[-1].second
            for sample in self._samples:
                place = SECONDS - 1 - (end - sample.second)
                if place >= 0:
                    for values, name in zip(drawn, names, strict=True):
                        values[place] = round(getattr(sample, name), 3)
        return drawn

    def tick(self, now: float) -> bool:
        """Several times a second: note each second that is over. True: it goes on."""
        if int(now) > int(self._sampled_at):
            self._sample(now)
            if self._watchers:
                self._look()
        return True

    def _sample(self, now: float) -> None:
        vitals, elapsed = self._admin.vitals(), now - self._sampled_at
        old, new = self._totals, vitals.totals
        self._samples.append(
            Sample(
                int(now),
                (new.messages_in - old.messages_in) / elapsed,
                (new.messages_out - old.messages_out) / elapsed,
                (new.bytes_in - old.bytes_in) / elapsed,
                (new.bytes_out - old.bytes_out) / elapsed,
                max(0.0, vitals.cpu_share),
                vitals.memory_bytes,
            )
        )
        self._totals, self._sampled_at = new, now

    def _look(self) -> None:
        self.latest = self._admin.overview()
        if self._clock() >= self._clients_at:
            self._look_for_clients()

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
