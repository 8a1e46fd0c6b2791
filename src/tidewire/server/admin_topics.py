"""What is published, topic by topic? Gathered in the broker, for a page that looks ten times a second.

A session of the broker's own gets the messages as any subscriber does, but its outbox is never written anywhere: it is
read here, ten times a second, for a bounded part of the time. When more comes than that, the session is left without
a link until the next turn, in which state a QoS 0 message costs the broker nothing: what passes meanwhile is counted
from the broker's own counters, and not seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Self, cast

from tidewire.access.control import Grants
from tidewire.access.rules import Rule, RuleSet
from tidewire.engine.link import Link, Outgoing
from tidewire.engine.ports import Principal, Transport
from tidewire.engine.retained import Walk
from tidewire.engine.routing import Subscription
from tidewire.engine.session import Session
from tidewire.engine.statistics import Statistics
from tidewire.server.admin_access import VIEWER, principal_of, reader
from tidewire.server.admin_messages import shown_properties
from tidewire.server.admin_retained import LOOKED_AT
from tidewire.server.admin_types import TopicChanges, TopicSeen, Viewer
from tidewire.wire.codes import V5
from tidewire.wire.fields import Reader
from tidewire.wire.framing import find_packet

if TYPE_CHECKING:
    from tidewire.server.server import Server

TURN_S: Final = 0.1
"""How often the feed reads what came: as often as a person can follow."""

BUDGET_S: Final = 0.001
"""How long it may read in one turn: 1 % of a core."""

TURN_BYTES: Final = 64 * 1024
"""What it takes in one turn, at most; less where less can be read in that time, down to …"""

TURN_BYTES_LEAST: Final = 16 * 1024
"""… this much: what is taken and not read was encoded for nobody."""

READ_AT_LEAST: Final = 256
"""Messages that are read in a turn however long it takes: a slow moment of the machine is no reason to miss them."""

TOPICS_KEPT: Final = 50_000
"""Topics of one feed; messages of further ones are counted only …"""

NAMES_BYTES: Final = 16 * 1024 * 1024
"""… as are those of topics past so many bytes of their names: a name may have 65 535."""

PAYLOAD_SHOWN_BYTES: Final = 64 * 1024
"""What is kept of the last payload of a topic, …"""

PROPERTIES_KEPT_BYTES: Final = 4 * 1024
"""… and of its properties, …"""

PAYLOADS_BYTES: Final = 64 * 1024 * 1024
"""… while all of either that are longer than the next are together no more than this, and …"""

PAYLOAD_CUT_BYTES: Final = 256
"""… after that."""

TAKEN_AT_ONCE: Final = 200
"""Topics that one `take` brings, those that have waited longest first: more is not read by anybody, and making them
keeps the loop from the broker's messages."""

_CHECKED_EVERY: Final = 64
"""Messages between two looks at the clock."""

OPERATOR: Final = RuleSet(
    Rule("allow", "subscribe", topic_filter) for topic_filter in (b"#", b"$SYS/#", b"$SYS/broker/#")
)
"""What somebody may read who is no user: all that no rule denies to everybody."""


class _Topic:
    """What is known of one topic."""

    __slots__ = (
        "at",
        "bytes",
        "counted",
        "messages",
        "payload",
        "payload_bytes",
        "properties",
        "properties_bytes",
        "retain",
        "since",
        "taken",
    )

    def __init__(self) -> None:
        self.payload = b""
        self.payload_bytes = 0
        self.properties = b""
        self.properties_bytes = 0
        self.counted = 0
        """What is kept of both, as far as it counts."""
        self.retain = False
        self.at = 0.0
        self.messages = 0
        self.bytes = 0
        self.taken = 0
        """Messages when it was taken last, and …"""
        self.since = 0.0
        """… the last `take` before those that have come since then."""


