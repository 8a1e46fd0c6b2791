"""A session (section 4.1): what the broker keeps for a client, connected or not."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from tidewire.engine.delivery import RELEASED, Delivery, count_in_branch
from tidewire.engine.ledger import BURST_PAUSE_S, REASONS, Ledger
from tidewire.engine.message import Message
from tidewire.engine.ports import Principal, StoredSession
from tidewire.engine.retained import RetainedDelivery
from tidewire.engine.routing import Subscription

if TYPE_CHECKING:
    from tidewire.engine.broker import Broker
    from tidewire.engine.connection import Connection


class Session(Delivery):
    """Client Identifier, subscriptions, will, expiry and drop ledger, on top of the delivery state."""

    def __init__(self, broker: Broker, client_identifier: str, principal: Principal) -> None:
        super().__init__(broker.limits)
        self.broker = broker
        self.client_identifier = client_identifier
        self.only_looks = False
        """Whether it is the broker's own, and no subscriber as far as publishers are told."""
        self.principal = principal
        self.connection: Connection | None = None
        """The same object as `link`, while there is one."""
        self.address = ""
        """Where its client connected from last."""
        self.subscriptions: dict[bytes, Subscription] | None = None
        self.expiry_interval = 0
        """Seconds that the session outlives its connection."""
        self.ends_at = 0.0
        """When the session ends, 0.0 while it is connected."""
        self.kept = False
        """The store knows of it: it outlives its connection, or has a will that must not be lost."""
        self.will: Message | None = None
        self.will_delay = 0
        self.will_at = 0.0
        """When the will is published, 0.0 while it is not due."""
        self.ledger: Ledger | None = None
        self._retained: OrderedDict[bytes, RetainedDelivery] | None = None
        """Topic filter → its retained messages that are still to come, in the order of the subscriptions."""

    def due(self, now: float) -> None:
        """Will delay, session expiry, the end of a burst of drops."""
        broker = self.broker
        if 0.0 < self.will_at <= now:
            broker.publish_will(self, now)
        if 0.0 < self.ends_at <= now:
            broker.statistics.sessions_expired += 1
            broker.end_session(self, now)
            return
        ledger = self.ledger
        if ledger is not None and now - ledger.last_drop >= BURST_PAUSE_S:
            for reason, messages in ledger.end_burst():
                broker.events.dropped(self.client_identifier, reason, messages)
        self.plan(now)

    def plan(self, now: float) -> None:
        """Ask to be looked at when the next deadline comes."""
        timers = self.broker.timers
        if self.will_at > 0.0:
            timers.add(self.will_at, self, now)
        if self.ends_at > 0.0:
            timers.add(self.ends_at, self, now)
        ledger = self.ledger
        if ledger is not None and ledger.in_burst():
            timers.add(ledger.last_drop + BURST_PAUSE_S, self, now)

    def dropped(self, message: Message, reason: int, now: float) -> None:
        self.drop(reason, 1, now)

    def drop(self, reason: int, messages: int, now: float) -> None:
        """Enter messages that this session will not get into its ledger and the broker's."""
        ledger = self.ledger
        if ledger is None:
            ledger = self.ledger = Ledger()
        broker = self.broker
        broker.ledger.add(reason, messages, now)
        broker.statistics.publish_dropped += messages
        if ledger.add(reason, messages, now):
            broker.events.dropped(self.client_identifier, REASONS[reason], messages)
            self.plan(now)

    def pump(self, now: float) -> None:
        """Queue first, then retained messages of new subscriptions."""
        super().pump(now)
        if self._retained is not None:
            self.deliver_retained(now)

    def add_retained(self, delivery: RetainedDelivery) -> None:
        """Retained messages for a new subscription, to be delivered as the socket takes them."""
        waiting = self._retained
        if waiting is None:
            waiting = self._retained = OrderedDict()
        before = waiting.get(delivery.topic_filter)
        if before is not None:
            before.repeat_as(delivery)
        else:
            waiting[delivery.topic_filter] = delivery
        self.holds_more = True

    def forget_retained(self, topic_filter: bytes) -> None:
        """The subscription has ended: no more of its retained messages [MQTT-3.10.4-2]."""
        waiting = self._retained
        if waiting is not None and topic_filter in waiting:
            del waiting[topic_filter]
            if not waiting:
                self._retained = None
                self.holds_more = False

    def deliver_retained(self, now: float) -> None:
        """A burst of retained messages; the rest after the others had their turn."""
        waiting = self._retained
        link = self.link
        broker = self.broker
        access = broker.access
        budget = self.limits.retained_burst
        while waiting and link is not None and not link.blocked and not link.closed:
            if budget <= 0:
                broker.later(self)
                return
            delivery = next(iter(waiting.values()))
            walk = delivery.walk
            if walk is None:
                walk = delivery.walk = broker.retained.walk(delivery.topic_filter, delivery.last_number)
            if delivery.position >= len(walk.found):
                if not walk.is_done():
                    budget -= walk.go_on(budget)
                elif not delivery.begin_again():
                    del waiting[delivery.topic_filter]
                continue
            message = walk.found[delivery.position]
            qos = min(message.qos, delivery.qos)
            if qos and (self.queue is not None or self.waiting_messages() >= self.window):
                return  # the next acknowledgement comes back here
            delivery.position += 1
            budget -= 1
            if not broker.retained.is_kept(message, access):
                continue
            if 0.0 < message.expires_at < now:
                broker.retained.expire(message)
                continue
            if delivery.no_local and message.publisher == self.client_identifier:
                continue  # [MQTT-3.8.3-3]
            if not access.unrestricted and not access.may_read(self.principal, message.topic):
                continue
            statistics = broker.statistics
            packets, size = statistics.publish_sent, statistics.publish_packet_bytes_sent
            self.send(message.variant(qos, True, delivery.identifier), now)
            count_in_branch(message, statistics, packets, size)
        if not waiting:
            self._retained = None
            self.holds_more = False

    def discard_queue(self) -> int:
        """Let go of everything that waits; returns how many messages are lost by that."""
        lost = self.waiting_messages()
        for message in (self.inflight or {}).values():
            if message is RELEASED:  # the client has it
                lost -= 1
        self.queue = None
        self.queue_bytes = 0
        self.queue_expires_at = 0.0
        self.inflight = None
        self.received = None
        self._retained = None
        self.holds_more = False
        return lost

    def restore(self, stored: StoredSession, now: float) -> None:
        """Take up what a store has kept of this session, but for its subscriptions."""
        self.inflight = {
            identifier: RELEASED if message is None else message for identifier, message in stored.inflight.items()
        }
        if stored.queue:
            self.queue = deque(stored.queue)
            self.queue_bytes = sum([message.size() for message in stored.queue])
            self.queue_expires_at = min([message.expires_at for message in stored.queue if message.expires_at] or [0.0])
        self.received = stored.received if stored.received else None
        self.ends_at = stored.ends_at or now + self.expiry_interval
        if stored.will is not None:
            self.will = stored.will
            self.will_delay = stored.will_delay
            self.will_at = stored.will_at or now + min(stored.will_delay, self.expiry_interval)
