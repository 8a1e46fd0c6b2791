"""`tidewire bench`: how much does a broker carry, and how fast does it answer?"""

from __future__ import annotations

import itertools
import secrets
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from tidewire import Client
from tidewire.cli import exits
from tidewire.cli.bench_load import STAMP_BYTES, Benchmark, Load, measure
from tidewire.cli.connection_options import Connection, connection_options
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.topics import check_topic_filter, check_topic_name

OTHER_FILES: Final = 64
"""Files that this process has open beside its connections, at most."""
LARGEST_PAYLOAD_BYTES: Final = 268_435_455
"""The largest Remaining Length (2.1.4)."""

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


@click.group()
def bench() -> None:
    """Put load on a broker and say what came of it.

    Each benchmark ends by itself (Ctrl-C ends it earlier), shows a rate every second on a terminal, and at the end a
    table: rates, percentiles, and what limited them. A message counts when it is where it should be.

    \b
    Examples:
      tidewire bench publish --clients 10 --qos 1
      tidewire bench subscribe --clients 100 --publishers 1
      tidewire bench round-trip --rate 1000 --size 256
      tidewire bench connect --clients 5000 --in-flight 200
    """


def _clients(default: int, what: str) -> Callable[[CommandT], CommandT]:
    return click.option(
        "--clients",
        type=click.IntRange(1),
        default=default,
        show_default=True,
        metavar="N",
        help=f"Clients that {what}.",
    )


def _in_flight(default: int, what: str) -> Callable[[CommandT], CommandT]:
    return click.option(
        "--in-flight", type=click.IntRange(1), default=default, show_default=True, metavar="N", help=what
    )


def _shared(command: CommandT) -> CommandT:
    """The options that all have."""
    command = connection_options(command)
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON."),
        click.option(
            "--rate",
            type=click.FloatRange(0),
            default=0.0,
            metavar="N",
            help="So many a second, all clients together; what is late then counts from when it was due. "
            "[default: as fast as it goes]",
        ),
        click.option(
            "--duration",
            type=click.FloatRange(0, min_open=True),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="End after so long.",
        ),
    ):
        command = option(command)
    return command


def _messages(command: CommandT) -> CommandT:
    """The options about messages."""
    for option in (
        click.option(
            "--topic",
            default="bench/{run}/{client}",
            show_default=True,
            help="{client} stands for the number of the publisher, {run} for what no other run has.",
        ),
        click.option("--qos", "-q", type=click.IntRange(0, 2), default=0, show_default=True, help="Of all messages."),
        click.option(
            "--size",
            type=click.IntRange(0, LARGEST_PAYLOAD_BYTES),
            default=64,
            show_default=True,
            metavar="BYTES",
            help="Of each payload.",
        ),
        click.option("--messages", type=click.IntRange(1), metavar="N", help="End after N messages."),
    ):
        command = option(command)
    return command


@bench.command()
@_clients(1, "publish")
@_messages
@_in_flight(100, "QoS 1 and 2: messages that a client has unacknowledged.")
@_shared
def publish(connection: Connection, **options: Any) -> None:
    """How many messages does the broker take?

    At QoS 1 and 2 a message counts when it is acknowledged; at QoS 0 when this side has sent it, so that what the
    broker drops does not show: `tidewire bench subscribe` counts what arrives.

    \b
    Example:
      tidewire bench publish --clients 10 --qos 1 --size 256 --json
    """
    _run("publish", connection, **options)


@bench.command()
@_clients(1, "subscribe, each to everything")
@click.option(
    "--publishers",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    metavar="N",
    help="Clients that publish; 0 to count what others publish to --topic, which may be a filter then.",
)
@_messages
@_in_flight(1000, "Messages that the publishers may be ahead of a subscriber, unless there is a --rate.")
@_shared
def subscribe(connection: Connection, **options: Any) -> None:
    """How many messages does the broker deliver?

    \b
    Examples:
      tidewire bench subscribe --clients 100
      tidewire bench subscribe --publishers 0 --topic 'sensors/#' --duration 60
    """
    _run("subscribe", connection, **options)


