"""One subscription as a stream of messages: survives reconnects, acknowledges as its reader goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from tidewire.client.errors import Overflow
from tidewire.engine.received import BLOCK, DROP_NEWEST, DROP_OLDEST, ERROR, Inbox, Message
from tidewire.engine.reception import Interest
from tidewire.wire.packets import SubscriptionRequest

if TYPE_CHECKING:
    from tidewire.client.subscriptions import Subscriptions

POLICIES: Final = {"block": BLOCK, "drop_oldest": DROP_OLDEST, "drop_newest": DROP_NEWEST, "error": ERROR}

BURST_MESSAGES: Final = 256
"""Messages handed out before the stream looks whether reading can go on."""


class Stream(Inbox):
    """Messages of one `client.subscribe(…)`, in order of arrival: `async with` it, then `async for` over it.

    A QoS 1 or 2 message is acknowledged when its reader asks for the next one, so what a program has not dealt with
    when it fails comes again. With `manual_ack`, `message.ack()` does it.

    Leaving the block unsubscribes, and lets go of what was not read. When an exception leaves it, or with `keep`, the
    subscription stays in the session and what was not dealt with is not acknowledged.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        requests: list[SubscriptionRequest],
        maximum: int,
        overflow: str,
        manual_ack: bool,
        keep: bool,
    ) -> None:
        if overflow not in POLICIES:
            raise ValueError(f"overflow must be one of {', '.join(POLICIES)}, not {overflow!r}")
        if maximum < 1:
            raise ValueError(f"maximum must be at least 1, not {maximum}")
        super().__init__(maximum, POLICIES[overflow])
        self.requests = requests
        self.granted: list[int] = []
        """The QoS that the server granted, a topic filter each."""
        self.interests: list[Interest] = []
        self._subscriptions = subscriptions
        self._manual_ack = manual_ack
        self._keep = keep
        self._in_hand: set[Message] = set()
        self._error: BaseException | None = None
        self._closed = True
        self._waiters: list[asyncio.Future[None]] = []

    # -- reading

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._iterate()

    async def __anext__(self) -> Message:
        """The next message; the one before is acknowledged. Raises StopAsyncIteration once the stream is closed."""
        self._let_go()
        while not self.messages:
            if not await self._more():
                raise StopAsyncIteration
        return self._take()

    async def get(self, timeout: float | None = None) -> Message:
        """The next message, or TimeoutError after so many seconds; the one before is acknowledged."""
        async with asyncio.timeout(timeout):
            try:
                return await self.__anext__()
            except StopAsyncIteration:
                raise RuntimeError("the stream is closed") from None

    def get_nowait(self) -> Message | None:
        """The next message if there is one; the one before is acknowledged."""
        self._let_go()
        if self.messages:
            return self._take()
        if self._error is not None:
            raise self._error
        self._subscriptions.read_on()
        return None

    async def take(self, maximum: int) -> list[Message]:
        """All messages that wait, but at most so many; at least one, unless the stream is closed. For streams with
        `manual_ack`: nothing is acknowledged here."""
        while not self.messages:
            if not await self._more():
                return []
        taken = [self.messages.popleft() for _ in range(min(maximum, len(self.messages)))]
        self._subscriptions.read_on_if_below(self)
        return taken

    def give_back(self, messages: list[Message]) -> None:
        """Put messages that were taken and not dealt with in front again."""
        self.messages.extendleft(reversed(messages))

    def __len__(self) -> int:
        """Messages that wait to be read."""
        return len(self.messages)

    def __bool__(self) -> bool:
        return True

    # -- opening and closing

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and not self._keep:
            await self.close()
        else:
            self.leave()

    async def open(self) -> None:
        """Subscribe (3.8). Raises SubscribeError when the server refuses a topic filter."""
        if not self._closed:
            raise RuntimeError("the stream is open already")
        self._closed = False
        self._error = None
        try:
            await self._subscriptions.subscribe(self)
        except BaseException:
            interests = self.interests
            self.leave()
            if not self._keep:
                self._subscriptions.abandon(interests)
            raise

    async def close(self) -> None:
        """Unsubscribe, unless another stream has the same filter, and acknowledge what was not read."""
        if self._closed:
            return
        self._let_go()
        for message in self.messages:
            message.ack()
        self.messages.clear()
        interests = self.interests
        self.leave()
        await self._subscriptions.unsubscribe(interests)

    def leave(self) -> None:
        """Read no more; the subscription stays, and what was not dealt with is not acknowledged."""
        if self._closed:
            return
        self._closed = True
        self._subscriptions.detach(self, [*self._in_hand, *[message for message in self.messages if message.qos]])
        self._in_hand.clear()
        self.messages.clear()
        self.interests = []
        self.wake()

    def withdraw(self, interest: Interest) -> None:
        """One of its filters is given up; after the last the reader reads what is there, and that is all."""
        if interest in self.interests:
            self._subscriptions.detach_interest(self, interest)
            self.interests = [other for other in self.interests if other is not interest]
            self.wake()

    def fail(self, error: BaseException) -> bool:
        """Nothing more will come: the reader gets this once it has read what is there. True: somebody outside the
        client was waiting."""
        if self._error is None:
            self._error = error
        told = self._subscriptions.is_outside(self._waiters)
        self.wake()
        return told

    # -- what the engine calls

    def wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    # -- inside

    async def _iterate(self) -> AsyncIterator[Message]:
        messages = self.messages
        in_hand = self._in_hand
        subscriptions = self._subscriptions
        acknowledges = not self._manual_ack
        self._let_go()  # of what an earlier `async for` was left with
        while True:
            for _ in range(min(len(messages), BURST_MESSAGES)):
                if not messages:  # somebody else reads as well
                    break
                message = messages.popleft()
                if acknowledges and message.qos:
                    in_hand.add(message)
                    yield message
                    if message in in_hand:
                        in_hand.remove(message)
                        message.ack()
                else:
                    yield message
            subscriptions.read_on_if_below(self)
            if not messages and not await self._more():
                return

    async def _more(self) -> bool:
        """Wait for a message. False: the stream is closed. Raises what ended it."""
        if self.overflowed:
            self.overflowed = False
            raise Overflow(f"the stream had more than {self.maximum} messages waiting; {self.dropped} are lost")
        if self._error is not None:
            raise self._error
        if self._closed or not self.interests:
            return False
        self._subscriptions.read_on()
        waiter: asyncio.Future[None] = self._subscriptions.new_future()
        self._waiters.append(waiter)
        self.waiting = True
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        if not self.messages and self._error is not None:
            raise self._error
        return bool(self.messages) or not (self._closed or not self.interests)

    def _take(self) -> Message:
        message = self.messages.popleft()
        if message.qos and not self._manual_ack:
            self._in_hand.add(message)
        return message

    def _let_go(self) -> None:
        """The reader goes on: what it had in hand is dealt with."""
        if self._in_hand:
            for message in self._in_hand:
                message.ack()
            self._in_hand.clear()
