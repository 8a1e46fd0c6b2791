"""Quality of service (section 4.3, 4.4, 4.6): one side's messages on their way, for broker and client alike.

Outgoing QoS 1 and 2 messages take a packet identifier when they are sent, stay in `inflight` until the peer has
acknowledged them, and are sent again, in order, on the next connection. What the window or the socket does not take
waits in `queue`. Incoming QoS 2 identifiers stand in `received` from PUBLISH to PUBREL.

| state of an outgoing message | it is in | it leaves on |
|---|---|---|
| waiting | queue | room in the window: PUBLISH is sent |
| PUBLISH sent (QoS 1) | inflight | PUBACK |
| PUBLISH sent (QoS 2) | inflight | PUBREC: PUBREL is sent; a PUBREC of 0x80 or above ends it |
| PUBREL sent | inflight, as RELEASED | PUBCOMP |
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from tidewire.engine.ledger import BUDGET_EXCEEDED, EXPIRED, QUEUE_FULL, SLOW_CONSUMER, TOO_LARGE
from tidewire.engine.limits import DROP_OLDEST, Limits
from tidewire.engine.link import Link
from tidewire.engine.message import IDENTIFIERS, Message
from tidewire.engine.meter import SENT
from tidewire.engine.ports import Store
from tidewire.engine.statistics import Statistics
from tidewire.engine.timers import Timed
from tidewire.wire.codes import PUBREL
from tidewire.wire.errors import ProtocolError

if TYPE_CHECKING:
    from tidewire.engine.changes import SessionNotes

RELEASED: Final = Message(b"", b"", 2, False)
"""Stands in `inflight` for a message whose PUBREL was sent: the message itself is the peer's now [MQTT-4.3.3-6]."""

_PUBREL: Final = b"\x62\x02"
_PUBREL_NOT_FOUND: Final = b"\x62\x03"


