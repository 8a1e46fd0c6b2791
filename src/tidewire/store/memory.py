"""The reference model of a store: what must be there after a restart, in plain dictionaries.

It keeps nothing beyond the process; a durable store is held against it.
"""

from __future__ import annotations

from tidewire.engine.delivery import RELEASED, Delivery
from tidewire.engine.message import Message
from tidewire.engine.ports import Provenance, Store, StoredSession
from tidewire.engine.routing import Subscription
from tidewire.engine.session import Session


class MemoryStore(Store):
    """Sessions and retained messages; `commit` decides when they count as safe."""

    def __init__(self, commits_at_once: bool = True) -> None:
        """`commits_at_once`: everything told is safe at once; else from the next `commit` on."""
        super().__init__()
        self.sessions: dict[str, StoredSession] = {}
        self.retained_messages: dict[bytes, tuple[Message, Provenance]] = {}
        self._commits_at_once = commits_at_once
        self._next_ticket = 1

    def commit(self) -> int:
        """Make everything told so far safe; returns the ticket for `Broker.committed`."""
        self._next_ticket += 1
        return self._next_ticket - 1

    def load(self, now: float) -> tuple[list[StoredSession], list[tuple[Message, Provenance]]]:
        return list(self.sessions.values()), list(self.retained_messages.values())

    def barrier(self) -> int:
        return 0 if self._commits_at_once else self._next_ticket

    def upcoming(self) -> int:
        return self.barrier()

    def session_kept(self, session: Session) -> None:
        stored = self.sessions.get(session.client_identifier)
        if stored is None:
            stored = StoredSession(session.client_identifier, session.principal.user_name, session.expiry_interval)
            self.sessions[session.client_identifier] = stored
            for subscription in (session.subscriptions or {}).values():
                stored.subscriptions[subscription.topic_filter] = subscription.options()
            for identifier, message in (session.inflight or {}).items():
                stored.inflight[identifier] = None if message is RELEASED else message
            stored.queue = list(session.queue or ())
            stored.received = set(session.received or ())
        stored.expiry_interval = session.expiry_interval
        stored.ends_at = session.ends_at
        stored.will = session.will
        stored.will_delay = session.will_delay
        stored.will_at = session.will_at

    def session_ended(self, session: Session) -> None:
        del self.sessions[session.client_identifier]

    def subscribed(self, session: Session, subscription: Subscription) -> None:
        self._of(session).subscriptions[subscription.topic_filter] = subscription.options()

    def unsubscribed(self, session: Session, topic_filter: bytes) -> None:
        del self._of(session).subscriptions[topic_filter]

    def retained(self, topic: bytes, message: Message | None, provenance: Provenance | None) -> None:
        if message is None:
            self.retained_messages.pop(topic, None)
        else:
            assert provenance is not None
            self.retained_messages[topic] = (message, provenance)

    def kept(self, delivery: Delivery, message: Message) -> None:
        self._of(delivery).queue.append(message)

    def sent(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        stored = self._of(delivery)
        stored.queue.remove(message)
        stored.inflight[identifier] = message

    def released(self, delivery: Delivery, identifier: bytes) -> None:
        inflight = self._of(delivery).inflight
        del inflight[identifier]  # PUBRELs are repeated in the order of the PUBRECs
        inflight[identifier] = None

    def settled(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        stored = self._of(delivery)
        if identifier:
            del stored.inflight[identifier]
        else:
            stored.queue.remove(message)

    def received(self, delivery: Delivery, identifier: bytes) -> None:
        self._of(delivery).received.add(identifier)

    def forgotten(self, delivery: Delivery, identifier: bytes) -> None:
        self._of(delivery).received.discard(identifier)

    def _of(self, delivery: Delivery) -> StoredSession:
        assert isinstance(delivery, Session)
        return self.sessions[delivery.client_identifier]
