"""The client's side of one connection: bytes in, one packet after the other; publications and answers out.

`receive` walks once over what one read brought. PUBLISH and the acknowledgements are read in place; everything else is
rare, goes through `wire.packets.decode` and to the host. The counterpart of `engine.connection`.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from tidewire.engine.client_session import ClientSession
from tidewire.engine.limits import SUBSCRIBED_TOPICS
from tidewire.engine.link import Outgoing
from tidewire.engine.message import IDENTIFIERS
from tidewire.engine.message import Message as Sent
from tidewire.engine.ports import Transport
from tidewire.engine.publishing import PUBCOMP_HEAD, packet_identifier
from tidewire.engine.reading import Reading
from tidewire.engine.received import Inbox, Message
from tidewire.engine.reception import inboxes_of
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBLISH, PUBREC, PUBREL, V5, ReasonCode
from tidewire.wire.errors import InvalidTopic, MalformedPacket, ProtocolError, ProtocolViolation
from tidewire.wire.fields import Reader, decode_utf8, encode_two_byte_integer, encode_variable_byte_integer
from tidewire.wire.framing import find_packet
from tidewire.wire.packets import (
    Acknowledgement,
    Auth,
    Connack,
    Disconnect,
    Packet,
    Pingresp,
    Publish,
    Suback,
    Unsuback,
    decode,
)
from tidewire.wire.properties import Properties, read_properties
from tidewire.wire.topics import check_topic_name

_PINGREQ: Final = b"\xc0\x00"
_NO_PROPERTIES: Final = Properties()

PING_AFTER: Final = 0.75
"""How much of a Keep Alive may pass in silence before PINGREQ: it is to arrive within the whole [MQTT-3.1.2-20]."""

PING_PATIENCE: Final = 0.5
"""How much of a Keep Alive a PINGRESP may take: with it the time since the last packet stays below one and a half."""

ALIAS_BYTES: Final = 3
"""Topics up to this length get no alias: its property is as long."""

_USES_TO_SETTLE: Final = 3
"""How often a topic is encoded until it starts the same each time: plain, with its alias set, with the alias alone."""


class ClientConnection(Reading):
    """One network connection of a client, from CONNECT to its end."""

    def __init__(
        self,
        session: ClientSession,
        transport: Transport,
        outgoing: Outgoing,
        version: int,
        maximum_packet_size: int,
        topic_alias_maximum: int,
        now: float,
    ) -> None:
        """The maxima are those that CONNECT names: what the server may send."""
        super().__init__(transport, outgoing)
        self.session = session
        self.version = version
        self.connected = False
        """Whether CONNACK said yes."""
        self.keep_alive = 0
        """Seconds, 0 for none."""
        self.last_received = now
        self.reading_paused = False
        """Nothing is read, because an inbox that may not lose anything is full."""
        self._maximum_packet_size = maximum_packet_size
        self._checked_from: i64 = min(0x80, maximum_packet_size - 1)
        """The first Remaining Length that needs a look: it takes several bytes, or is larger than we allow."""
        self._topic_alias_maximum = topic_alias_maximum
        self._topic_aliases: dict[int, bytes] = {}
        self._known: dict[bytes, _KnownTopic] = {}
        """By topic; those that came as an alias alone, by their properties."""
        self._heads: dict[bytes, _Head] = {}
        self._heads_by_name: dict[str, _Head] = {}
        self._last_tick = now
        self._last_sent = now
        """When bytes left last, at the earliest: what was sent between two ticks counts from the first."""
        self._bytes_sent: i64 = 0
        self._pinged_at = 0.0

    # -- the connection's life

    def admitted(self, packet: Connack, window: int, keep_alive: int, now: float) -> None:
        """CONNACK said yes (3.2): from here on messages flow."""
        integers = packet.properties.integers
        self.connected = True
        self.keep_alive = keep_alive
        self.peer_maximum_packet_size = integers.get(p.MAXIMUM_PACKET_SIZE, 0)
        self.peer_topic_aliases = min(
            integers.get(p.TOPIC_ALIAS_MAXIMUM, 0), self.session.limits.outgoing_topic_aliases
        )
        self.refresh_passthrough()
        session = self.session
        session.connection = self
        if not packet.session_present:
            session.start_over()
        session.resume(self, min(window, integers.get(p.RECEIVE_MAXIMUM, 65_535)), now)

    def flush(self) -> None:
        session = self.session
        if session.store is None or session.host.may_write():
            super().flush()

    def unblocked(self, now: float) -> None:
        """The transport takes bytes again."""
        self.unblock()
        if self.connected:
            self.session.pump(now)

    def tick(self, now: float) -> str:
        """Send PINGREQ when it is time (3.1.2.10); returns what is wrong if the server does not answer."""
        if not self.connected or not self.keep_alive:
            return ""
        sent = self.outgoing.statistics.bytes_sent
        if sent != self._bytes_sent:
            self._bytes_sent = sent
            self._last_sent = self._last_tick
        self._last_tick = now
        if self.reading_paused:  # the answer may wait behind what we do not read; the server still wants its PINGREQ
            self.last_received = now
            self._pinged_at = 0.0
        if self._pinged_at > 0.0:
            if now - self._pinged_at >= self.keep_alive * PING_PATIENCE:
                return f"the server did not answer PINGREQ in {self.keep_alive * PING_PATIENCE:g} s"
        elif now - min(self._last_sent, self.last_received) >= self.keep_alive * PING_AFTER:
            self.put(_PINGREQ)
            if not self.reading_paused:
                self._pinged_at = now
        return ""

    def next_tick(self, now: float) -> float:
        """Seconds until `tick` has something to look at."""
        if self._pinged_at > 0.0:
            return max(0.05, self._pinged_at + self.keep_alive * PING_PATIENCE - now)
        # `_last_sent` is of the tick before: looked at more often than need be, PINGREQ is not much too early.
        silent_until = min(self._last_sent, self.last_received) + self.keep_alive * PING_AFTER
        return max(0.05, min(self.keep_alive / 4, silent_until - now))

    # -- publishing

    def publish_at_most_once(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Send a QoS 0 PUBLISH without properties. False: the caller should wait until the transport has caught up.

        Raises InvalidTopic, and ProtocolViolation 0x95 when the server does not take packets of that size.
        """
        head = self._heads_by_name.get(topic)
        if head is None:
            head = self._heads_by_name[topic] = self._head(self.session.encode_topic(topic))
        length = len(payload)
        first = 0x31 if retain else 0x30
        if (length != head.length or first != head.first or head.uses < _USES_TO_SETTLE) and not self._prepare(
            head, first, length
        ):
            raise ProtocolViolation(
                ReasonCode.PACKET_TOO_LARGE,
                f"the server takes packets of at most {self.peer_maximum_packet_size} bytes, not {head.size}",
            )
        outbox = self.outbox
        outbox.append(head.prefix)
        outbox.append(payload)
        self.outbox_bytes += head.size
        statistics = self.outgoing.statistics
        statistics.publish_sent += 1
        statistics.publish_bytes_sent += length
        if not self.dirty:
            self.dirty = True
            self.outgoing.dirty.append(self)
        return self.outbox_bytes < self.session.limits.early_flush_bytes

    def put_publish(self, message: Sent, packet_identifier: bytes, dup: bool, now: float) -> bool:
        """The same as `Link.put_publish`; messages without properties start as the last one of their topic did."""
        if dup or message.properties or message.expires_at > 0.0 or message.qos == 0:
            return super().put_publish(message, packet_identifier, dup, now)
        payload = message.payload
        head = self._heads.get(message.topic)
        if head is None:
            head = self._head(message.topic)
        first = 0x30 | message.qos << 1 | (1 if message.retain else 0)
        length = len(payload)
        if (length != head.length or first != head.first or head.uses < _USES_TO_SETTLE) and not self._prepare(
            head, first, length
        ):
            return False
        outbox = self.outbox
        outbox.append(head.prefix)
        outbox.append(packet_identifier)
        if head.properties:
            outbox.append(head.properties)
        outbox.append(payload)
        self.outbox_bytes += head.size
        if not self.dirty:
            self.dirty = True
            self.outgoing.dirty.append(self)
        return True

    def _head(self, topic: bytes) -> _Head:
        if len(self._heads) >= SUBSCRIBED_TOPICS:
            self._heads.clear()
            self._heads_by_name.clear()
        head = self._heads[topic] = _Head(topic)
        return head

    def _prepare(self, head: _Head, first: int, length: int) -> bool:
        """Encode all of a PUBLISH but its packet identifier and payload. False: the server takes none so large.

        An alias is set when a topic comes a second time, and with the third it goes alone (3.3.2.3.4).
        """
        topic = head.topic
        properties = b""
        alias = 0
        if self.version == V5:
            properties = b"\0"
            if head.uses > 0 and self.peer_topic_aliases and len(topic) > ALIAS_BYTES:
                alias = self._alias(topic)
                if alias:
                    properties = b"\x03\x23" + encode_two_byte_integer(abs(alias))
                if alias < 0:
                    topic = b""
        name = encode_two_byte_integer(len(topic)) + topic
        remaining = len(name) + len(properties) + length
        if first & 6:
            remaining += 2
        else:
            name += properties
        head.prefix = bytes([first]) + encode_variable_byte_integer(remaining) + name
        head.properties = properties
        head.size = len(head.prefix) + remaining - len(name)
        if self.peer_maximum_packet_size and head.size > self.peer_maximum_packet_size:
            head.length = -1
            if alias > 0 and self._aliases is not None:
                del self._aliases[topic]  # it was not set
            return False
        head.length = length
        head.first = first
        if head.uses < _USES_TO_SETTLE:
            head.uses = head.uses + 1 if self.peer_topic_aliases else _USES_TO_SETTLE
        return True

    # -- reading

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the server. Raises ProtocolViolation when it breaks the protocol."""
        if self.closed:
            return
        self.last_received = now
        self._pinged_at = 0.0
        self.outgoing.statistics.bytes_received += len(data)
        if self.kept or self.chunks is not None:
            data = self.join(data)
            if not data:
                return
        size: i64 = len(data)
        position: i64 = 0
        while position < size:
            body = position + 2
            if body > size:
                break
            length: i64 = data[position + 1]
            end: i64 = body + length
            if length >= self._checked_from:
                found_body, found_end = find_packet(data, position, self._maximum_packet_size, self.version == V5)
                body = found_body
                end = found_end
                if end < 0:
                    break
            if end > size:
                self.missing = end - size
                break
            first: i64 = data[position]
            if first >> 4 == PUBLISH and self.connected:
                end = self._publish(first, data, position, body, end, size)
            elif length == 2 and (first == 0x40 or first == 0x50 or first == 0x62 or first == 0x70) and self.connected:
                self._acknowledged(first >> 4, packet_identifier(data, body), 0, now)
            else:
                if (first == 0x40 or first == 0x50) and end - body > 2 and 0 < data[body + 2] <= 2:
                    # mochi-mqtt 2 acknowledges with the QoS, as if this were a SUBACK: it has the message
                    data = data[: body + 2] + b"\0" + data[body + 3 :]
                self._handle(decode(int(first), data, int(body), int(end), self.version), now)
            position = end
            if self.closed:
                return
        self.keep(data, position)
        if self.session.progress:
            self.session.progress = False
            if self.session.watched:
                self.session.host.progressed()

    def _publish(self, first: i64, data: bytes, start: i64, body: i64, end: i64, size: i64) -> i64:
        """A PUBLISH, and at QoS 0 all that follow it with the same head; returns where they end."""
        qos: i64 = first >> 1 & 3
        if qos == 3 or (qos == 0 and first & 8):
            raise MalformedPacket(f"PUBLISH has flags {first & 15:04b} in its fixed header")
        if body + 2 > end:
            raise MalformedPacket("PUBLISH ends before its topic")
        high: i64 = data[body]
        position: i64 = body + 2 + (high << 8 | data[body + 1])
        if position > end:
            raise MalformedPacket("the topic is longer than its packet")
        topic = data[body + 2 : position]
        identifier = b""
        if qos:
            position += 2
            if position > end:
                raise MalformedPacket("PUBLISH ends before its packet identifier")
            identifier = packet_identifier(data, position - 2)
        block_start = position
        if self.version == V5:
            if position >= end:
                raise MalformedPacket("PUBLISH ends before its properties")
            block_length: i64 = data[position]
            position += 1 + block_length
            if block_length >= 0x80:
                reader = Reader(data, int(block_start), int(end), True)
                block_length = reader.variable_byte_integer()
                position = reader.position + block_length
            if position > end:
                raise MalformedPacket("the properties are longer than their packet")
        block = data[block_start:position]
        known = self._known.get(topic if topic else block)
        if known is None or known.block != block or known.epoch != self.session.reception.epoch:
            known = self._resolve(topic, block, known)
        session = self.session
        statistics = self.outgoing.statistics
        statistics.publish_received += 1
        statistics.publish_bytes_received += end - position
        message = Message(known.topic, data[position:end], int(first & 15), known.properties, identifier, session)
        if qos:
            if session.arrived(message, identifier):
                session.deliver(message, known.encoded)
            return end
        inbox = known.inbox
        if inbox is None or first & 1:
            session.deliver(message, known.encoded)
            return end
        inbox.add(message)
        head_length = position - start
        packet_length = end - start
        head = data[start:position]
        while end + packet_length <= size and data[end : end + head_length] == head:
            position = end + head_length
            end += packet_length
            inbox.add(Message(known.topic, data[position:end], 0, known.properties, b"", session))
            statistics.publish_received += 1
            statistics.publish_bytes_received += packet_length - head_length
        return end

    def _resolve(self, topic: bytes, block: bytes, known: _KnownTopic | None) -> _KnownTopic:
        """Who gets messages of this topic with these properties."""
        properties = _NO_PROPERTIES
        encoded = topic
        with_alias = False
        if len(block) > 1:
            properties = read_properties(Reader(block, 0, len(block), True), PUBLISH)
            alias = properties.integers.get(p.TOPIC_ALIAS, -1)
            if alias >= 0:
                encoded = self._aliased(alias, topic)
                with_alias = True
            response_topic = properties.texts.get(p.RESPONSE_TOPIC)
            if response_topic is not None:
                _check_topic_name(response_topic.encode(), ReasonCode.PROTOCOL_ERROR)
        if not encoded:
            raise ProtocolError("PUBLISH has neither a topic name nor a topic alias")
        reception = self.session.reception
        inboxes = inboxes_of(reception.route(encoded, properties.subscription_identifiers), False)
        inbox = inboxes[0] if len(inboxes) == 1 else None
        if known is not None and encoded == known.encoded:
            name = known.topic
        else:
            name = decode_utf8(encoded)
            _check_topic_name(encoded, ReasonCode.TOPIC_NAME_INVALID)
        resolved = _KnownTopic(name, encoded, block, properties, inbox, reception.epoch)
        if len(self._known) >= SUBSCRIBED_TOPICS:
            self._known.clear()
        if topic and with_alias:
            self._known.clear()  # the alias may have stood for another topic
        elif len(block) > self.session.limits.remembered_properties_bytes:
            pass
        elif topic:
            self._known[topic] = resolved
        elif len(block) > 1:
            self._known[block] = resolved
        return resolved

    def _aliased(self, alias: int, topic: bytes) -> bytes:
        """The topic that an alias stands for (3.3.2.3.4)."""
        if alias == 0 or alias > self._topic_alias_maximum:
            raise ProtocolViolation(
                ReasonCode.TOPIC_ALIAS_INVALID,
                f"topic alias {alias} is not between 1 and {self._topic_alias_maximum}",
            )
        if topic:
            self._topic_aliases[alias] = topic
            return topic
        known = self._topic_aliases.get(alias)
        if known is None:
            raise ProtocolError(f"topic alias {alias} was never set")
        return known

    def _acknowledged(self, packet_type: i64, identifier: bytes, reason_code: int, now: float) -> None:
        session = self.session
        if packet_type == PUBACK:
            session.acknowledge(identifier, reason_code, now)
        elif packet_type == PUBREC:
            session.pubrec(identifier, reason_code, now)
        elif packet_type == PUBREL:
            known = session.release(identifier)
            self.put(PUBCOMP_HEAD if known or self.version != V5 else b"\x70\x03")
            self.put(identifier if known or self.version != V5 else identifier + b"\x92")
            self.outgoing.statistics.control_sent += 1
        else:
            session.complete(identifier, now)

    def _handle(self, packet: Packet, now: float) -> None:
        if (isinstance(packet, Connack) and not self.connected) or isinstance(packet, Auth | Disconnect):
            self.session.host.handle(packet)
        elif not self.connected or isinstance(packet, Connack | Publish):
            raise ProtocolError(f"{type(packet).__name__.upper()} came at the wrong time")
        elif isinstance(packet, Acknowledgement):
            identifier = IDENTIFIERS[packet.packet_identifier]
            self._acknowledged(packet.packet_type, identifier, packet.reason_code, now)
        elif isinstance(packet, Suback | Unsuback):
            self.session.host.handle(packet)
        elif not isinstance(packet, Pingresp):
            raise ProtocolError(f"{type(packet).__name__.upper()} is not for a client")


def _check_topic_name(topic: bytes, reason_code: int) -> None:
    """No wildcards [MQTT-3.3.2-2, 3.3.2-14]."""
    try:
        check_topic_name(topic)
    except InvalidTopic as error:
        raise ProtocolViolation(reason_code, str(error)) from None


class _Head:
    """How messages of one topic start, encoded once."""

    def __init__(self, topic: bytes) -> None:
        self.topic = topic
        self.uses = 0
        """How often it was encoded: with the second the alias is set, with the third only the alias is sent."""
        self.first = 0
        """The first byte of the fixed header that it was encoded for, and …"""
        self.length = -1
        """… the length of the payload."""
        self.prefix = b""
        self.properties = b""
        """What comes after the packet identifier; at QoS 0 it is part of the prefix."""
        self.size = 0


class _KnownTopic:
    """What a PUBLISH of this topic meant last time."""

    def __init__(
        self, topic: str, encoded: bytes, block: bytes, properties: Properties, inbox: Inbox | None, epoch: int
    ) -> None:
        self.topic = topic
        self.encoded = encoded
        self.block = block
        """Its properties with their length, to recognise them by."""
        self.properties = properties
        self.inbox = inbox
        """The one inbox that gets it, if it is only one."""
        self.epoch = epoch
