"""How do values leave the page? As lines of JSON, or as a table for a spreadsheet, and never more than so much."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from tidewire.server.admin_types import TopicSeen

ROWS: Final = 50_000
"""Of one file: as many topics as a feed keeps."""

FILE_BYTES: Final = 32 * 1024 * 1024
"""Of one file, which is made in the broker's memory."""

SLICE: Final = 100
"""Rows that are written before others get the loop: about a millisecond."""

COLUMNS: Final = ("topic", "at", "bytes", "retained", "messages", "text", "base64")

KINDS: Final = {"ndjson": "application/x-ndjson", "csv": "text/csv"}
"""Ending → media type."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


async def exported(values: Iterable[TopicSeen], kind: str) -> tuple[bytes, int, bool]:
    """A file of the kind "ndjson" or "csv", how many values are in it, and whether that is all of them."""
    line = _KINDS[kind]
    parts = [_csv_line(COLUMNS)] if kind == "csv" else []
    size = count = 0
    for seen in values:
        if count == ROWS or size > FILE_BYTES:
            return b"".join(parts), count, False
        parts.append(line(seen))
        size += len(parts[-1])
        count += 1
        if count % SLICE == 0:
            await asyncio.sleep(0)
    return b"".join(parts), count, True


def _fields(seen: TopicSeen) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "topic": seen.topic,
        "at": datetime.fromtimestamp(seen.at, UTC).isoformat(timespec="milliseconds"),
        "bytes": seen.payload_bytes,
        "retained": seen.retain,
        "messages": seen.messages,
    }
    try:
        fields["text"] = seen.payload.decode()
    except UnicodeDecodeError:
        fields["base64"] = base64.b64encode(seen.payload).decode()
    return fields


def _ndjson(seen: TopicSeen) -> bytes:
    properties = msgspec.to_builtins(seen.properties)
    return msgspec.json.encode(_fields(seen) | ({"properties": properties} if properties else {})) + b"\n"


def _csv(seen: TopicSeen) -> bytes:
    fields = _fields(seen)
    return _csv_line([_harmless(fields.get(name, "")) for name in COLUMNS])


def _csv_line(fields: Iterable[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(fields)
    return text.getvalue().encode()


def _harmless(value: Any) -> Any:
    """What a spreadsheet would run as a formula gets an apostrophe before it; numbers do not need one."""
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


_KINDS: Final[dict[str, Callable[[TopicSeen], bytes]]] = {"ndjson": _ndjson, "csv": _csv}
