"""Who has logged in? Visits by the secret in their cookie, kept in memory: a restart of the broker ends them all."""

from __future__ import annotations

import math
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
"""At a time; one more ends the oldest …"""
VISITS_PER_USER: Final = 10
"""… and of one user so many, so that nobody ends those of others: more browsers than a person has."""
PAGES: Final = 20
"""That a visit has open: each is a tree of elements in the broker's memory. One more closes the oldest."""


@dataclass(slots=True)
class Visit:
    """One browser, until it logs out."""

    viewer: Viewer | None
    """None: an operator."""
    name: str
    ends_at: float
    rules: object = None
    """What was in force when it began: with anything else it is over."""
    dark: bool | None = None
    """Of one page of it: its browser keeps what was chosen."""
    pages: dict[object, Callable[[], None]] = field(default_factory=dict)
    """What closes each page that it has open: with the visit what it showed ends too."""
    ended: bool = False

    def opened(self, page: object, close: Callable[[], None]) -> None:
        """A page of it is there; `close` is called once, at once where the visit has ended."""
        self.pages.pop(page, None)
        if self.ended:
            close()
            return
        while len(self.pages) >= PAGES:
            self.pages.pop(next(iter(self.pages)))()
        self.pages[page] = close

    def end(self) -> None:
        """Close all its pages."""
        self.ended = True
        while self.pages:
            self.pages.pop(next(iter(self.pages)))()


class Visits:
    """All of them; `clock` gives seconds, the broker's; `in_force` what they are allowed by, which may be replaced."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, in_force: Callable[[], object] = lambda: None
    ) -> None:
        self._clock = clock
        self._in_force = in_force
        self._visits: dict[str, Visit] = {}
        self._shared: Visit | None = None

    def begin(self, viewer: Viewer | None, name: str = "", expires_at: float = 0.0) -> str:
        """A new one of this user, until `expires_at` at the latest, 0.0 for never; its secret."""
        own = [secret for secret, visit in self._visits.items() if visit.name == name]
        while len(own) >= VISITS_PER_USER:
            self.end(own.pop(0))
        while len(self._visits) >= VISITS:
            self.end(next(iter(self._visits)))
        ends_at = min(self._clock() + VISIT_S, expires_at or math.inf)
        secret = secrets.token_urlsafe(32)
        self._visits[secret] = Visit(viewer, name, ends_at, self._in_force())
        return secret

    def find(self, secret: str) -> Visit | None:
        """The one with this secret; None if it has ended."""
        visit = self._visits.get(secret)
        if visit is not None and self._is_over(visit):
            self.end(secret)
            return None
        return visit

    def shared(self, viewer: Viewer | None) -> Visit:
        """The one of everybody, where nobody logs in."""
        if self._shared is None or self._is_over(self._shared):
            self._end_shared()
            self._shared = Visit(viewer, "", math.inf, self._in_force())
        return self._shared

    def end(self, secret: str) -> None:
        """Log out, on all pages."""
        visit = self._visits.pop(secret, None)
        if visit is not None:
            visit.end()

    def sweep(self) -> None:
        """End those that are over."""
        for secret in [secret for secret, visit in self._visits.items() if self._is_over(visit)]:
            self.end(secret)
        if self._shared is not None and self._is_over(self._shared):
            self._end_shared()

    def _end_shared(self) -> None:
        if self._shared is not None:
            self._shared.end()
            self._shared = None

    def _is_over(self, visit: Visit) -> bool:
        return visit.ends_at <= self._clock() or visit.rules is not self._in_force()
