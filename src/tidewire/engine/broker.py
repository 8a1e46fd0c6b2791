"""The broker: sessions, wills and time on top of `engine.router`, and nothing of the outside.

A server (or a test) makes a `Connection` per network connection by `accept`, feeds it bytes, calls `flush` when a pass
is over and `tick` four times a second.
"""

from __future__ import annotations

from hashlib import blake2b

from tidewire.engine.connection import Connection
from tidewire.engine.ledger import REASONS, SESSION_ENDED
from tidewire.engine.limits import Limits
from tidewire.engine.message import Message
from tidewire.engine.ports import Access, Events, Hooks, Principal, Store, Transport, Undecided
from tidewire.engine.publishing import Publishing
from tidewire.engine.router import SYS_PREFIX, Router
from tidewire.engine.routing import Subscription
from tidewire.engine.session import Session
from tidewire.engine.timers import Timers
from tidewire.wire.codes import ReasonCode
from tidewire.wire.errors import ProtocolViolation


class Broker(Router):
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
        hooks: Hooks | None = None,
    ) -> None:
        """What `store` has kept is taken up again; without one, sessions end with the process.

        `version` is shown in `$SYS`; `secret` makes assigned client identifiers hard to guess.
        """
        super().__init__(
            now,
            limits if limits is not None else Limits(),
            access if access is not None else Access(),
            events if events is not None else Events(),
            store,
            hooks,
        )
        self.version = version
        self.timers = Timers(now)
        self.closing = False
        self._paced: dict[Session, None] = {}
        self.committed_ticket = 0
        """What the store has everything up to."""
        self._awaiting_commit: dict[Publishing, None] = {}
        self._users: dict[str, int] = {}
        """Connections by user name, where they are limited."""
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
                try:
                    session.deliver_retained(now)
                except Exception as error:
                    if session.connection is not None:
                        session.connection.failed(error, now)
        self.outgoing.flush()
        return bool(self._paced)

    def has_work(self) -> bool:
        """Whether a flush would do anything."""
        return bool(self.outgoing.dirty or self._paced)

    def tick(self, now: float) -> None:
        """Let everything happen that is due."""
        for error in self.timers.advance(now):
            self.events.fault("", error)
        for topic in self.retained.sweep(now, self.limits.retained_burst):
            if self.store is not None:
                self.store.retained(topic, None, None)

    def shut_down(self, now: float) -> None:
        """Tell every client that the server goes away (5.0: DISCONNECT 0x8B) and close.

        Wills that the store has wait for its return."""
        self.closing = True
        for session in list(self.sessions.values()):
            if session.connection is not None:
                session.connection.close(ReasonCode.SERVER_SHUTTING_DOWN, "the server shuts down", now)

    def committed(self, ticket: int, now: float) -> None:
        """The store has everything up to this ticket: what waited for it leaves."""
        self.committed_ticket = ticket
        for link in self.outgoing.release(ticket):
            if isinstance(link, Connection):
                link.unblocked(now)
        for connection in list(self._awaiting_commit):
            if connection.keep_promises():
                del self._awaiting_commit[connection]

    def commit_failed(self, now: float) -> None:
        """The store cannot write what it was told: nobody waits for that any longer who can be told so."""
        for connection in list(self._awaiting_commit):
            if connection.give_up_promises():
                del self._awaiting_commit[connection]
        assert self.store is not None
        for link in self.outgoing.release(self.store.barrier()):
            if isinstance(link, Connection):
                link.unblocked(now)

    def await_commit(self, connection: Publishing) -> None:
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

    def has_room_for_user(self, user_name: str | None, client_identifier: str) -> bool:
        """Whether one more connection of a user is within its limit; one that is taken over makes room for it."""
        limit = self.limits.connections_per_user
        if not limit or user_name is None or self._users.get(user_name, 0) < limit:
            return True
        session = self.sessions.get(client_identifier)
        return session is not None and session.connection is not None and session.principal.user_name == user_name

    def open_session(
        self, connection: Connection, client_identifier: str, principal: Principal, clean_start: bool, now: float
    ) -> tuple[Session, bool]:
        """The session for a client, and whether it was there before [MQTT-3.1.2-4, 3.1.2-5, 3.1.2-6].

        A connection that has it is closed [MQTT-3.1.4-3]. A session of another user is never handed over.
        """
        session = self.sessions.get(client_identifier)
        if session is not None and session.connection is None:
            session.due(now)  # its will, or its end, may lie between two ticks, or in a time when there was no broker
            session = self.sessions.get(client_identifier)
        if session is not None:
            keep = not clean_start and session.principal.user_name == principal.user_name
            if session.connection is not None:
                session.connection.close(ReasonCode.SESSION_TAKEN_OVER, "taken over by a new connection", now)
                if client_identifier not in self.sessions:
                    session = None
            if session is not None and not keep:
                self.end_session(session, now)
                session = None
        present = session is not None
        if session is not None and session.principal.grants is not principal.grants:
            self.access.resumed(session.principal, principal)
            for topic_filter in session.subscriptions or ():
                self.routes.changed(topic_filter)  # what it may read may be another matter now
        if session is None:
            session = self.sessions[client_identifier] = Session(self, client_identifier, principal)
        session.principal = principal
        session.ends_at = 0.0
        session.will_at = 0.0  # the client is back before the delay is over [MQTT-3.1.3-9]
        session.connection = connection
        session.address = connection.peer
        return session, present

    def session_opened(self, session: Session, connection: Connection, resumed: bool, now: float) -> None:
        """CONNACK comes next."""
        statistics = self.statistics
        statistics.connections_total += 1
        statistics.connections += 1
        statistics.connections_maximum = max(statistics.connections_maximum, statistics.connections)
        self._count_user(session.principal.user_name, 1)
        session.expire_queue(now)
        connection.next_look = 0.0
        connection.plan(now)
        store = self.store
        if store is not None and (session.expiry_interval or session.kept or session.will is not None):
            store.session_kept(session)
            session.kept = True
            if session.expiry_interval:
                session.store = store
        self.events.connected(session, connection.peer, resumed)

    def session_left(
        self, session: Session, connection: Connection, reason_code: int, detail: str, without_will: bool, now: float
    ) -> None:
        """The session's connection is gone (3.1.2.5, 3.1.2.11.2)."""
        self.statistics.connections -= 1
        self._count_user(session.principal.user_name, -1)
        if connection in self._awaiting_commit:
            del self._awaiting_commit[connection]
        session.connection = None
        if session.principal.client_identifier:  # nobody else's: a retained message may keep it for long
            session.principal.publish_decisions.clear()
        session.pause()
        self.events.disconnected(session.client_identifier, connection.peer, reason_code, detail)
        if without_will:
            session.will = None
        session.will_at = 0.0
        if session.will is not None and not (self.closing and session.kept):
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

    def _count_user(self, user_name: str | None, difference: int) -> None:
        """A connection of a user came or went."""
        if user_name is not None and self.limits.connections_per_user:
            count = self._users.get(user_name, 0) + difference
            if count:
                self._users[user_name] = count
            else:
                del self._users[user_name]

    def end_session(self, session: Session, now: float) -> None:
        """Session State is discarded: subscriptions, queued messages, and a will that still waited is published."""
        if self.sessions.get(session.client_identifier) is not session:
            return
        del self.sessions[session.client_identifier]
        session.ends_at = 0.0
        subscriptions = session.subscriptions
        if subscriptions is not None:
            for subscription in list(subscriptions.values()):
                self.remove_subscription(subscription)
            session.subscriptions = None
        if self.store is not None and session.kept and not (self.closing and session.will is not None):
            self.store.session_ended(session)  # or, when the broker stops, in its next life, together with its will
        session.store = None
        session.kept = False
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
        """Publish the Will Message and forget it [MQTT-3.1.2-8, 3.1.2-10]. Its client's access rules apply."""
        will = session.will
        session.will = None
        session.will_at = 0.0
        if will is None:
            return
        try:
            route = self.route(will.topic)
            allowed = self.may_publish(session.principal, will.topic)
        except Undecided:
            allowed = False  # it was to be answered when the client connected, and there is no time now
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
        if self.publish_hooks is None:
            self.publish(message, route, now, session)
        else:
            self.publish_hooked(session, message, route, True, now)
        if session.store is not None:
            session.store.session_kept(session)  # without its will

    def access_changed(self) -> None:
        """Access decisions are asked for anew from here on."""
        for session in self.sessions.values():
            session.principal = self.access.admitted(session.principal, session.client_identifier)
        self.routes.clear()

    # -- the store

    def _restore(self, store: Store, now: float) -> None:
        """Take up what an earlier life has left: sessions wait for their clients, wills for their delay."""
        sessions, retained = store.load(now)
        for stored in sessions:
            principal = Principal(stored.user_name, stored.client_identifier)
            session = self.sessions[stored.client_identifier] = Session(self, stored.client_identifier, principal)
            session.expiry_interval = min(stored.expiry_interval, self.limits.session_expiry_maximum_s)
            session.restore(stored, now)
            for message in [*stored.inflight.values(), *stored.queue]:
                if message is not None:
                    message.branch = self.meter.branch(message.topic)
            for topic_filter, (qos, no_local, retain_as_published, identifier) in stored.subscriptions.items():
                self.add_subscription(
                    session, Subscription(session, topic_filter, qos, no_local, retain_as_published, identifier)
                )
            session.store = store if stored.expiry_interval else None
            session.kept = True
            session.notes = stored.notes
            session.plan(now)
        for message, provenance in retained:
            publisher = Principal(provenance.user_name, message.publisher) if message.publisher else None
            message.branch = self.meter.branch(message.topic)
            self.retained.set(message, publisher, provenance)

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
        values.update(self.meter.topics())
        if self.store is not None:
            for name, value in self.store.topics().items():
                values[f"store/{name}"] = value
        for name, value in values.items():
            topic = SYS_PREFIX + b"broker/" + name.encode()
            payload = value.encode()
            current = self.retained.current(topic)
            if current is None or current.payload != payload:
                self.publish(Message(topic, payload, 0, True), self.route(topic), now)
