"""What stands in a `mosquitto.db`? Sessions, waiting and retained messages, as the records of an export.

Mosquitto writes the file from its memory: version 5 of the format (Mosquitto 1.6) or 6 (2.x). After a head come chunks,
each with its kind, its length, a part of fixed size, then texts and bytes. Integers are big-endian, but for times and
numbers of messages: those lie as the machine has them, which is read as little-endian.

Wills and shared subscriptions are not in it, nor when and from which address a retained message came.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tidewire.store.export import ImportFault
from tidewire.store.records import (
    Delivery,
    Message,
    Record,
    Released,
    Retained,
    Session,
    Subscription,
    content,
    moment,
)
from tidewire.wire.codes import PUBLISH
from tidewire.wire.errors import ProtocolViolation
from tidewire.wire.fields import Reader, decode_utf8
from tidewire.wire.properties import read_properties
from tidewire.wire.topics import matches

VERSIONS: Final = (5, 6)
MAGIC: Final = b"\x00\xb5\x00mosquitto db"

_HEAD: Final = struct.Struct("!15s4xI")  # magic, a checksum that is never computed, version
_CHUNK: Final = struct.Struct("!II")  # kind, length
_CONFIGURATION: Final = struct.Struct("!9xB6x")  # bytes of a message's number
_MESSAGE: Final = struct.Struct(
    "!8s8sI2xHHH2xBB"
)  # number, expiry, lengths (payload, client, user, topic), QoS, RETAIN
_CLIENT_MESSAGE: Final = struct.Struct("!8sHHBBBB")  # message, packet identifier, length, QoS, state, flags, direction
_RETAINED: Final = struct.Struct("!8s")  # message
_SUBSCRIPTION: Final = struct.Struct("!IHHBB2x")  # identifier, lengths (client, filter), QoS, options
_CLIENT: Final = {5: struct.Struct("!8sI2xH"), 6: struct.Struct("!8sI2xH2xH4x")}  # end, expiry, lengths (client, user)

_NUMBER_BYTES: Final = 8
_OUTGOING: Final = 1
_RELEASED_STATES: Final = (6, 9)  # PUBREL is to be sent, or was
_QUEUED_STATE: Final = 11
_NO_LOCAL: Final = 4
_RETAIN_AS_PUBLISHED: Final = 8
_LATEST: Final = 1 << 37
"""Seconds since 1970, in the year 6325: a later time has its bytes in another order."""


@contextmanager
def open_mosquitto_db(path: Path, now: float) -> Iterator[MosquittoDB]:
    """Read the file. Raises OSError, and ImportFault as `MosquittoDB` does. Its records are there while it is open."""
    with path.open("rb") as file:
        if not file.read(1):
            raise ImportFault("is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield MosquittoDB(data, now)


class MosquittoDB:
    """The contents of a `mosquitto.db`. Payloads stay in the file until their record is asked for."""

    def __init__(self, data: mmap.mmap | bytes, now: float) -> None:
        """`now`, in seconds since 1970, says what has expired. Raises ImportFault for a damaged file, or another."""
        self.at_most_once = 0
        """Messages of QoS 0 that waited for clients: they are not taken over."""
        self.doubtful: list[str] = []
        """Clients whose user may be nobody: Mosquitto before 2.0.16 gives one without a user name that of the client
        before it, with the bytes of its length exchanged each time."""
        self._data = data
        self._now = now
        self._version = 0
        self._sessions: dict[str, Session] = {}
        self._messages: dict[bytes, _Message] = {}
        self._retained: dict[str, _Message] = {}
        self._held_back: list[tuple[str, _Message]] = []
        self._order = 0
        self._last_user = b""
        self._user_was_wrong = False
        try:
            self._read()
        except ProtocolViolation as error:
            raise ImportFault(f"is damaged: {error}") from None
        for publisher, message in self._held_back:
            self._publish(publisher, message)

    def records(self) -> Iterator[tuple[str, Record]]:
        """Its records, each with its place: sessions, messages, retained messages. Raises ImportFault."""
        for client, session in self._sessions.items():
            yield f"the session of {client!r}", session
        messages = [message for message in self._messages.values() if message.to]
        for message in sorted(messages, key=lambda message: message.to[0].order or 0):
            place = f"a message on {message.topic!r}"
            fields = self._content(message, place)
            yield place, Message(**fields, publisher=message.publisher, expires_at=message.expires_at, to=message.to)
        for message in self._retained.values():
            place = f"the retained message of {message.topic!r}"
            yield (
                place,
                Retained(
                    **self._content(message, place),
                    qos=message.qos,
                    expires_at=message.expires_at,
                    publisher=message.publisher,
                    user=message.user,
                ),
            )

    def _content(self, message: _Message, place: str) -> dict[str, Any]:
        start, end = message.rest
        payload_end = start + message.payload_bytes
        reader = Reader(self._data[payload_end:end], 0, end - payload_end, False)
        try:
            if reader.remaining() and reader.variable_byte_integer() != reader.remaining():
                raise ImportFault(f"{place} is damaged: its properties have another length")
            return content(message.topic.encode(), self._data[start:payload_end], reader.rest())
        except ProtocolViolation as error:
            raise ImportFault(f"{place} is damaged: {error}") from None

    # -- the file

    def _read(self) -> None:
        """Walk over the chunks. What they refer to stands before them."""
        head = self._data[: _HEAD.size]
        if head[: len(MAGIC)] != MAGIC:
            raise ImportFault("is no mosquitto.db: it begins otherwise")
        if len(head) < _HEAD.size:
            raise ImportFault("is cut off in its head")
        _, self._version = _HEAD.unpack(head)
        if self._version not in VERSIONS:
            raise ImportFault(
                f"is of version {self._version} of Mosquitto's format, and {VERSIONS[0]} and {VERSIONS[-1]} are read; "
                "start and stop a Mosquitto 2 on it, which writes it anew"
            )
        readers = {
            1: self._read_configuration,
            2: self._read_message,
            3: self._read_client_message,
            4: self._read_retained,
            5: self._read_subscription,
            6: self._read_client,
        }
        position = _HEAD.size
        while position < len(self._data):
            chunk = _Chunk(self._data, position)
            if chunk.kind not in readers or (position == _HEAD.size) != (chunk.kind == 1):
                raise chunk.fault(f"a chunk of kind {chunk.kind} does not belong there")
            readers[chunk.kind](chunk)
            position = chunk.end
        if position == _HEAD.size:
            raise ImportFault("is cut off after its head")

    def _read_configuration(self, chunk: _Chunk) -> None:
        (number_bytes,) = chunk.fixed(_CONFIGURATION)
        if number_bytes != _NUMBER_BYTES:
            raise chunk.fault(f"its numbers have {number_bytes} bytes, not {_NUMBER_BYTES}")

    def _read_message(self, chunk: _Chunk) -> None:
        number, expiry, payload_bytes, client, user, topic, qos, retain = chunk.fixed(_MESSAGE)
        publisher, user_name, name = chunk.text(client), chunk.text(user), chunk.text(topic)
        if payload_bytes > chunk.end - chunk.position or qos > 2:
            raise chunk.fault("a message is not what it should be")
        expires_at = chunk.time(expiry)
        if expires_at is None or expires_at.timestamp() > self._now:
            rest = (chunk.position, chunk.end)
            self._messages[number] = _Message(
                name, qos, bool(retain), publisher, user_name or None, expires_at, payload_bytes, rest
            )

    def _read_client(self, chunk: _Chunk) -> None:
        ends_at, expiry_interval, length, *user_length = chunk.fixed(_CLIENT[self._version])
        client = chunk.text(length)
        user = chunk.take(user_length[0]) if user_length else b""
        chunk.finish()
        if b"\0" in user:  # too long by that exchange, so it goes on with what follows in memory
            user = b""
            self._user_was_wrong = True
        elif user:
            if self._user_was_wrong and user == self._last_user:
                self.doubtful.append(client)
            self._user_was_wrong = False
            self._last_user = user
        if expiry_interval and client:  # else the session has ended with its connection
            self._sessions[client] = Session(client, decode_utf8(user) or None, expiry_interval, chunk.time(ends_at))

    def _read_client_message(self, chunk: _Chunk) -> None:
        number, packet_identifier, client, qos, state, flags, direction = chunk.fixed(_CLIENT_MESSAGE)
        session = self._sessions.get(chunk.text(client))
        identifiers = chunk.subscription_identifiers()
        if qos > 2 or not (packet_identifier or qos == 0 or state == _QUEUED_STATE):
            raise chunk.fault("a delivery is not what it should be")
        message = self._messages.get(number)
        if session is None or message is None:
            return  # the session or the message has ended
        self._order += 1
        if qos == 0:
            self.at_most_once += 1
        elif direction != _OUTGOING:
            session.received.append(packet_identifier)
            self._held_back.append((session.client, message))
        elif state in _RELEASED_STATES:
            session.released.append(Released(packet_identifier, self._order))
        else:
            identifier = None if state == _QUEUED_STATE else packet_identifier
            message.to.append(Delivery(session.client, self._order, qos, flags >= 0x10, identifiers, identifier))

    def _read_subscription(self, chunk: _Chunk) -> None:
        identifier, client, topic_filter, qos, options = chunk.fixed(_SUBSCRIPTION)
        session = self._sessions.get(chunk.text(client))
        subscription = Subscription(
            chunk.text(topic_filter), qos, bool(options & _NO_LOCAL), bool(options & _RETAIN_AS_PUBLISHED), identifier
        )
        chunk.finish()
        if qos > 2:
            raise chunk.fault("a subscription is not what it should be")
        if session is not None:
            session.subscriptions.append(subscription)

    def _read_retained(self, chunk: _Chunk) -> None:
        (number,) = chunk.fixed(_RETAINED)
        chunk.finish()
        message = self._messages.get(number)
        if message is not None:
            self._retained[message.topic] = message

    def _publish(self, publisher: str, message: _Message) -> None:
        """Mosquitto hands a QoS 2 message on when its PUBREL comes, Tidewire before: so it has to be done here."""
        for client, session in self._sessions.items():
            matching = [
                subscription
                for subscription in session.subscriptions
                if matches(subscription.topic_filter.encode(), message.topic.encode())
                and not (subscription.no_local and client == publisher)
            ]
            qos = max((subscription.qos for subscription in matching), default=0)
            if qos:
                self._order += 1
                retain = message.retain and any(subscription.retain_as_published for subscription in matching)
                identifiers = [subscription.identifier for subscription in matching if subscription.identifier]
                message.to.append(Delivery(client, self._order, qos, retain, identifiers))
        if message.retain:
            self._retained.pop(message.topic, None)
            if message.payload_bytes:
                self._retained[message.topic] = message


@dataclass(slots=True)
class _Message:
    topic: str
    qos: int
    retain: bool
    publisher: str
    user: str | None
    expires_at: datetime | None
    payload_bytes: int
    rest: tuple[int, int]
    """Where payload and properties stand: from, to."""
    to: list[Delivery] = field(default_factory=list)


class _Chunk:
    """One chunk, read from front to back and never past its end."""

    def __init__(self, data: mmap.mmap | bytes, start: int) -> None:
        self.start = start
        self.position = start + _CHUNK.size
        self._data = data
        if self.position > len(data):
            raise self.fault("it is cut off there")
        self.kind, length = _CHUNK.unpack_from(data, start)
        self.end = self.position + length
        if self.end > len(data):
            raise self.fault("it is cut off there")

    def fault(self, what: str) -> ImportFault:
        return ImportFault(f"is damaged at byte {self.start}: {what}")

    def fixed(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def take(self, length: int) -> bytes:
        start, self.position = self.position, self.position + length
        if self.position > self.end:
            raise self.fault("a chunk is shorter than what stands in it")
        return self._data[start : self.position]

    def text(self, length: int) -> str:
        return decode_utf8(self.take(length))

    def subscription_identifiers(self) -> list[int]:
        """The rest of the chunk, which may be properties of a delivery."""
        rest = self.take(self.end - self.position)
        return read_properties(Reader(rest, 0, len(rest), False), PUBLISH).subscription_identifiers if rest else []

    def time(self, encoded: bytes) -> datetime | None:
        at = int.from_bytes(encoded, "little", signed=True)
        if not 0 <= at < _LATEST:
            raise self.fault("its times are of a machine with another order of bytes")
        return moment(at)

    def finish(self) -> None:
        if self.position != self.end:
            raise self.fault("a chunk is longer than what stands in it")
