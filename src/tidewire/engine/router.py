"""Topics and messages: who subscribes to what, who gets a message, and handing it to them.

The half of the broker that knows topics; `engine.broker` adds sessions and time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from tidewire.engine.delivery import count_in_branch
from tidewire.engine.ledger import NO_PERMISSION, RETAINED_FULL, Ledger
from tidewire.engine.limits import REFUSE, Limits
from tidewire.engine.link import Outgoing
from tidewire.engine.message import Message
from tidewire.engine.meter import Meter
from tidewire.engine.ports import Access, Events, Hooks, Principal, Provenance, Store
from tidewire.engine.retained import RetainedDelivery, RetainedMessages
from tidewire.engine.routing import Route, RouteCache, SharedTargets, Subscription, TopicTree
from tidewire.engine.statistics import Statistics
from tidewire.engine.timers import Timed
from tidewire.wire.codes import ReasonCode
from tidewire.wire.errors import InvalidTopic, ProtocolViolation
from tidewire.wire.fields import check_utf8
from tidewire.wire.packets import SubscriptionRequest
from tidewire.wire.topics import check_topic_name, split_share

if TYPE_CHECKING:
    from tidewire.engine.publishing import Publishing
    from tidewire.engine.session import Session

SYS_PREFIX: Final = b"$SYS/"

_TAKEN: Final = 1
_REFUSED: Final = 2


class Router(Timed):
    """Subscriptions, routes and retained messages of one broker."""

    def __init__(
        self, now: float, limits: Limits, access: Access, events: Events, store: Store | None, hooks: Hooks | None
    ) -> None:
        super().__init__()
        self.limits = limits
        self.access = access
        self.events = events
        self.store = store
        self.hooks = hooks
        self.publish_hooks = hooks if hooks is not None and hooks.publishes else None
        self.statistics = Statistics(now)
        self.ledger = Ledger()
        """Every drop of every session."""
        self.meter = Meter(limits.metered_clients, limits.metered_branches, limits.metered_levels)
        self.outgoing = Outgoing(self.statistics, events)
        self.sessions: dict[str, Session] = {}
        self.tree = TopicTree()
        self.routes = RouteCache(limits.route_cache_topics, limits.route_cache_topic_bytes, limits.route_cache_entries)
        self.retained = RetainedMessages(limits.retained_messages, limits.retained_bytes, limits.retained_levels)

    # -- subscriptions (3.8.4, 3.10.4)

    def subscribe(self, session: Session, request: SubscriptionRequest, identifier: int, now: float) -> int:
        """Make or replace a subscription; the reason code for SUBACK, which is the QoS granted."""
        limits = self.limits
        topic_filter = request.topic_filter
        share_name, plain_filter = split_share(topic_filter)
        if plain_filter.count(b"/") >= limits.topic_levels:
            return ReasonCode.TOPIC_FILTER_INVALID
        if not self.access.unrestricted and not self.access.may_subscribe(session.principal, plain_filter):
            self.events.denied(session.client_identifier, "subscribe", topic_filter)
            return self.access.denied_code
        qos = request.qos
        if self.hooks is not None:
            qos = self.hooks.subscribing(session, request)
            if qos >= 0x80:
                self.events.denied(session.client_identifier, "subscribe", topic_filter)
                return qos
        subscriptions = session.subscriptions
        if (
            subscriptions is not None
            and len(subscriptions) >= limits.subscriptions_per_session
            and topic_filter not in subscriptions
        ):
            return ReasonCode.QUOTA_EXCEEDED
        if self.tree.levels + plain_filter.count(b"/") >= limits.subscribed_levels and (
            subscriptions is None or topic_filter not in subscriptions
        ):
            return ReasonCode.QUOTA_EXCEEDED
        subscription = Subscription(
            session, topic_filter, qos, request.no_local, request.retain_as_published, identifier
        )
        replaced = self.add_subscription(session, subscription)
        if session.store is not None:
            session.store.subscribed(session, subscription)
        handling = request.retain_handling
        if not share_name and (handling == 0 or (handling == 1 and replaced is None)):
            session.add_retained(
                RetainedDelivery(
                    topic_filter, qos, request.no_local, subscription.identifier, self.retained.last_number
                )
            )
        return qos

    def unsubscribe(self, session: Session, topic_filter: bytes) -> bool:
        """End a subscription. False: there was none."""
        subscriptions = session.subscriptions
        subscription = subscriptions.get(topic_filter) if subscriptions is not None else None
        if subscriptions is None or subscription is None:
            return False
        del subscriptions[topic_filter]
        if not subscriptions:
            session.subscriptions = None
        self.remove_subscription(subscription)
        session.forget_retained(topic_filter)
        if session.store is not None:
            session.store.unsubscribed(session, topic_filter)
        return True

    def add_subscription(self, session: Session, subscription: Subscription) -> Subscription | None:
        """Add or replace; returns the one that was there."""
        topic_filter = subscription.topic_filter
        if session.subscriptions is None:
            session.subscriptions = {}
        session.subscriptions[topic_filter] = subscription
        replaced = self.tree.add(subscription)
        self.routes.changed(topic_filter)
        if replaced is None:
            self.statistics.subscriptions += 1
            if split_share(topic_filter)[0]:
                self.statistics.shared_subscriptions += 1
        return replaced

    def remove_subscription(self, subscription: Subscription) -> None:
        self.tree.remove(subscription)
        self.routes.changed(subscription.topic_filter)
        self.statistics.subscriptions -= 1
        if split_share(subscription.topic_filter)[0]:
            self.statistics.shared_subscriptions -= 1

    # -- routing and delivery (3.3.4, 4.8.2)

    def route(self, topic: bytes) -> Route:
        """Everybody who gets the messages of a topic. Raises ProtocolViolation for what is not a topic name."""
        route = self.routes.routes.get(topic)
        if route is None:
            self._check_topic(topic)
            route = self._find_route(topic)
            self.routes.keep(topic, route)
        return route

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        """Whether a client may publish to a topic: never to `$SYS`, and else as the access rules say.

        Raises Undecided."""
        access = self.access
        if access.unrestricted:
            return not topic.startswith(SYS_PREFIX)
        decisions = principal.publish_decisions
        if principal.decided_by is access and principal.decisions_epoch == access.epoch:
            known = decisions.get(topic)
            if known is not None:
                return known
        else:
            decisions.clear()
            principal.decided_by = access
            principal.decisions_epoch = access.epoch
        allowed = not topic.startswith(SYS_PREFIX) and access.may_publish(principal, topic)
        if len(topic) <= self.limits.route_cache_topic_bytes:
            if len(decisions) >= self.limits.route_cache_topics:
                decisions.clear()
            decisions[topic] = allowed
        return allowed

    def deny_publish(self, session: Session, topic: bytes, messages: int, now: float) -> None:
        """Enter refused messages into the ledger of who sent them."""
        ledger = session.ledger
        if ledger is None or not ledger.burst_began[NO_PERMISSION]:
            self.events.denied(session.client_identifier, "publish", topic)
        session.drop(NO_PERMISSION, messages, now)

    def publish(self, message: Message, route: Route, now: float, publisher: Session | None = None) -> int:
        """Retain a message if it says so and hand it to everybody on its route.

        `publisher` answers for what is retained: the access rules were asked about it.

        Returns the reason code for its publisher: 0x10 where nobody subscribes, 0x97 where nothing of it could be kept.
        """
        message.branch = route.branch
        statistics = self.statistics
        packets, size = statistics.publish_sent, statistics.publish_packet_bytes_sent
        kept = False
        refused = False
        retain = message.retain
        if retain:
            principal = publisher.principal if publisher is not None else None
            user_name = principal.user_name if principal is not None else None
            provenance = Provenance(user_name, publisher.address if publisher is not None else "", now)
            if self.retained.set(message, principal, provenance, self.access.epoch):
                kept = True
                if self.store is not None and not message.topic.startswith(SYS_PREFIX):
                    self.store.retained(message.topic, message if message.payload else None, provenance)
            else:
                refused = True
                self._retained_full(message, now)
        if route.is_empty():
            if refused:
                return ReasonCode.QUOTA_EXCEEDED
            return ReasonCode.NO_MATCHING_SUBSCRIBERS
        plain = message
        if retain:
            plain = message.variant(message.qos, False, b"")  # [MQTT-3.3.1-12]
        lesser: Message | None = None
        sessions = route.plain
        granted = route.plain_qos
        qos = message.qos
        for index in range(len(sessions)):
            session = sessions[index]
            if granted[index] >= qos:
                if session.send(plain, now):
                    kept = True
                elif qos:
                    refused = True
            else:
                if lesser is None or lesser.qos != granted[index]:
                    lesser = message.variant(granted[index], False, b"")
                if session.send(lesser, now):
                    kept = True
                elif lesser.qos:
                    refused = True
        if route.special or route.shared:
            outcome = self._publish_special(message, route, now)
            kept = kept or outcome & _TAKEN != 0
            refused = refused or outcome & _REFUSED != 0
        count_in_branch(message, statistics, packets, size)
        if refused and (not kept or self.limits.queue_policy == REFUSE):
            return ReasonCode.QUOTA_EXCEEDED
        if route.onlookers and route.onlookers == len(sessions) and not (route.special or route.shared):
            return ReasonCode.NO_MATCHING_SUBSCRIBERS
        return ReasonCode.SUCCESS

    def publish_hooked(self, session: Session, message: Message, route: Route, is_will: bool, now: float) -> int:
        """`publish`, for a client's message, as the hooks want it: as it is, changed, or not at all."""
        hooks = self.publish_hooks
        assert hooks is not None
        reason_code, wanted = hooks.publishing(session, message, is_will, now)
        if reason_code >= 0x80:
            self.deny_publish(session, message.topic, 1, now)
            return reason_code
        if wanted.topic != message.topic:
            route = self.route(wanted.topic)
        return self.publish(wanted, route, now, session if wanted.topic == message.topic else None)

    def publish_run(
        self,
        connection: Publishing,
        route: Route,
        run: bytes,
        topic: bytes,
        count: i64,
        length: i64,
        head_length: i64,
        now: float,
    ) -> None:
        """Hand on `count` consecutive QoS 0 messages of `length` bytes each, as they came where the peer allows."""
        if self.publish_hooks is not None:
            publisher = connection.session
            assert publisher is not None
            for message in _messages_of(run, topic, length, head_length, connection):
                self.publish_hooked(publisher, message, route, False, now)
            return
        statistics = self.statistics
        packets_before, bytes_before = statistics.publish_sent, statistics.publish_packet_bytes_sent
        sessions = route.plain
        run_format = 5 if connection.version == 5 else 4
        run_length = count * length
        enough: i64 = self.limits.early_flush_bytes
        outgoing = self.outgoing
        sent: i64 = 0
        sent_bytes: i64 = 0
        payload = count * (length - head_length)
        size: i64
        converted = b""
        messages: list[Message] | None = None
        for session in sessions:
            link = session.link
            if link is None:
                continue
            passthrough = link.passthrough
            if passthrough == run_format:
                link.outbox.append(run)
                size = run_length
            elif passthrough:
                if not converted:
                    messages = _messages_of(run, topic, length, head_length, connection)
                    converted = _encode_all(messages, passthrough)
                link.outbox.append(converted)
                size = len(converted)
            else:
                if messages is None:
                    messages = _messages_of(run, topic, length, head_length, connection)
                for message in messages:
                    session.send(message, now)
                continue
            link.outbox_bytes += size
            link.publish_sent += count
            link.payload_sent += payload
            sent += count
            sent_bytes += size
            if not link.dirty:
                link.dirty = True
                outgoing.dirty.append(link)
            if link.outbox_bytes > enough:
                link.flush()
        statistics.publish_sent += sent
        statistics.publish_bytes_sent += sent * (length - head_length)
        statistics.publish_packet_bytes_sent += sent_bytes
        if route.special or route.shared:
            if messages is None:
                messages = _messages_of(run, topic, length, head_length, connection)
            for message in messages:
                self._publish_special(message, route, now)
        branch = route.branch
        sent = statistics.publish_sent - packets_before
        branch.publish_sent += sent
        branch.payload_sent += sent * (length - head_length)
        branch.bytes_sent += statistics.publish_packet_bytes_sent - bytes_before

    def publish_permissions_changed(self) -> None:
        """Only whether clients may publish is asked for anew: who gets what stays as it is."""
        self.routes.epoch += 1

    def _retained_full(self, message: Message, now: float) -> None:
        """Enter a message that could not be retained into the ledger of its publisher, or at least of the broker."""
        publisher = self.sessions.get(message.publisher)
        if publisher is not None:
            publisher.drop(RETAINED_FULL, 1, now)
        else:
            self.ledger.add(RETAINED_FULL, 1, now)

    def _publish_special(self, message: Message, route: Route, now: float) -> int:
        """Subscribers whose options change the message, and share groups: `_TAKEN`, `_REFUSED`, both or neither."""
        outcome = 0
        for subscriptions in route.special:
            outcome |= self._send_special(message, subscriptions, now)
        for targets in route.shared:
            chosen = targets.choose(message.qos)
            # Without one nobody asked for more than QoS 0, and nobody is there.
            outcome |= self._send_special(message, [chosen], now) if chosen is not None else _TAKEN
        return outcome

    def _send_special(self, message: Message, subscriptions: list[Subscription], now: float) -> int:
        """One copy for one session, with what all its matching subscriptions say (3.3.4)."""
        session = subscriptions[0].session
        qos = -1
        retain = False
        identifiers = b""
        for subscription in subscriptions:
            if subscription.no_local and session.client_identifier == message.publisher:
                continue  # [MQTT-3.8.3-3]
            qos = max(qos, subscription.qos)
            retain = retain or (subscription.retain_as_published and message.retain)
            identifiers += subscription.identifier
        if qos < 0:
            return _TAKEN
        qos = min(qos, message.qos)
        if session.send(message.variant(qos, retain, identifiers), now):
            return _TAKEN
        return _REFUSED if qos else _TAKEN if session.link is None else 0

    def _find_route(self, topic: bytes) -> Route:
        route = Route(self.meter.branch(topic))
        matches = self.tree.match(topic)
        access = self.access
        by_session: dict[Session, list[Subscription]] = {}
        for subscription in matches.subscriptions:
            session = subscription.session
            if session in by_session:
                by_session[session].append(subscription)
            elif access.unrestricted or access.may_read(session.principal, topic):
                by_session[session] = [subscription]
        for session, subscriptions in by_session.items():
            qos = 0
            plain = True
            for subscription in subscriptions:
                qos = max(qos, subscription.qos)
                plain = plain and subscription.is_plain()
            if plain:
                route.plain.append(session)
                route.plain_qos.append(qos)
                route.onlookers += session.only_looks
            else:
                route.special.append(subscriptions)
        for group in matches.groups:
            members: list[Subscription] = []
            for subscription in group.members.values():
                if access.unrestricted or access.may_read(subscription.session.principal, topic):
                    members.append(subscription)
            if members:
                route.shared.append(SharedTargets(group, members))
        return route

    def _check_topic(self, topic: bytes) -> None:
        check_utf8(topic)
        try:
            check_topic_name(topic)
        except InvalidTopic as error:
            raise ProtocolViolation(ReasonCode.TOPIC_NAME_INVALID, str(error)) from None
        if topic.count(b"/") >= self.limits.topic_levels:
            raise ProtocolViolation(
                ReasonCode.TOPIC_NAME_INVALID, f"the topic has more than {self.limits.topic_levels} levels"
            )


def _messages_of(run: bytes, topic: bytes, length: i64, head_length: i64, connection: Publishing) -> list[Message]:
    """The messages of a run, one by one."""
    publisher = connection.client_identifier()
    messages: list[Message] = []
    size: i64 = len(run)
    position: i64 = 0
    while position < size:
        messages.append(Message(topic, run[position + head_length : position + length], 0, False, publisher=publisher))
        position += length
    return messages


def _encode_all(messages: list[Message], wanted: int) -> bytes:
    parts: list[bytes] = []
    for message in messages:
        if wanted == 5:
            parts.append(message.head_v5())
            parts.append(message.tail_v5())
        else:
            parts.append(message.head_v3())
            parts.append(message.payload)
    return b"".join(parts)
