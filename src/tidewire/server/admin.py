"""What is going on in this broker, and what can its operator do about it? One typed surface for all who ask.

The console, the HTTP API and `tidewire top` know the broker by this alone. Call it from the broker's event loop.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tidewire import __version__
from tidewire._form import form
from tidewire.engine.ledger import REASONS
from tidewire.server import admin_retained
from tidewire.server.admin_access import may_publish, may_subscribe
from tidewire.server.admin_clients import ORDERS, client_detail, client_info, doors, sorted_clients
from tidewire.server.admin_messages import PAYLOAD_SHOWN_BYTES, properties_of
from tidewire.server.admin_packet_shown import reason_name
from tidewire.server.admin_packets import KEPT_PACKETS, PacketFeed, Watch
from tidewire.server.admin_process import cpu_s, resident_bytes
from tidewire.server.admin_types import (
    BridgeInfo,
    BudgetInfo,
    ClientDetail,
    ClientInfo,
    Deleted,
    Flow,
    ListenerInfo,
    MessageProperties,
    Overview,
    Published,
    RetainedInfo,
    Viewer,
    Vitals,
)
from tidewire.server.hooks import make_message
from tidewire.store.meter_rows import Metered
from tidewire.wire.codes import ALLOWED_REASON_CODES, DISCONNECT, ReasonCode
from tidewire.wire.errors import InvalidTopic, ProtocolViolation
from tidewire.wire.topics import check_topic_filter, split_share

if TYPE_CHECKING:
    from tidewire.engine.session import Session
    from tidewire.server.admin_topics import TopicFeed
    from tidewire.server.server import Server

LISTED: Final = 1_000
"""The most that one call lists: more would keep the loop from the broker's messages."""

RATE_S: Final = 1.0
"""What a rate is counted over."""

ADMINISTRATIVE_ACTION: Final = ReasonCode.ADMINISTRATIVE_ACTION

_SYS: Final = b"$SYS/"

_REFUSALS: Final = {
    int(ReasonCode.BAD_USER_NAME_OR_PASSWORD): "User or password is wrong.",
    int(ReasonCode.CONNECTION_RATE_EXCEEDED): "There were too many wrong passwords from this address; wait a while.",
    int(ReasonCode.SERVER_BUSY): "Others are logging in just now; try again in a moment.",
}


class AdminFault(ValueError):
    """What was asked for cannot be done as it was asked; the text says why, and how to ask, in one line."""


