"""`tidewire replay`: publish the messages of a recording again, at their times."""

from __future__ import annotations

import asyncio
import itertools
import math
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Final

import click

from tidewire import Client, Publication, PublishError
from tidewire.cli import exits
from tidewire.cli.blocking import Worker
from tidewire.cli.connection_options import Connection, connection_options
from tidewire.cli.exits import Exit, status_of, tell
from tidewire.cli.numbers import counted, grouped
from tidewire.cli.recording import BLOCK_BYTES, Decoder, Record, RecordingError, Start
from tidewire.client.options import PublishOptions
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.topics import check_topic_filter, matches

IN_FLIGHT: Final = 1_000
"""Messages of QoS 1 and 2 whose acknowledgement is still to come, at most."""
LATE_S: Final = 1.0
"""From this lag on the replay says that it could not keep the time."""


def _mapping(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"'{value}' has no '='; it takes two topics: --map plant/a=test/a")
    return [(value.partition("=")[0], value.partition("=")[2]) for value in values]


def _filters(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[bytes]:
    for value in values:
        try:
            check_topic_filter(value.encode())
        except InvalidTopic as error:
            raise click.BadParameter(str(error)) from None
    return [value.encode() for value in values]


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--speed",
    type=click.FloatRange(0),
    default=1.0,
    metavar="FACTOR",
    help="2 plays twice as fast, 0.5 half as fast, 0 as fast as it goes. [default: 1]",
)
@click.option("--pause-limit", type=click.FloatRange(0), metavar="SECONDS", help="Cut pauses to so long.")
@click.option("--loop", "endless", is_flag=True, help="Begin again at the end, until Ctrl-C.")
@click.option("--repeat", type=click.IntRange(1), default=1, metavar="N", help="Play N times.")
@click.option("--only", multiple=True, metavar="FILTER", callback=_filters, help="Only what matches; may be repeated.")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="OLD=NEW",
    callback=_mapping,
    help="Publish topic OLD, and all below it, as NEW; may be repeated, the first that fits counts.",
)
@click.option("--prefix", default="", metavar="TEXT", help="Put TEXT before every topic.")
@click.option("--qos", "-q", type=click.IntRange(0, 2), help="Publish with this QoS. [default: as recorded]")
@click.option("--no-retain", is_flag=True, help="Publish nothing as retained.")
@connection_options
def replay(
    connection: Connection,
    file: Path,
    speed: float,
    pause_limit: float | None,
    endless: bool,
    repeat: int,
    only: list[bytes],
    mapping: list[tuple[str, str]],
    prefix: str,
    qos: int | None,
    no_retain: bool,
) -> None:
    """Publish the messages of FILE, made by `tidewire record`, at their times (- for standard input).

    Topics, payloads, QoS, retain and properties are as recorded, unless told otherwise here. Playing begins with the
    first message; the pause between two parts of a file that was recorded with --append is left out.

    \b
    Examples:
      tidewire replay altitude.ndjson
      tidewire replay altitude.ndjson --speed 10 --loop --prefix test/
      tidewire replay plant.ndjson --map plant/a=twin/a --only 'plant/a/#' --no-retain
      zcat night.ndjson.gz | tidewire replay - --speed 0
    """
    if str(file) == "-" and (endless or repeat > 1):
        raise click.UsageError("standard input can be read once only; give a FILE to play it again")
    if file.is_file():  # a pipe would have lost what is read here
        with _mistakes(file), FileIO(file) as opened:
            next(Decoder().feed(opened.read(BLOCK_BYTES)), None)
    player = _Player(
        client=connection.client(on_state=_tell_loss),
        timeline=Timeline(speed, pause_limit),
        changes=Changes(only, mapping, prefix, qos, no_retain, with_properties=connection.version == "5.0"),
    )
    exits.run(player.run(file, None if endless else repeat))


@contextmanager
def _mistakes(file: Path) -> Iterator[None]:
    """Tell in one line what is wrong with the file."""
    try:
        yield
    except RecordingError as error:
        raise click.UsageError(f"{file}: {error}") from None
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from None


def _tell_loss(state: str, error: Exception | None) -> None:
    if error is not None:
        tell(f"{exits.words(error)}; connecting again")


class Timeline:
    """When is each record due? In seconds since the first; one that lies before its predecessor is due with it."""

    def __init__(self, speed: float, pause_limit_s: float | None) -> None:
        self.speed = speed
        self._pause_limit_ns = math.inf if pause_limit_s is None else pause_limit_s * 1e9
        self._elapsed_ns = 0.0
        self._last_ns: int | None = None

    def next_part(self) -> None:
        """What follows counts from here. Before the very first message there is no pause."""
        if self._last_ns is not None:
            self._last_ns = 0

    def due(self, at_ns: int) -> float:
        """For the next record, by its time in its part. 0 at speed 0: at once."""
        if not self.speed:
            return 0.0
        if self._last_ns is None:
            self._last_ns = at_ns
        self._elapsed_ns += min(max(0, at_ns - self._last_ns), self._pause_limit_ns)
        self._last_ns = at_ns
        return self._elapsed_ns / 1e9 / self.speed


