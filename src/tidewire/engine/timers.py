"""Everything that happens at a time: keep-alive, connect time-out, will delay, session expiry, drop bursts, $SYS.

An object that waits for something puts itself into a bucket and is asked, when the bucket is due, what it has to do.
It looks at its own deadlines, so a deadline that moved needs no cancelling: the object is asked, finds nothing to do
and puts itself into a later bucket. One reference a waiting object, no heap.
"""

from __future__ import annotations

from typing import Final

BUCKETS_PER_SECOND: Final = 4
"""Timers fire up to 250 ms late, never early; the server ticks as often."""

HORIZON_S: Final = 10.0
"""Nothing lies in a bucket longer: an object that has ended is let go then, however far its deadline."""


class Timed:
    """Something with deadlines."""

    def __init__(self) -> None:
        self.next_look = 0.0
        """When it will be asked next, 0.0 for not at all."""

    def due(self, now: float) -> None:
        """Do what is due, and `Timers.add` for what is not."""
        raise NotImplementedError


class Timers:
    """The buckets, a quarter of a second each."""

    def __init__(self, now: float) -> None:
        self._buckets: dict[int, list[Timed]] = {}
        self._done = int(now * BUCKETS_PER_SECOND)

    def add(self, when: float, timed: Timed, now: float) -> None:
        """Ask `timed` at or just after `when`, or at the horizon if that is sooner."""
        when = min(when, now + HORIZON_S)
        if 0.0 < timed.next_look <= when:
            return
        timed.next_look = when
        bucket = max(int(when * BUCKETS_PER_SECOND), self._done) + 1
        waiting = self._buckets.get(bucket)
        if waiting is None:
            self._buckets[bucket] = [timed]
        else:
            waiting.append(timed)

    def next_look(self) -> float:
        """When somebody is asked next; infinity for never."""
        return min(self._buckets) / BUCKETS_PER_SECOND if self._buckets else float("inf")

    def advance(self, now: float) -> list[Exception]:
        """Ask everything that was due at `now` or before, in order of time.

        Returns the errors of those that failed: each costs only the one that made it.
        """
        errors: list[Exception] = []
        current = int(now * BUCKETS_PER_SECOND)
        due = sorted([bucket for bucket in self._buckets if bucket <= current])
        for bucket in due:
            self._done = bucket
            for timed in self._buckets.pop(bucket):
                if 0.0 < timed.next_look <= now:
                    timed.next_look = 0.0
                    try:
                        timed.due(now)
                    except Exception as error:
                        errors.append(error)
        self._done = max(self._done, current)
        return errors
