"""What a client publishes (3.3): read in place, routed, acknowledged.

The hot path. Most messages start as the one before did, so the bytes from the fixed header to the end of the topic are
remembered with the route. Consecutive QoS 0 messages of one topic and length are a run: found by comparing bytes,
routed once, and passed on as one slice of what came in.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from tidewire.engine.ledger import RATE_EXCEEDED
from tidewire.engine.message import IDENTIFIERS, Message
from tidewire.engine.ports import Transport
from tidewire.engine.reading import Reading
from tidewire.engine.routing import Route
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBLISH, V5, ReasonCode
from tidewire.wire.errors import MalformedPacket, ProtocolError, ProtocolViolation
from tidewire.wire.fields import Reader

if TYPE_CHECKING:
    from tidewire.engine.broker import Broker
    from tidewire.engine.session import Session

PUBACK_HEAD: Final = b"\x40\x02"
PUBREC_HEAD: Final = b"\x50\x02"
PUBCOMP_HEAD: Final = b"\x70\x02"

_NO_ROUTE: Final = Route()


class Publishing(Reading):
    """The receiving side of PUBLISH on one connection."""

    def __init__(self, broker: Broker, transport: Transport) -> None:
        super().__init__(transport, broker.outgoing)
        self.broker = broker
        self.session: Session | None = None
        self._head = b""
        """Fixed header and topic of the last PUBLISH, to recognise the next by, with …"""
        self._topic = b""
        self._route = _NO_ROUTE
        self._route_epoch = -1
        self._topic_aliases: dict[int, bytes] | None = None
        self._publish_properties: _PublishProperties | None = None
        self._promises: deque[_Promise] | None = None
        self.refusing = False
        """The client has published more than it may, and can be told so."""

    def client_identifier(self) -> str:
        """Of its session; empty before there is one."""
        return self.session.client_identifier if self.session is not None else ""

    def publish_run(self, data: bytes, start: i64, body: i64, end: i64, size: i64, now: float) -> i64:
        """A QoS 0 PUBLISH without flags, and all that follow it with the same head; returns where they end."""
        topic_end = self._read_head(data, start, body, end)
        head_end = topic_end
        if self.version == V5:
            if topic_end == end:
                raise MalformedPacket("PUBLISH ends before its properties")
            if data[topic_end] != 0 or topic_end == body + 2:
                self.publish(0x30, data, start, body, end, now)
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
        if self.refusing:
            self._refuse(count, now)
        elif route is not None:
            broker.publish_run(self, route, data[start:position], topic, count, length, head_length, now)
        else:
            self._deny(topic, count, now)
        return position

    def publish(self, first: i64, data: bytes, start: i64, body: i64, end: i64, now: float) -> None:
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
            identifier = packet_identifier(data, position - 2)
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
            if (
                received is not None
                and len(received) >= broker.limits.receive_maximum
                and self.version == V5
                and identifier not in received
            ):
                raise ProtocolViolation(
                    ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, "more QoS 2 messages unfinished than Receive Maximum"
                )
            if not session.receive(identifier):
                self._answer(PUBREC_HEAD, identifier, 0)  # one that we have already [MQTT-4.3.3-10]
                return
        reason_code: int
        if self.refusing:
            reason_code = ReasonCode.QUOTA_EXCEEDED
            self._refuse(1, now)
        elif route is None:
            reason_code = broker.access.denied_code
            self._deny(topic, 1, now)
        else:
            message = Message(
                topic, data[position:end], int(qos), first & 1 != 0, properties, expires_at, session.client_identifier
            )
            if head:
                message.adopt(head, tail_v5)
            if broker.publish_hooks is None:
                reason_code = broker.publish(message, route, now, session.principal)
            else:
                reason_code = broker.publish_hooked(session, message, route, False, now)
        if qos == 0:
            return
        if qos == 2 and reason_code >= 0x80 and self.version == V5:
            session.release(identifier)
        answer = PUBACK_HEAD if qos == 1 else PUBREC_HEAD
        self._answer(answer, identifier, reason_code)

    def _answer(self, head: bytes, identifier: bytes, reason_code: int) -> None:
        """Acknowledge a message now or, with a store, when it has what is acknowledged."""
        store = self.broker.store
        if store is not None:
            ticket = store.barrier()
            if ticket or self._promises is not None:
                self._promise(_Promise(ticket, head, identifier, reason_code))
                return
        self.put_answer(head, identifier, reason_code)

    def keep_promises(self, ticket: int) -> bool:
        """Send the acknowledgements that waited for this ticket, in order. False: others still wait [MQTT-4.6.0-2]."""
        promises = self._promises
        while promises and promises[0].ticket <= ticket:
            promise = promises.popleft()
            self.put_answer(promise.answer, promise.identifier, promise.reason_code)
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

    def put_answer(self, head: bytes, identifier: bytes, reason_code: int) -> None:
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
        """The route of a topic, or None where this client may not publish to it. Remembers that of `_topic`.

        Raises Undecided, and nothing has been done then: the packet is read once more when the answer is there.
        """
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

    def _refuse(self, messages: i64, now: float) -> None:
        session = self.session
        assert session is not None
        session.drop(RATE_EXCEEDED, int(messages), now)

    def _deny(self, topic: bytes, messages: i64, now: float) -> None:
        session = self.session
        assert session is not None
        self.broker.deny_publish(session, topic, int(messages), now)

    def _read_publish_properties(self, data: bytes, position: i64, end: i64) -> _PublishProperties:
        """Read them, or recognise those of the message before: senders tend to repeat themselves."""
        last = self._publish_properties
        if last is not None and data[position : position + len(last.block)] == last.block and last.block:
            last.end = int(position) + len(last.block)
            if last.end <= end:
                return last
        reader = Reader(data, int(position), int(end), True)
        limits = self.broker.limits
        if end - position > limits.control_packet_bytes:
            if reader.variable_byte_integer() > limits.control_packet_bytes:
                raise ProtocolViolation(
                    ReasonCode.QUOTA_EXCEEDED,
                    f"the properties of a PUBLISH have more than {limits.control_packet_bytes} bytes",
                )
            reader.position = int(position)
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
        if len(read.block) <= limits.remembered_properties_bytes:
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

    def forget_publishing(self) -> None:
        """The connection has ended: let go of what it remembered."""
        self._topic_aliases = None
        self._publish_properties = None
        self._promises = None
        self._route = _NO_ROUTE


def packet_identifier(data: bytes, position: i64) -> bytes:
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
