"""What has a durable store to write? The changes since the last commit, less those that have undone each other.

A message that is on its way to a client gets `GRACE_GROUPS` commits more than others before it is written: acknowledged
by then, it leaves no trace, so a subscriber that is there costs no disk. `take` hands the changes over as rows; times
in them are in seconds since 1970. A message stands in them once, however many sessions it is for: they refer to it by
its number.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from tidewire.engine.delivery import RELEASED, Delivery
from tidewire.engine.message import IDENTIFIERS, Message
from tidewire.engine.ports import Provenance, Store, StoredSession
from tidewire.engine.routing import Subscription
from tidewire.engine.session import Session

GROUP_MESSAGES: Final = 1000
"""Messages that are committed without waiting for more."""

GRACE_GROUPS: Final = 4
"""Commits that a QoS 1 message to a connected client may outlive unwritten: some 10 ms, in which most are acknowledged.
At QoS 2 the packet identifier has to be safe before it is sent, so there is none."""

SessionRow = tuple[int, str, str | None, int, float, Message | None, int, float]
"""Number, client identifier, user name, expiry interval, when it ends (0.0: it is connected), will, its delay, when it
is due. A will's `expires_at` counts from its publication, below 0 for never."""

SubscriptionRow = tuple[int, bytes, int, bool, bool, int]
"""Session, topic filter, QoS, No Local, Retain As Published, Subscription Identifier."""

MessageRow = tuple[int, Message, float]
"""Number, message, when it expires (0.0: never)."""

DeliveryRow = tuple[int, int, int, int, bool, bytes, int]
"""Session, position, number of the message (0: only PUBREL is left to send), QoS, RETAIN, Subscription Identifiers as
they travel, packet identifier (0: it waits)."""

RetainedRow = tuple[bytes, Message, float, Provenance, float]
"""Topic, message, when it expires (0.0: never), who published it, and when."""

MeterRow = tuple[str, str, str, str | None, str]
"""Kind, period, name, user name and figures of an account of the meter."""


UnderWay = tuple[Delivery, bytes, Message, int]
"""A session, a packet identifier, the message that was sent with it, and its position."""


class Kept:
    """A message that one session holds, and the store is to have."""

    def __init__(self, session: int, position: int, message: Message) -> None:
        self.session = session
        self.position = position
        self.message = message
        self.identifier = b""
        """Its packet identifier, once it was sent."""
        self.saved = False
        """There is a row of it."""
        self.gone = False


