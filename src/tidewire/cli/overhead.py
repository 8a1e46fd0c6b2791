"""`tidewire overhead`: what does a message cost, by layer, and what would it cost otherwise?"""

from __future__ import annotations

import logging
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

import click
from click.core import ParameterSource

from tidewire.cli import exits
from tidewire.cli.exits import Exit
from tidewire.cli.overhead_advise import advise_command
from tidewire.overhead import diagram, svg, tables
from tidewire.overhead.costs import Form, TransportName, VersionName
from tidewire.overhead.errors import MeasurementError
from tidewire.overhead.mqtt import Message
from tidewire.overhead.report import Report, measure
from tidewire.overhead.schedule import MONTH_S, Schedule
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.topics import check_topic_name

PARTS: Final = ("costs", "layers", "flows", "month", "protocols")
LARGEST_PAYLOAD_BYTES: Final = 1_000_000
"""Loopback would carry more; the arithmetic of so many segments is known before."""

NOTE_CHARACTERS: Final = 110
"""Of a line: about as wide as the tables."""

_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


def _seconds(context: click.Context, parameter: click.Parameter, value: str) -> float:
    """`30s`, `5m`, `2h`, `1d`, or seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]*)", value)
    if found is None or found[2] not in _UNITS_S or not 0.001 <= float(found[1]) * _UNITS_S[found[2]] <= MONTH_S:
        raise click.BadParameter(f"{value!r} is no time up to 30 days; write 30s, 5m, 2h or 1d", context, parameter)
    return float(found[1]) * _UNITS_S[found[2]]


@click.group(invoke_without_command=True, subcommand_metavar="[advise …]")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Show this part; may be given several times.")
@click.option(
    "--transport", "transports", type=click.Choice(get_args(TransportName)), multiple=True, help="Only this one."
)
@click.option(
    "--version", "-V", "versions", type=click.Choice(get_args(VersionName)), multiple=True, help="Only this one."
)
@click.option("--qos", "-q", "qualities", type=click.Choice(["0", "1", "2"]), multiple=True, help="Only this one.")
@click.option("--alias/--no-alias", default=None, help="Only with topic aliases (5.0), or only without.")
@click.option(
    "--payload",
    type=click.IntRange(0, LARGEST_PAYLOAD_BYTES),
    default=20,
    show_default=True,
    metavar="BYTES",
    help="Of the message.",
)
@click.option("--topic", default=Message().topic, show_default=True, help="Of the message.")
@click.option(
    "--every",
    "every_s",
    default="30s",
    show_default=True,
    metavar="TIME",
    callback=_seconds,
    help="How often the device sends one: 30s, 5m, 2h, 1d.",
)
@click.option(
    "--keep-alive",
    type=click.IntRange(0, 65_535),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Of the device; 0: none.",
)
@click.option(
    "--svg",
    "svg_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw flows and protocols into FILE too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all that was found as one line of JSON.")
@click.pass_context
def overhead(
    context: click.Context,
    only: tuple[str, ...],
    transports: tuple[TransportName, ...],
    versions: tuple[VersionName, ...],
    qualities: tuple[str, ...],
    alias: bool | None,
    payload: int,
    topic: str,
    every_s: float,
    keep_alive: int,
    svg_file: Path | None,
    as_json: bool,
) -> None:
    """What does a message cost on its way, layer by layer?

    Starts a broker on loopback, goes through every stage of a device's life over every transport, and counts: bytes
    of payload, MQTT, WebSocket, TLS and TCP/IP, packets, segments, round trips. Then sends the same message by HTTP,
    CoAP and AMQP, where `pip install 'tidewire[overhead]'` has brought their libraries. That takes some ten seconds;
    what is being measured stands on standard error meanwhile where that is a terminal, and nothing does elsewhere.

    \b
    Parts, in this order, and which to see (--only):
      costs      bytes of every stage
      layers     bytes by layer; of MQTT 5.0 unless --version says otherwise
      flows      the packets of a message, as a sequence diagram for each QoS
      month      bytes of 30 days, and how often the radio wakes
      protocols  the same message by others, as a table and as bars

    \b
    Examples:
      tidewire overhead
      tidewire overhead --every 5m --payload 200 --keep-alive 120 --only month
      tidewire overhead --only flows --transport wss --version 5.0 --qos 2
      tidewire overhead --only flows --only protocols --svg cost.svg
      tidewire overhead --transport tls --json
      tidewire overhead advise --help
    """
    if context.invoked_subcommand is not None:
        _check_nothing_before(context)
        return
    forms = _forms(transports, versions, alias)
    if not forms:
        raise click.UsageError("topic aliases are new in MQTT 5.0; leave out --alias, or take --version 5.0")
    _check_topic(topic)
    if svg_file is not None and not os.access(svg_file if svg_file.exists() else svg_file.parent, os.W_OK):
        raise click.UsageError(f"cannot write {svg_file}; name a file in a directory that is there and yours")
    logging.getLogger("tidewire").addHandler(logging.NullHandler())  # the broker's log is not what was asked for
    parts = only or PARTS
    try:
        report = measure(
            forms,
            [int(qos) for qos in sorted(set(qualities) or {"0", "1", "2"})],
            Message(topic, payload, keep_alive),
            Schedule(every_s, keep_alive),
            "protocols" in parts,
            _say,
        )
        _say("")
    except MeasurementError as error:
        _say("")
        exits.tell(str(error))
        sys.exit(Exit.NOT_CONNECTED)
    if svg_file is not None:
        svg_file.write_text(svg.draw(report, "flows" in parts, "protocols" in parts), encoding="utf-8")
    click.echo(report.as_json() if as_json else _shown(report, parts, bool(versions)))


overhead.add_command(advise_command, "advise")


def _check_nothing_before(context: click.Context) -> None:
    """Raise UsageError for options that would be lost."""
    for parameter in context.command.params:
        if parameter.name is not None and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            command = context.invoked_subcommand
            raise click.UsageError(
                f"{parameter.opts[0]} is not for {command}, or stands after it; see {command} --help"
            )


def _check_topic(topic: str) -> None:
    """Raise UsageError for what a client cannot publish to."""
    try:
        check_topic_name(topic.encode())
    except UnicodeEncodeError:
        raise click.UsageError("--topic: topics are written in UTF-8, and this one is not") from None
    except InvalidTopic as error:
        raise click.UsageError(f"--topic: {error}") from None
    if topic.startswith("$"):
        raise click.UsageError(f"--topic: {topic!r} is the broker's own; take one that does not begin with $")


def _forms(transports: tuple[TransportName, ...], versions: tuple[VersionName, ...], alias: bool | None) -> list[Form]:
    return [
        Form(transport, version, with_alias)
        for transport in get_args(TransportName)
        if not transports or transport in transports
        for version in get_args(VersionName)
        if not versions or version in versions
        for with_alias in ((False, True) if version == "5.0" else (False,))
        if alias in (None, with_alias)
    ]


def _shown(report: Report, parts: Sequence[str], versions_chosen: bool) -> str:
    """All parts, an empty line between them."""
    shown: list[str] = []
    if "costs" in parts:
        shown.append(tables.costs(report))
    if "layers" in parts:
        plain = [each for each in report.exchanges if each.form.version == "5.0" and not each.form.alias]
        shown += map(tables.layers, report.exchanges if versions_chosen or not plain else plain)
    if "flows" in parts:
        shown += (diagram.text(report.typical, flow) for flow in report.typical.flows)
    if "month" in parts:
        shown.append(tables.months(report))
    if "protocols" in parts:
        shown += [tables.protocols(report), tables.chart(report)]
    shown.append("\n".join(["How it was counted", *map(_note, report.notes)]))
    return "\n\n".join(shown)


def _note(text: str) -> str:
    return textwrap.fill(text, NOTE_CHARACTERS, initial_indent="  - ", subsequent_indent="    ")


def _say(what: str) -> None:
    """What is being measured, on a line that the next one overwrites; only to a person."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{f'measuring {what} …' if what else ''}", err=True, nl=False)
