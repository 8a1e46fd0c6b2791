"""A session (section 4.1) from the client's side: what is on its way out, and what came in and is not acknowledged.

Outgoing messages are `engine.delivery`'s. An incoming QoS 1 or 2 message is acknowledged when its readers have let it
go, and acknowledgements leave in the order of arrival [MQTT-4.6.0-2, 4.6.0-3]:

| state of an incoming message | it is in | it leaves on |
|---|---|---|
| with its readers | pending, order | all have let it go and all before it are acknowledged: PUBACK or PUBREC is sent |
| the same, of a connection that is gone | earlier | the server sends it again, on the next |
| PUBREC sent | received (`engine.delivery`) | PUBREL: PUBCOMP is sent |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from tidewire.engine.delivery import Delivery
from tidewire.engine.ledger import EXPIRED, REASONS, TOO_LARGE
from tidewire.engine.limits import REMEMBERED_TOPICS, SUBSCRIBE_IDENTIFIERS, Limits
from tidewire.engine.link import Link
from tidewire.engine.message import Message
from tidewire.engine.reading import PUBACK_HEAD, PUBREC_HEAD
from tidewire.engine.received import Inbox
from tidewire.engine.received import Message as ReceivedMessage
from tidewire.engine.reception import Interest, Reception
from tidewire.wire.codes import ReasonCode
from tidewire.wire.errors import InvalidTopic, ProtocolError
from tidewire.wire.fields import MAXIMUM_STRING_BYTES
from tidewire.wire.packets import Packet
from tidewire.wire.topics import check_topic_name

if TYPE_CHECKING:
    from tidewire.engine.client_connection import ClientConnection

PENDING = -1
"""Reason code of a publication that nobody has answered."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Host:
    """What the outside of a client session provides."""

    def handle(self, packet: Packet) -> None:
        """CONNACK, SUBACK, UNSUBACK, AUTH or DISCONNECT came."""

    def answered(self, publication: Publication) -> None:
        """A publication that somebody waits for has its reason code."""

    def wait_for(self, publication: Publication) -> Generator[Any, Any, Any]:
        """What `await publication` does."""
        raise NotImplementedError

    def progressed(self) -> None:
        """Something was acknowledged, and `ClientSession.watched` is set."""

    def consumed(self, message: ReceivedMessage) -> None:
        """A reader has let go of a QoS 1 or 2 message: call `ClientSession.consumed`, where and when it suits."""
        message.session().consumed(message)

    def may_write(self) -> bool:
        """Asked before bytes leave, where the session has a store: what it was told must be safe by then."""
        return True

    def dropped(self, publication: Publication, reason: str) -> None:
        """A publication will not be sent."""


class Publication(Message):
    """A message of ours on its way (3.3). Await it to know that the server has it; it may also be left alone."""

    def __init__(
        self,
        session: ClientSession,
        topic: bytes,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: bytes,
        expires_at: float,
    ) -> None:
        super().__init__(topic, payload, qos, retain, properties, expires_at)
        self.session = session
        self.reason_code = PENDING
        """What the server answered: below 0x80 it has it; PENDING until then."""
        self.waiter: Any = None
        """Whoever waits for the answer; the host's."""
        self.given_up = ""
        """Why it was not sent, if it was not."""

    def done(self) -> bool:
        """Whether the server has answered, or the message was given up."""
        return self.reason_code != PENDING

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.session.host.wait_for(self)

    def __repr__(self) -> str:
        state = "pending" if self.reason_code == PENDING else f"0x{self.reason_code:02x}"
        return f"Publication({self.topic.decode()!r}, qos={self.qos}, {state})"

    def settle(self, reason_code: int) -> None:
        """This is the answer; whoever waits is told."""
        self.reason_code = reason_code
        if self.waiter is not None:
            self.session.host.answered(self)


