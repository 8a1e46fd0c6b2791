"""How is a message sent many times? One after the other with pauses, until all are sent or it is stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from tidewire.server.admin import AdminFault

SENDS: Final = 10_000
"""A test of something; for a load there is `tidewire bench`."""

LONGEST_INTERVAL_S: Final = 3600.0
"""Between two messages."""


class Sending:
    """Messages on their way; `run` it as a task."""

    def __init__(
        self,
        send: Callable[[], str],
        times: int,
        interval_s: float,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`send` sends one, and says in words what became of it; AdminFault ends the run."""
        if not 1 <= times <= SENDS:
            raise ValueError(f"times={times} is not between 1 and {SENDS}")
        if not 0.0 <= interval_s <= LONGEST_INTERVAL_S:
            raise ValueError(f"interval_s={interval_s} is not between 0 and {LONGEST_INTERVAL_S:g}")
        self.times = times
        self.sent = 0
        self.outcomes: Counter[str] = Counter()
        self.fault: AdminFault | None = None
        self.done = False
        self._stopped = False
        self._send = send
        self._interval_s = interval_s
        self._pause = pause

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True

    async def run(self) -> None:
        """Send them all."""
        try:
            while not self._stopped:
                self.outcomes[self._send()] += 1
                self.sent += 1
                if self.sent == self.times:
                    break
                await self._wait()
        except AdminFault as fault:
            self.fault = fault
        finally:
            self.done = True

    async def _wait(self) -> None:
        """In pieces, so that it can be stopped soon."""
        left = self._interval_s
        while left > _PIECE_S and not self._stopped:
            await self._pause(_PIECE_S)
            left -= _PIECE_S
        if not self._stopped:
            await self._pause(left)

    def told(self) -> str:
        """How far it has come."""
        lines = [f"{words} ({count})" if count < self.sent else words for words, count in self.outcomes.most_common()]
        state = "" if not self.done or self.sent == self.times else ", stopped"
        return f"{self.sent} of {self.times} sent{state}. {' '.join(lines)}"


_PIECE_S: Final = 0.2
