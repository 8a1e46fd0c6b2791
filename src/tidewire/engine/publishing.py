"""What a client publishes (3.3): read in place, routed, acknowledged.

The hot path. Most messages start as the one before did, so the bytes from the fixed header to the end of the topic are
remembered with the route. Consecutive QoS 0 messages of one topic and length are a run: found by comparing bytes,
routed once, and passed on as one slice of what came in.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from tidewire.engine.ledger import BUDGET_EXCEEDED, RATE_EXCEEDED
from tidewire.engine.message import Message
from tidewire.engine.ports import Store, Transport
from tidewire.engine.reading import PUBACK_HEAD, PUBREC_HEAD, Reading, packet_identifier
from tidewire.engine.routing import Route
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBLISH, V5, ReasonCode
from tidewire.wire.errors import MalformedPacket, ProtocolError, ProtocolViolation
from tidewire.wire.fields import Reader

if TYPE_CHECKING:
    from tidewire.engine.broker import Broker
    from tidewire.engine.session import Session

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
        payload = count * (end - head_end)
        statistics.publish_received += count
        statistics.publish_bytes_received += payload
        self.publish_received += count
        self.publish_bytes_received += position - start
        self.payload_received += payload
        if route is not None:
            branch = route.branch
            branch.publish_received += count
            branch.bytes_received += position - start
            branch.payload_received += payload
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
                    topic = self.resolve_alias(topic, read.alias, self.broker.limits.topic_alias_maximum)
                elif not topic:
                    raise ProtocolError("PUBLISH has neither a topic name nor a topic alias")
        session = self.session
        assert session is not None
        broker = self.broker
        route = self._route_of(topic, now)
        statistics = broker.statistics
        payload = end - position
        statistics.publish_received += 1
        statistics.publish_bytes_received += payload
        self.publish_received += 1
        self.publish_bytes_received += end - start
        self.payload_received += payload
        if route is not None:
            branch = route.branch
            branch.publish_received += 1
            branch.bytes_received += end - start
            branch.payload_received += payload
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
                if broker.store is None:  # it is one that we have already [MQTT-4.3.3-10]
                    self.put_answer(PUBREC_HEAD, identifier, 0)
                else:
                    self._answer_stored(broker.store, PUBREC_HEAD, identifier, 0, None)
                return
        reason_code: int
        message: Message | None = None
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
                reason_code = broker.publish(message, route, now, session)
            else:
                reason_code = broker.publish_hooked(session, message, route, False, now)
        if qos == 0:
            return
        if qos == 2 and reason_code >= 0x80 and self.version == V5:
            session.release(identifier)
        answer = PUBACK_HEAD if qos == 1 else PUBREC_HEAD
        if broker.store is None:
            self.put_answer(answer, identifier, reason_code)
        else:
            self._answer_stored(broker.store, answer, identifier, reason_code, message)

    def _answer_stored(
        self, store: Store, head: bytes, identifier: bytes, reason_code: int, message: Message | None
    ) -> None:
        """Acknowledge a message when the store has what is acknowledged: now, or as a promise.

        Without the message it is one that was refused, or that we have already."""
        session = self.session
        if session is None:
            return  # its connection was closed by what it published
        awaited: Message | None = None
        if message is None:
            ticket = store.barrier()
        elif message.retain or (session.store is not None and head == PUBREC_HEAD):
            ticket = max(store.barrier(), store.barrier_of(message))
        else:
            ticket = store.barrier_of(message)
            awaited = message if message.references else None
        if ticket and store.failing and self.version == V5:
            ticket = 0
            reason_code = ReasonCode.QUOTA_EXCEEDED
            if head == PUBREC_HEAD:
                session.release(identifier)
        if not ticket and self._promises is None:
            self.put_answer(head, identifier, reason_code)
            return
        if self._promises is None:
            self._promises = deque()
            self.broker.await_commit(self)
        if awaited is not None and ticket:
            awaited.awaited_by = self
        self._promises.append(_Promise(ticket, head, identifier, reason_code, awaited))

    def keep_promises(self) -> bool:
        """Send the acknowledgements of what is safe by now, in order. False: others still wait [MQTT-4.6.0-2]."""
        promises = self._promises
        committed = self.broker.committed_ticket
        while promises and promises[0].is_due(committed):
            promise = promises.popleft()
            self.put_answer(promise.answer, promise.identifier, promise.reason_code)
        if promises:
            return False
        self._promises = None
        return True

    def give_up_promises(self) -> bool:
        """The store could not keep what was to be acknowledged: 5.0 can be told. False: others still wait."""
        promises = self._promises
        if promises and self.version != V5:
            return False  # until the store can again
        session = self.session
        for promise in promises or ():
            if promise.is_due(self.broker.committed_ticket):
                self.put_answer(promise.answer, promise.identifier, promise.reason_code)
                continue
            self.put_answer(promise.answer, promise.identifier, ReasonCode.QUOTA_EXCEEDED)
            if promise.answer == PUBREC_HEAD and session is not None:
                session.release(promise.identifier)
        self._promises = None
        return True

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
        session.drop(BUDGET_EXCEEDED if self.barred else RATE_EXCEEDED, int(messages), now)

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

    def forget_publishing(self) -> None:
        """The connection has ended: let go of what it remembered."""
        self._topic_aliases = None
        self._publish_properties = None
        self._promises = None
        self._route = _NO_ROUTE


class _Promise:
    """An acknowledgement that waits for the store."""

    def __init__(
        self, ticket: int, answer: bytes, identifier: bytes, reason_code: int, awaited: Message | None
    ) -> None:
        self.ticket = ticket
        self.answer = answer
        self.identifier = identifier
        self.reason_code = reason_code
        self.awaited = awaited
        """The message, if it is safe as soon as no session needs it any more."""

    def is_due(self, committed: int) -> bool:
        return self.ticket <= committed or (self.awaited is not None and not self.awaited.references)


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
