"""What do the rows of the table `meter` say? What a client, or a branch of the topics, cost in a day or month.

Layers are what each adds: `payload` is part of `mqtt`, and all bytes are `mqtt` + `websocket` + `tls` + `tcp_ip`.
docs/meter.md describes this for its readers.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from fnmatch import translate
from typing import Final, Literal

import msgspec

from tidewire.engine import meter
from tidewire.store.errors import StoreError
from tidewire.wire.codes import PACKET_NAMES

Kind = Literal["total", "client", "branch", "nobody", "other clients", "other branches"]

LARGEST_FIRST: Final = 1000
"""Rows that are listed unless more are asked for: who looks for the costly ones finds them at the top."""


class Packets(msgspec.Struct, array_like=True):
    """Of one type."""

    count: int
    bytes: int


class Flow(msgspec.Struct, omit_defaults=True):
    """One direction, in bytes where nothing else is said."""

    payload: int = 0
    mqtt: int = 0
    websocket: int = 0
    tls: int = 0
    tcp_ip: int = 0
    estimated: int = 0
    """How much of `websocket`, `tls` and `tcp_ip` was not counted but worked out, where the kernel does not tell."""
    segments: int = 0
    """Of TCP, those without data included."""
    transfers: int = 0
    """Reads or writes."""
    packets: dict[str, Packets] = {}
    """By type, those that there were."""

    @property
    def total(self) -> int:
        """All bytes, down to those of IP."""
        return self.mqtt + self.websocket + self.tls + self.tcp_ip


class Metered(msgspec.Struct, omit_defaults=True):
    """What one client, or one branch of the topics, cost in one day or month."""

    kind: Kind
    name: str
    """Client identifier, or beginning of the topics."""
    period: str
    """`2026-11-21` or `2026-11`, UTC."""
    received: Flow
    """By the broker, …"""
    sent: Flow
    """… and by the broker."""
    user: str | None = None

    @property
    def total(self) -> int:
        """All bytes of both directions."""
        return self.received.total + self.sent.total


class _Figures(msgspec.Struct):
    """What stands in the column of that name."""

    received: Flow
    sent: Flow


def described(account: meter.Account, figures: list[int], period: str) -> Metered:
    """An account's figures of a period, for people and programs."""
    received, sent = _flow(figures, meter.RECEIVED), _flow(figures, meter.SENT)
    return Metered(account.kind, account.name, period, received, sent, account.user_name)  # type: ignore[arg-type]


def encoded(told: Metered) -> bytes:
    """The column of figures."""
    return msgspec.json.encode(_Figures(told.received, told.sent))


def decoded(figures: bytes | str) -> list[int]:
    """The figures of an account again. Raises msgspec.MsgspecError for what was not encoded here."""
    row = msgspec.json.decode(figures, type=_Figures)
    values: list[int] = []
    for flow in (row.received, row.sent):
        layers = [flow.payload, flow.mqtt, flow.websocket, flow.tls, flow.tcp_ip, flow.estimated]
        by_type = [flow.packets.get(name, _NONE) for name in PACKET_NAMES]
        values += [*layers, flow.segments, flow.transfers]
        values += [each.count for each in by_type] + [each.bytes for each in by_type]
    return values


def metered(
    database: sqlite3.Connection,
    kind: str,
    pattern: str = "*",
    period: str = "month",
    limit: int = LARGEST_FIRST,
) -> list[Metered]:
    """The rows of a kind whose name a pattern of the shell matches, the costliest first. Raises StoreError.

    `period`: "day" or "month" for the last that there is, or one as `2026-11-21`, `2026-11`, `2026-*`."""
    if period in _LENGTHS:
        question = "SELECT max(period) FROM meter WHERE kind = 'total' AND length(period) = ?"
        (period,) = database.execute(question, (_LENGTHS[period],)).fetchone()
    matches = re.compile(translate(pattern)).match
    rows = [row for row in _rows(database, kind, period or "") if matches(row.name)]
    rows.sort(key=lambda row: (row.total, row.period), reverse=True)
    return rows[:limit]


def history(database: sqlite3.Connection, kind: str, name: str) -> list[Metered]:
    """All periods of one account, the newest first. Raises StoreError."""
    return sorted(_rows(database, kind, "*", name), key=lambda row: row.period, reverse=True)


def _rows(database: sqlite3.Connection, kind: str, period: str, only: str | None = None) -> Iterator[Metered]:
    for name, of, user, figures in database.execute(
        "SELECT name, period, user_name, figures FROM meter"
        " WHERE kind = ? AND period GLOB ? AND name = ifnull(?, name)",
        (kind, period, only),
    ):
        try:
            row = msgspec.json.decode(figures, type=_Figures)
        except msgspec.MsgspecError as error:
            raise StoreError(f"the meter's row of {kind} {name!r} in {of} is damaged: {error}") from None
        yield Metered(kind, name, of, row.received, row.sent, user)  # type: ignore[arg-type]


def _flow(figures: list[int], direction: int) -> Flow:
    own = figures[direction : direction + meter.SPAN]
    packets = {
        name: Packets(own[meter.PACKETS + number], own[meter.PACKET_BYTES + number])
        for number, name in enumerate(PACKET_NAMES)
        if own[meter.PACKETS + number]
    }
    payload, mqtt, websocket, tls, tcp_ip, estimated, segments, transfers = own[: meter.PACKETS]
    return Flow(payload, mqtt, websocket, tls, tcp_ip, estimated, segments, transfers, packets)


_NONE: Final = Packets(0, 0)
_LENGTHS: Final = {"day": len("2026-11-21"), "month": len("2026-11")}
