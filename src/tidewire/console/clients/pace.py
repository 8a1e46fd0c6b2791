"""How often may a page look at all clients? Less often the more there are, for each look keeps the broker waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from nicegui import ui

SHARE: Final = 0.01
"""Of the broker's time, the most that one of them takes."""


def paced(least_s: float, look: Callable[[], object]) -> ui.timer:
    """Call `look` every `least_s` seconds, or less often if it takes long."""

    def act() -> None:
        began = time.perf_counter()
        look()
        timer.interval = max(least_s, (time.perf_counter() - began) / SHARE)

    timer = ui.timer(least_s, act)
    return timer
