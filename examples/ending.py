"""How does a solution end? By Ctrl-C or SIGTERM, once, in its own order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar, cast

R = TypeVar("R")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


async def until_told(work: Coroutine[Any, Any, R]) -> R:
    """Do the work; cancelled when the program is told to end. What comes of the work, or CancelledError."""
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    loop = asyncio.get_running_loop()

    def tell() -> None:
        if not task.cancelling():
            task.cancel()
            for number in SIGNALS:  # a second one must not leave behind what the first one is ending, to the very end
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)

    for number in SIGNALS:
        loop.add_signal_handler(number, tell)
    return await work
