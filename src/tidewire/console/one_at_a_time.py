"""How often does a page do the same work at once? Once, however often it is asked, by impatient hands or by a program.

While a file is made no other is begun. A search makes way for the next: nobody wants to know any more what it finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nicegui import ui

Work = Callable[[], Awaitable[object]]


class OneAtATime:
    """Work that is not begun while it is under way."""

    def __init__(self) -> None:
        self._buttons: list[ui.button] = []
        self._under_way = False

    def shown_by(self, button: ui.button) -> None:
        """One that begins it, and cannot be pressed meanwhile."""
        self._buttons.append(button)

    async def do(self, work: Work) -> None:
        """Begin it and wait for its end, unless it is under way."""
        if self._under_way:
            return
        self._show(True)
        try:
            await work()
        finally:
            self._show(False)

    def _show(self, under_way: bool) -> None:
        self._under_way = under_way
        for button in self._buttons:
            if not button.is_deleted:
                button.set_enabled(not under_way)


class Latest:
    """Work of which only the last that was asked for is of interest: an earlier one ends where it is."""

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None

    async def do(self, work: Work) -> None:
        """Begin it and wait for its end. The task of an earlier one is cancelled."""
        if self._task is not None:
            self._task.cancel()
        self._task = own = asyncio.current_task()
        try:
            await work()
        finally:
            if self._task is own:
                self._task = None
