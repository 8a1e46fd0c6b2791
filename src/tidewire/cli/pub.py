"""`tidewire pub`: publish messages."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from tidewire.cli import exits
from tidewire.cli.blocking import read_lines
from tidewire.cli.command_line import MosquittoCommand, option
from tidewire.cli.mosquitto_options import MosquittoConnection, Topic, mosquitto_options
from tidewire.cli.payload_options import HEADING, STANDARD_INPUT, Source, payload_options
from tidewire.wire.codes import PUBLISH

if TYPE_CHECKING:
    from tidewire.cli.pipeline import Pipeline
    from tidewire.client.options import PublishOptions

PROGRESS_AFTER_S: Final = 1.0
"""A publish that takes longer shows a progress bar on a terminal."""


@click.command(cls=MosquittoCommand)
@option(HEADING, "-t", "--topic", type=Topic(), help="Topic to publish to; -L may name it as well.")
@payload_options(by_line=True)
@option(HEADING, "-q", "--qos", type=click.IntRange(0, 2), default=0, metavar="0|1|2", help="QoS. [default: 0]")
@option(HEADING, "-r", "--retain", is_flag=True, help="The broker keeps it for later subscribers.")
@option(HEADING, "--repeat", type=click.IntRange(1), default=1, metavar="N", help="Publish it N times; not with -l.")
@option(
    HEADING,
    "--repeat-delay",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Pause before each repetition. [default: 0]",
)
@mosquitto_options
def pub(
    connection: MosquittoConnection,
    source: Source,
    topic: str | None,
    qos: int,
    retain: bool,
    repeat: int,
    repeat_delay: float,
) -> None:
    """Publish messages, with the flags of mosquitto_pub.

    \b
    Examples:
      tidewire pub -t greeting -m hello
      tidewire pub -h broker.example -t lamp/1 -m on -q 1 -r
      tidewire pub -t log -l -q 1 < lines.txt
      tidewire pub -t log -l -f lines.txt
      tidewire pub -t picture -f picture.png -D publish content-type image/png
      tidewire pub -L mqtts://alice:secret@broker.example/lamp/1 -m off
      tidewire pub -t tick -m tock --repeat 60 --repeat-delay 1

    It ends with status 0 when the broker has taken all that was sent with QoS 1 or 2. Of QoS 0, and before MQTT 5.0, no
    broker says that it refuses a message. docs/cli.md has the other statuses.
    """
    topic = topic or connection.topic
    if topic is None:
        raise click.UsageError("say where to publish: -t TOPIC")
    if source.by_line and repeat > 1:
        raise click.UsageError("--repeat cannot be used with -l: what was read is gone")
    publisher = Publisher(connection, source, topic, qos, retain, repeat, repeat_delay)
    exits.run(publisher.run(), quiet=connection.quiet)


class Publisher:
    """One run of `tidewire pub`."""

    def __init__(
        self,
        connection: MosquittoConnection,
        source: Source,
        topic: str,
        qos: int,
        retain: bool,
        repeat: int,
        repeat_delay_s: float,
    ) -> None:
        self.connection = connection
        self.source = source
        self.topic = Topic().convert(topic, None, None)
        self.qos = qos
        self.retain = retain
        self.repeat = repeat
        self.repeat_delay_s = repeat_delay_s
        self.options = self._options()

    async def run(self) -> int:
        """Publish all, and return the status to end with."""
        from tidewire.cli.pipeline import Pipeline  # noqa: PLC0415
        from tidewire.client.options import Backoff  # noqa: PLC0415

        goes_on = self.source.by_line or self.repeat > 1
        connection = self.connection
        descriptor = self.source.open() if self.source.by_line else None
        payload = b"" if self.source.by_line else await self.source.payload()
        async with connection.client(reconnect=Backoff() if goes_on else None) as client:
            connection.say_connected(client)
            pipeline = Pipeline(client)
            if descriptor is not None:
                await self._send_lines(pipeline, descriptor)
            else:
                await self._send_repeatedly(pipeline, payload)
            await pipeline.finish()
            connection.say(f"published {pipeline.sent} messages, {pipeline.refused} refused")
            if connection.last_session_expiry_s is not None:
                await client.disconnect(session_expiry=connection.last_session_expiry_s)
        refusal = pipeline.first_refusal
        if refusal is None:
            return exits.Exit.DONE
        connection.tell(f"{pipeline.refused} of {pipeline.sent} messages were refused: {refusal}")
        return refusal.reason_code

    async def _send_lines(self, pipeline: Pipeline, descriptor: int) -> None:
        size = os.fstat(descriptor)
        length = size.st_size if stat.S_ISREG(size.st_mode) else 0
        with contextlib.ExitStack() as stack:
            if descriptor != STANDARD_INPUT:
                stack.callback(os.close, descriptor)
            progress = stack.enter_context(Progress(length, self.connection.quiet))
            async for lines in read_lines(descriptor):
                for line in lines:
                    await self._send(pipeline, line)
                progress.advance(sum(map(len, lines)) + len(lines))

    async def _send_repeatedly(self, pipeline: Pipeline, payload: bytes) -> None:
        with Progress(self.repeat, self.connection.quiet) as progress:
            for number in range(self.repeat):
                if number and self.repeat_delay_s:
                    await asyncio.sleep(self.repeat_delay_s)
                await self._send(pipeline, payload)
                progress.advance(1)

    async def _send(self, pipeline: Pipeline, payload: bytes) -> None:
        await pipeline.send(self.topic, payload, self.qos, self.retain, **self.options)

    def _options(self) -> PublishOptions:
        from tidewire.cli.property_options import publish_options  # noqa: PLC0415

        return publish_options(self.connection.properties[PUBLISH])


class Progress:
    """A progress bar on standard error, if that is a terminal and the work takes long."""

    def __init__(self, total: int, quiet: bool = False) -> None:
        """`total` 0: it is not known, and there is no bar."""
        self._total = total
        self._done = 0
        self._begin = time.monotonic()
        self._bar: Any = None
        self._wanted = total > 1 and not quiet and sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)

    def advance(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if not self._wanted:
            return
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._begin >= PROGRESS_AFTER_S:
            self._bar = click.progressbar(length=self._total, label="published", file=sys.stderr)
            self._bar.__enter__()
            self._bar.update(self._done)