@dataclass(frozen=True)
class Changes:
    """How what is published differs from what was recorded."""

    only: Sequence[bytes] = ()
    mapping: Sequence[tuple[str, str]] = ()
    prefix: str = ""
    qos: int | None = None
    no_retain: bool = False
    with_properties: bool = True
    """Which only MQTT 5.0 has."""

    def wants(self, record: Record) -> bool:
        """Whether it is to be published at all."""
        return not self.only or any(matches(topic_filter, record.topic.encode()) for topic_filter in self.only)

    def topic(self, topic: str) -> str:
        """Where it goes."""
        for old, new in self.mapping:
            if topic == old or topic.startswith(f"{old}/"):
                return self.prefix + new + topic[len(old) :]
        return self.prefix + topic

    def options(self, record: Record) -> PublishOptions:
        """Its properties; answers go where the topics go."""
        options: PublishOptions = {}
        if not self.with_properties:
            return options
        if record.payload_format is not None:
            options["payload_format"] = record.payload_format
        if record.message_expiry is not None:
            options["message_expiry"] = record.message_expiry
        if record.content_type is not None:
            options["content_type"] = record.content_type
        if record.response_topic is not None:
            options["response_topic"] = self.topic(record.response_topic)
        if record.correlation_data_base64 is not None:
            options["correlation_data"] = record.correlation_data_base64
        if record.user_properties:
            options["user_properties"] = record.user_properties
        return options


@dataclass
class _Player:
    """What is played, and what became of it so far."""

    client: Client
    timeline: Timeline
    changes: Changes
    count: int = 0
    late_s: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    status: int = Exit.DONE
    """That of the first failure."""
    in_flight: deque[Publication] = field(default_factory=deque)
    reader: Worker = field(default_factory=Worker)

    async def run(self, file: Path, times: int | None) -> int:
        """Play `file` so often (None: until cancelled, which is a good end) and return the status.

        Raises UsageError for a file that cannot be read, after all before that was played.
        """
        async with self.client:
            began = time.monotonic()
            try:
                with _mistakes(file):
                    for _ in itertools.repeat(None) if times is None else itertools.repeat(None, times):
                        if not await self._play(file, began):
                            tell(f"{file}: nothing to publish")
                            break
                await self._settle(0)
            except asyncio.CancelledError:
                pass
            finally:
                self._tell_result(time.monotonic() - began)
        return self.status

    async def _play(self, file: Path, began: float) -> bool:
        """Play it once; whether there was anything to publish."""
        decoder = Decoder()
        before = self.count
        with FileIO(sys.stdin.fileno(), closefd=False) if str(file) == "-" else FileIO(file) as opened:
            while block := await self.reader.call(opened.read, BLOCK_BYTES):
                for record in decoder.feed(block):
                    if isinstance(record, Start):
                        self.timeline.next_part()
                        continue
                    due = self.timeline.due(record.at_ns)
                    if self.changes.wants(record):
                        await self._wait(began + due)
                        await self._publish(record)
        if decoder.incomplete_bytes:
            tell(f"{file}: left out the last {counted(decoder.incomplete_bytes, 'byte')}, an incomplete line")
        return self.count > before

    async def _wait(self, due: float) -> None:
        wait_s = due - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        elif self.timeline.speed:
            self.late_s = max(self.late_s, -wait_s)

    async def _publish(self, record: Record) -> None:
        changes, client = self.changes, self.client
        qos = record.qos if changes.qos is None else changes.qos
        retain = record.retain and not changes.no_retain
        topic, payload, options = changes.topic(record.topic), record.body(), changes.options(record)
        self.count += 1
        try:
            if qos == 0:
                await client.publish(topic, payload, retain=retain, **options)
            else:
                await self._settle(IN_FLIGHT - 1)
                self.in_flight.append(client.publish_nowait(topic, payload, qos=qos, retain=retain, **options))
        except (PublishError, ValueError) as error:
            self._failed(error)

    async def _settle(self, most: int) -> None:
        """Wait until at most so many acknowledgements are still to come."""
        while len(self.in_flight) > most:
            try:
                await self.in_flight.popleft()
            except PublishError as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.failures[str(error)] += 1
        self.status = self.status or status_of(error) or Exit.USAGE

    def _tell_result(self, seconds: float) -> None:
        if self.count:
            tell(f"replayed {counted(self.count, 'message')} in {seconds:.1f} s")
        for failure, count in sorted(self.failures.items()):
            tell(f"{grouped(count)} of them failed: {failure}")
        if self.late_s >= LATE_S:
            tell(f"up to {self.late_s:.1f} s late: the broker or this machine is slower than the recording")
