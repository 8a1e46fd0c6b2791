"""Which event loop does a command run on, and what ends it? uvloop where there is one; Ctrl-C and SIGTERM alike."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` to its end on the fastest loop there is, and return what it returns.

    SIGINT and SIGTERM cancel it once, so that `finally` and `async with` are honoured. One that takes the
    cancellation as its end (`except asyncio.CancelledError`) returns as usual; otherwise SIGINT raises
    KeyboardInterrupt, and SIGTERM ends the program with status 143, as without a handler.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_until_terminated(coroutine))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes an event loop; None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 (not everywhere)
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _until_terminated(coroutine: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await coroutine
    except asyncio.CancelledError:
        if terminated:
            sys.exit(128 + signal.SIGTERM)
        raise
