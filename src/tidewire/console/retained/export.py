"""How do retained messages leave the page? As lines of JSON with their provenance, and never more than so much."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from tidewire.server.admin import LISTED, Admin
from tidewire.server.admin_types import RetainedInfo, Viewer

ROWS: Final = 10_000
"""Of one file: every thousand of them go through all that is retained, part by part …"""

FILE_BYTES: Final = 32 * 1024 * 1024
"""… and the file is made in the broker's memory."""

WHOLE_BYTES: Final = 0xFFF_FFFF
"""No payload is longer than a packet can be (2.1.4)."""

SLICE: Final = 100
"""Rows that are written before others get the loop: about a millisecond."""


async def exported(admin: Admin, topic_filter: str, contains: bytes, viewer: Viewer | None) -> tuple[bytes, int, bool]:
    """A line for each message, how many there are, and whether that is all of them. Raises AdminFault."""
    parts: list[bytes] = []
    size = 0
    after = ""
    while True:
        found = await admin.retained(
            topic_filter, contains, after, payload_bytes=WHOLE_BYTES, viewer=viewer, limit=LISTED
        )
        for info in found:
            if len(parts) == ROWS or size > FILE_BYTES:
                return b"".join(parts), len(parts), False
            parts.append(line(info))
            size += len(parts[-1])
            if len(parts) % SLICE == 0:
                await asyncio.sleep(0)
        if len(found) < LISTED:
            return b"".join(parts), len(parts), True
        after = found[-1].topic


def line(info: RetainedInfo) -> bytes:
    """One message as JSON: its payload as `text`, or as `base64` where it is none."""
    fields: dict[str, Any] = {
        "topic": info.topic,
        "at": datetime.fromtimestamp(info.published_at, UTC).isoformat(timespec="milliseconds")
        if info.published_at
        else None,
        "bytes": info.payload_bytes,
        "qos": info.qos,
        "publisher": info.publisher,
        "user": info.user,
        "address": info.address,
        "expires_s": info.expires_s,
    }
    try:
        fields["text"] = info.payload.decode()
    except UnicodeDecodeError:
        fields["base64"] = base64.b64encode(info.payload).decode()
    properties = msgspec.to_builtins(info.properties)
    return msgspec.json.encode(fields | ({"properties": properties} if properties else {})) + b"\n"
