"""Who looks, and what may they see and do? What every page is built from."""

from __future__ import annotations

from dataclasses import dataclass

from tidewire.server.admin import Admin
from tidewire.server.admin_types import Viewer


@dataclass(slots=True)
class Look:
    """Somebody at a browser, looking at a broker."""

    admin: Admin
    viewer: Viewer | None
    """Whose access rules hold; None: an operator's, for whom none do."""
    name: str = ""
    """Who has logged in; empty where there is no log-in."""
    dark: bool | None = None
    """Whether the page is dark; None: as the browser likes it."""

    @property
    def operator(self) -> bool:
        """Whether they see every client and its packets, and may end, clear and delete."""
        return self.viewer is None
