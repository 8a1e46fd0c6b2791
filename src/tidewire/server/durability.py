"""When is what a broker was told safe? Groups of changes go to the disk one after the other, on a thread of their own.

A group closes `GROUP_S` after its first change, or with `GROUP_MESSAGES`, or at once where there is little to do, and
not before the one ahead of it is on the disk: so groups grow with the load, and the loop never waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidewire.engine.changes import Batch, Changes
from tidewire.engine.message import Message
from tidewire.engine.ports import Provenance, StoredSession
from tidewire.server.log import logger
from tidewire.store.directory import DataDirectory
from tidewire.store.errors import StoreError
from tidewire.store.sqlite import StoreFile

if TYPE_CHECKING:
    from tidewire.server.server import Server

GROUP_S: Final = 0.002
"""How long a change waits for others to be committed with it: less than most disks take to write them."""

FEW_ROWS: Final = 8
"""After a group of no more, the next does not wait for others: a lone publisher waits for the disk alone."""

IDLE_S: Final = 1.0
"""With nothing to commit for so long, the file gives back the space that it does not need."""

RETRY_S: Final = 1.0
"""How long after a commit has failed it is tried again."""


class DurableStore(Changes):
    """The store of one broker, in a directory that it alone uses."""

    def __init__(
        self,
        path: Path,
        durability: str,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens the directory, and makes it if need be. Raises StoreError if it is in use, or cannot be written.

        `clock` is where the engine's `now` comes from; `wall_clock` gives seconds since 1970.
        """
        super().__init__()
        self._clock = clock
        self._wall_clock = wall_clock
        self._durability = durability
        self._directory = DataDirectory(path)
        self._directory.take()
        try:
            self._file = StoreFile(self._directory.database, durability=durability)
            self._file.open()
        except BaseException:
            self._directory.release()
            raise
        self._thread = ThreadPoolExecutor(1, "tidewire-store")
        self._woken = asyncio.Event()
        self._in_a_hurry = asyncio.Event()
        self._stopping = asyncio.Event()
        self._worker: asyncio.Task[bool] | None = None
        self._commits = 0
        self._rows = 0
        self._last_rows = 0
        """Of the last group."""
        self._longest_s = 0.0
        """Of the commits since `$SYS` was told last."""

    def load(self, now: float) -> tuple[list[StoredSession], list[tuple[Message, Provenance]]]:
        contents = self._file.read()
        if self._file.set_aside is not None:
            logger.error("store: the file was damaged, and is set aside as %s", self._file.set_aside)
        return self.restore(contents, self._shift())

    def start(self, server: Server) -> None:
        """Commit what is told from here on, and what was told before, on the running loop."""
        logger.info(
            "store: %s, durability %s sessions=%d retained=%d",
            self._directory.path,
            self._durability,
            len(server.broker.sessions),
            server.broker.retained.count,
        )
        self._worker = asyncio.create_task(self._work_on(server))

    async def stop(self) -> bool:
        """Commit what was told, and let the directory go. False: some of it could not be written."""
        self._stopping.set()
        self._woken.set()
        self._in_a_hurry.set()
        done = self._worker is None or await self._worker
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        except StoreError as error:
            logger.error("store: %s", error)
            done = False
        self._thread.shutdown()
        self._directory.release()
        return done

    def wake(self) -> None:
        self._woken.set()

    def hurry(self) -> None:
        self._in_a_hurry.set()

    def topics(self) -> dict[str, str]:
        longest_s, self._longest_s = self._longest_s, 0.0
        return {
            "state": "failing" if self.failing else "ok",
            "commits": str(self._commits),
            "rows": str(self._rows),
            "commit/longest": f"{longest_s:.4f}",
        }

    def _shift(self) -> float:
        """What makes seconds since 1970 of the engine's time."""
        return self._wall_clock() - self._clock()

    # -- one group after the other

    async def _work_on(self, server: Server) -> bool:
        """`_work`, of which an error of ours must not leave everybody waiting for commits that never come."""
        try:
            return await self._work(server)
        except Exception as error:
            self.failing = True
            logger.error("internal error: nothing is kept any more, and publishers are told so", exc_info=error)
            server.broker.commit_failed(self._clock())
            server.plan_flush(True)
            return False

    async def _work(self, server: Server) -> bool:
        """Commit group by group until it is told to stop. False: the last could not be written."""
        while True:
            if not await self._wait(self._woken, IDLE_S):
                await self._tend()
                await self._woken.wait()
            if self._last_rows > FEW_ROWS or self.waits_for_acknowledgements():
                await self._wait(self._in_a_hurry, GROUP_S)
            self._in_a_hurry.clear()
            self._woken.clear()
            batch = self.take(self._shift())
            if batch is None:
                if self._stopping.is_set():
                    return True
                continue
            if self._stopping.is_set():
                self._woken.set()
                self._in_a_hurry.set()
            if not await self._commit(batch, server):
                return False

    async def _commit(self, batch: Batch, server: Server) -> bool:
        """Write a group, however often that has to be tried. False: not before the broker stops."""
        loop = asyncio.get_running_loop()
        self._last_rows = batch.rows()
        while self._last_rows:
            began = self._clock()
            try:
                await loop.run_in_executor(self._thread, self._file.write, batch)
            except Exception as error:  # whatever it is, nothing can be promised
                if not self.failing:
                    self.failing = True
                    fault = None if isinstance(error, StoreError) else error
                    logger.error("store: nothing is kept, and publishers are told so: %s", error, exc_info=fault)
                if self._stopping.is_set():
                    logger.error("store: the last changes are lost: %s", error)
                    return False
                server.broker.commit_failed(self._clock())
                server.plan_flush(True)
                await self._wait(self._stopping, RETRY_S)
                continue
            if self.failing:
                self.failing = False
                logger.warning("store: everything is kept again")
            self._longest_s = max(self._longest_s, self._clock() - began)
            self._commits += 1
            self._rows += self._last_rows
            break
        self.committed()
        server.broker.committed(batch.ticket, self._clock())
        server.plan_flush(True)
        if self._file.is_due:
            await self._tend()
        return True

    async def _tend(self) -> None:
        """Let the file do what is due, until there is something to commit."""
        loop = asyncio.get_running_loop()
        try:
            while await loop.run_in_executor(self._thread, self._file.tend) and not self._woken.is_set():
                pass
        except StoreError as error:  # the next commit will say more
            logger.warning("store: %s", error)

    @staticmethod
    async def _wait(event: asyncio.Event, seconds: float) -> bool:
        """False: it has not come in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        return event.is_set()
