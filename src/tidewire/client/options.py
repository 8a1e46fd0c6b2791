"""What a user hands to the client: will, back-off, subscriptions, publish options. Values, checked when made."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict

import msgspec

from tidewire.engine.limits import MAXIMUM_INTERVAL
from tidewire.wire import properties as p
from tidewire.wire.codes import V5, V31, V311
from tidewire.wire.packets import SubscriptionRequest
from tidewire.wire.packets import Will as WillPacket
from tidewire.wire.properties import Properties
from tidewire.wire.topics import SHARE_PREFIX, check_topic_filter, check_topic_name

Version = Literal["5.0", "3.1.1", "3.1"]
Offline = Literal["wait", "queue", "raise"]
OverflowPolicy = Literal["block", "drop_oldest", "drop_newest", "error"]
UserProperties = Sequence[tuple[str, str]]

VERSIONS: Final[dict[str, int]] = {"5.0": V5, "3.1.1": V311, "3.1": V31}


class PublishOptions(TypedDict, total=False):
    """What `publish`, `publish_nowait` and `request` take by name beside `qos` and `retain`; all need MQTT 5.0."""

    message_expiry: int
    """Seconds after which nobody wants it any more (3.3.2.3.3)."""
    content_type: str
    """What the payload is, for whoever reads it: "application/json" (3.3.2.3.9)."""
    response_topic: str
    """Where an answer is to be published (3.3.2.3.5)."""
    correlation_data: bytes
    """What the answer must carry (3.3.2.3.6)."""
    payload_format: int
    """1: the payload is UTF-8 text (3.3.2.3.2)."""
    user_properties: UserProperties
    """Names and values, in order (3.3.2.3.7)."""


@dataclass(frozen=True, slots=True)
class Will:
    """The message that the server publishes when this client is lost (3.1.2.5). `delay` and what follows: 5.0 only."""

    topic: str
    payload: Any = b""
    qos: int = 0
    retain: bool = False
    delay: int = 0
    """Seconds that the server waits for the client to come back (3.1.3.2.2)."""
    message_expiry: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    payload_format: int | None = None
    user_properties: UserProperties = ()

    def __post_init__(self) -> None:
        check_topic_name(self.topic.encode())
        check_qos(self.qos)

    def packet(self, version: int) -> WillPacket:
        """As it travels in CONNECT. Raises ValueError for what the version does not have."""
        options: PublishOptions = {"user_properties": self.user_properties} if self.user_properties else {}
        for name in ("message_expiry", "content_type", "response_topic", "correlation_data", "payload_format"):
            if (value := getattr(self, name)) is not None:
                options[name] = value
        properties = publish_properties(options)
        if self.delay:
            properties.integers[p.WILL_DELAY_INTERVAL] = self.delay
        if version != V5 and properties != Properties():
            raise ValueError("a will has properties in MQTT 5.0 only; leave them out, or use version 5.0")
        return WillPacket(self.topic.encode(), encode_payload(self.payload), self.qos, self.retain, properties)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before connecting again: `first` seconds, `factor` times more each time, up to `maximum`.

    `jitter` is the part of each wait that is left to chance, so that a thousand clients do not come back at once.
    """

    first: float = 0.5
    maximum: float = 60.0
    factor: float = 2.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.maximum and self.factor >= 1 and 0 <= self.jitter <= 1):
            raise ValueError("a back-off needs 0 < first <= maximum, factor >= 1 and 0 <= jitter <= 1")

    def delay(self, attempt: int) -> float:
        """Seconds to wait before attempt 0, 1, 2 …"""
        longest = min(self.maximum, self.first * self.factor ** min(attempt, 64))
        return longest * (1 - self.jitter * random.random())


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter with options of its own (3.8.3.1), for `client.subscribe`; all but `qos` need MQTT 5.0."""

    topic_filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    """0: retained messages come, 1: only if the subscription is new, 2: they do not come."""

    def request(self, version: int) -> SubscriptionRequest:
        """As it travels in SUBSCRIBE. Raises InvalidTopic, or ValueError for what the version does not have."""
        encoded = self.topic_filter.encode()
        check_topic_filter(encoded)
        check_qos(self.qos)
        if self.retain_handling not in (0, 1, 2):
            raise ValueError(f"retain_handling must be 0, 1 or 2, not {self.retain_handling}")
        if version != V5 and (self.no_local or self.retain_as_published or self.retain_handling):
            raise ValueError("no_local, retain_as_published and retain_handling need MQTT 5.0")
        if self.no_local and encoded.startswith(SHARE_PREFIX):
            raise ValueError(f"{self.topic_filter!r}: a shared subscription cannot have no_local")  # [MQTT-3.8.3-4]
        return SubscriptionRequest(encoded, self.qos, self.no_local, self.retain_as_published, self.retain_handling)


@dataclass(frozen=True, slots=True)
class Authentication:
    """Enhanced authentication (4.12): the name of the method, and who answers the server's challenges.

    `callback` gets the server's Authentication Data, None at the beginning, and returns ours.
    """

    method: str
    callback: Callable[[bytes | None], bytes | Awaitable[bytes | None] | None]


def check_qos(qos: int) -> None:
    """Raise ValueError unless it is 0, 1 or 2."""
    if qos not in (0, 1, 2):
        raise ValueError(f"QoS must be 0, 1 or 2, not {qos!r}")


def encode_payload(payload: Any) -> bytes:
    """bytes as they are, text as UTF-8, None as nothing, anything else as JSON. TypeError for what has no JSON."""
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, bytearray | memoryview):
        return bytes(payload)
    if payload is None:
        return b""
    return msgspec.json.encode(payload)


def publish_properties(options: PublishOptions) -> Properties:
    """The properties of a PUBLISH or will. Raises TypeError for an option that does not exist."""
    properties = Properties()
    for name, value in options.items():
        if name == "message_expiry":
            if not 0 <= value <= MAXIMUM_INTERVAL:  # type: ignore[operator]
                raise ValueError(f"message_expiry must lie between 0 and {MAXIMUM_INTERVAL} seconds, not be {value}")
            properties.integers[p.MESSAGE_EXPIRY_INTERVAL] = value  # type: ignore[assignment]
        elif name == "payload_format":
            properties.integers[p.PAYLOAD_FORMAT_INDICATOR] = value  # type: ignore[assignment]
        elif name == "content_type":
            properties.texts[p.CONTENT_TYPE] = value  # type: ignore[assignment]
        elif name == "response_topic":
            check_topic_name(str(value).encode())
            properties.texts[p.RESPONSE_TOPIC] = value  # type: ignore[assignment]
        elif name == "correlation_data":
            properties.binaries[p.CORRELATION_DATA] = value  # type: ignore[assignment]
        elif name == "user_properties":
            properties.user_properties = list(value)  # type: ignore[call-overload]
        else:
            known = ", ".join(PublishOptions.__annotations__)
            raise TypeError(f"publish has no option {name!r}; there are: qos, retain, {known}")
    return properties
