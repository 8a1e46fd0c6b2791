"""`tidewire record`: write what comes in to a file that `tidewire replay` plays back."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

import click

from tidewire import Client, Stream, Subscription
from tidewire.cli import exits
from tidewire.cli.connection_options import Connection, connection_options
from tidewire.cli.exits import Exit, tell
from tidewire.cli.numbers import counted
from tidewire.cli.recording import RecordingError, Start, open_recording, record_of, write
from tidewire.wire.topics import matches

BATCH: Final = 1_000
"""Messages that are written at a time at most, so that acknowledgements do not wait for a long write."""
WAITING: Final = 10_000
"""Messages that may wait for the disk before the broker is held up."""


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.argument("topic_filters", metavar="FILTER…", nargs=-1, required=True)
@click.option("--append", is_flag=True, help="Go on in FILE.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@click.option(
    "--qos", "-q", type=click.IntRange(0, 2), default=2, show_default=True, help="Highest QoS to receive with."
)
@click.option("--no-retained", is_flag=True, help="Leave out the retained messages that are there at the beginning.")
@click.option("--count", "-C", type=click.IntRange(1), metavar="N", help="End after N messages.")
@click.option("--duration", "-W", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="End after so long.")
@connection_options
def record(
    connection: Connection,
    file: Path,
    topic_filters: tuple[str, ...],
    append: bool,
    overwrite: bool,
    qos: int,
    no_retained: bool,
    count: int | None,
    duration: float | None,
) -> None:
    """Write every message that matches a FILTER to FILE (- for standard output) until Ctrl-C.

    A line of JSON a message: payload, topic, time, QoS, retain and properties. What was received is safe from a crash
    of this program at once, and acknowledged only then.

    \b
    Examples:
      tidewire record altitude.ndjson 'sensors/+/altitude'
      tidewire record --append --duration 3600 all.ndjson '#' '$SYS/#'
      tidewire record - '#' | jq -r .topic
      tidewire replay altitude.ndjson --speed 10
    """
    v5 = connection.version == "5.0"
    subscriptions = [
        Subscription(topic_filter, qos, retain_as_published=v5, retain_handling=2 if v5 and no_retained else 0)
        for topic_filter in without_covered(topic_filters)
    ]
    recorder = _Recorder(
        open_file=lambda: _open(file, append, overwrite),
        name="standard output" if str(file) == "-" else str(file),
        count_limit=count,
        duration_s=duration,
        skip_retained=no_retained and not v5,
    )
    exits.run(recorder.run(connection.client(on_state=_tell_loss), subscriptions))


def without_covered(topic_filters: Sequence[str]) -> list[str]:
    """The filters without those whose messages another one gets anyway: many brokers would send them twice."""
    unique = list(dict.fromkeys(topic_filters))
    return [narrow for narrow in unique if not any(_covers(wide, narrow) for wide in unique if wide != narrow)]


def _covers(wide: str, narrow: str) -> bool:
    """Whether every topic that matches `narrow` matches `wide` as well (4.7.1). Never true both ways."""
    if narrow.endswith("#") and not (wide.endswith("#") and wide.count("/") <= narrow.count("/")):
        return False
    return matches(wide.encode(), narrow.encode())  # + and # of `narrow` taken as any levels


def _tell_loss(state: str, error: Exception | None) -> None:
    if error is not None:
        tell(f"{exits.words(error)}; connecting again, and what is published meanwhile is not recorded")


def _open(file: Path, append: bool, overwrite: bool) -> FileIO:
    if str(file) == "-":
        return FileIO(sys.stdout.fileno(), "w", closefd=False)
    opened, removed = open_recording(file, append=append, overwrite=overwrite)
    if removed:
        tell(f"{file}: removed {counted(removed, 'byte')} of an incomplete line from its end")
    return opened


@dataclass
class _Recorder:
    """What is recorded, until when, and what was so far."""

    open_file: Callable[[], FileIO]
    name: str
    count_limit: int | None
    duration_s: float | None
    skip_retained: bool
    """By its flag: before 5.0 only what was retained before the subscription has it [MQTT-3.3.1-9]."""
    count: int = 0
    size_bytes: int = 0
    began_ns: int = 0

    async def run(self, client: Client, subscriptions: Sequence[Subscription]) -> int:
        """Record until the limit, the duration or a cancellation, which is a good end; return the status.

        Raises UsageError for a file that cannot be written.
        """
        async with client, client.subscribe(*subscriptions, manual_ack=True, maximum=WAITING) as stream:
            try:
                with self.open_file() as file:
                    await self._fill(file, stream, [subscription.topic_filter for subscription in subscriptions])
            except RecordingError as error:
                raise click.UsageError(str(error)) from None
            except BrokenPipeError:
                raise  # whoever reads has enough
            except OSError as error:
                raise click.UsageError(f"cannot write {self.name}: {error.strerror}") from None
        return Exit.DONE

    async def _fill(self, file: FileIO, stream: Stream, topic_filters: Sequence[str]) -> None:
        self.began_ns = time.monotonic_ns()
        write(file, [Start.at(time.time_ns(), topic_filters)])
        tell(f"recording to {self.name}; Ctrl-C ends it")
        try:
            async with asyncio.timeout(self.duration_s):
                await self._copy(stream, file)
        except (TimeoutError, asyncio.CancelledError):
            pass
        finally:
            seconds = (time.monotonic_ns() - self.began_ns) / 1e9
            tell(f"recorded {counted(self.count, 'message')} in {seconds:.1f} s, {counted(self.size_bytes, 'byte')}")

    async def _copy(self, stream: Stream, file: FileIO) -> None:
        """Write what comes, as much at a time as is there, and acknowledge it then."""
        async for first in stream:
            room = BATCH if self.count_limit is None else min(BATCH, self.count_limit - self.count)
            batch = [first]
            while len(batch) < room and len(stream) and (message := stream.get_nowait()) is not None:
                batch.append(message)
            at_ns = time.monotonic_ns() - self.began_ns
            records = [record_of(message, at_ns) for message in batch if not (self.skip_retained and message.retain)]
            self.size_bytes += write(file, records)
            self.count += len(records)
            for message in batch:
                message.ack()
            if self.count == self.count_limit:
                return
