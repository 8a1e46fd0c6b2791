"""The life of a client: connect, stay connected, come back, and end with a reason that somebody hears.

| state | it ends by |
|---|---|
| closed | `connect` |
| connecting | CONNACK, or an error: raised by the first `connect`, tried again after a back-off later on |
| connected | the network, DISCONNECT from either side |
| waiting | the back-off's time |
| failed | nothing: a refusal that is permanent, or an error of the user's own handler; everybody who waits gets it |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final

from tidewire.client.authentication import Authenticator
from tidewire.client.errors import ConnectionFailed, ConnectionRefused, NotConnected, TidewireError
from tidewire.client.options import Backoff
from tidewire.client.publishing import Publishing
from tidewire.client.server_connection import ServerConnection
from tidewire.client.settings import Settings
from tidewire.client.subscriptions import Subscriptions
from tidewire.client.traffic import Traffic
from tidewire.client.waiting import Waiting, step_inside

logger = logging.getLogger("tidewire.client")

STABLE_S: Final = 10.0
"""A connection that lasted so long was a good one: the next back-off starts anew."""

CLOSE_PATIENCE_S: Final = 2.0
"""How long the last bytes may take to leave, and the server to close, when the client has said good-bye."""


class Lifecycle:
    """The life of one client, and its parts: each has one question of its own, and finds the others here."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.waiting = Waiting()
        self.traffic = Traffic(self)
        self.session = self.traffic.session
        self.authenticator = Authenticator(self)
        self.subscriptions = Subscriptions(self)
        self.publishing = Publishing(self)
        self.server = ServerConnection(self)
        self.failure: BaseException | None = None
        """Why it has ended for good."""
        self.closed = True
        self._opening: asyncio.Task[None] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._owner: asyncio.Task[Any] | None = None
        self._cancelled_owner = False

    # -- what the client calls

    @property
    def connected(self) -> bool:
        return self.session.connection is not None

    async def connect(self) -> None:
        """Connect for the first time, and stay so from then on. Raises ConnectionFailed or ConnectionRefused."""
        if not self.closed:
            raise RuntimeError("the client is connected already")
        self.waiting.begin()
        self.traffic.begin()
        self._owner = None
        self.failure = None
        self.server.client_id = self.traffic.open_outbox(self.server.client_id)
        self.closed = False
        self._opening = asyncio.create_task(self._open(), name="tidewire: connect")
        try:
            await asyncio.wait([self._opening])
            if self.failure is not None:  # `on_state` has raised
                raise self.failure
            if self.closed:
                raise NotConnected("the client was closed while it connected")
            self._opening.result()
        except BaseException:
            self.closed = True
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
            self.server.abandon()
            self.traffic.close_outbox()
            raise
        finally:
            self._opening = None
        self._supervisor = asyncio.create_task(self._supervise(), name="tidewire: stay connected")

    def own(self) -> None:
        """The current task is what a failure ends that nobody waits for."""
        self._owner = asyncio.current_task()

    async def disconnect(self, reason_code: int, session_expiry: int | None) -> None:
        """End: DISCONNECT (3.14), and wait until it has left. Before 5.0 any reason but 0 is told by silence."""
        if self.closed:
            return
        self.closed = True
        tasks = {task for task in (self._opening, self._supervisor, *self._tasks) if task is not None}
        tasks.discard(asyncio.current_task())
        for task in (self._opening, self._supervisor):
            if task in tasks:
                task.cancel()
        try:
            await self.server.close(reason_code, session_expiry, CLOSE_PATIENCE_S)
        finally:
            error = NotConnected("the client was closed before the server had answered")
            self._give_up(error)
            for task in tasks:
                task.cancel()
            try:
                self.traffic.close_outbox()
            finally:
                await asyncio.gather(*tasks, return_exceptions=True)

    def fail(self, error: BaseException) -> None:
        """End for good: whoever waits gets the error; if nobody does, the task that opened the client is cancelled."""
        if self.failure is not None or self.closed:
            return
        self.failure = error
        if isinstance(error, TidewireError):
            logger.error("%s", error)
        self.server.drop()
        current = asyncio.current_task()
        if self._supervisor is not None and self._supervisor is not current:
            self._supervisor.cancel()
        told = self._give_up(error)
        owner = self._owner
        if not told and owner is not None and owner is not current and not owner.done():
            self._cancelled_owner = True
            owner.cancel()

    def uncancel(self) -> bool:
        """Whether it was `fail` alone that cancelled the task that owns the client; the cancellation is then over."""
        if not self._cancelled_owner or self._owner is None:
            return False
        self._cancelled_owner = False
        return self._owner.uncancel() == 0

    def check_open(self) -> None:
        """Raise the failure, or NotConnected if the client is not in use."""
        if self.failure is not None:
            raise self.failure
        if self.closed:
            raise NotConnected("the client is closed; use it inside `async with client:`, or call connect() first")

    async def wait_connected(self) -> None:
        """Raises the failure if it comes first."""
        while not self.connected:
            self.check_open()
            await self.traffic.wait()

    async def wait_for_end(self) -> None:
        """Wait until the client is closed. Raises what has ended it."""
        self.check_open()
        await self.waiting.for_end()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside; an error of it is the client's failure."""
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- connecting

    async def _open(self) -> None:
        """The first connection."""
        attempt = 0
        while True:
            try:
                await self._connect_once()
                return
            except (ConnectionFailed, ConnectionRefused) as error:
                permanent = isinstance(error, ConnectionRefused) and error.permanent
                backoff = self.settings.reconnect
                if permanent or not self.settings.retry_first_connect or backoff is None:
                    raise
                await self._pause(backoff, attempt, error)
                attempt += 1

    async def _connect_once(self) -> None:
        await self.server.open()
        self._tell("connected", None)

    # -- staying connected

    async def _supervise(self) -> None:
        attempt = 0
        while True:
            began = monotonic()
            error: ConnectionFailed | ConnectionRefused = await self.server.loss
            if monotonic() - began >= STABLE_S:
                attempt = 0
            self._tell("disconnected", error)
            backoff = self.settings.reconnect
            while True:
                if backoff is None or (isinstance(error, ConnectionRefused) and error.permanent):
                    self.fail(error)
                    return
                await self._pause(backoff, attempt, error)
                attempt += 1
                try:
                    await self._connect_once()
                    break
                except (ConnectionFailed, ConnectionRefused) as again:
                    error = again
                except Exception as fault:
                    self.fail(fault)
                    return

    async def _pause(self, backoff: Backoff, attempt: int, error: Exception) -> None:
        delay = backoff.delay(attempt)
        logger.warning("%s; connecting again in %.1f s", error, delay)
        await asyncio.sleep(delay)

    # -- ends

    def _give_up(self, error: BaseException) -> bool:
        """Whoever waits gets this instead of an answer. True: somebody outside was told."""
        told = [
            self.subscriptions.end(error),
            self.traffic.end(error),
            self.server.give_up(error),
            self.authenticator.end(error),
            self.waiting.end(error),
        ]
        return any(told)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        step_inside()
        try:
            await work
        except Exception as error:
            self.fail(error)
        except asyncio.CancelledError:
            if not self.closed and not _is_cancelled():  # not by us
                self.fail(TidewireError("a handler ended by itself: something that it awaited was cancelled"))
            raise

    def _tell(self, state: str, error: Exception | None) -> None:
        if self.settings.on_state is not None:
            try:
                self.settings.on_state(state, error)
            except Exception as fault:
                self.fail(fault)


def _is_cancelled() -> bool:
    """Whether somebody has asked the current task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
