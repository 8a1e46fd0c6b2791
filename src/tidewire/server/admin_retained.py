"""Which retained messages are there, and which have to go? Looked for part by part, as there may be a million."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from heapq import nsmallest
from typing import TYPE_CHECKING, Final

from tidewire.engine.message import Message
from tidewire.server.admin_access import reader
from tidewire.server.admin_messages import shown_properties, time_left
from tidewire.server.admin_types import Deleted, RetainedInfo, Viewer

if TYPE_CHECKING:
    from tidewire.server.server import Server

LOOKED_AT: Final = 1_000
"""Levels of topics that are looked at before others get the loop: about a millisecond, compiled."""

DELETED_AT_ONCE: Final = 100
"""The same of messages that are deleted, each of which goes to its subscribers."""

TOPICS_NAMED: Final = 20
"""Topics that `delete` names."""

_SYS: Final = b"$SYS/"


async def page(
    server: Server,
    topic_filter: bytes,
    contains: bytes,
    after: bytes,
    limit: int,
    payload_bytes: int,
    viewer: Viewer | None,
    wall_clock_now: float,
) -> list[RetainedInfo]:
    """The first of them by topic, `after` one of them; `wall_clock_now` is the time since 1970 of now."""
    found: list[Message] = []
    async for part in _matching(server, topic_filter, contains, viewer):
        found = nsmallest(limit, [*found, *(message for message in part if message.topic > after)], key=_topic_of)
    now = server.clock()
    shift = wall_clock_now - now
    return [_shown(server, message, payload_bytes, now, shift, viewer is None) for message in found]


async def delete(server: Server, topic_filter: bytes, contains: bytes, dry_run: bool) -> Deleted:
    """Delete them, or say which these are: all but `$SYS`."""
    count = size = 0
    named: list[Message] = []
    async for part in _matching(server, topic_filter, contains, None):
        others = [message for message in part if not message.topic.startswith(_SYS)]
        count += len(others)
        size += sum(message.size() for message in others)
        named = nsmallest(TOPICS_NAMED, [*named, *others], key=_topic_of)
        for start in range(0, 0 if dry_run else len(others), DELETED_AT_ONCE):
            for message in others[start : start + DELETED_AT_ONCE]:
                _clear(server, message.topic)
            server.plan_flush(True)
            await asyncio.sleep(0)
    return Deleted(count=count, bytes=size, topics=[message.topic.decode() for message in named], dry_run=dry_run)


async def _matching(
    server: Server, topic_filter: bytes, contains: bytes, viewer: Viewer | None
) -> AsyncGenerator[list[Message], None]:
    """What would be handed on to a new subscriber, and has these bytes in its payload."""
    broker = server.broker
    retained = broker.retained
    may_read = reader(broker, viewer)
    walk = retained.walk(topic_filter, retained.last_number)
    while not walk.is_done():
        walk.go_on(LOOKED_AT)
        part, walk.found = walk.found, []
        now = server.clock()
        yield [
            message
            for message in part
            if contains in message.payload
            and not 0.0 < message.expires_at <= now
            and retained.is_kept(message, broker.access)
            and (may_read is None or may_read(message.topic))
        ]
        await asyncio.sleep(0)


def _clear(server: Server, topic: bytes) -> None:
    """By the empty message that subscribers get too [MQTT-3.3.1-6]."""
    broker = server.broker
    broker.publish(Message(topic, b"", 0, True), broker.route(topic), server.clock())


def _shown(
    server: Server, message: Message, payload_bytes: int, now: float, shift: float, tells_whence: bool
) -> RetainedInfo:
    """`tells_whence`: the publisher's user name and address too, which are nobody's business but an operator's."""
    provenance = server.broker.retained.provenance(message.topic)
    return RetainedInfo(
        topic=message.topic.decode(),
        payload=message.payload[:payload_bytes],
        payload_bytes=len(message.payload),
        qos=message.qos,
        properties=shown_properties(message.properties),
        expires_s=time_left(message, now),
        publisher=message.publisher,
        user=provenance.user_name if provenance is not None and tells_whence else None,
        address=provenance.address if provenance is not None and tells_whence else "",
        published_at=provenance.published_at + shift if provenance is not None else 0.0,
    )


def _topic_of(message: Message) -> bytes:
    return message.topic
