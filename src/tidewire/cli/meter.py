"""`tidewire meter`: what clients and topics cost, from a broker's store, or, of all together, from its `$SYS`."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import click
import msgspec
from click.core import ParameterSource

from tidewire.cli import exits
from tidewire.cli.connection_options import Connection, connection_options
from tidewire.cli.exits import tell
from tidewire.cli.numbers import counted, grouped
from tidewire.cli.screen import printable
from tidewire.cli.stored import directory_options, format_option, found, nobody_reads, wants_json
from tidewire.store.errors import StoreError
from tidewire.store.inspection import reading
from tidewire.store.meter_rows import LARGEST_FIRST, Flow, Metered, metered

PATIENCE_S: Final = 10.0
"""How long the broker may take to tell its totals: they are retained, so they come at once."""

_OF_THE_STORE: Final = ("client", "topics", "limit", "directory", "config_file")
"""Parameters that are for the store alone, …"""
_OF_BOTH: Final = ("period", "as_json")
"""… and those that say what to show; the others say how to connect."""

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
@click.option("--sys", "wants_sys", is_flag=True, help="The totals that a broker tells over MQTT, in $SYS.")
@connection_options
@click.pass_context
def meter(
    context: click.Context,
    *,
    connection: Connection,
    wants_sys: bool,
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

    With --sys, or with any option that says how to connect, a broker that runs is asked over MQTT; it tells the totals
    of all its clients in the running day and month, to whom the access rules let read $SYS.

    \b
    Examples:
      tidewire meter
      tidewire meter sensor-17
      tidewire meter --period '2026-11-*' sensor-17
      tidewire meter --topics --period day
      tidewire meter -h broker.example -u alice -P secret --period day
    """
    if wants_sys or _given(context, lambda name: name not in (*_OF_THE_STORE, *_OF_BOTH)):
        _check_sys(context, period)
        exits.run(_show_sys(connection, period, wants_json(as_json)))
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


def _given(context: click.Context, is_asked: Callable[[str], bool]) -> list[str]:
    """The flags on the command line whose names are asked for."""
    return [
        parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.human_readable_name
        for parameter in context.command.params
        if parameter.name is not None
        and is_asked(parameter.name)
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]


def _check_sys(context: click.Context, period: str) -> None:
    """Raise UsageError for what only the store can tell."""
    if given := _given(context, lambda name: name in _OF_THE_STORE):
        raise click.UsageError(f"$SYS has the totals of all clients alone, so it cannot go with {given[0]}")
    if period not in ("day", "month"):
        raise click.UsageError(f"$SYS has the running day and month, not {period}; give --period day or month")


async def _show_sys(connection: Connection, period: str, as_json: bool) -> int:
    """Print what a broker's `$SYS` says; the status to end with."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            total = await from_sys(connection, period)
    except TimeoutError:
        tell(f"nothing has come from $SYS/broker/meter in {PATIENCE_S:g} s: the broker has none, or it may not be read")
        return exits.Exit.TIMED_OUT
    except ValueError as error:
        tell(f"$SYS/broker/meter has what is no number of bytes: {error}")
        return exits.Exit.INPUT_OUTPUT
    _write([total], None, as_json)
    return exits.Exit.DONE


async def from_sys(connection: Connection, period: str) -> Metered:
    """The totals of the running "day" or "month", without counts of packets, once they are all there.

    Raises ValueError for values that are no numbers, and what a client raises."""
    topics = {f"$SYS/broker/meter/{period}/{way}/{name}": (way, name) for way in _WAYS for name in _NAMES}
    flows = {way: Flow() for way in _WAYS}
    missing = set(topics)
    async with connection.client() as client, client.subscribe(f"$SYS/broker/meter/{period}/#") as messages:
        async for message in messages:
            if message.topic in topics:
                way, name = topics[message.topic]
                setattr(flows[way], name, int(message.text()))
                missing.discard(message.topic)
            if not missing:
                break
    return Metered("total", "", period, flows["received"], flows["sent"])


_WAYS: Final = ("received", "sent")
_NAMES: Final = ("payload", "mqtt", "websocket", "tls", "tcp_ip")


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
    is_known = row.received.packets or row.sent.packets  # $SYS has none
    yield grouped(sum(_messages(flow) for flow in both)) if is_known or not row.total else "–"
    for name in _NAMES:
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