@bench.command("round-trip")
@_clients(1, "publish, each to itself")
@_messages
@_in_flight(1, "Messages that a client has under way, unless there is a --rate.")
@_shared
def round_trip(connection: Connection, **options: Any) -> None:
    """How long is a message on its way, from a client to the broker and back?

    \b
    Examples:
      tidewire bench round-trip
      tidewire bench round-trip --clients 50 --rate 5000 --qos 1
    """
    _run("round-trip", connection, **options)


@bench.command()
@_clients(100, "connect, and stay until all have")
@click.option("--hold", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Stay so long after the last.")
@_in_flight(100, "Clients that connect at the same time.")
@_shared
def connect(connection: Connection, **options: Any) -> None:
    """How fast does the broker let a crowd in?

    \b
    Examples:
      tidewire bench connect --clients 5000
      tidewire bench connect --clients 1000 --rate 100 --hold 30
    """
    _run("connect", connection, size=0, qos=0, topic="", messages=None, **options)


def _run(
    benchmark: Benchmark,
    connection: Connection,
    *,
    clients: int,
    duration: float,
    messages: int | None,
    rate: float,
    size: int,
    qos: int,
    topic: str,
    in_flight: int,
    as_json: bool,
    publishers: int = 0,
    hold: float = 0.0,
) -> None:
    load = Load(
        benchmark=benchmark,
        make_client=_client_maker(connection),
        url=connection.url,
        version=connection.version,
        run=secrets.token_hex(4),
        clients=clients,
        publishers=publishers,
        duration_s=duration,
        messages=messages,
        rate=rate,
        size_bytes=size,
        qos=qos,
        topic=topic,
        in_flight=in_flight,
        hold_s=hold,
    )
    _check(load)
    _allow_connections(clients + publishers)
    exits.run(_measure(load, as_json))


def _client_maker(connection: Connection) -> Callable[[], Client]:
    """Clients that do not come back, each with an identifier of its own; certificates are read once for all."""
    connection.client()  # says what does not go together
    arguments = {**connection.arguments(), "reconnect": None}
    client_id, numbers = arguments.pop("client_id"), itertools.count()
    return lambda: Client(connection.url, client_id=f"{client_id}-{next(numbers)}" if client_id else "", **arguments)


async def _measure(load: Load, as_json: bool) -> int:
    tally = await measure(load, _say)
    report = tally.report(load)
    click.echo(report.as_json() if as_json else report.as_table())
    return tally.status


def _check(load: Load) -> None:
    """Raise UsageError for what cannot be measured."""
    if load.benchmark == "round-trip":
        if load.size_bytes < STAMP_BYTES:
            raise click.UsageError(f"a round trip carries its time in its payload; take at least --size {STAMP_BYTES}")
        if load.clients > 1 and "{client}" not in load.topic:
            raise click.UsageError("each client needs a topic of its own here; put {client} into --topic")
    if load.benchmark == "subscribe" and not load.publishers and load.messages is not None:
        raise click.UsageError("--messages is how many are published here; without publishers, take --duration")
    try:
        if load.benchmark == "subscribe":
            check_topic_filter(load.topic_of("+").encode())
        if load.benchmark != "connect" and (load.benchmark != "subscribe" or load.publishers):
            check_topic_name(load.topic_of(0).encode())
    except InvalidTopic as error:
        raise click.UsageError(f"--topic: {error}") from None


def _allow_connections(count: int) -> None:
    """Let this process have so many open, or say how. UsageError if it may not."""
    try:
        import resource  # noqa: PLC0415 (not on Windows, which has no such limit)
    except ImportError:
        return
    needed = count + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return
    if needed > hard != resource.RLIM_INFINITY:
        raise click.UsageError(
            f"{count} clients need {needed} open files, and this process may have {hard}; take up to --clients "
            f"{hard - OTHER_FILES}, or let it have more: ulimit -n {needed} (as root)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _say(line: str) -> None:
    if sys.stderr.isatty():
        click.echo(line, err=True)
