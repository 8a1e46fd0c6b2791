"""Does what runs beside the measurement end with it?"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from tidewire.overhead.background import Background


def test_what_runs_returns_its_result() -> None:
    async def add(first: int, second: int) -> int:
        return first + second

    with Background() as background:
        assert background.run(add(2, 3)) == 5


def interrupt() -> None:
    raise KeyboardInterrupt


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(("how", "end"), [(interrupt, KeyboardInterrupt), (terminate, SystemExit)])
def test_what_is_interrupted_ends_its_servers(how: Callable[[], None], end: type[BaseException]) -> None:
    ended = []
    before = signal.getsignal(signal.SIGTERM)

    async def serve(started: asyncio.Event) -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as who waits for a process
            ended.append(True)

    async def begin() -> None:
        started = asyncio.Event()
        tasks.append(asyncio.create_task(serve(started)))
        await started.wait()

    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(end), Background() as background:
        background.run(begin())
        how()
    assert ended == [True]
    assert signal.getsignal(signal.SIGTERM) is before
