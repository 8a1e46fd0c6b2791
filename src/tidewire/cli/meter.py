"""`tidewire meter`: what clients and topics cost, from the store of a broker that runs or has stopped."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from tidewire.cli.exits import tell
from tidewire.cli.numbers import counted, grouped
from tidewire.cli.screen import printable
from tidewire.cli.stored import directory_options, format_option, found, nobody_reads, wants_json
from tidewire.store.errors import StoreError
from tidewire.store.inspection import reading
from tidewire.store.meter_rows import LARGEST_FIRST, Flow, Metered, metered

_PERIOD: Final = r"day|month|\d{4}-(\d\d|\*)(-(\d\d|\*))?"
_LAYERS: Final[tuple[tuple[str, Callable[[Flow], int]], ...]] = (
    ("payloads", lambda flow: flow.payload),
    ("MQTT", lambda flow: flow.mqtt - flow.payload),
    ("WebSocket", lambda flow: flow.websocket),
    ("TLS", lambda flow: flow.tls),
    ("TCP/IP", lambda flow: flow.tcp_ip),
    ("all", lambda flow: flow.total),
)
"""What each adds to the one before it."""


def _checked_period(context: click.Context, parameter: click.Parameter, period: str) -> str:
    if not re.fullmatch(_PERIOD, period):
        raise click.BadParameter(f"{period!r} is none; write day, month, 2026-11, 2026-11-21 or 2026-11-*")
    return period


@click.command()
@click.argument("client", required=False)
@click.option("--topics", is_flag=True, help="Branches of the topics in place of clients.")
@click.option(
    "--period",
    callback=_checked_period,
    default="month",
    metavar="PERIOD",
    help="The last day or month; or 2026-11, 2026-11-21, 2026-11-*. [default: month]",
)
@click.option("--limit", type=click.IntRange(1), default=LARGEST_FIRST, metavar="N", help="The N costliest.")
@directory_options
@format_option
def meter(
    *,
    client: str | None,
    topics: bool,
    period: str,
    limit: int,
    directory: Path | None,
    config_file: Path | None,
    as_json: bool | None,
) -> None:
    """Show what clients have cost, in bytes down to those of IP: the costliest first, below their total.

    CLIENT is a client identifier, shown layer by layer and by types of packets, or a pattern with * and ? as in a
    shell. A broker that runs has its figures of the last minute still to write.

    \b
    Examples:
      tidewire meter
      tidewire meter sensor-17
      tidewire meter --period '2026-11-*' sensor-17
      tidewire meter --topics --period day
    """
    data = found(directory, config_file)
    try:
        with reading(data.database) as database:
            kind = "branch" if topics else "client"
            rows = metered(database, kind, client or "*", period, limit)
            total = metered(database, "total", "", period, limit) if client is None and not topics else []
    except StoreError as error:
        raise click.UsageError(str(error)) from None
    try:
        _write([*total, *rows], client, wants_json(as_json))
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads()


def _write(rows: list[Metered], client: str | None, as_json: bool) -> None:
    if as_json:
        for row in rows:
            told = msgspec.to_builtins(row) | {"total": row.total}
            sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    elif not rows:
        tell("nothing was metered yet" if client is None else f"{client!r} was not metered in that time")
    elif client is not None and all(row.name == client for row in rows):
        for row in rows:
            click.echo("\n".join(_described(row)))
    else:
        _write_table(
            [
                ("NAME", "PERIOD", "MESSAGES", "PAYLOAD", "MQTT", "WEBSOCKET", "TLS", "TCP/IP", "ALL BYTES"),
                *((row.name or f"({row.kind})", row.period, *_figures(row)) for row in rows),
            ]
        )


def _figures(row: Metered) -> Iterable[str]:
    both = (row.received, row.sent)
    yield grouped(sum(_messages(flow) for flow in both))
    for name in ("payload", "mqtt", "websocket", "tls", "tcp_ip"):
        yield grouped(sum(getattr(flow, name) for flow in both))
    yield grouped(row.total)


def _messages(flow: Flow) -> int:
    published = flow.packets.get("PUBLISH")
    return published.count if published is not None else 0


def _described(row: Metered) -> Iterator[str]:
    """One client, layer by layer and by types of packets."""
    user = f", user {printable(row.user)}" if row.user is not None else ""
    yield f"{printable(row.name)}{user}, {row.period}: {grouped(row.total)} bytes"
    yield f"  {'':<12}{'received':>16}{'sent':>16}"
    for name, size in _LAYERS:
        yield f"  {name:<12}{grouped(size(row.received)):>16}{grouped(size(row.sent)):>16}"
    yield f"  {'segments':<12}{grouped(row.received.segments):>16}{grouped(row.sent.segments):>16}"
    if row.received.estimated or row.sent.estimated:
        yield f"  {'estimated':<12}{grouped(row.received.estimated):>16}{grouped(row.sent.estimated):>16}"
    for way, flow in (("received", row.received), ("sent", row.sent)):
        for name, packets in flow.packets.items():
            yield f"  {way:<10}{name:<12}{counted(packets.count, 'packet')}, {counted(packets.bytes, 'byte')}"


def _write_table(rows: list[tuple[str, ...]]) -> None:
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        name, period, *figures = (
            text.rjust(width) if place > 1 else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join((name, period, *figures)).rstrip())
