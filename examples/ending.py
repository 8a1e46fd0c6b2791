"""How does a solution end? By Ctrl-C or SIGTERM, once, in its own order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

R = TypeVar("R")


async def until_told(work: Coroutine[Any, Any, R]) -> R:
    """Do the work; cancelled when the program is told to end. What comes of the work, or CancelledError."""
    task = cast("asyncio.Task[Any]", asyncio.current_task())

    def tell() -> None:
        if not task.cancelling():  # a second Ctrl-C must not leave behind what the first one is ending
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, tell)
    return await work
