"""`tidewire overhead advise`: what would a client save by speaking otherwise, by what the broker has metered?"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from tidewire.cli.exits import Exit, tell
from tidewire.cli.screen import printable
from tidewire.cli.stored import directory_options, format_option, found, nobody_reads, wants_json
from tidewire.overhead.advice import ClientAdvice, advise, forms_for
from tidewire.overhead.advice_report import ASSUMPTIONS, text
from tidewire.overhead.costs import Exchange, Form
from tidewire.overhead.errors import MeasurementError
from tidewire.overhead.habits import habits, observed_s
from tidewire.overhead.mqtt import Message
from tidewire.overhead.report import Report, measure
from tidewire.overhead.schedule import Schedule
from tidewire.store.errors import StoreError
from tidewire.store.inspection import reading
from tidewire.store.meter_rows import Metered, history, metered

COSTLIEST: Final = 10
"""Clients that are advised unless more are asked for: each takes a screen."""

_PERIOD: Final = r"day|month|\d{4}-\d\d(-\d\d)?"


def _checked_period(context: click.Context, parameter: click.Parameter, period: str) -> str:
    if not re.fullmatch(_PERIOD, period):
        raise click.BadParameter(f"{period!r} is none; write day, month, 2026-11 or 2026-11-21")
    return period


@click.command()
@click.argument("client", required=False)
@click.option(
    "--period",
    callback=_checked_period,
    default="month",
    metavar="PERIOD",
    help="The last day or month; or 2026-11, 2026-11-21. [default: month]",
)
@click.option("--limit", type=click.IntRange(1), default=COSTLIEST, metavar="N", help="The N costliest.")
@click.option("--per-mb", type=click.FloatRange(0.0), metavar="PRICE", help="Of a million bytes, in any money.")
@click.option(
    "--exchanges",
    "exchanges_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What `tidewire overhead --json` printed. [default: perform them now]",
)
@directory_options
@format_option
def advise_command(
    client: str | None,
    period: str,
    limit: int,
    per_mb: float | None,
    exchanges_file: Path | None,
    directory: Path | None,
    config_file: Path | None,
    as_json: bool | None,
) -> None:
    """What would clients save by another QoS, keep-alive, topic alias, or by batches?

    Reads what the broker has metered, as `tidewire meter` does, performs the exchanges of the transports that clients
    use, and reckons with both. CLIENT is a client identifier, or a pattern with * and ? as in a shell.

    \b
    Examples:
      tidewire overhead advise
      tidewire overhead advise sensor-17 --per-mb 0.40
      tidewire overhead advise 'sensor-*' --period 2026-11-20 --json
      tidewire overhead --transport tls --only costs --json > tls.json
      tidewire overhead advise --exchanges tls.json
    """
    data = found(directory, config_file)
    try:
        with reading(data.database) as database:
            rows = metered(database, "client", client or "*", period, limit)
            days = {row.name: [past.period for past in history(database, "client", row.name)] for row in rows}
    except StoreError as error:
        raise click.UsageError(str(error)) from None
    now = datetime.now(UTC)
    times = [observed_s(row.period, [day for day in days[row.name] if day.count("-") == 2], now) for row in rows]
    try:
        message, exchanges = _exchanges(rows, exchanges_file)
        told = [advise(row, time_s, message, exchanges, per_mb) for row, time_s in zip(rows, times, strict=True)]
    except MeasurementError as error:
        if exchanges_file is not None:
            raise click.UsageError(f"{exchanges_file}: {error}") from None
        tell(str(error))
        sys.exit(Exit.NOT_CONNECTED)
    if not told and not wants_json(as_json):
        tell("nothing was metered yet" if client is None else f"{client!r} was not metered in that time")
    try:
        for line in _shown(told, wants_json(as_json)):
            click.echo(line)
    except BrokenPipeError:
        nobody_reads()


def _exchanges(rows: list[Metered], file: Path | None) -> tuple[Message, list[Exchange]]:
    """Those that the clients ask for: of the file, or performed. Raises MeasurementError or UsageError."""
    if file is not None:
        try:
            report = msgspec.json.decode(file.read_bytes(), type=Report)
        except OSError as error:
            raise click.UsageError(f"cannot read {file}: {error.strerror}") from None
        except msgspec.MsgspecError as error:
            raise click.UsageError(f"{file} is not what `tidewire overhead --json` prints: {error}") from None
    else:
        logging.getLogger("tidewire").addHandler(logging.NullHandler())  # the broker's log is not what was asked for
        forms: set[Form] = {form for row in rows for form in forms_for(habits(row))}
        report = measure(sorted(forms), (0, 1, 2), Message(), Schedule(30.0), False, lambda _: None)
    return report.message, report.exchanges


def _shown(told: list[ClientAdvice], as_json: bool) -> Iterator[str]:
    if as_json:
        yield from (msgspec.json.encode(each).decode() for each in told)
        return
    for each in told:
        yield "\n".join(map(printable, text(each).split("\n")))
        yield ""
    if told:
        yield "What was assumed"
        yield from (f"  - {each}" for each in ASSUMPTIONS)