class TopicFeed:
    """The topics that a filter matches; `with`, or `close` it at the end."""

    def __init__(
        self,
        server: Server,
        topic_filter: bytes,
        viewer: Viewer | None,
        wall_clock: Callable[[], float],
        *,
        budget_s: float = BUDGET_S,
        turn_bytes: int = TURN_BYTES,
    ) -> None:
        """Of a checked filter, without share name."""
        self._server = server
        self._broker = broker = server.broker
        self._wall_clock = wall_clock
        self._budget_s = budget_s
        self._most_bytes = turn_bytes
        self._turn_bytes = turn_bytes
        """What it takes in this turn."""
        self._statistics = Statistics(server.clock())
        """What the engine counts of this link."""
        self._link = Link(cast(Transport, self), Outgoing(self._statistics, broker.events))
        self._link.version = V5
        self._link.refresh_passthrough()
        self._link.dirty = True  # so that nobody flushes it at the end of a pass
        self._session = Session(broker, VIEWER, _principal(server, viewer))
        self._session.link = self._link
        self._session.only_looks = True
        self._pieces: list[bytes] = []
        self._taken_bytes = 0
        """In this turn, and …"""
        self._read_bytes = 0
        """… what of that was read."""
        self._spent_s = 0.0
        """In this turn."""
        self._topics: dict[bytes, _Topic] = {}
        self._changed: dict[bytes, None] = {}
        self._names_bytes = 0
        self._payloads_bytes = 0
        self._seen = 0
        self._seen_bytes = 0
        """Of the packets that were seen, to estimate how many others were."""
        self._unseen = 0.0
        self._received_heard = 0
        """What the broker received while it was heard …"""
        self._came_then = 0.0
        """… and what of that came here: the share of what it receives while it is not."""
        self._received_at = int(broker.statistics.publish_received)
        self._told = 0.0
        self._told_unseen = 0.0
        self._told_at = server.clock()
        self._full = False
        self._closed = False
        self._subscription = Subscription(self._session, topic_filter, 0, False, False, 0)
        self._head_start = 0
        """What the link's outbox is said to hold while it is empty."""
        self._allow()
        self._retained: Walk | None = broker.retained.walk(topic_filter, broker.retained.last_number)
        """What is left to look through of what was retained when it began."""
        self._may_read = reader(broker, viewer)
        self._begin()
        broker.tree.add(self._subscription)
        broker.routes.changed(topic_filter)
        self._loop = asyncio.get_running_loop()
        self._next_turn = self._loop.call_later(TURN_S, self.turn)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, first: Iterable[str] = ()) -> TopicChanges:
        """What has changed since it was taken last: at most `TAKEN_AT_ONCE` topics, and others with the next call.

        Those that are named `first`, as somebody looks at them, wait for no others."""
        if self._spent_s < self._budget_s:
            self.look()
        now = self._server.clock()
        came = self._seen + self._unseen
        unseen = self._unseen - self._told_unseen
        elapsed = max(now - self._told_at, TURN_S)
        seen = came - self._told - unseen
        scale = (came - self._told) / seen if seen > 0 else 1.0
        changed = self._changed
        wanted = [name for name in dict.fromkeys(map(str.encode, first)) if name in changed][:TAKEN_AT_ONCE]
        for name in wanted:
            del changed[name]
        while changed and len(wanted) < TAKEN_AT_ONCE:
            name = next(iter(changed))
            del changed[name]
            wanted.append(name)
        topics = [self._shown(name, now, scale) for name in wanted]
        rate = (came - self._told) / elapsed
        self._told, self._told_unseen, self._told_at = came, self._unseen, now
        return TopicChanges(
            topics=topics,
            messages=round(came),
            unseen=round(self._unseen),
            rate=rate,
            sampling=unseen > 0.0,
            topics_full=self._full,
        )

    def close(self) -> None:
        """Look no longer."""
        if not self._closed:
            self._closed = True
            self._next_turn.cancel()
            self._retained = None
            self._session.link = None
            self._broker.tree.remove(self._subscription)
            self._broker.routes.changed(self._subscription.topic_filter)

    def look(self) -> None:
        """Read what has come, as far as this turn's time goes."""
        link = self._link
        self._pieces += link.outbox
        link.outbox = []
        self._taken_bytes += link.outbox_bytes - self._head_start
        self._allow()
        if self._session.link is not None:
            self._count_heard()
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces = []
            came = self._read(data)
            self._came_then += came
            # What travels in runs was counted as sent; but who looks is no subscriber.
            put, self._statistics.publish_sent = int(self._statistics.publish_sent), 0
            self._broker.statistics.publish_sent -= max(0, round(came) - put)
        if self._session.link is None:
            share = min(1.0, self._came_then / self._received_heard) if self._received_heard else 1.0
            self._unseen += self._passed() * share

    # -- what the link calls

    def write(self, data: bytes) -> None:
        """The outbox was large enough to be written before the turn."""
        self._pieces.append(data)
        self._taken_bytes += len(data)
        self._allow()
        self._count_heard()
        self._session.link = None

    # -- inside

    def _begin(self) -> None:
        """With a part of what is retained, as there may be a million; what has come since is newer."""
        walk = self._retained
        if walk is None:
            return
        walk.go_on(LOOKED_AT)
        part, walk.found = walk.found, []
        if walk.is_done():
            self._retained = None
        broker, now = self._broker, self._server.clock()
        may_read = self._may_read
        shift = self._wall_clock() - now
        for message in part:
            if 0.0 < message.expires_at <= now or not broker.retained.is_kept(message, broker.access):
                continue
            if message.topic in self._topics or (may_read is not None and not may_read(message.topic)):
                continue
            topic = self._new(message.topic)
            if topic is None:
                self._retained = None
                return
            provenance = broker.retained.provenance(message.topic)
            topic.at = provenance.published_at + shift if provenance is not None else 0.0
            topic.retain = True
            topic.since = self._told_at
            self._keep(topic, message.payload, message.properties)
            self._changed[message.topic] = None

    def _allow(self) -> None:
        """Let the link take what is left for this turn: it writes when so much more is on its outbox."""
        left = max(1, self._turn_bytes - self._taken_bytes)
        self._head_start = self._link.outbox_bytes = self._broker.limits.early_flush_bytes - left

    def _passed(self) -> int:
        """Messages that the broker has received since this was asked last."""
        received = int(self._broker.statistics.publish_received)
        passed, self._received_at = received - self._received_at, received
        return passed

    def _count_heard(self) -> None:
        self._received_heard += self._passed()

    def turn(self) -> None:
        self._next_turn = self._loop.call_later(TURN_S, self.turn)
        self._spent_s = 0.0
        self.look()
        if self._read_bytes < self._taken_bytes:
            self._turn_bytes = max(TURN_BYTES_LEAST, self._read_bytes)
        else:
            self._turn_bytes = min(self._most_bytes, 2 * self._turn_bytes)
        self._taken_bytes = self._read_bytes = 0
        self._allow()
        self._session.link = self._link
        self._begin()

    def _read(self, data: bytes) -> float:
        """Read packets until the time is over; how many there are, an estimate of those that were not read included."""
        began = time.thread_time()
        until = began + self._budget_s - self._spent_s
        now = self._wall_clock()
        topics, changed = self._topics, self._changed
        size, position, read, next_check = len(data), 0, 0, READ_AT_LEAST
        while position < size:
            if read >= next_check:
                if time.thread_time() >= until:
                    break
                next_check = read + _CHECKED_EVERY
            body, end = position + 2, position + 2 + data[position + 1]
            if data[position + 1] >= 0x80:
                body, end = find_packet(data, position, size)
            start = body + 2 + (data[body] << 8 | data[body + 1])
            name = data[body + 2 : start]
            count = 1
            properties = b""
            if data[start]:
                block = Reader(data, start, end, True)
                length = block.variable_byte_integer()
                start = block.position + length
                properties = data[block.position : start]
            else:
                start += 1
                if data.startswith(name, end + body + 2 - position):
                    head = data[position:start]
                    length = end - position
                    while data.startswith(head, end):  # a run: only its last message is of interest
                        count += 1
                        start += length
                        end += length
            position = end
            read += count
            topic = topics.get(name)
            if topic is None:
                topic = self._new(name)
                if topic is None:
                    self._unseen += count
                    continue
            length = end - start
            if length > PAYLOAD_CUT_BYTES or topic.counted or len(properties) > PAYLOAD_CUT_BYTES:
                self._keep(topic, data[start:end], properties)
            else:
                topic.payload = data[start:end]
                topic.payload_bytes = length
                topic.properties = properties
                topic.properties_bytes = len(properties)
            topic.messages += count
            topic.bytes += count * length
            topic.at = now
            topic.retain = False
            self._seen += count
            if name not in changed:
                changed[name] = None
                topic.since = self._told_at
        self._spent_s += time.thread_time() - began
        self._seen_bytes += position
        self._read_bytes += position
        rest = (size - position) * (self._seen + 1) / (self._seen_bytes + 1) if position < size else 0.0
        self._unseen += rest
        return read + rest

    def _new(self, name: bytes) -> _Topic | None:
        """A topic that is not known yet; None: there is no room for it."""
        if len(self._topics) >= TOPICS_KEPT or self._names_bytes + len(name) > NAMES_BYTES:
            self._full = True
            return None
        self._names_bytes += len(name)
        topic = self._topics[name] = _Topic()
        return topic

    def _keep(self, topic: _Topic, payload: bytes, properties: bytes) -> None:
        """The last payload of a topic and its properties, or the beginning of them."""
        self._payloads_bytes -= topic.counted
        room = self._payloads_bytes < PAYLOADS_BYTES
        topic.payload = payload[: PAYLOAD_SHOWN_BYTES if room else PAYLOAD_CUT_BYTES]
        topic.payload_bytes = len(payload)
        topic.properties = properties[: PROPERTIES_KEPT_BYTES if room else PAYLOAD_CUT_BYTES]
        topic.properties_bytes = len(properties)
        topic.counted = sum(len(kept) for kept in (topic.payload, topic.properties) if len(kept) > PAYLOAD_CUT_BYTES)
        self._payloads_bytes += topic.counted

    def _shown(self, name: bytes, now: float, scale: float) -> TopicSeen:
        topic = self._topics[name]
        elapsed = max(now - topic.since, TURN_S)
        rate = (topic.messages - topic.taken) * scale / elapsed
        topic.taken = topic.messages
        return TopicSeen(
            topic=name.decode(),
            payload=topic.payload,
            payload_bytes=topic.payload_bytes,
            retain=topic.retain,
            properties=shown_properties(topic.properties, topic.properties_bytes),
            at=topic.at,
            messages=topic.messages,
            total_bytes=topic.bytes,
            rate=rate,
        )


def _principal(server: Server, viewer: Viewer | None) -> Principal:
    """Who reads: the viewer, or the operator."""
    if viewer is not None:
        return principal_of(server.broker, viewer)
    principal = Principal(None, VIEWER)
    principal.grants = Grants(OPERATOR)
    return principal
