"""How does a read or write that may block hold up neither the event loop nor the end of the program?"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

BLOCK_BYTES: Final = 256 * 1024
"""Read at a time: several pipes full."""


class Worker:
    """A thread of its own that makes one call after the other.

    asyncio's own threads are waited for when the program ends, and a read from a terminal would then wait for a key.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()
        self._started = False

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it there, and return or raise what it does."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._work, daemon=True).start()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((answer, function, arguments))
        return await answer

    def _work(self) -> None:
        while True:
            answer, function, arguments = self._calls.get()
            result, error = None, None
            try:
                result = function(*arguments)
            except Exception as raised:
                error = raised
            try:
                answer.get_loop().call_soon_threadsafe(_settle, answer, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return


def _settle(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however long that takes. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


async def read_all(descriptor: int) -> bytes:
    """Everything until the end of the file."""
    worker = Worker()
    blocks = []
    while block := await worker.call(os.read, descriptor, BLOCK_BYTES):
        blocks.append(block)
    return b"".join(blocks)


async def read_lines(descriptor: int) -> AsyncIterator[list[bytes]]:
    """The lines that each read completes, without their ends; what follows the last line end is a line as well."""
    worker = Worker()
    incomplete: list[bytes] = []
    while block := await worker.call(os.read, descriptor, BLOCK_BYTES):
        incomplete.append(block)
        if b"\n" in block:
            *lines, rest = b"".join(incomplete).split(b"\n")
            incomplete = [rest] if rest else []
            yield lines
    if incomplete:
        yield [b"".join(incomplete)]
