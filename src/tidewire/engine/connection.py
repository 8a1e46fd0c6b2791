"""The server's side of one connection: bytes in, one packet after the other, answers onto the outbox.

The hot path is here. `receive` walks once over what one read brought; PUBLISH and its acknowledgements are read in
place, everything else by `wire.packets.decode`. Consecutive QoS 0 messages of one topic and length are a run: found by
comparing bytes, routed once, and passed on as one slice of what came in.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from tidewire.engine.limits import MAXIMUM_INTERVAL
from tidewire.engine.link import Link
from tidewire.engine.message import IDENTIFIERS, Message
from tidewire.engine.ports import Principal, Transport
from tidewire.engine.routing import Route
from tidewire.wire import properties as p
from tidewire.wire.codes import (
    CONNECT,
    PUBLISH,
    SUBACK_FAILURE,
    V5,
    V31,
    V311,
    ConnectReturnCode,
    ReasonCode,
    return_code,
)
from tidewire.wire.errors import MalformedPacket, ProtocolError, ProtocolViolation, UnsupportedVersion
from tidewire.wire.fields import MAXIMUM_VARIABLE_BYTE_INTEGER, Reader
from tidewire.wire.framing import find_packet
from tidewire.wire.packets import (
    Acknowledgement,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
    decode,
)

if TYPE_CHECKING:
    from tidewire.engine.broker import Broker
    from tidewire.engine.session import Session

_AWAITS_CONNECT: Final = 0
_AUTHENTICATING: Final = 1
_CONNECTED: Final = 2

_PUBACK: Final = b"\x40\x02"
_PUBREC: Final = b"\x50\x02"
_PUBCOMP: Final = b"\x70\x02"
_PINGRESP: Final = b"\xd0\x00"

_NO_ROUTE: Final = Route()


class Connection(Link):
    """One client's network connection, from accept to close."""

    def __init__(self, broker: Broker, transport: Transport, peer: str, now: float) -> None:
        super().__init__(transport, broker.outgoing)
        self.broker = broker
        self.peer = peer
        """The address it comes from, for logs and access."""
        self.session: Session | None = None
        self.keep_alive = 0
        self.last_received = now
        self._state = _AWAITS_CONNECT
        self._kept = b""
        self._chunks: list[bytes] | None = None
        self._missing: i64 = 0
        self._maximum_packet_size = broker.limits.connect_packet_bytes
        self._connect: Connect | None = None
        self._reading_paused = False
        self._head = b""
        """Fixed header and topic of the last PUBLISH, to recognise the next by, with …"""
        self._topic = b""
        self._route = _NO_ROUTE
        self._route_epoch = -1
        self._topic_aliases: dict[int, bytes] | None = None
        self._publish_properties: _PublishProperties | None = None
        self._promises: deque[_Promise] | None = None
        self._deadline = now + broker.limits.connect_timeout_s
        """When a connection that is not (or not any more) connected ends, whatever else happens."""
        broker.timers.add(self._deadline, self, now)

    # -- what the server calls

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the peer. Never raises: a violation or an error of ours ends this connection only."""
        if self.closed:
            return
        self.last_received = now
        self.broker.statistics.bytes_received += len(data)
        self._receive_guarded(data, now)

    def _receive_guarded(self, data: bytes, now: float) -> None:
        try:
            self._receive(data, now)
        except ProtocolViolation as violation:
            self._violated(violation, now)
        except Exception as error:
            self._failed(error, now)
        if self.blocked and self.outbox_bytes > self.broker.limits.unread_answer_bytes and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def lost(self, detail: str, now: float) -> None:
        """The network connection is gone, and not because we closed it."""
        if not self.closed:
            self.outbox = []  # there is nobody to take it
            self.outbox_bytes = 0
            self._finish(ReasonCode.UNSPECIFIED_ERROR, detail, False, now)

    def authenticated(self, reason_code: int, principal: Principal | None, now: float) -> None:
        """The answer that `Access.authenticate` left open. Never raises."""
        if self.closed or self._state != _AUTHENTICATING:
            return
        packet = self._connect
        assert packet is not None
        self._connect = None
        try:
            self._admit(packet, reason_code, principal, now)
        except Exception as error:
            self._failed(error, now)
        if not self.closed:
            self.transport.resume_reading()
            kept = self._kept
            self._kept = b""
            self._receive_guarded(kept, now)

    def unblocked(self, now: float) -> None:
        """The transport takes bytes again."""
        self.unblock()
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        if self.session is not None and not self.closed:
            self.session.pump(now)

    def close(self, reason_code: int, detail: str, now: float) -> None:
        """End the connection from our side, with a DISCONNECT where the version has one (3.14)."""
        if self.closed:
            return
        if self.version == V5 and self._state == _CONNECTED:
            self._put_explained(Disconnect(reason_code), detail)
        self._finish(reason_code, detail, False, now)

    def due(self, now: float) -> None:
        """Connect time-out, keep-alive, and the cut of a closed connection that does not drain."""
        if (self.closed or self._state != _CONNECTED) and now < self._deadline:
            self.broker.timers.add(self._deadline, self, now)
            return
        if self.closed:
            self.transport.abort()
            return
        if self._state != _CONNECTED:
            self.close(ReasonCode.KEEP_ALIVE_TIMEOUT, "no CONNECT in time", now)
            return
        if not self.keep_alive:
            return
        deadline = self.last_received + 1.5 * self.keep_alive
        if now >= deadline:
            self.close(ReasonCode.KEEP_ALIVE_TIMEOUT, "keep alive time-out", now)
        else:
            self.broker.timers.add(deadline, self, now)

    def client_identifier(self) -> str:
        """Of its session; empty before there is one."""
        return self.session.client_identifier if self.session is not None else ""

    # -- reading

    def _receive(self, data: bytes, now: float) -> None:
        if self._kept or self._chunks is not None:
            data = self._join(data)
            if not data:
                return
        statistics = self.broker.statistics
        size: i64 = len(data)
        position: i64 = 0
        packets: i64 = 0
        while position < size:
            if self._state != _CONNECTED:
                if self._state == _AUTHENTICATING or self.closed:
                    break
                following = self._read_connect(data, position, now)
                if following == position:
                    break
                position = following
                packets += 1
                continue
            body = position + 2
            if body > size:
                break
            length: i64 = data[position + 1]
            end: i64 = body + length
            if length >= 0x80:
                found_body, found_end = find_packet(data, position, self._maximum_packet_size, self.version == V5)
                body = found_body
                end = found_end
                if end < 0:
                    break
            if end > size:
                self._missing = end - size
                break
            first: i64 = data[position]
            packets += 1
            if first == 0x30:
                following = self._publish_run(data, position, body, end, size, now)
                packets += (following - end) // (end - position)
                position = following
                continue
            if first >> 4 == PUBLISH:
                self._publish(first, data, position, body, end, now)
            elif length == 2 and (first == 0x40 or first == 0x50 or first == 0x62 or first == 0x70):
                self._acknowledged(first, _identifier(data, body), 0, now)
            elif first == 0xC0 and length == 0:
                self.put(_PINGRESP)
                statistics.control_sent += 1
            elif first == 0x10:
                raise ProtocolError("a second CONNECT")  # [MQTT-3.1.0-2], whatever it holds
            else:
                self._handle(decode(int(first), data, int(body), int(end), self.version), now)
            position = end
            if self.closed:
                break
        statistics.messages_received += packets
        if self.closed:
            return
        if position < size:
            self._kept = data[position:]
        if self._missing > 65_536:
            # A large packet on its way: collect its parts in a list, so that growing it does not copy it each time.
            self._chunks = [self._kept]
            self._kept = b""
        else:
            self._missing = 0

    def _join(self, data: bytes) -> bytes:
        """What was kept and what came; empty while a large packet is not whole."""
        chunks = self._chunks
        if chunks is None:
            data = self._kept + data
            self._kept = b""
            return data
        chunks.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return b""
        self._chunks = None
        self._missing = 0
        return b"".join(chunks)

    def _read_connect(self, data: bytes, position: i64, now: float) -> i64:
        """The first packet, which must be CONNECT [MQTT-3.1.0-1]; returns `position` while it is not whole."""
        first: i64 = data[position]
        if first >> 4 != CONNECT:
            raise ProtocolError(f"the first packet is of type {first >> 4}, not CONNECT")
        body, end = find_packet(data, position, self._maximum_packet_size)
        if end < 0 or end > len(data):
            return position
        if data[body : body + 7] == b"\x00\x04MQTT\x05":
            self.version = V5  # so that a fault in the rest of it can be answered
        packet = decode(int(first), data, body, end, V311)
        assert isinstance(packet, Connect)
        if packet.version == V5:
            find_packet(data, position, self._maximum_packet_size, True)  # now that it says what it is [MQTT-1.5.5-1]
        self._connecting(packet, now)
        return end

    def _publish_run(self, data: bytes, start: i64, body: i64, end: i64, size: i64, now: float) -> i64:
        """A QoS 0 PUBLISH without flags, and all that follow it with the same head; returns where they end."""
        topic_end = self._read_head(data, start, body, end)
        head_end = topic_end
        if self.version == V5:
            if topic_end == end:
                raise MalformedPacket("PUBLISH ends before its properties")
            if data[topic_end] != 0 or topic_end == body + 2:
                self._publish(0x30, data, start, body, end, now)
                return end
            head_end += 1
        broker = self.broker
        topic = self._topic
        route = self._route_of(topic, now)
        length = end - start
        head_length = head_end - start
        head = data[start:head_end]
        count: i64 = 1
        position = end
        while position + length <= size and data[position : position + head_length] == head:
            count += 1
            position += length
        statistics = broker.statistics
        statistics.publish_received += count
        statistics.publish_bytes_received += count * (end - head_end)
        if route is not None:
            broker.publish_run(self, route, data[start:position], topic, count, length, head_length, now)
        else:
            self._deny(topic, count, now)
        return position

    def _publish(self, first: i64, data: bytes, start: i64, body: i64, end: i64, now: float) -> None:
        """Any other PUBLISH (3.3)."""
        qos: i64 = first >> 1 & 3
        if qos == 3:
            raise MalformedPacket("PUBLISH asks for QoS 3")
        if qos == 0 and first & 8:
            raise MalformedPacket("PUBLISH at QoS 0 is marked as a duplicate")
        position = self._read_head(data, start, body, end)
        topic = self._topic
        head = self._head if first & 9 == 0 else b""
        identifier = b""
        if qos:
            position += 2
            if position > end:
                raise MalformedPacket("PUBLISH ends before its packet identifier")
            identifier = _identifier(data, position - 2)
        expires_at = 0.0
        properties = b""
        tail_v5 = b""
        if self.version == V5:
            if position < end and data[position] == 0:
                tail_v5 = data[position:end]
                position += 1
                if not topic:
                    raise ProtocolError("PUBLISH has neither a topic name nor a topic alias")
            else:
                read = self._read_publish_properties(data, position, end)
                head = b""
                position = read.end
                properties = read.kept
                if read.expiry >= 0:
                    expires_at = now + read.expiry
                if read.alias >= 0:
                    topic = self._resolve_alias(topic, read.alias)
                elif not topic:
                    raise ProtocolError("PUBLISH has neither a topic name nor a topic alias")
        session = self.session
        assert session is not None
        broker = self.broker
        route = self._route_of(topic, now)
        statistics = broker.statistics
        statistics.publish_received += 1
        statistics.publish_bytes_received += end - position
        if qos == 2:
            received = session.received
            if received is not None and self.version == V5 and identifier not in received:
                if len(received) >= broker.limits.receive_maximum:
                    raise ProtocolViolation(
                        ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, "more QoS 2 messages unfinished than Receive Maximum"
                    )
            if not session.receive(identifier):
                self._put_answer(_PUBREC, identifier, 0)  # one that we have already [MQTT-4.3.3-10]
                return
        reason_code: int
        if route is None:
            reason_code = broker.access.denied_code
            self._deny(topic, 1, now)
        else:
            message = Message(
                topic, data[position:end], int(qos), first & 1 != 0, properties, expires_at, session.client_identifier
            )
            if head:
                message.adopt(head, tail_v5)
            reason_code = broker.publish(message, route, now)
        if qos == 0:
            return
        if qos == 2 and reason_code >= 0x80 and self.version == V5:
            session.release(identifier)
        answer = _PUBACK if qos == 1 else _PUBREC
        if broker.store is not None:
            ticket = broker.store.barrier()
            if ticket or self._promises is not None:
                self._promise(_Promise(ticket, answer, identifier, reason_code))
                return
        self._put_answer(answer, identifier, reason_code)

    def keep_promises(self, ticket: int) -> bool:
        """Send the acknowledgements that waited for this ticket, in order. False: others still wait [MQTT-4.6.0-2]."""
        promises = self._promises
        while promises and promises[0].ticket <= ticket:
            promise = promises.popleft()
            self._put_answer(promise.answer, promise.identifier, promise.reason_code)
        if promises:
            return False
        self._promises = None
        return True

    def _promise(self, promise: _Promise) -> None:
        """An acknowledgement leaves when the store has what it acknowledges."""
        if self._promises is None:
            self._promises = deque()
            self.broker.await_commit(self)
        elif not promise.ticket:
            promise.ticket = self._promises[-1].ticket
        self._promises.append(promise)

    def _read_head(self, data: bytes, start: i64, body: i64, end: i64) -> i64:
        """Read the topic of a PUBLISH into `_topic`, or recognise it; returns where it ends.

        The bytes from the fixed header to the end of the topic are remembered: most messages start as the last did.
        """
        known: i64 = len(self._head)
        if known and data[start : start + known] == self._head:
            return start + known
        topic_end = body + 2
        if topic_end > end:
            raise MalformedPacket("PUBLISH ends before its topic")
        topic_length: i64 = data[body]
        topic_end += topic_length << 8 | data[body + 1]
        if topic_end > end:
            raise MalformedPacket("the topic is longer than its PUBLISH")
        topic = data[body + 2 : topic_end]
        if topic != self._topic:
            self._topic = topic
            self._route_epoch = -1
        self._head = data[start:topic_end]
        return topic_end

    def _route_of(self, topic: bytes, now: float) -> Route | None:
        """The route of a topic, or None where this client may not publish to it. Remembers that of `_topic`."""
        broker = self.broker
        is_last = topic is self._topic
        if is_last and self._route_epoch == broker.routes.epoch:
            return self._route
        session = self.session
        assert session is not None
        route = broker.route(topic)
        if not broker.may_publish(session.principal, topic):
            return None
        if is_last:
            self._route = route
            self._route_epoch = broker.routes.epoch
        return route

    def _deny(self, topic: bytes, messages: i64, now: float) -> None:
        session = self.session
        assert session is not None
        self.broker.deny_publish(session, topic, int(messages), now)

    def _put_answer(self, head: bytes, identifier: bytes, reason_code: int) -> None:
        """PUBACK, PUBREC or PUBCOMP; before 5.0 there is only the positive one [MQTT-3.3.5-2]."""
        if reason_code and self.version == V5:
            self.put(head[:1] + b"\x03" + identifier + bytes([reason_code]))
        else:
            outbox = self.outbox
            outbox.append(head)
            outbox.append(identifier)
            self.outbox_bytes += 4
            if not self.dirty:
                self.dirty = True
                self.outgoing.dirty.append(self)
        self.broker.statistics.control_sent += 1

    def _read_publish_properties(self, data: bytes, position: i64, end: i64) -> _PublishProperties:
        """Read them, or recognise those of the message before: senders tend to repeat themselves."""
        last = self._publish_properties
        if last is not None and data[position : position + len(last.block)] == last.block and last.block:
            last.end = int(position) + len(last.block)
            if last.end <= end:
                return last
        reader = Reader(data, int(position), int(end), True)
        properties = p.read_properties(reader, PUBLISH)
        if properties.subscription_identifiers:
            raise ProtocolError("a client must not send a Subscription Identifier in PUBLISH")
        response_topic = properties.texts.get(p.RESPONSE_TOPIC)
        if response_topic is not None and (not response_topic or "+" in response_topic or "#" in response_topic):
            raise ProtocolError("Response Topic must be a topic name without wildcards")
        read = _PublishProperties(
            data[position : reader.position],
            reader.position,
            properties.integers.pop(p.TOPIC_ALIAS, -1),
            properties.integers.pop(p.MESSAGE_EXPIRY_INTERVAL, -1),
            properties.encode_body(),
        )
        self._publish_properties = read
        return read

    def _resolve_alias(self, topic: bytes, alias: int) -> bytes:
        """Section 3.3.2.3.4."""
        if alias == 0 or alias > self.broker.limits.topic_alias_maximum:
            raise ProtocolViolation(
                ReasonCode.TOPIC_ALIAS_INVALID,
                f"topic alias {alias} is not between 1 and {self.broker.limits.topic_alias_maximum}",
            )
        aliases = self._topic_aliases
        if aliases is None:
            aliases = self._topic_aliases = {}
        if topic:
            aliases[alias] = topic
            return topic
        known = aliases.get(alias)
        if known is None:
            raise ProtocolError(f"topic alias {alias} was never set")
        return known

    # -- other packets

    def _acknowledged(self, first: i64, identifier: bytes, reason_code: int, now: float) -> None:
        """PUBACK, PUBREC, PUBREL or PUBCOMP of a checked form."""
        session = self.session
        assert session is not None
        if first == 0x40:
            session.acknowledge(identifier, now)
        elif first == 0x50:
            session.pubrec(identifier, reason_code, now)
        elif first == 0x70:
            session.complete(identifier, now)
        elif session.release(identifier):
            self._put_answer(_PUBCOMP, identifier, 0)
        else:
            self._put_answer(_PUBCOMP, identifier, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)

    def _handle(self, packet: Packet, now: float) -> None:
        """Everything that is not on the hot path."""
        if isinstance(packet, Subscribe):
            self._subscribe(packet, now)
        elif isinstance(packet, Unsubscribe):
            self._unsubscribe(packet, now)
        elif isinstance(packet, Acknowledgement):
            first = packet.packet_type << 4 | (2 if packet.packet_type == 6 else 0)
            self._acknowledged(first, IDENTIFIERS[packet.packet_identifier], packet.reason_code, now)
        elif isinstance(packet, Pingreq):
            self._put_packet(Pingresp())  # its length was spelled with more bytes than it needs, as 3.1.1 allows
        elif isinstance(packet, Disconnect):
            self._disconnected(packet, now)
        else:
            raise ProtocolError(f"{type(packet).__name__} is not for a server")

    def _subscribe(self, packet: Subscribe, now: float) -> None:
        """Section 3.8.4."""
        session = self.session
        assert session is not None
        broker = self.broker
        identifiers = packet.properties.subscription_identifiers
        identifier = identifiers[0] if identifiers else 0
        codes: list[int] = []
        for request in packet.requests:
            code = broker.subscribe(session, request, identifier, now)
            codes.append(SUBACK_FAILURE if code >= 0x80 and self.version != V5 else code)
        self._put_packet(Suback(packet.packet_identifier, codes))
        session.pump(now)

    def _unsubscribe(self, packet: Unsubscribe, now: float) -> None:
        """Section 3.10.4."""
        session = self.session
        assert session is not None
        codes: list[int] = []
        for topic_filter in packet.topic_filters:
            existed = self.broker.unsubscribe(session, topic_filter)
            codes.append(ReasonCode.SUCCESS if existed else ReasonCode.NO_SUBSCRIPTION_EXISTED)
        self._put_packet(Unsuback(packet.packet_identifier, codes))

    def _disconnected(self, packet: Disconnect, now: float) -> None:
        """The client says good-bye (3.14.4)."""
        session = self.session
        assert session is not None
        expiry = packet.properties.integers.get(p.SESSION_EXPIRY_INTERVAL)
        if expiry is not None:
            if session.expiry_interval == 0 and expiry != 0:
                raise ProtocolError("DISCONNECT prolongs a session that CONNECT declared to end with its connection")
            session.expiry_interval = min(expiry, self.broker.limits.session_expiry_maximum_s)
        with_will = packet.reason_code != ReasonCode.SUCCESS
        self._finish(packet.reason_code, "client disconnected", not with_will, now)

    # -- CONNECT

    def _connecting(self, packet: Connect, now: float) -> None:
        """Section 3.1.4."""
        broker = self.broker
        self.version = packet.version
        self._put_limits(packet)
        identifier = packet.client_identifier
        if not identifier and packet.version != V5 and not (packet.version == V311 and packet.clean_start):
            self._refuse(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "no client identifier", now)
            return
        if len(identifier.encode()) > broker.limits.client_identifier_bytes:
            self._refuse(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "the client identifier is too long", now)
            return
        if p.AUTHENTICATION_METHOD in packet.properties.texts:
            self._refuse(ReasonCode.BAD_AUTHENTICATION_METHOD, "no enhanced authentication is configured", now)
            return
        self._state = _AUTHENTICATING
        self._connect = packet
        answer = broker.access.authenticate(packet, self)
        if answer is None:
            self.transport.pause_reading()
        else:
            self._connect = None
            self._admit(packet, answer[0], answer[1], now)

    def _put_limits(self, packet: Connect) -> None:
        """What the client says that it can take (3.1.2.11)."""
        properties = packet.properties
        self.peer_maximum_packet_size = properties.integer(p.MAXIMUM_PACKET_SIZE, 0)
        if self.peer_maximum_packet_size > MAXIMUM_VARIABLE_BYTE_INTEGER + 5:
            self.peer_maximum_packet_size = 0
        self.peer_topic_aliases = min(
            properties.integer(p.TOPIC_ALIAS_MAXIMUM, 0), self.broker.limits.outgoing_topic_aliases
        )

    def _admit(self, packet: Connect, reason_code: int, principal: Principal | None, now: float) -> None:
        """Authentication is done: open the session and acknowledge (3.2), or refuse."""
        if reason_code or principal is None:
            self._refuse(reason_code or ReasonCode.NOT_AUTHORIZED, "authentication failed", now)
            return
        broker = self.broker
        limits = broker.limits
        connack = Connack()
        identifier = packet.client_identifier
        if not identifier:
            identifier = broker.new_client_identifier()
            connack.properties.texts[p.ASSIGNED_CLIENT_IDENTIFIER] = identifier
        if not broker.has_room_for(identifier):
            self._refuse(ReasonCode.SERVER_BUSY, "no room for another session", now)
            return
        self._set_keep_alive(packet, connack)
        asked = packet.properties.integer(p.SESSION_EXPIRY_INTERVAL, 0)
        if self.version != V5 and not packet.clean_start:
            asked = MAXIMUM_INTERVAL
        expiry_interval = min(asked, limits.session_expiry_maximum_s)
        if self.version == V5:
            integers = connack.properties.integers
            if expiry_interval != asked:
                integers[p.SESSION_EXPIRY_INTERVAL] = expiry_interval
            integers[p.RECEIVE_MAXIMUM] = limits.receive_maximum
            integers[p.MAXIMUM_PACKET_SIZE] = limits.maximum_packet_size
            integers[p.TOPIC_ALIAS_MAXIMUM] = limits.topic_alias_maximum
            if self._is_too_large(connack.encode(V5)):
                self._refuse(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, "Maximum Packet Size is too small", now)
                return
        session, present = broker.open_session(self, identifier, principal, packet.clean_start, now)
        session.expiry_interval = expiry_interval
        self._set_will(session, packet.will)
        self.session = session
        self._state = _CONNECTED
        self._maximum_packet_size = limits.maximum_packet_size
        self.refresh_passthrough()
        connack.session_present = present and self.version != V31
        self._put_packet(connack)
        broker.session_opened(session, self, present, now)
        window = min(limits.inflight_maximum, packet.properties.integer(p.RECEIVE_MAXIMUM, 65_535))
        session.resume(self, window, now)

    def _set_keep_alive(self, packet: Connect, connack: Connack) -> None:
        """Keep Alive (3.1.2.10), or ours where it is shorter and the version can say so (3.2.2.3.14)."""
        maximum = self.broker.limits.keep_alive_maximum_s
        self.keep_alive = packet.keep_alive
        if maximum and self.version == V5 and (not self.keep_alive or self.keep_alive > maximum):
            self.keep_alive = maximum
            connack.properties.integers[p.SERVER_KEEP_ALIVE] = maximum

    def _set_will(self, session: Session, will: Will | None) -> None:
        """Section 3.1.2.5."""
        session.will = None
        session.will_delay = 0
        if will is None:
            return
        session.will_delay = will.properties.integers.pop(p.WILL_DELAY_INTERVAL, 0)
        expiry = will.properties.integers.pop(p.MESSAGE_EXPIRY_INTERVAL, -1)
        session.will = Message(
            will.topic,
            will.payload,
            will.qos,
            will.retain,
            will.properties.encode_body(),
            float(expiry),  # counted from its publication: `Broker.publish_will`
            session.client_identifier,
        )

    def _refuse(self, reason_code: int, detail: str, now: float) -> None:
        """A CONNACK that says no, and the end [MQTT-3.1.4-2, 3.2.2-7]."""
        if self.version == V5:
            self._put_explained(Connack(False, reason_code), detail)
        else:
            self._put_packet(Connack(False, return_code(reason_code)))
        self._finish(reason_code, detail, False, now)

    # -- the end

    def _violated(self, violation: ProtocolViolation, now: float) -> None:
        """The peer broke the protocol (4.13)."""
        if self._state == _CONNECTED:
            self.close(violation.reason_code, violation.detail, now)
            return
        if isinstance(violation, UnsupportedVersion):
            # Every version's clients understand the 3.1.1 form [MQTT-3.1.2-2].
            self.put(Connack(False, ConnectReturnCode.UNACCEPTABLE_PROTOCOL_VERSION).encode(V311))
        elif self.version == V5:
            self._put_explained(Connack(False, violation.reason_code), violation.detail)
        self._finish(violation.reason_code, violation.detail, False, now)

    def _failed(self, error: Exception, now: float) -> None:
        """An error of ours: it is reported, and costs this connection only."""
        self.broker.events.fault(self.client_identifier(), error)
        self.close(ReasonCode.UNSPECIFIED_ERROR, "internal error", now)

    def _finish(self, reason_code: int, detail: str, without_will: bool, now: float) -> None:
        """Flush, close, and leave the session to itself."""
        broker = self.broker
        session = self.session
        self.blocked = False  # what waits is the transport's now, in front of our last word
        self.flush()
        self.closed = True
        self.passthrough = 0
        self._kept = b""
        self._chunks = None
        self._topic_aliases = None
        self._publish_properties = None
        self._promises = None
        self._route = _NO_ROUTE
        if reason_code >= 0x80 and self.transport.can_write_eof():
            # Bytes still unread would make the close a reset, and the peer might never see why: let it end the stream.
            self.transport.write_eof()
            self.transport.resume_reading()  # else the end would not be seen where reading was paused
        else:
            self.transport.close()
        self.next_look = 0.0
        self._deadline = now + broker.limits.closing_grace_s
        broker.timers.add(self._deadline, self, now)
        if session is None:
            broker.events.refused("", self.peer, reason_code, detail)
            return
        self.session = None
        broker.session_left(session, self, reason_code, detail, without_will, now)

    def _put_explained(self, packet: Connack | Disconnect, detail: str) -> None:
        """With a Reason String, unless that made it larger than the client takes [MQTT-3.2.2-19, 3.14.2-3]."""
        packet.properties.texts[p.REASON_STRING] = detail
        if self._is_too_large(packet.encode(V5)):
            del packet.properties.texts[p.REASON_STRING]
        self._put_packet(packet)

    def _put_packet(self, packet: Packet) -> None:
        encoded = packet.encode(self.version)
        if self._is_too_large(encoded):
            return  # [MQTT-3.1.2-24]: it cannot be told
        self.put(encoded)
        self.broker.statistics.control_sent += 1

    def _is_too_large(self, encoded: bytes) -> bool:
        return self.peer_maximum_packet_size > 0 and len(encoded) > self.peer_maximum_packet_size


def _identifier(data: bytes, position: i64) -> bytes:
    """A Packet Identifier as the one object that stands for it, never zero [MQTT-2.2.1-3]."""
    high: i64 = data[position]
    number = high << 8 | data[position + 1]
    if number == 0:
        raise MalformedPacket("packet identifier 0")
    return IDENTIFIERS[number]


class _Promise:
    """An acknowledgement that waits for the store."""

    def __init__(self, ticket: int, answer: bytes, identifier: bytes, reason_code: int) -> None:
        self.ticket = ticket
        self.answer = answer
        self.identifier = identifier
        self.reason_code = reason_code


class _PublishProperties:
    """The properties of a PUBLISH as the broker needs them; -1 stands for an integer that is not there."""

    def __init__(self, block: bytes, end: int, alias: int, expiry: int, kept: bytes) -> None:
        self.block = block
        """All of it, with its length, to recognise it by."""
        self.end = end
        self.alias = alias
        self.expiry = expiry
        self.kept = kept
        """What goes on to subscribers, encoded."""
