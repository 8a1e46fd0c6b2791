"""What does the administration say of a client?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final

from tidewire.engine.ledger import REASONS
from tidewire.server.admin_messages import shown_message
from tidewire.server.admin_types import ClientDetail, ClientInfo, SubscriptionInfo
from tidewire.server.listener import ClientProtocol
from tidewire.server.log import version_name

if TYPE_CHECKING:
    from tidewire.engine.broker import Broker
    from tidewire.engine.session import Session
    from tidewire.server.server import Server
    from tidewire.store.meter_rows import Metered

QUEUE_SHOWN: Final = 20
"""Messages of a queue that are shown: its head says what it waits for."""

Doors = dict[int, ClientProtocol]
"""The `id` of an engine's connection → the protocol that it came in by."""


def _dropped(session: Session) -> int:
    return session.ledger.total() if session.ledger is not None else 0


def _since(session: Session) -> float:
    return session.connection.last_received if session.connection is not None else _left_at(session)


def _inflight(session: Session) -> int:
    return len(session.inflight) if session.inflight is not None else 0


def _subscriptions(session: Session) -> int:
    return len(session.subscriptions) if session.subscriptions is not None else 0


ORDERS: Final[dict[str, Callable[[Session], float]]] = {
    "name": lambda session: 0.0,
    "active": _since,
    "queue": lambda session: float(session.queue_bytes),
    "inflight": _inflight,
    "dropped": _dropped,
    "subscriptions": _subscriptions,
}
"""What clients can be listed by, the largest first; those that are alike by their names."""


def sorted_clients(broker: Broker, contains: str, order: str) -> list[Session]:
    """Those with this text in their identifier, user name or address."""
    sessions = [session for session in broker.sessions.values() if not contains or _has(session, contains)]
    sessions.sort(key=lambda session: session.client_identifier)
    if order != "name":
        sessions.sort(key=ORDERS[order], reverse=True)
    return sessions


def doors(server: Server) -> Doors:
    """Of all connections that came in by a listener."""
    return {id(protocol.connection): protocol for protocol in server.gate.connections}


def client_info(session: Session, entries: Doors, now: float, shift: float) -> ClientInfo:
    """`shift` makes seconds since 1970 of the engine's time."""
    connection = session.connection
    door = entries.get(id(connection)) if connection is not None else None
    since = 0.0
    if door is not None:
        since = door.since + shift
    elif connection is None:
        since = _left_at(session) + shift
    queue = session.queue
    return ClientInfo(
        client_identifier=session.client_identifier,
        user=session.principal.user_name,
        address=session.address,
        version=version_name(connection.version) if connection is not None else "",
        transport=_transport(door, session.address) if connection is not None else "",
        listener=(door.endpoint.config.name or "") if door is not None and door.endpoint is not None else "",
        connected=connection is not None,
        since=since,
        keep_alive_s=connection.keep_alive if connection is not None else 0,
        clean=session.expiry_interval == 0,
        expires_s=session.expiry_interval if connection is not None else max(0, int(session.ends_at - now)),
        subscriptions=_subscriptions(session),
        queue_messages=len(queue) if queue is not None else 0,
        queue_bytes=session.queue_bytes,
        inflight=_inflight(session),
        dropped=_dropped(session),
    )


def client_detail(session: Session, info: ClientInfo, now: float, meter: Metered | None) -> ClientDetail:
    """One client, and all that is kept for it."""
    subscriptions = []
    for topic_filter, subscription in sorted((session.subscriptions or {}).items()):
        qos, no_local, retain_as_published, identifier = subscription.options()
        subscriptions.append(
            SubscriptionInfo(
                topic_filter=topic_filter.decode(),
                qos=qos,
                no_local=no_local,
                retain_as_published=retain_as_published,
                identifier=identifier,
            )
        )
    ledger = session.ledger
    will = session.will
    return ClientDetail(
        info=info,
        subscriptions=subscriptions,
        drops=dict(zip(REASONS, ledger.counts, strict=True)) if ledger is not None else {},
        # The expiry of a will is counted from its publication, and is no time yet.
        will=shown_message(will, max(0.0, will.expires_at) or None) if will is not None else None,
        will_delay_s=session.will_delay,
        queue=[
            shown_message(message, message.expires_at - now if message.expires_at > 0.0 else None)
            for message in islice(session.queue or (), QUEUE_SHOWN)
        ],
        meter=meter,
    )


def _has(session: Session, text: str) -> bool:
    return text in session.client_identifier or text in (session.principal.user_name or "") or text in session.address


def _left_at(session: Session) -> float:
    return session.ends_at - session.expiry_interval


def _transport(door: ClientProtocol | None, address: str) -> str:
    if door is None or door.endpoint is None:
        return "bridge" if address.startswith("bridge:") else "tcp"
    if address == "unix":
        return "unix"
    websocket, tls = door.endpoint.config.protocol == "websocket", door.endpoint.tls is not None
    return ("wss" if tls else "ws") if websocket else ("tls" if tls else "tcp")
