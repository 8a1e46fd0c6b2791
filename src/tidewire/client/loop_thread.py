"""The thread of the blocking client: an event loop, and the QoS 0 messages that are on their way to it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from tidewire.client.client import Client
from tidewire.client.errors import NotConnected
from tidewire.wire import properties as p
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.fields import MAXIMUM_STRING_BYTES
from tidewire.wire.packets import Connack
from tidewire.wire.topics import check_topic_name

_T = TypeVar("_T")

UNACKNOWLEDGED_MESSAGES: Final = 10_000
"""QoS 0 messages that may be on their way to the client's thread before `publish` waits for it."""

GATHERED_BYTES: Final = 16 * 1024
"""Largest of them; `publish` waits for larger ones, lest ten thousand fill the memory while the network is slow."""

_HEADER_BYTES: Final = 8
"""Of a QoS 0 PUBLISH (3.3): first byte, four of Remaining Length, two of the topic's length, no properties."""

_INTERRUPTIBLE_S: Final = 0.1 if sys.platform == "win32" else None
"""Windows does not let Ctrl-C interrupt a wait without an end."""


class Gathered:
    """QoS 0 messages on their way to the client's thread: one change of threads for many, and none is lost unheard."""

    def __init__(self, client: Client, thread: LoopThread) -> None:
        self.closed = False
        """Whether the thread ends: what comes from here on is refused."""
        self._client = client
        self._thread = thread
        self._messages: deque[tuple[str, bytes, bool]] = deque()
        self._known_topics: set[str] = set()
        self._connack: Connack | None = None
        self._largest_bytes = GATHERED_BYTES
        self._retain_available = True
        self._turn = asyncio.Lock()  # fair: who comes first has the first turn
        self._lock = threading.Lock()  # of what follows
        self._pump_planned = False
        self._late_error: Exception | None = None
        self._lost = 0

    def may_take(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Whether the message can leave, as far as can be known here; if not, the asyncio client finds the words."""
        client = self._client
        if not client.connected:
            return False
        if client.connack is not self._connack:
            self._connected(client.connack)
        if retain and not self._retain_available:
            return False
        if topic not in self._known_topics:
            if not _is_topic_name(topic):
                return False
            if len(self._known_topics) >= UNACKNOWLEDGED_MESSAGES:
                self._known_topics.clear()
            self._known_topics.add(topic)
        return _HEADER_BYTES + 4 * len(topic) + len(payload) <= self._largest_bytes  # UTF-8: four bytes at most

    def take(self, topic: str, payload: bytes, retain: bool) -> None:
        """Return when it is on its way, and not too many before it."""
        messages = self._messages
        messages.append((topic, payload, retain))
        if self.closed:  # after the message is there: `give_up` finds what came before
            raise NotConnected("the client was closed meanwhile")
        if not self._pump_planned:
            with self._lock:  # whoever finds it planned knows that what it starts on the loop comes later
                if not self._pump_planned:
                    asyncio.run_coroutine_threadsafe(self._pump(), self._thread.loop)
                    self._pump_planned = True
        if len(messages) > UNACKNOWLEDGED_MESSAGES:
            self._thread.call(self._sent())

    async def in_turn(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Begin something when everything gathered so far is sent."""
        await self._sent()
        return await work()

    async def finish(self, end: Callable[[], Coroutine[Any, Any, None]], timeout: float) -> None:
        """End the client when everything is sent, or after so many seconds; what is left then fails."""
        try:
            async with asyncio.timeout(timeout):
                await self._sent()
        except TimeoutError:
            pass
        finally:
            await end()
        await self._sent()

    def give_up(self) -> None:
        """The thread has ended: what came while it did is lost."""
        if self._messages:
            self._fail(NotConnected("the client was closed meanwhile"), len(self._messages))

    def raise_late_error(self) -> None:
        """Raise the first error since the last time, if there is one, with a note of how many messages were lost."""
        if self._late_error is None:
            return
        with self._lock:
            error, self._late_error = self._late_error, None
            lost, self._lost = self._lost, 0
        if error is not None:
            error.add_note(f"QoS 0 messages of earlier calls that were not sent: {lost}")
            raise error

    async def _pump(self) -> None:
        """A task of its own, which nobody's time-out cancels: a message that it has in hand would be lost."""
        async with self._turn:
            with self._lock:
                self._pump_planned = False  # what is appended from here on asks again
            messages = self._messages
            while messages:
                topic, payload, retain = messages.popleft()
                try:
                    await self._client.publish(topic, payload, retain=retain)
                except Exception as error:
                    self._fail(error, 1)

    async def _sent(self) -> None:
        """Wait for the pump; the caller goes on before whoever waits behind it."""
        async with self._turn:
            pass

    def _fail(self, error: Exception, lost: int) -> None:
        with self._lock:
            self._late_error = self._late_error or error
            self._lost += lost

    def _connected(self, connack: Connack | None) -> None:
        """The server may have said what it does not take (3.2.2.3.5, 3.2.2.3.6)."""
        if connack is not None:
            maximum = connack.properties.integers.get(p.MAXIMUM_PACKET_SIZE, GATHERED_BYTES)
            self._largest_bytes = min(maximum, GATHERED_BYTES)
            self._retain_available = connack.properties.flag(p.RETAIN_AVAILABLE, True)
            self._connack = connack


class LoopThread:
    """A thread with an event loop, the fastest there is, and what is on its way to it."""

    def __init__(self, client: Client) -> None:
        self.loop = _new_event_loop()
        self.gathered = Gathered(client, self)
        self._thread = threading.Thread(target=self._run, name="tidewire client", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run it there and wait for its end; who is interrupted cancels it."""
        future = self.start(work)
        try:
            while True:
                try:
                    return future.result(_INTERRUPTIBLE_S)
                except TimeoutError:
                    if future.done():  # the time-out of the work, not of this wait
                        raise
        except BaseException:
            future.cancel()
            raise

    def start(self, work: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Run it there."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("the blocking client cannot be used on its own thread")
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def end(self) -> None:
        """Stop the loop, and wait for the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            pending = asyncio.all_tasks(self.loop)
            for task in pending:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()


def _is_topic_name(topic: str) -> bool:
    """Whether a message can be published to it (4.7.3)."""
    try:
        encoded = topic.encode()
        check_topic_name(encoded)
    except (UnicodeEncodeError, InvalidTopic):
        return False
    return len(encoded) <= MAXIMUM_STRING_BYTES


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 (not everywhere)
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
