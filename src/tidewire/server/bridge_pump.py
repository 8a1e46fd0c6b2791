"""One direction of a bridge: each message is published on the other side, and acknowledged where it came from when the
other side has acknowledged it. Many are on their way at a time, in order.

| where a message is when the process is killed | what comes of it |
|---|---|
| not yet acknowledged by the target | it waits at the source, and is sent in the next life |
| acknowledged by the target, not yet by us to the source | the same: it arrives twice, also at QoS 2 |
| acknowledged by both | nothing: it has arrived once |
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, Unpack

from tidewire.client.errors import NotConnected, PublishError, QueueFull
from tidewire.client.options import PublishOptions
from tidewire.client.stream import Stream
from tidewire.engine.received import Message
from tidewire.server.bridge_access import MARK
from tidewire.server.bridge_clients import BridgeClient
from tidewire.server.bridge_topics import Rules
from tidewire.wire import properties as p
from tidewire.wire.codes import ReasonCode
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.packets import Connack

HOPS_MAXIMUM: Final = 16
"""Brokers that a message may come through: more than any tree of brokers has, where a circle has no end."""

BURST_MESSAGES: Final = 256
"""Messages taken from a stream at a time."""

QUOTA_PAUSE_S: Final = 1.0
"""How long to wait before a message is offered again that the target has no room for now."""


@dataclass(eq=False, slots=True)
class _Crossing:
    """A QoS 1 or 2 message on its way."""

    message: Message
    publication: Awaitable[object]


@dataclass
class Trail:
    """Which brokers a message has come through, as its User Properties tell (MQTT 5.0)."""

    passed: str = ""
    """The broker that a message has come through by crossing here; empty where it is not known."""
    shunned: set[str] = field(default_factory=set)
    """Brokers that must not have had it before."""

    def closes(self, message: Message) -> bool:
        """Whether the message would go in a circle."""
        return any(name == MARK and value in self.shunned for name, value in message.user_properties)

    def is_too_long(self, message: Message) -> bool:
        """Whether it has come through so many brokers that it must be in a circle that nobody sees."""
        return sum(name == MARK for name, _ in message.user_properties) >= HOPS_MAXIMUM

    def extended(self, properties: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The User Properties with this crossing."""
        return [*properties, (MARK, self.passed)] if self.passed else properties


class Target(Protocol):
    """Where messages go: a `BridgeClient`, or what stands before one."""

    @property
    def connack(self) -> Connack | None: ...
    @property
    def has_properties(self) -> bool: ...
    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, **options: Unpack[PublishOptions]
    ) -> object: ...
    def publish_nowait(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, **options: Unpack[PublishOptions]
    ) -> Awaitable[object]: ...


class Pump:
    """Messages from a source to a target, across any number of connections of either."""

    def __init__(
        self,
        source: BridgeClient,
        target: Target,
        rules: Rules,
        answers: Rules,
        refused: Callable[[str], None],
    ) -> None:
        """`answers` are the rules of the other direction, by which a Response Topic is reached. `refused` is told why
        a message was given up."""
        self.trail = Trail()
        self.moved = 0
        """Messages that the target has."""
        self.dropped = 0
        """Messages that it did not take."""
        self._source = source
        self._target = target
        self._rules = rules
        self._answers = answers
        self._refused = refused
        self._crossing: deque[_Crossing] = deque()
        """Bounded by what the source may have unacknowledged."""
        self._changed = asyncio.Event()

    async def read(self, stream: Stream) -> None:
        """Publish what comes, until one of the sides is lost. Raises what its client failed with."""
        while messages := deque(await stream.take(BURST_MESSAGES)):
            try:
                while messages:
                    await self._move(messages[0])
                    messages.popleft()
            except BaseException:
                stream.give_back(list(messages))
                raise

    async def acknowledge(self) -> None:
        """Acknowledge to the source what the target has, until one of the sides is lost."""
        while True:
            while not self._crossing:
                self._changed.clear()
                await self._changed.wait()
            first = self._crossing[0]
            try:
                await first.publication
                self.moved += 1
            except PublishError as error:
                if error.reason_code == ReasonCode.QUOTA_EXCEEDED:
                    await asyncio.sleep(QUOTA_PAUSE_S)
                    topic = self._rules.translate(first.message.topic)
                    assert topic is not None
                    first.publication = self._send(first.message, topic)
                    continue
                self._give_up(str(error))
            first.message.ack()
            self._crossing.popleft()
            self._changed.set()

    # -- inside

    async def _move(self, message: Message) -> None:
        topic = self._rules.translate(message.topic)
        if topic is None or self.trail.closes(message):
            message.ack()  # a subscription of an earlier life, or a circle
        elif self.trail.is_too_long(message):
            self._give_up(f"{message.topic!r} came through {HOPS_MAXIMUM} brokers: there is a circle of bridges")
            message.ack()
        elif message.qos and self._quality(message):
            publication = await self._publish(message, topic)
            if publication is None:
                message.ack()
            else:
                self._crossing.append(_Crossing(message, publication))
                self._changed.set()
        else:
            await self._publish_at_most_once(message, topic)
            message.ack()

    async def _publish(self, message: Message, topic: str) -> Awaitable[object] | None:
        """Send a message as soon as there is room; None: it cannot be sent at all."""
        while True:
            try:
                return self._send(message, topic)
            except QueueFull:  # the source may send so many large ones
                self._changed.clear()
                await self._changed.wait()
            except (PublishError, InvalidTopic) as error:
                self._give_up(str(error))
                return None

    async def _publish_at_most_once(self, message: Message, topic: str) -> None:
        try:
            await self._target.publish(topic, message.payload, retain=self._retain(message), **self._options(message))
            self.moved += 1
        except (PublishError, InvalidTopic) as error:
            self._give_up(str(error))
        except NotConnected:
            self.dropped += 1

    def _send(self, message: Message, topic: str) -> Awaitable[object]:
        return self._target.publish_nowait(
            topic,
            message.payload,
            qos=self._quality(message),
            retain=self._retain(message),
            **self._options(message),
        )

    def _give_up(self, why: str) -> None:
        self.dropped += 1
        self._refused(why)

    def _quality(self, message: Message) -> int:
        """At most what the target takes (3.2.2.3.4)."""
        return min(message.qos, self._can(p.MAXIMUM_QOS, 2))

    def _retain(self, message: Message) -> bool:
        return message.retain and self._can(p.RETAIN_AVAILABLE, 1) == 1

    def _can(self, what: int, default: int) -> int:
        connack = self._target.connack
        return connack.properties.integers.get(what, default) if connack is not None else default

    def _options(self, message: Message) -> PublishOptions:
        """The properties that travel on (3.3.2.3)."""
        options: PublishOptions = {}
        if not self._target.has_properties:
            return options
        if message.message_expiry is not None:
            options["message_expiry"] = message.message_expiry
        if message.payload_format is not None:
            options["payload_format"] = message.payload_format
        if message.content_type is not None:
            options["content_type"] = message.content_type
        if message.response_topic is not None:
            answers = self._answers.origin(message.response_topic)
            options["response_topic"] = message.response_topic if answers is None else answers
        if message.correlation_data is not None:
            options["correlation_data"] = message.correlation_data
        user_properties = self.trail.extended(message.user_properties)
        if user_properties:
            options["user_properties"] = user_properties
        return options
