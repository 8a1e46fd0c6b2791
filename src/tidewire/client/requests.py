"""The asking side of request and response (4.10): which answer belongs to which request."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

from tidewire.client.errors import NotConnected, PublishError, QueueFull, reason
from tidewire.client.lifecycle import Lifecycle
from tidewire.client.options import PublishOptions
from tidewire.engine.received import Message
from tidewire.wire import properties as p
from tidewire.wire.codes import ReasonCode

if TYPE_CHECKING:
    from tidewire.client.client import Client

RESPONSE_TOPICS: Final = 64
"""Each keeps a subscription for as long as the client: requests share one unless they are told otherwise."""


class Replies:
    """The answers to our requests: one stream, told apart by their Correlation Data."""

    def __init__(self, client: Client, life: Lifecycle) -> None:
        self.closed = False
        """Whether it has ended, so that the next request needs another."""
        self._client = client
        self._life = life
        information = ""
        if client.connack is not None:
            information = client.connack.properties.texts.get(p.RESPONSE_INFORMATION, "")
        self._topic = f"{information.rstrip('/') or 'replies'}/{client.client_id}"
        self._waiting: dict[bytes, asyncio.Future[Message]] = {}
        self._ready: dict[str, asyncio.Future[None]] = {}

    async def ask(self, topic: str, payload: Any, qos: int, options: PublishOptions) -> Message:
        """Publish a request, and wait for the answer. Raises PublishError when the server knows that nobody listens."""
        response_topic = options.setdefault("response_topic", self._topic)
        correlation = options.setdefault("correlation_data", secrets.token_bytes(8))
        await self._listen(response_topic, qos)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = answer
        try:
            code = await self._client.publish(topic, payload, qos=qos, **options)
            if code == ReasonCode.NO_MATCHING_SUBSCRIBERS:
                raise PublishError(code, f"request to {topic!r}: {reason(code)}: nobody answers there")
            return await answer
        finally:
            del self._waiting[correlation]

    async def _listen(self, response_topic: str, qos: int) -> None:
        ready = self._ready.get(response_topic)
        if ready is None:
            if len(self._ready) >= RESPONSE_TOPICS:
                raise QueueFull(f"{RESPONSE_TOPICS} response topics are in use; let requests share them")
            ready = self._ready[response_topic] = asyncio.get_running_loop().create_future()
            self._life.start(self._collect(response_topic, max(qos, 1), ready))
        await asyncio.shield(ready)

    async def _collect(self, response_topic: str, qos: int, ready: asyncio.Future[None]) -> None:
        try:
            async with self._client.subscribe(response_topic, qos=qos) as stream:
                ready.set_result(None)
                async for message in stream:
                    waiting = self._waiting.get(message.correlation_data or b"")
                    if waiting is not None and not waiting.done():
                        waiting.set_result(message)
            self._end(NotConnected("the client was closed before the answer came"), ready)
        except Exception as error:
            self._end(error, ready)
        except asyncio.CancelledError:
            self._end(NotConnected("the client was closed before the answer came"), ready)
            raise

    def _end(self, error: Exception, ready: asyncio.Future[None]) -> None:
        self.closed = True
        futures: list[asyncio.Future[Any]] = [*self._waiting.values(), ready]
        for future in futures:
            if not future.done():
                future.set_exception(error)
                future.exception()  # who asked may have been cancelled: then nobody hears it, and asyncio need not tell