class Admin:
    """A running broker, for who administers it. Raises AdminFault for what is asked wrongly."""

    def __init__(self, server: Server, *, wall_clock: Callable[[], float] = time.time) -> None:
        """`wall_clock` gives seconds since 1970."""
        self._server = server
        self._broker = server.broker
        self._wall_clock = wall_clock
        self._reloading = asyncio.Lock()
        self._sampled_at = server.clock()
        self._sampled = self._totals()
        self._cpu_s = cpu_s()
        self._cpu_share = 0.0
        self._rates = Flow()
        self_or_gone = weakref.WeakMethod(self._tick)

        def tick(now: float) -> bool:
            known = self_or_gone()
            return known is not None and known(now)

        server.at_tick.append(tick)

    # -- the broker

    def overview(self) -> Overview:
        """The broker in one look."""
        server, broker = self._server, self._broker
        statistics = broker.statistics
        now = server.clock()
        queued = [(session.waiting_messages(), session.queue_bytes) for session in broker.sessions.values()]
        store = broker.store
        own = broker.retained.match(_SYS + b"#")  # a hundred, and the walk visits no others
        own_bytes = sum(message.size() for message in own)
        return Overview(
            version=__version__,
            form=form(),
            now=self._wall_clock(),
            uptime_s=now - statistics.started_at,
            connections=int(statistics.connections),
            sessions=len(broker.sessions),
            subscriptions=int(statistics.subscriptions),
            retained_messages=broker.retained.count - len(own),
            retained_bytes=broker.retained.bytes - own_bytes,
            queued_messages=sum(messages for messages, _ in queued),
            queued_bytes=sum(size for _, size in queued),
            totals=self._totals(),
            rates=self._rates,
            drops=self.ledger(),
            cpu_share=self._cpu_share,
            memory_bytes=resident_bytes(),
            store="none" if store is None else "failing" if store.failing else "ok",
            listeners=self.listeners(),
            bridges=self.bridges(),
            sys_messages=len(own),
            sys_bytes=own_bytes,
        )

    def vitals(self) -> Vitals:
        """What may be asked every second, whoever looks."""
        return Vitals(totals=self._totals(), cpu_share=self._cpu_share, memory_bytes=resident_bytes())

    def listeners(self) -> list[ListenerInfo]:
        """Where the broker listens."""
        return [
            ListenerInfo(
                name=endpoint.config.name or "",
                urls=list(endpoint.urls),
                protocol=endpoint.config.protocol,
                tls=endpoint.tls is not None,
                connections=endpoint.connections,
            )
            for endpoint in self._server.endpoints
            if endpoint.urls
        ]

    def bridges(self) -> list[BridgeInfo]:
        """The brokers that messages are exchanged with, as `$SYS/broker/bridge/…` says."""
        infos = []
        for config in self._server.config.bridges:
            state = self._broker.retained.current(_SYS + b"broker/bridge/" + config.name.encode() + b"/state")
            infos.append(BridgeInfo(name=config.name, connected=state is not None and state.payload == b"1"))
        return infos

    def ledger(self) -> dict[str, int]:
        """Reason → messages that were dropped since the start, of all clients."""
        return dict(zip(REASONS, self._broker.ledger.counts, strict=True))

    def has_users(self) -> bool:
        """Whether anybody can prove who they are."""
        return self._server.config.access.proves_names()

    def nobody(self) -> Viewer | None:
        """Who looks at a broker without users: None, an operator, where no rules hold; else who has proven no name."""
        return None if self._broker.access.unrestricted else Viewer()

    async def sign_in(self, user_name: str, password: str, peer: str) -> Viewer | str:
        """Who shows a name and a password, or a token, from `peer`; or in words why that does not do."""
        reason_code, principal = await self._server.access.who_is(user_name, password.encode(), peer)
        if principal is None:
            return _REFUSALS.get(int(reason_code), "This cannot be found out now; the broker's log says more.")
        return Viewer(principal.user_name, principal.expires_at)

    async def reload(self) -> list[str]:
        """Go by the configuration as it stands in its file now; a line for each part that waits for a restart.

        Raises ConfigError for one that cannot be used: then nothing has changed."""
        from tidewire.server.reload import apply  # noqa: PLC0415 (it imports the server)

        read = self._server.read_again
        if read is None:
            raise AdminFault("this broker has no configuration file to read again; it was started by a program")
        async with self._reloading:
            return await apply(self._server, await asyncio.to_thread(read))

    # -- clients

    def clients(self, contains: str = "", after: str = "", limit: int = 100, order: str = "name") -> list[ClientInfo]:
        """Sessions, connected or not: those with this text in their identifier, user name or address.

        The next page begins `after` the client identifier that ended this one. `order` is "name", or one of "active",
        "queue", "inflight", "dropped" and "subscriptions", the largest first."""
        if order not in ORDERS:
            raise AdminFault(f"order={order!r} is not known; give one of {', '.join(ORDERS)}")
        sessions = sorted_clients(self._broker, contains, order)
        if after:
            try:
                sessions = sessions[_position_after(sessions, after, order) :]
            except ValueError:
                raise AdminFault(f"after={after!r} is not in the list any more; begin with the first page") from None
        entries = doors(self._server)
        return [self._client(session, entries) for session in sessions[: _checked_limit(limit)]]

    def client(self, name: str) -> ClientDetail | None:
        """One client, by its client identifier; None if there is no such session."""
        session = self._broker.sessions.get(name)
        if session is None:
            return None
        info = self._client(session, doors(self._server))
        return client_detail(session, info, self._server.clock(), self._server.metering.client(name))

    def kick(self, name: str, reason_code: int = ADMINISTRATIVE_ACTION) -> bool:
        """End a client's connection; its session stays. False: it is not connected."""
        if reason_code < 0x80 or reason_code not in ALLOWED_REASON_CODES[DISCONNECT]:
            allowed = ", ".join(f"0x{code:02x}" for code in sorted(ALLOWED_REASON_CODES[DISCONNECT]) if code >= 0x80)
            raise AdminFault(f"reason_code={reason_code} does not end a connection; give one of {allowed}")
        session = self._broker.sessions.get(name)
        if session is None or session.connection is None:
            return False
        session.connection.close(reason_code, "ended by the administrator", self._server.clock())
        self._server.plan_flush()
        return True

    def clear_session(self, name: str) -> bool:
        """Discard a client's session: its connection, subscriptions and queue. False: there is none."""
        session = self._broker.sessions.get(name)
        if session is None:
            return False
        now = self._server.clock()
        if session.connection is not None:
            session.connection.close(ADMINISTRATIVE_ACTION, "the administrator has cleared the session", now)
        self._broker.end_session(session, now)
        self._server.plan_flush()
        return True

    # -- messages

    async def retained(
        self,
        topic_filter: str = "#",
        contains: bytes = b"",
        after: str = "",
        limit: int = 100,
        *,
        payload_bytes: int = PAYLOAD_SHOWN_BYTES,
        viewer: Viewer | None = None,
    ) -> list[RetainedInfo]:
        """Retained messages by topic, those with these bytes in their payload; the next page begins `after` a topic.

        At most `payload_bytes` of each payload. With a `viewer`, those that a client of that user may read."""
        checked, most = checked_filter(topic_filter), _checked_limit(limit)
        return await admin_retained.page(
            self._server, checked, contains, after.encode(), most, payload_bytes, viewer, self._wall_clock()
        )

    async def delete_retained(self, topic_filter: str, contains: bytes = b"", dry_run: bool = True) -> Deleted:
        """Delete retained messages, or say which these are: those of `retained`, but for `$SYS`.

        Who subscribes to such a topic gets the empty message that says so [MQTT-3.3.1-6]."""
        return await admin_retained.delete(self._server, checked_filter(topic_filter), contains, dry_run)

    def publish(
        self,
        topic: str,
        payload: bytes = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        properties: MessageProperties | None = None,
        viewer: Viewer | None = None,
    ) -> Published:
        """Publish a message; with a `viewer`, only if a client of that user may."""
        server, broker = self._server, self._broker
        now = server.clock()
        try:
            message = make_message(topic, payload, qos, retain, properties_of(properties), "", now)
            route = broker.route(message.topic)
        except (ValueError, TypeError) as error:
            raise AdminFault(f"cannot publish to {topic!r}: {error}") from None
        except ProtocolViolation as violation:
            raise AdminFault(f"cannot publish to {topic!r}: {violation.detail}") from None
        if message.topic.startswith(_SYS):
            raise AdminFault(f"cannot publish to {topic!r}: what begins with $SYS/ is the broker's own")
        if viewer is not None and not may_publish(broker, viewer, message.topic):
            return Published(reason_code=int(ReasonCode.NOT_AUTHORIZED), reason="not authorized")
        reason_code = broker.publish(message, route, now)
        server.plan_flush(True)
        return Published(reason_code=int(reason_code), reason=reason_name(reason_code))

    # -- what is watched

    def watch_packets(self, name: str, packets: int = KEPT_PACKETS) -> PacketFeed:
        """Every packet of one client in both directions, from here on, over all its connections; close it at the end.

        `packets` are kept until they are taken. The client need not be there yet."""
        if not name:
            raise AdminFault("give the client identifier of the client to watch")
        return Watch.of(self._server, self._wall_clock).feed(name, packets)

    def watch_topics(self, topic_filter: str = "#", viewer: Viewer | None = None) -> TopicFeed:
        """What is published from here on, by topic, after what is retained; close it at the end.

        With a `viewer`, what a client of that user may read."""
        from tidewire.server.admin_topics import TopicFeed  # noqa: PLC0415

        checked = checked_filter(topic_filter)
        if viewer is not None and not may_subscribe(self._broker, viewer, checked):
            raise AdminFault(f"the access rules do not let {_whom(viewer)} subscribe to {topic_filter}")
        return TopicFeed(self._server, checked, viewer, self._wall_clock)

    def meters(
        self, kind: str = "clients", contains: str = "", period: str = "month", limit: int = 100
    ) -> list[Metered]:
        """What clients, "branches" of the topics, all in "total" or the "others" have cost in the running "day" or
        "month", by layer, the costliest first."""
        if period not in ("day", "month"):
            raise AdminFault(f"period={period!r} is not known; give day or month")
        metering = self._server.metering
        if kind == "total":
            return [metering.totals(period)]
        if kind == "others":
            return metering.others(period)
        if kind not in ("clients", "branches"):
            raise AdminFault(f"kind={kind!r} is not known; give total, clients, branches or others")
        listed = metering.clients if kind == "clients" else metering.branches
        return listed(contains, period, _checked_limit(limit))

    def budgets(self, limit: int = 100) -> list[BudgetInfo]:
        """How far the budgets of metered links are used, those that are nearest to their limit first."""
        used = self._server.metering.budgets_used()
        return sorted(used, key=lambda info: info.used_bytes / info.limit_bytes, reverse=True)[: _checked_limit(limit)]

    # -- inside

    def _client(self, session: Session, entries: dict[int, Any]) -> ClientInfo:
        now = self._server.clock()
        return client_info(session, entries, now, self._wall_clock() - now)

    def _totals(self) -> Flow:
        statistics = self._broker.statistics
        return Flow(
            messages_in=int(statistics.publish_received),
            messages_out=int(statistics.publish_sent),
            messages_dropped=sum(self._broker.ledger.counts),
            bytes_in=int(statistics.bytes_received),
            bytes_out=int(statistics.bytes_sent),
        )

    def _tick(self, now: float) -> bool:
        """Four times a second."""
        elapsed = now - self._sampled_at
        if elapsed >= RATE_S:
            totals, spent = self._totals(), cpu_s()
            before = self._sampled
            self._rates = Flow(
                **{name: (getattr(totals, name) - getattr(before, name)) / elapsed for name in Flow.__struct_fields__}
            )
            self._cpu_share = (spent - self._cpu_s) / elapsed
            self._sampled, self._sampled_at, self._cpu_s = totals, now, spent
        return True


def checked_filter(topic_filter: str) -> bytes:
    """A topic filter as bytes, without share name. Raises AdminFault."""
    checked = topic_filter.encode()
    try:
        check_topic_filter(checked)
    except InvalidTopic as error:
        raise AdminFault(str(error)) from None
    if split_share(checked)[0]:
        raise AdminFault(f"{topic_filter} is a shared subscription; give its filter alone")
    return checked


def _checked_limit(limit: int) -> int:
    if not 1 <= limit <= LISTED:
        raise AdminFault(f"limit={limit} is not between 1 and {LISTED}")
    return limit


def _position_after(sessions: list[Session], after: str, order: str) -> int:
    """Where a page begins. Raises ValueError when the session that it begins after is gone."""
    if order == "name":
        return bisect_right(sessions, after, key=lambda session: session.client_identifier)
    return [session.client_identifier for session in sessions].index(after) + 1


def _whom(viewer: Viewer) -> str:
    return "who has proven no name" if viewer.user_name is None else viewer.user_name