class SessionNotes:
    """What is noted of a session."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.saved = False
        """There is a row of it."""
        self.waiting: dict[Message, Kept] = {}
        self.inflight: dict[bytes, Kept] = {}


class Batch:
    """What one commit writes: first what has ended, then what is new."""

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket
        self.ended_sessions: list[int] = []
        """Whose subscriptions, deliveries and received identifiers go with them."""
        self.sessions: list[SessionRow] = []
        self.unsubscribed: list[tuple[int, bytes]] = []
        self.subscriptions: list[SubscriptionRow] = []
        self.settled: list[tuple[int, int]] = []
        """Session and position of deliveries that are no more."""
        self.dead_messages: list[int] = []
        self.messages: list[MessageRow] = []
        self.deliveries: list[DeliveryRow] = []
        """New ones, and those that have taken a packet identifier."""
        self.forgotten: list[tuple[int, int]] = []
        """Session and packet identifier of QoS 2 messages that have come to their end."""
        self.received: list[tuple[int, int]] = []
        self.cleared: list[bytes] = []
        """Topics without a retained message."""
        self.retained: list[RetainedRow] = []
        self.meter_ends: tuple[str, ...] = ()
        """The first day and the first month that the meter still keeps, where earlier ones are to go."""
        self.metered: list[MeterRow] = []

    def rows(self) -> int:
        """How many are written or deleted, at least."""
        return (
            len(self.ended_sessions)
            + len(self.sessions)
            + len(self.unsubscribed)
            + len(self.subscriptions)
            + len(self.settled)
            + len(self.dead_messages)
            + len(self.messages)
            + len(self.deliveries)
            + len(self.forgotten)
            + len(self.received)
            + len(self.cleared)
            + len(self.retained)
            + len(self.meter_ends)
            + len(self.metered)
        )


class Contents:
    """What a store has kept: rows as in `Batch`, in the order of their numbers and positions."""

    def __init__(self) -> None:
        self.sessions: list[SessionRow] = []
        self.subscriptions: list[SubscriptionRow] = []
        self.messages: list[MessageRow] = []
        self.deliveries: list[DeliveryRow] = []
        self.received: list[tuple[int, int]] = []
        self.retained: list[RetainedRow] = []
        self.metered: list[MeterRow] = []
        """Of the last day and month."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Changes(Store):
    """Gathers what it is told. A subclass is woken at the first change, takes the batch, and reports the commit."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered = 0
        """Messages kept since the last `take`, those that are gone again included."""
        self._ticket = 1
        """Of what is told now."""
        self._committing = 0
        """The ticket of the batch that was taken, until it is committed."""
        self._changed = False
        self._last_session = 0
        self._last_message = 0
        self._last_position = 0
        self._under_way: list[list[UnderWay]] = [[] for _ in range(GRACE_GROUPS + 1)]
        """Of the last groups, what connected clients are to acknowledge; the oldest first."""
        self.metered_before: list[MeterRow] = []
        """What the meter had told of the last day and month, after `load`."""
        self._clear()

    def _clear(self) -> None:
        self._sessions: dict[int, Session] = {}
        self._ended: list[int] = []
        self._subscriptions: dict[int, dict[bytes, Subscription | None]] = {}
        self._added: list[Kept] = []
        self._sent: list[Kept] = []
        self._settled: list[tuple[int, int]] = []
        self._dead: list[int] = []
        self._received: dict[int, dict[bytes, bool]] = {}
        """Session → packet identifier → whether it was received, or forgotten."""
        self._retained: dict[bytes, tuple[Message, Provenance] | None] = {}
        self._metered: dict[tuple[str, str, str], MeterRow] = {}
        self._meter_ends: tuple[str, ...] = ()
        self.gathered = 0

    # -- what the subclass uses

    def wake(self) -> None:
        """There is something to commit, for the first time since the last `take`."""

    def hurry(self) -> None:
        """There are `GROUP_MESSAGES` to commit: more gain nothing by waiting."""

    def waits_for_acknowledgements(self) -> bool:
        """Whether all that there is to commit may become nothing, if it is given time."""
        return not (
            self._added
            or self._sent
            or self._settled
            or self._sessions
            or self._ended
            or self._subscriptions
            or self._received
            or self._retained
            or self._metered
            or self._meter_ends
        )

    def take(self, shift: float) -> Batch | None:
        """All that was told and still matters, as rows, and None when there is nothing; `shift` makes seconds since
        1970 of the engine's time. The next batch is taken when this one is committed.

        It may be empty, and is to be counted as committed then."""
        if not self._changed:
            return None
        batch = Batch(self._ticket)
        for number, session in self._sessions.items():
            batch.sessions.append(_session_row(number, session, shift))
        batch.ended_sessions = self._ended
        for number, subscriptions in self._subscriptions.items():
            for topic_filter, subscription in subscriptions.items():
                if subscription is None:
                    batch.unsubscribed.append((number, topic_filter))
                else:
                    batch.subscriptions.append((number, topic_filter, *subscription.options()))
        self._give_up_on_acknowledgements()
        for kept in self._added:
            if not kept.gone:
                kept.saved = True
                batch.deliveries.append(self._delivery_row(kept, batch, shift))
        for kept in self._sent:
            if not kept.gone:
                batch.deliveries.append(self._delivery_row(kept, batch, shift))
        batch.settled = self._settled
        batch.dead_messages = self._dead
        for number, identifiers in self._received.items():
            for identifier, is_received in identifiers.items():
                row = (number, int.from_bytes(identifier, "big"))
                (batch.received if is_received else batch.forgotten).append(row)
        for topic, retained in self._retained.items():
            if retained is None:
                batch.cleared.append(topic)
            else:
                message, provenance = retained
                batch.retained.append(
                    (topic, message, _moved(message.expires_at, shift), provenance, provenance.published_at + shift)
                )
        batch.metered = list(self._metered.values())
        batch.meter_ends = self._meter_ends
        self._changed = False
        self._clear()
        self._committing = self._ticket
        self._ticket += 1
        for under_way in self._under_way:
            if under_way:
                self._change()
                break
        return batch

    def committed(self) -> None:
        """The batch that was taken is safe."""
        self._committing = 0

    def restore(self, contents: Contents, shift: float) -> tuple[list[StoredSession], list[tuple[Message, Provenance]]]:
        """Take up what was kept, for `load`; `shift` is that of `take`."""
        self.metered_before = contents.metered
        sessions: dict[int, StoredSession] = {}
        for number, client, user_name, expiry_interval, ends_at, will, will_delay, will_at in contents.sessions:
            stored = sessions[number] = StoredSession(client, user_name, expiry_interval)
            stored.ends_at = _back(ends_at, shift)
            stored.will = will
            stored.will_delay = will_delay
            stored.will_at = _back(will_at, shift)
            stored.notes = SessionNotes(number)
            stored.notes.saved = True
            self._last_session = max(self._last_session, number)
        for number, topic_filter, qos, no_local, retain_as_published, identifier in contents.subscriptions:
            sessions[number].subscriptions[topic_filter] = (qos, no_local, retain_as_published, identifier)
        messages: dict[int, Message] = {}
        for number, message, expires_at in contents.messages:
            message.expires_at = _back(expires_at, shift)
            message.stored_as = number
            messages[number] = message
            self._last_message = max(self._last_message, number)
        for number, position, message_number, qos, retain, identifiers, packet_identifier in contents.deliveries:
            self._restore_delivery(
                sessions[number], position, messages.get(message_number), qos, retain, identifiers, packet_identifier
            )
        for number, message in messages.items():
            if not message.references:
                self._dead.append(number)  # its last session ended without it
                self._change()
        for number, packet_identifier in contents.received:
            sessions[number].received.add(IDENTIFIERS[packet_identifier])
        retained: list[tuple[Message, Provenance]] = []
        for _, message, expires_at, provenance, published_at in contents.retained:
            message.expires_at = _back(expires_at, shift)
            provenance.published_at = published_at - shift
            retained.append((message, provenance))
        return list(sessions.values()), retained

    def _restore_delivery(
        self,
        stored: StoredSession,
        position: int,
        message: Message | None,
        qos: int,
        retain: bool,
        identifiers: bytes,
        packet_identifier: int,
    ) -> None:
        notes = stored.notes
        assert notes is not None
        self._last_position = max(self._last_position, position)
        if message is None:
            kept = Kept(notes.number, position, RELEASED)
        else:
            message.references += 1
            if message.qos != qos or message.retain != retain or identifiers:
                message = message.variant(qos, retain, identifiers)
            kept = Kept(notes.number, position, message)
        kept.saved = True
        if packet_identifier:
            kept.identifier = IDENTIFIERS[packet_identifier]
            notes.inflight[kept.identifier] = kept
            stored.inflight[kept.identifier] = message
        elif message is not None:
            notes.waiting[message] = kept
            stored.queue.append(message)

    # -- what the engine asks

    def barrier(self) -> int:
        return self._ticket if self._changed else self._committing

    def barrier_of(self, message: Message) -> int:
        return message.safe_with if message.references else 0

    def upcoming(self) -> int:
        return 0 if self.failing else self._ticket

    # -- what the engine tells

    def session_kept(self, session: Session) -> None:
        notes = session.notes
        if notes is None:
            self._last_session += 1
            notes = session.notes = SessionNotes(self._last_session)
            self._adopt(notes, session)
        self._sessions[notes.number] = session
        self._change()

    def session_ended(self, session: Session) -> None:
        notes = session.notes
        assert notes is not None
        session.notes = None
        number = notes.number
        self._sessions.pop(number, None)
        self._subscriptions.pop(number, None)
        self._received.pop(number, None)
        for kept in notes.waiting.values():
            self._let_go(kept)
        for kept in notes.inflight.values():
            self._let_go(kept)
        for identifier, message in (session.inflight or {}).items():
            if identifier not in notes.inflight:
                self._dereference(message)
        self._ended.append(number)
        self._change()

    def subscribed(self, session: Session, subscription: Subscription) -> None:
        notes = session.notes
        assert notes is not None
        self._subscriptions.setdefault(notes.number, {})[subscription.topic_filter] = subscription
        self._change()

    def unsubscribed(self, session: Session, topic_filter: bytes) -> None:
        notes = session.notes
        assert notes is not None
        self._subscriptions.setdefault(notes.number, {})[topic_filter] = None
        self._change()

    def retained(self, topic: bytes, message: Message | None, provenance: Provenance | None) -> None:
        if message is None:
            self._retained[topic] = None
        else:
            assert provenance is not None
            self._retained[topic] = (message, provenance)
        self._change()

    def kept(self, delivery: Delivery, message: Message) -> None:
        notes = delivery.notes
        assert notes is not None
        notes.waiting[message] = self._keep(notes, message)

    def sent(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        notes = delivery.notes
        assert notes is not None
        kept = notes.waiting.pop(message)
        kept.identifier = identifier
        notes.inflight[identifier] = kept
        if kept.saved:
            self._sent.append(kept)
            self._change()

    def under_way(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        self._last_position += 1
        self._refer(message, self._ticket + GRACE_GROUPS)
        self._under_way[GRACE_GROUPS].append((delivery, identifier, message, self._last_position))
        self._change()

    def released(self, delivery: Delivery, identifier: bytes) -> None:
        notes = delivery.notes
        assert notes is not None
        self._let_go(notes.inflight.pop(identifier))
        kept = self._keep(notes, RELEASED)  # anew: PUBRELs are repeated in the order of the PUBRECs
        kept.identifier = identifier
        notes.inflight[identifier] = kept

    def settled(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        notes = delivery.notes
        assert notes is not None
        if not identifier:
            self._let_go(notes.waiting.pop(message))
        elif identifier in notes.inflight:
            self._let_go(notes.inflight.pop(identifier))
        else:
            self._dereference(message)  # it was under way, and is not written any more

    def received(self, delivery: Delivery, identifier: bytes) -> None:
        self._turn(delivery, identifier, True)

    def forgotten(self, delivery: Delivery, identifier: bytes) -> None:
        self._turn(delivery, identifier, False)

    def metered(self, rows: list[MeterRow], ends: tuple[str, ...] = ()) -> None:
        """The meter's figures as they are now, and the first day and month to keep where earlier ones are to go."""
        for row in rows:
            self._metered[row[0], row[1], row[2]] = row
        if ends:
            self._meter_ends = ends
        self._change()

    def _change(self) -> None:
        if not self._changed:
            self._changed = True
            self.wake()

    def _keep(self, notes: SessionNotes, message: Message) -> Kept:
        """To be written with the next commit."""
        self._last_position += 1
        kept = Kept(notes.number, self._last_position, message)
        self._added.append(kept)
        self.gathered += 1
        if self.gathered == GROUP_MESSAGES:
            self.hurry()
        if message is not RELEASED:
            self._refer(message, self._ticket)
        self._change()
        return kept

    def _let_go(self, kept: Kept) -> None:
        """A session holds a message no more. What was never committed leaves no trace."""
        kept.gone = True
        if kept.saved:
            self._settled.append((kept.session, kept.position))
            self._change()
        if kept.message is not RELEASED:
            self._dereference(kept.message)

    def _refer(self, message: Message, ticket: int) -> None:
        """One more session holds a message; it is safe there with the commit of this ticket."""
        origin = message if message.origin is None else message.origin
        origin.references += 1
        origin.safe_with = max(origin.safe_with, ticket)

    def _dereference(self, message: Message) -> None:
        origin = message if message.origin is None else message.origin
        origin.references -= 1
        if origin.references:
            return
        if origin.stored_as:
            self._dead.append(origin.stored_as)
            origin.stored_as = 0
            self._change()
        publishing = origin.awaited_by
        if publishing is not None:
            origin.awaited_by = None
            publishing.keep_promises()

    def _give_up_on_acknowledgements(self) -> None:
        """Write what has been under way for long enough, and what must not be missing before what is written anyway:
        a session that is restored has got nothing in another order than before."""
        sessions = {kept.session for kept in self._added}
        oldest = self._under_way.pop(0)
        self._under_way.append([])
        for delivery, identifier, message, position in oldest:
            self._write_under_way(delivery, identifier, message, position)
        if sessions:
            for under_way in self._under_way:
                for delivery, identifier, message, position in under_way:
                    if delivery.notes is not None and delivery.notes.number in sessions:
                        self._write_under_way(delivery, identifier, message, position)

    def _write_under_way(self, delivery: Delivery, identifier: bytes, message: Message, position: int) -> None:
        notes = delivery.notes
        inflight = delivery.inflight
        if notes is None or inflight is None or inflight.get(identifier) is not message or identifier in notes.inflight:
            return  # acknowledged, or written already
        kept = notes.inflight[identifier] = Kept(notes.number, position, message)
        kept.identifier = identifier
        self._added.append(kept)

    def _turn(self, delivery: Delivery, identifier: bytes, is_received: bool) -> None:
        """Two turns since the last commit are none."""
        notes = delivery.notes
        assert notes is not None
        turned = self._received.get(notes.number)
        if turned is None:
            turned = self._received[notes.number] = {}
        if turned.pop(identifier, None) is None:
            turned[identifier] = is_received
        self._change()

    def _adopt(self, notes: SessionNotes, session: Session) -> None:
        """All that a session holds when it is told of for the first time."""
        for subscription in (session.subscriptions or {}).values():
            self._subscriptions.setdefault(notes.number, {})[subscription.topic_filter] = subscription
        for identifier, message in (session.inflight or {}).items():
            kept = self._keep(notes, message)
            kept.identifier = identifier
            notes.inflight[identifier] = kept
        for message in session.queue or ():
            notes.waiting[message] = self._keep(notes, message)
        for identifier in session.received or ():
            self._turn(session, identifier, True)

    def _delivery_row(self, kept: Kept, batch: Batch, shift: float) -> DeliveryRow:
        message = kept.message
        identifier = int.from_bytes(kept.identifier, "big")
        if message is RELEASED:
            return kept.session, kept.position, 0, 2, False, b"", identifier
        origin = message if message.origin is None else message.origin
        if not origin.stored_as:
            self._last_message += 1
            origin.stored_as = self._last_message
            batch.messages.append((origin.stored_as, origin, _moved(origin.expires_at, shift)))
        number = origin.stored_as
        return kept.session, kept.position, number, message.qos, message.retain, message.identifiers, identifier


def _session_row(number: int, session: Session, shift: float) -> SessionRow:
    return (
        number,
        session.client_identifier,
        session.principal.user_name,
        session.expiry_interval,
        _moved(session.ends_at, shift),
        session.will,
        session.will_delay,
        _moved(session.will_at, shift),
    )


def _moved(at: float, shift: float) -> float:
    """A time as seconds since 1970; 0.0 stays what it is."""
    return at + shift if at else 0.0


def _back(at: float, shift: float) -> float:
    """A time as the engine knows it; what was before its clock began is at its very beginning."""
    return max(at - shift, 1e-9) if at else 0.0
