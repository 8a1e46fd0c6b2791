"""Who has logged in? Visits by the secret in their cookie, kept in memory: a restart of the broker ends them all."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tidewire.server.admin_types import Viewer

COOKIE: Final = "tidewire_console"
VISIT_S: Final = 12 * 3600.0
"""A working day: then who looks logs in again."""
VISITS: Final = 1_000
"""At a time; one more ends the oldest."""


@dataclass(slots=True)
class Visit:
    """One browser, until it logs out."""

    viewer: Viewer | None
    """None: an operator."""
    name: str
    ends_at: float
    dark: bool | None = None
    pages: dict[object, Callable[[], None]] = field(default_factory=dict)
    """What closes each page that it has open: with the visit what it showed ends too."""


class Visits:
    """All of them; `clock` gives seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._visits: dict[str, Visit] = {}

    def begin(self, viewer: Viewer | None, name: str = "") -> str:
        """A new one; its secret."""
        while len(self._visits) >= VISITS:
            self.end(next(iter(self._visits)))
        secret = secrets.token_urlsafe(32)
        self._visits[secret] = Visit(viewer, name, self._clock() + VISIT_S)
        return secret

    def find(self, secret: str) -> Visit | None:
        """The one with this secret; None if it has ended."""
        self.sweep()
        return self._visits.get(secret)

    def end(self, secret: str) -> None:
        """Log out, on all pages."""
        visit = self._visits.pop(secret, None)
        for close in list(visit.pages.values()) if visit is not None else ():
            close()

    def sweep(self) -> None:
        """End those whose time is over, the oldest of which stand first."""
        now = self._clock()
        while self._visits:
            secret, visit = next(iter(self._visits.items()))
            if visit.ends_at > now:
                return
            self.end(secret)
