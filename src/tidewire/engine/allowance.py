"""How much may one client publish? A token bucket for its messages and one for their bytes.

Each holds what the client may publish in a second, and is looked at once a read: a read is taken whole, and what it was
too much is a debt that the next ones wait for.
"""

from __future__ import annotations

from typing import Final

_BURST_S: Final = 1.0


class Allowance:
    """The buckets of one connection."""

    def __init__(self, messages_per_s: int, bytes_per_s: int, now: float) -> None:
        """0: not limited."""
        self._messages_per_s = float(messages_per_s)
        self._bytes_per_s = float(bytes_per_s)
        self._messages = messages_per_s * _BURST_S
        self._bytes = bytes_per_s * _BURST_S
        self._filled_at = now

    def wait_s(self, now: float) -> float:
        """In how many seconds the client may publish again; 0.0: now."""
        elapsed = max(0.0, now - self._filled_at)
        self._filled_at = now
        self._messages = min(self._messages + elapsed * self._messages_per_s, self._messages_per_s * _BURST_S)
        self._bytes = min(self._bytes + elapsed * self._bytes_per_s, self._bytes_per_s * _BURST_S)
        wait = 0.0
        if self._messages < 0.0:
            wait = -self._messages / self._messages_per_s
        if self._bytes < 0.0:
            wait = max(wait, -self._bytes / self._bytes_per_s)
        return wait

    def spend(self, messages: int, size: int) -> None:
        """Take what was published from the buckets that there are."""
        if self._messages_per_s:
            self._messages -= messages
        if self._bytes_per_s:
            self._bytes -= size
