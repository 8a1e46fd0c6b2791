"""Who waits for the client: the user's own code outside, or a handler of it inside? Futures that know.

It matters when the client fails: an error that only handlers hear is still unheard.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

_INSIDE: ContextVar[bool] = ContextVar("tidewire: a task of the client itself", default=False)
"""Whether this is a handler, or a task that one has started."""


def step_inside() -> None:
    """The current task, and those that it starts, are the client's own."""
    _INSIDE.set(True)


class Waiting:
    """The futures that somebody awaits."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._for_end: set[asyncio.Future[None]] = set()
        self._inside: set[asyncio.Future[Any]] = set()
        """What tasks of our own wait for."""

    def begin(self) -> None:
        """The client's life is on the running loop."""
        self._loop = asyncio.get_running_loop()

    def new_future(self) -> asyncio.Future[Any]:
        """A future that ends when the client does, if whoever keeps it sees to that with `tell`."""
        assert self._loop is not None
        future = self._loop.create_future()
        if _INSIDE.get():
            self._inside.add(future)
            future.add_done_callback(self._inside.discard)
        return future

    def tell(self, future: asyncio.Future[Any] | None, error: BaseException) -> bool:
        """Whoever still waits for this gets an error. True: that is somebody outside."""
        if future is None or future.done():
            return False
        future.set_exception(error)
        return self.is_outside(future)

    def is_outside(self, future: asyncio.Future[Any]) -> bool:
        """Whether it is not one of our own tasks that waits for this."""
        return future not in self._inside

    async def for_end(self) -> None:
        """Wait until the client is closed. Raises what has ended it."""
        future: asyncio.Future[None] = self.new_future()
        self._for_end.add(future)
        try:
            await future
        finally:
            self._for_end.discard(future)

    def end(self, error: BaseException) -> bool:
        """The client has ended. True: somebody outside has been told."""
        return any([self.tell(future, error) for future in self._for_end])