class Delivery(Timed):
    """The delivery state of one session; it outlives its link."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.store: Store | None = None
        """Where this state is kept beyond the process, if anywhere."""
        self.notes: SessionNotes | None = None
        """What that store has noted of it."""
        self.link: Link | None = None
        self.window = limits.inflight_maximum
        """Messages that may be in flight: our limit or the peer's Receive Maximum, whichever is less (4.9)."""
        self.inflight: dict[bytes, Message] | None = None
        self.queue: deque[Message] | None = None
        self.queue_bytes = 0
        self.queue_expires_at = 0.0
        """When a message in the queue expires next, at the earliest; 0.0: none does."""
        self.holds_more = False
        """Whether a subclass has more to send, on the next `pump`, than stands in the queue."""
        self.received: set[bytes] | None = None
        self.identifier_maximum = 65_535
        """The highest packet identifier that messages take."""
        self._resend: deque[bytes] | None = None
        self._as_new = False
        """Whether what is sent again is new to the peer, which has lost the session."""
        self._last_identifier = 0

    def dropped(self, message: Message, reason: int, now: float) -> None:
        """A message will not reach the peer; `reason` is one of `engine.ledger`."""

    def settled(self, message: Message, reason_code: int) -> None:
        """The peer has acknowledged a message, or refused it (0x80 and above)."""

    def send(self, message: Message, now: float) -> bool:
        """Send a message, or keep it for later.

        False: it was dropped (`dropped` was told), or there is nobody to take QoS 0. One that is too large for the
        peer, or has expired, is dropped as well but counts as sent [MQTT-3.1.2-25].
        """
        link = self.link
        if message.qos == 0:
            return link is not None and self._send_at_most_once(link, message, now)
        store = self.store
        if link is not None and not link.blocked and self.queue is None and self._resend is None:
            inflight = self.inflight
            if inflight is None:
                inflight = self.inflight = {}
            if len(inflight) < self.window:
                at_once = message.qos == 1
                if store is not None and not at_once:
                    store.kept(self, message)
                if not self._transmit(link, inflight, message, at_once, now) and store is not None and not at_once:
                    store.settled(self, b"", message)
                return True
        if store is not None:
            store.kept(self, message)
        taken = self._enqueue(message, now)
        if not taken and store is not None:
            store.settled(self, b"", message)
        return taken

    def acknowledge(self, identifier: bytes, reason_code: int, now: float) -> None:
        """PUBACK came (3.4)."""
        inflight = self.inflight
        message = inflight.get(identifier) if inflight is not None else None
        if inflight is None or message is None:
            return  # acknowledged before, or never sent: there is nothing to repair
        if message.qos != 1:
            raise _out_of_step("PUBACK", identifier, "is in use at QoS 2")
        self._settle(inflight, identifier, message, reason_code)
        if self.queue is not None or self._resend is not None or self.holds_more:
            self.pump(now)

    def pubrec(self, identifier: bytes, reason_code: int, now: float) -> None:
        """PUBREC came (3.5): answer with PUBREL, or end here if the peer refused the message."""
        link = self.link
        inflight = self.inflight
        message = inflight.get(identifier) if inflight is not None else None
        if inflight is None or message is None:
            if reason_code < 0x80 and link is not None:
                self._put_pubrel(link, identifier, link.version == 5)
            return
        if message.qos != 2:
            raise _out_of_step("PUBREC", identifier, "is in use at QoS 1")
        if reason_code >= 0x80:
            self._settle(inflight, identifier, message, reason_code)
            if self.queue is not None or self._resend is not None or self.holds_more:
                self.pump(now)
            return
        self._no_longer_resent(identifier)
        if message is not RELEASED:
            del inflight[identifier]  # now last: PUBRELs are repeated in the order of the PUBRECs [MQTT-4.6.0-4]
            inflight[identifier] = RELEASED
            if self.store is not None:
                self.store.released(self, identifier)
                if link is not None:
                    link.hold(self.store.upcoming())  # a peer that has forgotten the identifier must not see PUBLISH
            self.settled(message, reason_code)
        if link is not None:
            self._put_pubrel(link, identifier, False)

    def complete(self, identifier: bytes, now: float) -> None:
        """PUBCOMP came (3.7)."""
        inflight = self.inflight
        if inflight is None:
            return
        message = inflight.get(identifier)
        if message is None:
            return
        if message is not RELEASED:
            raise _out_of_step("PUBCOMP", identifier, "was not released")
        self._settle(inflight, identifier, message, 0)
        if self.queue is not None or self._resend is not None or self.holds_more:
            self.pump(now)

    def receive(self, identifier: bytes) -> bool:
        """A QoS 2 PUBLISH came. False: it is one that we have already [MQTT-4.3.3-10]."""
        received = self.received
        if received is None:
            self.received = {identifier}
        elif identifier in received:
            return False
        else:
            received.add(identifier)
        if self.store is not None:
            self.store.received(self, identifier)
        return True

    def release(self, identifier: bytes) -> bool:
        """PUBREL came. False: the identifier is not known."""
        received = self.received
        if received is None or identifier not in received:
            return False
        received.remove(identifier)
        if not received:
            self.received = None
        if self.store is not None:
            self.store.forgotten(self, identifier)
        return True

    def resume(self, link: Link, window: int, now: float) -> None:
        """A connection took the session up: everything unacknowledged is sent again [MQTT-4.4.0-1].

        PUBREL at once, since the window holds back PUBLISH only [MQTT-3.3.4-10]; PUBLISH in order [MQTT-4.6.0-1].
        """
        self.link = link
        self.window = window
        if self.inflight:
            resend: deque[bytes] = deque()
            for identifier, message in self.inflight.items():
                if message is RELEASED:
                    self._put_pubrel(link, identifier, False)
                else:
                    resend.append(identifier)
            if resend:
                self._resend = resend
        self.pump(now)

    def start_over(self) -> None:
        """The peer has lost the session: before `resume`. What it has not taken is sent again, as new."""
        store = self.store
        received = self.received
        if received is not None:
            self.received = None
            if store is not None:
                for identifier in received:
                    store.forgotten(self, identifier)
        inflight = self.inflight
        if inflight is None:
            return
        for identifier in [identifier for identifier, message in inflight.items() if message is RELEASED]:
            del inflight[identifier]
            if store is not None:
                store.settled(self, identifier, RELEASED)
        self._as_new = True

    def pause(self) -> None:
        """The connection is gone; what was to be sent again starts over on the next."""
        self.link = None
        self._resend = None
        self._as_new = False

    def pump(self, now: float) -> None:
        """Send what waits, as far as window and socket allow."""
        link = self.link
        if link is None:
            return
        enough = self.limits.early_flush_bytes
        while not link.blocked and not link.closed:
            if self._resend is not None:
                if not self._resend_next(link, now):
                    return
            elif self.queue is not None:
                inflight = self.inflight
                if inflight is None:
                    inflight = self.inflight = {}
                if len(inflight) >= self.window:
                    return
                message = self.queue.popleft()
                self.queue_bytes -= message.size()
                if not self.queue:
                    self.queue = None
                statistics = link.outgoing.statistics
                packets, size = statistics.publish_sent, statistics.publish_packet_bytes_sent
                if not self._transmit(link, inflight, message, False, now) and self.store is not None:
                    self.store.settled(self, b"", message)
                count_in_branch(message, statistics, packets, size)
            else:
                return
            if link.outbox_bytes > enough:
                link.flush()

    def waiting_messages(self) -> int:
        """Messages in queue and in flight."""
        inflight = self.inflight
        queue = self.queue
        return (len(inflight) if inflight is not None else 0) + (len(queue) if queue is not None else 0)

    def _send_at_most_once(self, link: Link, message: Message, now: float) -> bool:
        if link.blocked and link.outbox_bytes + message.size() > self.limits.outbox_bytes:
            self.dropped(message, SLOW_CONSUMER, now)
            return False
        if link.barred:
            self.dropped(message, BUDGET_EXCEEDED, now)
            return False
        if message.expires_at > 0.0 and now > message.expires_at:
            self.dropped(message, EXPIRED, now)
            return False
        passthrough = link.passthrough
        before: i64 = link.outbox_bytes
        if passthrough and message.expires_at == 0.0:
            link.put(message.head_v5() if passthrough == 5 else message.head_v3())
            link.put(message.tail_v5() if passthrough == 5 else message.payload)
        elif not link.put_publish(message, b"", False, now):
            self.dropped(message, TOO_LARGE, now)
            return True
        _count_publish(link, message, link.outbox_bytes - before)
        if link.outbox_bytes > self.limits.early_flush_bytes:
            link.flush()
        return True

    def _transmit(
        self, link: Link, inflight: dict[bytes, Message], message: Message, at_once: bool, now: float
    ) -> bool:
        """Send a message, which the store has been told of unless it is sent `at_once`. False: it was dropped."""
        number = self._last_identifier
        while True:
            number = number + 1 if number < self.identifier_maximum else 1
            identifier = IDENTIFIERS[number]
            if identifier not in inflight:
                break
        if message.qos == 2 and self.store is not None:
            link.hold(self.store.upcoming())  # or the next life of the broker would send it as another message
        passthrough = link.passthrough
        before: i64 = link.outbox_bytes
        if passthrough and message.expires_at == 0.0:
            if passthrough == 5:
                head = message.head_v5()
                tail = message.tail_v5()
            else:
                head = message.head_v3()
                tail = message.payload
            outbox = link.outbox
            outbox.append(head)
            outbox.append(identifier)
            outbox.append(tail)
            link.outbox_bytes += len(head) + 2 + len(tail)
            if not link.dirty:
                link.dirty = True
                link.outgoing.dirty.append(link)
        elif message.expires_at > 0.0 and now > message.expires_at:
            self.dropped(message, EXPIRED, now)
            return False
        elif not link.put_publish(message, identifier, False, now):
            self.dropped(message, TOO_LARGE, now)
            return False
        self._last_identifier = number
        inflight[identifier] = message
        store = self.store
        if store is not None:
            if at_once:
                store.under_way(self, identifier, message)
            else:
                store.sent(self, identifier, message)
        _count_publish(link, message, link.outbox_bytes - before)
        if link.outbox_bytes > self.limits.early_flush_bytes:
            link.flush()  # now that the store has been told
        return True

    def _enqueue(self, message: Message, now: float) -> bool:
        limits = self.limits
        queue = self.queue
        waiting = len(queue) if queue is not None else 0
        size = message.size()
        if waiting >= limits.queue_messages or self.queue_bytes + size > limits.queue_bytes:
            if 0.0 < self.queue_expires_at < now:
                self.expire_queue(now)
                waiting = len(self.queue) if self.queue is not None else 0
            if limits.queue_policy == DROP_OLDEST and size <= limits.queue_bytes:
                while waiting and (waiting >= limits.queue_messages or self.queue_bytes + size > limits.queue_bytes):
                    self._drop_oldest(now)
                    waiting -= 1
            if waiting >= limits.queue_messages or self.queue_bytes + size > limits.queue_bytes:
                self.dropped(message, QUEUE_FULL, now)
                return False
            queue = self.queue
        if queue is None:
            queue = self.queue = deque()
        queue.append(message)
        self.queue_bytes += size
        if message.expires_at > 0.0 and not 0.0 < self.queue_expires_at < message.expires_at:
            self.queue_expires_at = message.expires_at
        return True

    def expire_queue(self, now: float) -> None:
        """Drop what expired while it waited; the rest keeps its order."""
        kept: deque[Message] = deque()
        expires_at = 0.0
        for message in self.queue or ():
            if 0.0 < message.expires_at < now:
                self.queue_bytes -= message.size()
                if self.store is not None:
                    self.store.settled(self, b"", message)
                self.dropped(message, EXPIRED, now)
            else:
                kept.append(message)
                if message.expires_at > 0.0 and not 0.0 < expires_at < message.expires_at:
                    expires_at = message.expires_at
        self.queue = kept if kept else None
        self.queue_expires_at = expires_at

    def _drop_oldest(self, now: float) -> None:
        """The message that waits longest will not be sent."""
        queue = self.queue
        assert queue is not None
        message = queue.popleft()
        self.queue_bytes -= message.size()
        if not queue:
            self.queue = None
        if self.store is not None:
            self.store.settled(self, b"", message)
        self.dropped(message, QUEUE_FULL, now)

    def _resend_next(self, link: Link, now: float) -> bool:
        """Send the next unacknowledged PUBLISH again. False: the window is full."""
        resend = self._resend
        inflight = self.inflight
        assert resend is not None and inflight is not None
        if len(inflight) - len(resend) >= self.window:
            return False
        identifier = resend.popleft()
        if not resend:
            self._resend = None
        message = inflight[identifier]
        before: i64 = link.outbox_bytes
        if link.put_publish(message, identifier, not self._as_new, now):
            statistics = link.outgoing.statistics
            packets, size = statistics.publish_sent, statistics.publish_packet_bytes_sent
            _count_publish(link, message, link.outbox_bytes - before)
            count_in_branch(message, statistics, packets, size)
        else:
            del inflight[identifier]
            if self.store is not None:
                self.store.settled(self, identifier, message)
            self.dropped(message, TOO_LARGE, now)
        return True

    def _settle(self, inflight: dict[bytes, Message], identifier: bytes, message: Message, reason_code: int) -> None:
        """The peer is done with a packet identifier."""
        del inflight[identifier]
        if self._resend is not None:
            self._no_longer_resent(identifier)
        if self.store is not None:
            self.store.settled(self, identifier, message)
        if message is not RELEASED:
            self.settled(message, reason_code)

    def _no_longer_resent(self, identifier: bytes) -> None:
        resend = self._resend
        if resend is not None and identifier in resend:
            resend.remove(identifier)
            if not resend:
                self._resend = None

    def _put_pubrel(self, link: Link, identifier: bytes, not_found: bool) -> None:
        if not_found:
            link.put(_PUBREL_NOT_FOUND + identifier + b"\x92")
            link.traffic.count(SENT, PUBREL, 1, 5)
        else:
            link.put(_PUBREL)
            link.put(identifier)
            link.traffic.pubrels_sent += 1
        link.outgoing.statistics.control_sent += 1


def count_in_branch(message: Message, statistics: Statistics, packets: i64, size: i64) -> None:
    """Enter into a message's branch how often it was sent since the statistics said so many packets and bytes."""
    branch = message.branch
    if branch is not None:
        sent = statistics.publish_sent - packets
        branch.publish_sent += sent
        branch.payload_sent += sent * len(message.payload)
        branch.bytes_sent += statistics.publish_packet_bytes_sent - size


def _count_publish(link: Link, message: Message, size: i64) -> None:
    """A PUBLISH of so many bytes is on its way."""
    payload: i64 = len(message.payload)
    statistics = link.outgoing.statistics
    statistics.publish_sent += 1
    statistics.publish_bytes_sent += payload
    statistics.publish_packet_bytes_sent += size
    link.publish_sent += 1
    link.payload_sent += payload


def _out_of_step(packet: str, identifier: bytes, why: str) -> ProtocolError:
    return ProtocolError(f"{packet} for packet identifier {int.from_bytes(identifier, 'big')}, which {why}")
