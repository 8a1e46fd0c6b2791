"""What was dropped, for whom and why: nothing that was accepted disappears without a line here."""

from __future__ import annotations

from typing import Final

QUEUE_FULL: Final = 0
EXPIRED: Final = 1
TOO_LARGE: Final = 2
NO_PERMISSION: Final = 3
SLOW_CONSUMER: Final = 4
SESSION_ENDED: Final = 5
RETAINED_FULL: Final = 6
RATE_EXCEEDED: Final = 7
BUDGET_EXCEEDED: Final = 8

REASONS: Final = (
    "queue full",
    "expired",
    "too large",
    "no permission",
    "slow consumer",
    "session ended",
    "retained full",
    "rate exceeded",
    "budget exceeded",
)

BURST_PAUSE_S: Final = 10.0
"""A burst of drops has ended when none came for that long; then its total is logged."""


class Ledger:
    """Drops of one session (or of the whole broker), by reason."""

    def __init__(self) -> None:
        self.counts = [0] * len(REASONS)
        self.burst_began: list[bool] = [False] * len(REASONS)
        self.burst_counts = [0] * len(REASONS)
        self.last_drop = 0.0

    def add(self, reason: int, messages: int, now: float) -> bool:
        """Count drops; True when they begin a burst."""
        self.counts[reason] += messages
        self.burst_counts[reason] += messages
        self.last_drop = now
        began = not self.burst_began[reason]
        self.burst_began[reason] = True
        return began

    def in_burst(self) -> bool:
        return True in self.burst_began

    def total(self) -> int:
        return sum(self.counts)

    def end_burst(self) -> list[tuple[str, int]]:
        """(reason, messages) of the burst that is over; the next drop begins another."""
        ended: list[tuple[str, int]] = []
        for reason, messages in enumerate(self.burst_counts):
            if messages:
                ended.append((REASONS[reason], messages))
                self.burst_counts[reason] = 0
                self.burst_began[reason] = False
        return ended
