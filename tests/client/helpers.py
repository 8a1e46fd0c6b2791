"""How are the client's tests run? Each in an event loop of its own that has to end clean, and not later than it may."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tests.process import PATIENCE_S
from tidewire import Backoff, Message, Stream

VERSIONS: Final = ("5.0", "3.1.1", "3.1")
TEST_S: Final = PATIENCE_S / 2
BEFORE_5: Final = ("3.1.1", "3.1")

SOON: Final = Backoff(first=0.001, maximum=0.01)
"""For tests that lose a connection and have no other reason to wait."""

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class LoopWithoutReaders(asyncio.SelectorEventLoop):
    """A loop that cannot watch file descriptors, as Windows' Proactor cannot."""

    def add_reader(self, *arguments: Any) -> None:  # type: ignore[override]
        raise NotImplementedError("add_reader")

    def add_writer(self, *arguments: Any) -> None:  # type: ignore[override]
        raise NotImplementedError("add_writer")


def run(test: Coroutine[Any, Any, Any], loop_factory: LoopFactory | None = None, patience_s: float = TEST_S) -> None:
    """Run a test to its end, or give up. It may leave neither a task nor an exception that nobody has heard."""
    complaints: list[dict[str, Any]] = []

    async def guarded() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(patience_s):
            await test
        await passes(3)  # generators that were left are closed
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(guarded())
        gc.collect(1)  # who holds an exception that nobody has asked for complains as it goes
    assert not complaints, complaints


async def passes(number: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    while not condition():
        await asyncio.sleep(0.001)


async def take(stream: Stream, number: int) -> list[bytes]:
    """The payloads of the next messages."""
    return [(await anext(stream)).payload for _ in range(number)]


async def take_until(stream: Stream, last: bytes) -> list[Message]:
    """All messages before the one with this payload."""
    found: list[Message] = []
    async for message in stream:
        if message.payload == last:
            break
        found.append(message)
    return found
