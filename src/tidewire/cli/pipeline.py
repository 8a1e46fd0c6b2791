"""How are many messages published one after the other, without waiting for each and without piling them up?"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Unpack

from tidewire.client.errors import PublishError
from tidewire.client.options import PublishOptions

if TYPE_CHECKING:
    from tidewire import Client
    from tidewire.engine.client_session import Publication

WINDOW_MESSAGES: Final = 4096
"""Messages of QoS 1 and 2 handed to the client and not acknowledged: it always has the next to send."""


class Pipeline:
    """Publishes through a client, and remembers what was refused."""

    def __init__(self, client: Client) -> None:
        self.sent = 0
        self.refused = 0
        self.first_refusal: PublishError | None = None
        self._client = client
        self._waiting: deque[Publication] = deque()

    async def send(self, topic: str, payload: bytes, qos: int, retain: bool, **options: Unpack[PublishOptions]) -> None:
        """Hand a message over, as soon as there is room for it."""
        self.sent += 1
        if qos:
            if len(self._waiting) >= WINDOW_MESSAGES:
                await self._acknowledged()
            self._waiting.append(self._client.publish_nowait(topic, payload, qos=qos, retain=retain, **options))
            return
        try:
            await self._client.publish(topic, payload, retain=retain, **options)
        except PublishError as error:
            self._refused(error)

    async def finish(self) -> None:
        """Wait until the server has, or has refused, all of them."""
        while self._waiting:
            await self._acknowledged()
        await self._client.drain()

    async def _acknowledged(self) -> None:
        try:
            await self._waiting.popleft()
        except PublishError as error:
            self._refused(error)

    def _refused(self, error: PublishError) -> None:
        self.refused += 1
        self.first_refusal = self.first_refusal or error
