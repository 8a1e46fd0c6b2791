"""Where do servers run while a client is measured? On an event loop of their own, on a thread."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Background:
    """An event loop on a thread, for as long as the `with` block lasts; what still runs then is cancelled, and ends.

    On the main thread SIGTERM ends the block, too, and the program with status 143."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="tidewire overhead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:
            self._before = signal.signal(signal.SIGTERM, _terminate)
        return self

    def __exit__(self, *_: object) -> None:
        self.run(_cancel_the_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        if self._is_main:
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns, run on that loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


def _terminate(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


async def _cancel_the_others() -> None:
    """What was interrupted has servers to end: RabbitMQ would go on without us."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