class ClientSession(Delivery):
    """What one client keeps, connected or not."""

    def __init__(self, limits: Limits, host: Host) -> None:
        super().__init__(limits)
        self.identifier_maximum = 65_535 - SUBSCRIBE_IDENTIFIERS
        self.host = host
        self.reception = Reception()
        self.connection: ClientConnection | None = None
        """The same object as `link`, while there is one."""
        self.watched = False
        """Whether the host wants to be told of progress."""
        self.progress = False
        self.publish_dropped = 0
        """Messages of ours that were given up: expired, or too large for the server."""
        self._pending: dict[bytes, ReceivedMessage] = {}
        """By packet identifier, so at most 65 535: what came on this connection and is not acknowledged."""
        self._earlier: dict[bytes, ReceivedMessage] = {}
        """The same of the connections before."""
        self._order: deque[ReceivedMessage] = deque()
        self._unsent: deque[Message] = deque()
        """QoS 0 messages that wait for a connection; their bytes are among `queue_bytes`."""
        self._subscribe_number = 0
        self._topics: dict[str, bytes] = {}
        """Topics that were published to, checked and encoded once."""

    def settled(self, message: Message, reason_code: int) -> None:
        if isinstance(message, Publication):
            message.settle(reason_code)
        self.progress = True

    def dropped(self, message: Message, reason: int, now: float) -> None:
        self.publish_dropped += 1
        self.progress = True
        if isinstance(message, Publication):
            self.host.dropped(message, REASONS[reason])
            message.settle(ReasonCode.PACKET_TOO_LARGE if reason == TOO_LARGE else ReasonCode.UNSPECIFIED_ERROR)

    def is_idle(self) -> bool:
        """Whether everything published was sent and acknowledged."""
        return self.queue is None and not self.inflight and not self._unsent

    def waiting_messages(self) -> int:
        return super().waiting_messages() + len(self._unsent)

    def unanswered(self) -> list[Message]:
        """All that somebody may wait for."""
        return [*(self.inflight or {}).values(), *(self.queue or ()), *self._unsent]

    def publish(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: bytes, expires_at: float, now: float
    ) -> Publication | None:
        """Send a message, or queue it; None: there is no room. Raises InvalidTopic."""
        encoded = self._topics.get(topic)
        if encoded is None:
            encoded = self.encode_topic(topic)
        publication = Publication(self, encoded, payload, qos, retain, properties, expires_at)
        if qos == 0:
            return publication if self._publish_at_most_once(publication, now) else None
        if self.queue_bytes and not self._has_room(self.queue, publication):
            return None
        self.send(publication, now)
        return publication

    def _publish_at_most_once(self, message: Message, now: float) -> bool:
        link = self.link
        if link is not None:
            if link.blocked and link.outbox_bytes > self.limits.outbox_bytes:
                return False
            self._send_unacknowledged(link, message, now)
        elif self._has_room(self._unsent, message):
            self._unsent.append(message)
            self.queue_bytes += message.size()
        else:
            return False
        return True

    def _has_room(self, queue: deque[Message] | None, message: Message) -> bool:
        limits = self.limits
        waiting = len(queue) if queue is not None else 0
        return waiting < limits.queue_messages and self.queue_bytes + message.size() <= limits.queue_bytes

    def _send_unacknowledged(self, link: Link, message: Message, now: float) -> None:
        """Send a QoS 0 message: that is all there is to do for it."""
        if 0.0 < message.expires_at < now:
            self.dropped(message, EXPIRED, now)
        elif link.put_publish(message, b"", False, now):
            statistics = link.outgoing.statistics
            statistics.publish_sent += 1
            statistics.publish_bytes_sent += len(message.payload)
            self.settled(message, ReasonCode.SUCCESS)
            if link.outbox_bytes > self.limits.early_flush_bytes:
                link.flush()
        else:
            self.dropped(message, TOO_LARGE, now)

    def encode_topic(self, topic: str) -> bytes:
        """A topic name as its bytes. Raises InvalidTopic unless it can be published to."""
        try:
            encoded = topic.encode()
        except UnicodeEncodeError:
            raise InvalidTopic(f"topic name {topic!r} cannot be written as UTF-8") from None
        check_topic_name(encoded)
        if len(encoded) > MAXIMUM_STRING_BYTES:
            raise InvalidTopic(f"a topic name has at most {MAXIMUM_STRING_BYTES} bytes, not {len(encoded)}")
        if len(self._topics) >= REMEMBERED_TOPICS:
            self._topics.clear()
        self._topics[topic] = encoded
        return encoded

    def complete(self, identifier: bytes, now: float) -> None:
        super().complete(identifier, now)
        self.progress = True  # `settled` was told with PUBREC, when the message was still in flight

    def restore(self, inflight: dict[bytes, Message], queue: list[Message], received: set[bytes]) -> None:
        """Take up what an outbox has kept of the last life of the program."""
        self.inflight = inflight if inflight else None
        self.queue = deque(queue) if queue else None
        self.queue_bytes = sum([message.size() for message in [*queue, *self._unsent]])
        self.received = received if received else None

    def new_subscribe_identifier(self) -> int:
        """A packet identifier for SUBSCRIBE or UNSUBSCRIBE: from a range of its own, so that none is in use twice."""
        self._subscribe_number = (self._subscribe_number + 1) % SUBSCRIBE_IDENTIFIERS
        return 65_535 - self._subscribe_number

    def pause(self) -> None:
        """The connection is gone: what was not acknowledged comes again, on the next."""
        super().pause()
        self.connection = None
        self._earlier.update(self._pending)
        self._pending.clear()
        self._order.clear()

    def resume(self, link: Link, window: int, now: float) -> None:
        super().resume(link, window, now)
        while self._unsent and not link.closed:
            message = self._unsent.popleft()
            self.queue_bytes -= message.size()
            self._send_unacknowledged(link, message, now)
        self.progress = True

    def start_over(self) -> None:
        """The server has lost the session; what came before cannot be acknowledged any more."""
        super().start_over()
        self._earlier.clear()
        self.reception.inherits = False

    def arrived(self, message: ReceivedMessage, identifier: bytes) -> bool:
        """A QoS 1 or 2 PUBLISH came. False: it is one that its readers have or had already."""
        if message.qos == 2:
            received = self.received
            if received is not None and identifier in received:
                self._acknowledge(identifier, 2)  # our PUBREC was lost [MQTT-4.3.3-10]
                return False
        unanswered = self._pending.get(identifier)
        if unanswered is not None:
            if _is_same(unanswered, message):
                return False  # before 5.0 a server may repeat itself on one connection: one answer will do
            raise ProtocolError(f"packet identifier {message.packet_identifier} is in use [MQTT-2.2.1-4]")
        before = self._earlier.pop(identifier, None) if self._earlier else None
        if before is not None and (message.dup or message.qos == 2) and _is_same(before, message):
            self._pending[identifier] = before
            self._order.append(before)
            if before.readers == 0:
                self._acknowledge_in_order()
            return False
        self._pending[identifier] = message
        self._order.append(message)
        return True

    def deliver(self, message: ReceivedMessage, topic: bytes, interests: list[Interest], inboxes: list[Inbox]) -> None:
        """Give a message to all who want it: the inboxes of the interests that it comes for."""
        if not inboxes:
            reception = self.reception
            if message.qos and reception.may_be_wanted(interests, topic):
                message.readers = 1
                reception.parked.append(message)  # bounded by the Receive Maximum, as it is not acknowledged
                return
            reception.unclaimed += 1
            if message.qos:
                self.consumed(message)
            return
        message.readers = len(inboxes)
        for inbox in inboxes:
            if not inbox.add(message):
                self.consumed(message)

    def consumed(self, message: ReceivedMessage) -> None:
        """One reader has let go of a QoS 1 or 2 message; after the last it is acknowledged."""
        if message.readers > 1:
            message.readers -= 1
            return
        message.readers = 0
        self._acknowledge_in_order()

    def _acknowledge_in_order(self) -> None:
        order = self._order
        while order and order[0].readers == 0:
            message = order.popleft()
            identifier = message.identifier()
            del self._pending[identifier]
            if message.qos == 2:
                self.receive(identifier)
            self._acknowledge(identifier, message.qos)

    def _acknowledge(self, identifier: bytes, qos: int) -> None:
        connection = self.connection
        if connection is not None:
            connection.put_answer(PUBACK_HEAD if qos == 1 else PUBREC_HEAD, identifier, 0)


def _is_same(before: ReceivedMessage, message: ReceivedMessage) -> bool:
    """Whether a PUBLISH says what the one before with its packet identifier said."""
    return before.qos == message.qos and before.topic == message.topic and before.payload == message.payload
