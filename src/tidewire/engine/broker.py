"""The broker: sessions, routing, retained messages, wills and time, and nothing of the outside.

A server (or a test) makes a `Connection` per network connection by `accept`, feeds it bytes, calls `flush` when a pass
is over and `tick` four times a second.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from mypy_extensions import i64

from tidewire.engine.connection import Connection
from tidewire.engine.ledger import NO_PERMISSION, REASONS, RETAINED_FULL, SESSION_ENDED, Ledger
from tidewire.engine.limits import Limits
from tidewire.engine.link import Outgoing
from tidewire.engine.message import Message
from tidewire.engine.ports import Access, Events, Principal, Store, Transport
from tidewire.engine.retained import RetainedDelivery, RetainedMessages
from tidewire.engine.routing import Route, RouteCache, SharedTargets, Subscription, TopicTree
from tidewire.engine.session import Session
from tidewire.engine.statistics import Statistics
from tidewire.engine.timers import Timed, Timers
from tidewire.wire.codes import ReasonCode
from tidewire.wire.errors import InvalidTopic, ProtocolViolation
from tidewire.wire.fields import check_utf8
from tidewire.wire.packets import SubscriptionRequest
from tidewire.wire.topics import check_topic_name, split_share

_SYS_PREFIX: Final = b"$SYS/"


class Broker(Timed):
    """The state of one broker. Every method that needs the time takes it as `now`, in seconds."""

    def __init__(
        self,
        now: float,
        limits: Limits | None = None,
        access: Access | None = None,
        events: Events | None = None,
        version: str = "",
        secret: bytes = b"",
        store: Store | None = None,
    ) -> None:
        """What `store` has kept is taken up again; without one, sessions end with the process. `version` is shown in `$SYS`; `secret` makes assigned client identifiers hard to guess."""
        super().__init__()
        self.limits = limits if limits is not None else Limits()
        self.access = access if access is not None else Access()
        self.events = events if events is not None else Events()
        self.version = version
        self.statistics = Statistics(now)
        self.ledger = Ledger()
        """Every drop of every session."""
        self.outgoing = Outgoing(self.statistics)
        self.sessions: dict[str, Session] = {}
        self.tree = TopicTree()
        self.routes = RouteCache(self.limits.route_cache_topics, self.limits.route_cache_topic_bytes)
        self.retained = RetainedMessages(self.limits.retained_messages, self.limits.retained_bytes)
        self.timers = Timers(now)
        self.closing = False
        self.store = store
        self._paced: dict[Session, None] = {}
        self._awaiting_commit: dict[Connection, None] = {}
        self._secret = secret
        self._identifiers_made = 0
        self._sys_at = now
        if self.limits.sys_interval_s:
            self.timers.add(now, self, now)
        if store is not None:
            self._restore(store, now)

    # -- what the server calls

    def accept(self, transport: Transport, peer: str, now: float) -> Connection:
        """A network connection was opened; `peer` names its other end."""
        return Connection(self, transport, peer, now)

    def flush(self, now: float) -> bool:
        """Send what this pass produced. True: there is more to do as soon as others had their turn."""
        paced = self._paced
        if paced:
            self._paced = {}
            for session in paced:
                session.deliver_retained(now)
        self.outgoing.flush()
        return bool(self._paced)

    def tick(self, now: float) -> None:
        """Let everything happen that is due."""
        self.timers.advance(now)

    def shut_down(self, now: float) -> None:
        """Tell every client that the server goes away (5.0: DISCONNECT 0x8B) and close; wills stay unsent."""
        self.closing = True
        for session in list(self.sessions.values()):
            if session.connection is not None:
                session.connection.close(ReasonCode.SERVER_SHUTTING_DOWN, "the server shuts down", now)

    def access_changed(self) -> None:
        """Access decisions are asked for anew from here on."""
        self.routes.clear()

    def committed(self, ticket: int, now: float) -> None:
        """The store has everything up to this ticket: the acknowledgements that waited for it leave."""
        for connection in list(self._awaiting_commit):
            if connection.keep_promises(ticket):
                del self._awaiting_commit[connection]

    def await_commit(self, connection: Connection) -> None:
        """A connection has acknowledgements that wait for the store."""
        self._awaiting_commit[connection] = None

    def later(self, session: Session) -> None:
        """Go on with a session's retained messages at the next flush."""
        self._paced[session] = None

    # -- sessions (3.1.2.4, 4.1)

    def new_client_identifier(self) -> str:
        """For a client that brought none [MQTT-3.1.3-6]."""
        while True:
            self._identifiers_made += 1
            digest = blake2b(str(self._identifiers_made).encode(), key=self._secret, digest_size=12)
            identifier = f"auto-{digest.hexdigest()}"
            if identifier not in self.sessions:
                return identifier

    def has_room_for(self, client_identifier: str) -> bool:
        return len(self.sessions) < self.limits.sessions or client_identifier in self.sessions

    def open_session(
        self, connection: Connection, client_identifier: str, principal: Principal, clean_start: bool, now: float
    ) -> tuple[Session, bool]:
        """The session for a client, and whether it was there before [MQTT-3.1.2-4, 3.1.2-5, 3.1.2-6].

        A connection that has it is closed [MQTT-3.1.4-3]. A session of another user is never handed over.
        """
        session = self.sessions.get(client_identifier)
        if session is not None:
            keep = not clean_start and session.principal.user_name == principal.user_name
            if session.connection is not None:
                if keep and session.will_delay and session.expiry_interval:
                    session.will_at = -1.0  # the client is back before the delay has begun [MQTT-3.1.3-9]
                session.connection.close(ReasonCode.SESSION_TAKEN_OVER, "taken over by a new connection", now)
                if client_identifier not in self.sessions:
                    session = None
            if session is not None and not keep:
                self.end_session(session, now)
                session = None
        present = session is not None
        if session is None:
            session = self.sessions[client_identifier] = Session(self, client_identifier, principal)
        session.principal = principal
        session.ends_at = 0.0
        session.will_at = 0.0
        session.connection = connection
        return session, present

    def session_opened(self, session: Session, connection: Connection, resumed: bool, now: float) -> None:
        """CONNACK is on its way."""
        statistics = self.statistics
        statistics.connections_total += 1
        statistics.connections += 1
        statistics.connections_maximum = max(statistics.connections_maximum, statistics.connections)
        session.expire_queue(now)
        connection.next_look = 0.0
        if connection.keep_alive:
            self.timers.add(now + 1.5 * connection.keep_alive, connection, now)
        if self.store is not None and (session.expiry_interval or session.store is not None):
            self.store.session_kept(session)
            session.store = self.store
        self.events.connected(session, connection.peer, resumed)

    def session_left(
        self, session: Session, connection: Connection, reason_code: int, detail: str, without_will: bool, now: float
    ) -> None:
        """The session's connection is gone (3.1.2.5, 3.1.2.11.2)."""
        self.statistics.connections -= 1
        if connection in self._awaiting_commit:
            del self._awaiting_commit[connection]
        session.connection = None
        session.pause()
        self.events.disconnected(session.client_identifier, connection.peer, reason_code, detail)
        if without_will or self.closing:
            session.will = None
        cancelled = session.will_at < 0.0
        session.will_at = 0.0
        if session.will is not None and not cancelled:
            if session.will_delay and session.expiry_interval:
                session.will_at = now + min(session.will_delay, session.expiry_interval)
            else:
                self.publish_will(session, now)
        if session.expiry_interval == 0:
            self.end_session(session, now)
            return
        session.ends_at = now + session.expiry_interval
        session.plan(now)
        if session.store is not None:
            session.store.session_kept(session)

    def end_session(self, session: Session, now: float) -> None:
        """Session State is discarded: subscriptions, queued messages, and a will that still waited is published."""
        if self.sessions.get(session.client_identifier) is not session:
            return
        del self.sessions[session.client_identifier]
        session.ends_at = 0.0
        subscriptions = session.subscriptions
        if subscriptions is not None:
            for subscription in list(subscriptions.values()):
                self._remove_subscription(subscription)
            session.subscriptions = None
        if session.store is not None:
            session.store.session_ended(session)
            session.store = None
        lost = session.discard_queue()
        if lost:
            session.drop(SESSION_ENDED, lost, now)
        ledger = session.ledger
        if ledger is not None:
            for reason, messages in ledger.end_burst():
                self.events.dropped(session.client_identifier, reason, messages)
        if session.will_at > 0.0:
            self.publish_will(session, now)

    def publish_will(self, session: Session, now: float) -> None:
        """Publish the Will Message and forget it [MQTT-3.1.2-8, 3.1.2-10]. It is a publish of its client: rules apply."""
        will = session.will
        session.will = None
        session.will_at = 0.0
        if will is None:
            return
        try:
            route = self.route(will.topic)
            allowed = self.may_publish(session.principal, will.topic)
        except ProtocolViolation as violation:
            self.events.denied(session.client_identifier, f"will: {violation.detail}", will.topic)
            return
        except Exception as error:
            self.events.fault(session.client_identifier, error)
            return
        if not allowed:
            self.deny_publish(session, will.topic, 1, now)
            return
        expires_at = now + will.expires_at if will.expires_at >= 0.0 else 0.0
        message = Message(will.topic, will.payload, will.qos, will.retain, will.properties, expires_at, will.publisher)
        self.publish(message, route, now)

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
        subscriptions = session.subscriptions
        if (
            subscriptions is not None
            and len(subscriptions) >= limits.subscriptions_per_session
            and topic_filter not in subscriptions
        ):
            return ReasonCode.QUOTA_EXCEEDED
        subscription = Subscription(
            session, topic_filter, request.qos, request.no_local, request.retain_as_published, identifier
        )
        replaced = self._add_subscription(session, subscription)
        if session.store is not None:
            session.store.subscribed(session, subscription)
        handling = request.retain_handling
        if not share_name and (handling == 0 or (handling == 1 and replaced is None)):
            messages = self.retained.match(plain_filter)
            if not self.access.unrestricted:
                messages = [m for m in messages if self.access.may_read(session.principal, m.topic)]
            if request.no_local:
                messages = [m for m in messages if m.publisher != session.client_identifier]  # [MQTT-3.8.3-3]
            if messages:
                session.add_retained(RetainedDelivery(messages, request.qos, subscription.identifier))
        return request.qos

    def unsubscribe(self, session: Session, topic_filter: bytes) -> bool:
        """End a subscription. False: there was none."""
        subscriptions = session.subscriptions
        subscription = subscriptions.get(topic_filter) if subscriptions is not None else None
        if subscriptions is None or subscription is None:
            return False
        del subscriptions[topic_filter]
        if not subscriptions:
            session.subscriptions = None
        self._remove_subscription(subscription)
        if session.store is not None:
            session.store.unsubscribed(session, topic_filter)
        return True

    def _add_subscription(self, session: Session, subscription: Subscription) -> Subscription | None:
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

    def _remove_subscription(self, subscription: Subscription) -> None:
        self.tree.remove(subscription)
        self.routes.changed(subscription.topic_filter)
        self.statistics.subscriptions -= 1
        if split_share(subscription.topic_filter)[0]:
            self.statistics.shared_subscriptions -= 1

    # -- routing and delivery (3.3.4, 4.8.2)

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        """Whether a client may publish to a topic: never to `$SYS`, and else as the access rules say."""
        if topic.startswith(_SYS_PREFIX):
            return False
        access = self.access
        if access.unrestricted:
            return True
        decisions = principal.publish_decisions
        if (
            principal.decided_by is not access
            or principal.decisions_epoch != access.epoch
            or len(decisions) >= self.limits.route_cache_topics
        ):
            decisions.clear()
            principal.decided_by = access
            principal.decisions_epoch = access.epoch
        known = decisions.get(topic)
        if known is None:
            known = decisions[topic] = access.may_publish(principal, topic)
        return known

    def deny_publish(self, session: Session, topic: bytes, messages: int, now: float) -> None:
        """Enter refused messages into the ledger of who sent them."""
        ledger = session.ledger
        if ledger is None or not ledger.burst_began[NO_PERMISSION]:
            self.events.denied(session.client_identifier, "publish", topic)
        session.drop(NO_PERMISSION, messages, now)

    def route(self, topic: bytes) -> Route:
        """Everybody who gets the messages of a topic. Raises ProtocolViolation for what is not a topic name."""
        route = self.routes.routes.get(topic)
        if route is None:
            self._check_topic(topic)
            route = self._find_route(topic)
            self.routes.keep(topic, route)
        return route

    def publish(self, message: Message, route: Route, now: float) -> int:
        """Retain a message if it says so and hand it to everybody on its route.

        Returns the reason code for its publisher: 0x10 where nobody subscribes, 0x97 where nothing of it could be kept.
        """
        kept = False
        refused = False
        retain = message.retain
        if retain:
            if self.retained.set(message):
                kept = True
                if self.store is not None:
                    self.store.retained(message.topic, message if message.payload else None)
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
            if self._publish_special(message, route, now):
                kept = True
            else:
                refused = True
        if refused and not kept:
            return ReasonCode.QUOTA_EXCEEDED
        return ReasonCode.SUCCESS

    def _retained_full(self, message: Message, now: float) -> None:
        """Enter a message that could not be retained into the ledger of its publisher, or at least of the broker."""
        publisher = self.sessions.get(message.publisher)
        if publisher is not None:
            publisher.drop(RETAINED_FULL, 1, now)
        else:
            self.ledger.add(RETAINED_FULL, 1, now)

    def publish_run(
        self,
        connection: Connection,
        route: Route,
        run: bytes,
        topic: bytes,
        count: i64,
        length: i64,
        head_length: i64,
        now: float,
    ) -> None:
        """Hand on `count` consecutive QoS 0 messages of `length` bytes each, as they came where the peer allows."""
        sessions = route.plain
        run_format = 5 if connection.version == 5 else 4
        run_length = count * length
        enough = self.limits.early_flush_bytes
        outgoing = self.outgoing
        sent: i64 = 0
        converted = b""
        messages: list[Message] | None = None
        for session in sessions:
            link = session.link
            if link is None:
                continue
            passthrough = link.passthrough
            if passthrough == run_format:
                link.outbox.append(run)
                link.outbox_bytes += run_length
            elif passthrough:
                if not converted:
                    messages = _messages_of(run, topic, length, head_length, connection)
                    converted = _encode_all(messages, passthrough)
                link.outbox.append(converted)
                link.outbox_bytes += len(converted)
            else:
                if messages is None:
                    messages = _messages_of(run, topic, length, head_length, connection)
                for message in messages:
                    session.send(message, now)
                continue
            sent += count
            if not link.dirty:
                link.dirty = True
                outgoing.dirty.append(link)
            if link.outbox_bytes > enough:
                link.flush()
        statistics = self.statistics
        statistics.publish_sent += sent
        statistics.publish_bytes_sent += sent * (length - head_length)
        if route.special or route.shared:
            if messages is None:
                messages = _messages_of(run, topic, length, head_length, connection)
            for message in messages:
                self._publish_special(message, route, now)

    def _publish_special(self, message: Message, route: Route, now: float) -> bool:
        """Subscribers whose options change the message, and share groups. False: none of them took it."""
        kept = False
        for subscriptions in route.special:
            if self._send_special(message, subscriptions, now):
                kept = True
        for targets in route.shared:
            chosen = targets.choose(message.qos)
            if chosen is None or self._send_special(message, [chosen], now):
                kept = True  # or nobody asked for more than QoS 0, and nobody is there
        return kept

    def _send_special(self, message: Message, subscriptions: list[Subscription], now: float) -> bool:
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
            return True
        qos = min(qos, message.qos)
        return session.send(message.variant(qos, retain, identifiers), now) or (qos == 0 and session.link is None)

    def _find_route(self, topic: bytes) -> Route:
        route = Route()
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

    # -- the store

    def _restore(self, store: Store, now: float) -> None:
        """Take up what an earlier life has left: sessions wait for their clients, wills for their delay."""
        sessions, retained = store.load()
        for stored in sessions:
            principal = Principal(stored.user_name, stored.client_identifier)
            session = self.sessions[stored.client_identifier] = Session(self, stored.client_identifier, principal)
            session.expiry_interval = stored.expiry_interval
            session.restore(stored, now)
            for topic_filter, (qos, no_local, retain_as_published, identifier) in stored.subscriptions.items():
                self._add_subscription(
                    session, Subscription(session, topic_filter, qos, no_local, retain_as_published, identifier)
                )
            session.store = store
            session.plan(now)
        for message in retained:
            self.retained.set(message)

    # -- $SYS

    def due(self, now: float) -> None:
        """Publish the `$SYS` topics."""
        if now >= self._sys_at:
            self._sys_at = now + self.limits.sys_interval_s
            try:
                self.publish_sys(now)
            except Exception as error:
                self.events.fault("", error)
        self.timers.add(self._sys_at, self, now)

    def publish_sys(self, now: float) -> None:
        """Set and send every `$SYS/broker/…` topic whose value has changed."""
        self.statistics.update_loads(now)
        queued = 0
        queued_bytes = 0
        for session in self.sessions.values():
            queued += session.waiting_messages()
            queued_bytes += session.queue_bytes
        values = self.statistics.topics(
            now, self.version, len(self.sessions), self.retained.count, self.retained.bytes, queued, queued_bytes
        )
        for index, count in enumerate(self.ledger.counts):
            values[f"dropped/{REASONS[index]}"] = str(count)
        for name, value in values.items():
            topic = _SYS_PREFIX + b"broker/" + name.encode()
            payload = value.encode()
            current = self.retained.current(topic)
            if current is None or current.payload != payload:
                self.publish(Message(topic, payload, 0, True), self.route(topic), now)


def _messages_of(run: bytes, topic: bytes, length: i64, head_length: i64, connection: Connection) -> list[Message]:
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
