"""What answers a request? What comes on its response topic in time, with the correlation data compared (4.10)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from tidewire.server.admin_topics import TopicFeed

ANSWERS: Final = 50
"""That are shown for one request: more than that nobody reads."""

LONGEST_WAIT_S: Final = 300.0
"""An answer that takes longer is better looked for under Topics."""

SHOWN_BYTES: Final = 2_000
"""Of an answer."""


class Answer(Struct, frozen=True):
    """One that came."""

    after_s: float
    """As the topics are looked at ten times a second: to a tenth."""
    payload: bytes
    payload_bytes: int
    is_ours: bool
    """Its correlation data is that of the request."""
    has_correlation: bool
    unseen: int
    """Others that came in the same moment, and are not known."""


def new_response_topic() -> str:
    """One that nobody else has."""
    return f"console/answers/{secrets.token_hex(6)}"


def new_correlation_data() -> str:
    return secrets.token_hex(6)


class Answers:
    """Those to one request, from before it was sent; `close` it at the end."""

    def __init__(
        self, feed: TopicFeed, correlation_data: bytes, wait_s: float, wall_clock: Callable[[], float]
    ) -> None:
        """`feed` is that of the response topic; `wall_clock` gives seconds since 1970."""
        self._feed = feed
        self._correlation_data = correlation_data
        self._clock = wall_clock
        self._began = wall_clock()
        self._ends_at = self._began + wait_s
        self._messages = 0
        self.count = 0
        self.closed = False

    def take(self) -> list[Answer]:
        """Those that have come since it was asked last; it closes when the time is over."""
        if self.closed:
            return []
        taken: list[Answer] = []
        for seen in self._feed.take().topics:
            came, self._messages = seen.messages - self._messages, seen.messages
            if seen.retain or not came:  # it was there before the request
                continue
            correlation = seen.properties.correlation_data
            self.count += came
            taken.append(
                Answer(
                    max(0.0, seen.at - self._began),
                    seen.payload[:SHOWN_BYTES],
                    seen.payload_bytes,
                    correlation == self._correlation_data,
                    correlation is not None,
                    came - 1,
                )
            )
        if self._clock() >= self._ends_at or self.count >= ANSWERS:
            self.close()
        return taken

    def close(self) -> None:
        """Wait no longer."""
        if not self.closed:
            self.closed = True
            self._feed.close()
