"""The client's side of one connection: bytes in, one packet after the other, answers onto the outbox.

`receive` walks once over what one read brought. PUBLISH and the acknowledgements are read in place; everything else is
rare, goes through `wire.packets.decode` and to the host. The counterpart of `engine.connection`.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from tidewire.engine.client_sending import ClientSending
from tidewire.engine.client_session import ClientSession
from tidewire.engine.limits import REMEMBERED_TOPICS
from tidewire.engine.link import Outgoing
from tidewire.engine.message import IDENTIFIERS
from tidewire.engine.ports import Transport
from tidewire.engine.reading import PUBCOMP_HEAD, packet_identifier
from tidewire.engine.received import Message
from tidewire.engine.reception import Interest, inboxes_of
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBLISH, PUBREC, PUBREL, V5, ReasonCode
from tidewire.wire.errors import InvalidTopic, MalformedPacket, ProtocolError, ProtocolViolation
from tidewire.wire.fields import Reader, decode_utf8
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


class ClientConnection(ClientSending):
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
        super().__init__(session, transport, outgoing, version)
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
        self._known: dict[bytes, _KnownTopic] = {}
        """By topic; those that came as an alias alone, by their properties."""
        self._last_tick = now
        self._last_sent = now
        """When bytes left last, at the earliest: what was sent between two ticks counts from the first."""
        self._bytes_sent: i64 = 0
        self._pinged_at = 0.0

    # -- the connection's life

    def admitted(self, properties: Properties, session_present: bool, window: int, keep_alive: int, now: float) -> None:
        """CONNACK said yes (3.2), with these properties: from here on messages flow."""
        integers = properties.integers
        self.connected = True
        self.keep_alive = keep_alive
        self.peer_maximum_packet_size = integers.get(p.MAXIMUM_PACKET_SIZE, 0)
        self.peer_topic_aliases = min(
            integers.get(p.TOPIC_ALIAS_MAXIMUM, 0), self.session.limits.outgoing_topic_aliases
        )
        self.refresh_passthrough()
        session = self.session
        session.connection = self
        if not session_present:
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
            elif self.connected and (
                (length == 2 and (first == 0x40 or first == 0x50 or first == 0x62 or first == 0x70))
                or self._has_qos_for_reason_code(first, data, body, end)
            ):
                self._acknowledged(first >> 4, packet_identifier(data, body), 0, now)
            else:
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
        if qos and not session.arrived(message, identifier):
            return end
        inboxes = known.inboxes if first & 1 == 0 else inboxes_of(known.interests, True)
        if qos or first & 1 or len(inboxes) != 1:
            session.deliver(message, known.encoded, known.interests, inboxes)
            return end
        inbox = inboxes[0]
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
                encoded = self.resolve_alias(topic, alias, self._topic_alias_maximum)
                with_alias = True
            response_topic = properties.texts.get(p.RESPONSE_TOPIC)
            if response_topic is not None:
                _check_topic_name(response_topic.encode(), ReasonCode.PROTOCOL_ERROR)
        if not encoded:
            raise ProtocolError("PUBLISH has neither a topic name nor a topic alias")
        reception = self.session.reception
        interests = reception.route(encoded, properties.subscription_identifiers)
        if known is not None and encoded == known.encoded:
            name = known.topic
        else:
            name = decode_utf8(encoded)
            _check_topic_name(encoded, ReasonCode.TOPIC_NAME_INVALID)
        resolved = _KnownTopic(name, encoded, block, properties, interests, reception.epoch)
        if len(self._known) >= REMEMBERED_TOPICS:
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

    def _has_qos_for_reason_code(self, first: i64, data: bytes, body: i64, end: i64) -> bool:
        """mochi-mqtt 2 acknowledges with the QoS, as if PUBACK and PUBREC were SUBACK: it has the message."""
        return (first == 0x40 or first == 0x50) and self.version == V5 and end - body > 2 and 0 < data[body + 2] <= 2

    def _acknowledged(self, packet_type: i64, identifier: bytes, reason_code: int, now: float) -> None:
        session = self.session
        if packet_type == PUBACK:
            session.acknowledge(identifier, reason_code, now)
        elif packet_type == PUBREC:
            session.pubrec(identifier, reason_code, now)
        elif packet_type == PUBREL:
            known = session.release(identifier)
            self.put_answer(PUBCOMP_HEAD, identifier, 0 if known else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
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


class _KnownTopic:
    """What a PUBLISH of this topic meant last time."""

    def __init__(
        self, topic: str, encoded: bytes, block: bytes, properties: Properties, interests: list[Interest], epoch: int
    ) -> None:
        self.topic = topic
        self.encoded = encoded
        self.block = block
        """Its properties with their length, to recognise them by."""
        self.properties = properties
        self.interests = interests
        self.inboxes = inboxes_of(interests, False)
        """Who gets it unless it is retained; found in …"""
        self.epoch = epoch
        """… this epoch of the reception."""
