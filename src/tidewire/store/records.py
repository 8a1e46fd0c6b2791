"""What does a line of an export say? Each kind of line, with what may stand in it.

A line is a JSON object with its `kind`. It names what it belongs to by client identifier or topic, never by a row's
number; a message stands in an export once, with everybody whom it is for. docs/store.md describes this for its readers.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from tidewire.engine.message import Message as Published
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBLISH
from tidewire.wire.fields import Reader, encode_variable_byte_integer
from tidewire.wire.properties import Properties, read_properties
from tidewire.wire.topics import check_topic_name

FORMAT: Final = 1

Moment = Annotated[datetime, Meta(tz=True)]
Name = Annotated[str, Meta(min_length=1, max_length=65_535)]
Interval = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
QoS = Annotated[int, Meta(ge=0, le=2)]
PacketIdentifier = Annotated[int, Meta(ge=1, le=65_535)]
SubscriptionIdentifier = Annotated[int, Meta(ge=1, le=268_435_455)]
Order = Annotated[int, Meta(ge=1, le=2**62)]


class Head(Struct, tag_field="kind", tag="store"):
    """The first line."""

    format: Annotated[int, Meta(ge=1)]


class Content(Struct, omit_defaults=True, kw_only=True):
    """What a publisher said. A field at its default is left out of the line; what ends in `_base64` is bytes."""

    topic: Name
    payload: str | None = None
    """The payload where it is UTF-8 text …"""
    payload_base64: bytes | None = None
    """… and where it is not."""
    payload_format: Annotated[int, Meta(ge=0, le=1)] | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data_base64: bytes | None = None
    user_properties: list[tuple[str, str]] = []

    def body(self) -> bytes:
        """The payload."""
        return self.payload.encode() if self.payload is not None else self.payload_base64 or b""

    def published(self) -> Published:
        """As it is published. ValueError for what cannot be."""
        topic = self.topic.encode()
        check_topic_name(topic)
        if self.payload is not None and self.payload_base64 is not None:
            raise ValueError("payload and payload_base64 exclude each other")
        return Published(topic, self.body(), 0, False, self._properties())

    def _properties(self) -> bytes:
        properties = Properties()
        if self.payload_format is not None:
            properties.integers[p.PAYLOAD_FORMAT_INDICATOR] = self.payload_format
        for identifier, text in ((p.CONTENT_TYPE, self.content_type), (p.RESPONSE_TOPIC, self.response_topic)):
            if text is not None:
                properties.texts[identifier] = text
        if self.correlation_data_base64 is not None:
            properties.binaries[p.CORRELATION_DATA] = self.correlation_data_base64
        properties.user_properties = self.user_properties
        return properties.encode_body()


class Will(Content, kw_only=True):
    """A session's will."""

    qos: QoS = 0
    retain: bool = False
    message_expiry: Annotated[float, Meta(ge=0)] | None = None
    """Seconds, from its publication."""
    delay: Interval = 0
    due_at: Moment | None = None


class Subscription(Struct, omit_defaults=True):
    """A session's subscription; `identifier` 0 is none."""

    topic_filter: Name
    qos: QoS = 0
    no_local: bool = False
    retain_as_published: bool = False
    identifier: Annotated[int, Meta(ge=0, le=268_435_455)] = 0


class Released(Struct):
    """A QoS 2 message that the client has: only PUBREL is left to send. `order` as in `Delivery`."""

    packet_identifier: PacketIdentifier
    order: Order


class Session(Struct, tag_field="kind", tag="session", omit_defaults=True):
    """A session."""

    client: Name
    user: str | None = None
    expiry_interval: Interval = 0
    ends_at: Moment | None = None
    """None while it is connected."""
    will: Will | None = None
    subscriptions: list[Subscription] = []
    received: list[PacketIdentifier] = []
    """Of QoS 2 messages that the client has published, and not yet released."""
    released: list[Released] = []


class Delivery(Struct, omit_defaults=True):
    """Whom a message is for, and how."""

    client: Name
    order: Order | None = None
    """What is smaller comes first to a client. None: after everything before it in the file."""
    qos: Annotated[int, Meta(ge=1, le=2)] = 1
    retain: bool = False
    subscription_identifiers: list[SubscriptionIdentifier] = []
    packet_identifier: PacketIdentifier | None = None
    """Under which it was sent. None: it waits."""


class Message(Content, tag_field="kind", tag="message", kw_only=True):
    """A message that sessions wait for, or have not acknowledged."""

    publisher: str = ""
    """Its client identifier."""
    expires_at: Moment | None = None
    to: Annotated[list[Delivery], Meta(min_length=1)]


class Retained(Content, tag_field="kind", tag="retained", kw_only=True):
    """The retained message of a topic, and who published it when."""

    qos: QoS = 0
    expires_at: Moment | None = None
    publisher: str = ""
    user: str | None = None
    address: str = ""
    published_at: Moment | None = None


Record = Session | Message | Retained


def content(topic: bytes, payload: bytes, properties: bytes) -> dict[str, Any]:
    """The fields of a `Content`. ValueError or ProtocolViolation for what is no topic, or no properties."""
    fields: dict[str, Any] = {"topic": topic.decode()}
    try:
        fields["payload"] = payload.decode()
    except UnicodeDecodeError:
        fields["payload_base64"] = payload
    given = _decoded(properties)
    fields["payload_format"] = given.integers.get(p.PAYLOAD_FORMAT_INDICATOR)
    fields["content_type"] = given.texts.get(p.CONTENT_TYPE)
    fields["response_topic"] = given.texts.get(p.RESPONSE_TOPIC)
    fields["correlation_data_base64"] = given.binaries.get(p.CORRELATION_DATA)
    fields["user_properties"] = given.user_properties
    return fields


def moment(at: float) -> datetime | None:
    """A time of the store, 0.0 for none. ValueError where there is none like it."""
    try:
        return datetime.fromtimestamp(at, UTC) if at else None
    except (OverflowError, OSError):
        raise ValueError(f"the time {at} is none") from None


def subscription_identifiers(encoded: bytes) -> list[int]:
    """Subscription Identifiers as they travel, as numbers. Raises ProtocolViolation."""
    return _decoded(encoded).subscription_identifiers


def encoded_identifiers(identifiers: Iterable[int]) -> bytes:
    """Back again."""
    properties = Properties()
    properties.subscription_identifiers = list(identifiers)
    return properties.encode_body()


def seconds(at: datetime | None) -> float:
    """A time as the store has it; back from `moment`."""
    return 0.0 if at is None else at.timestamp()


def _decoded(properties: bytes) -> Properties:
    encoded = encode_variable_byte_integer(len(properties)) + properties
    return read_properties(Reader(encoded, 0, len(encoded), True), PUBLISH)
