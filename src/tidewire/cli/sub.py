"""`tidewire sub`: print the messages that come."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from tidewire.cli import exits
from tidewire.cli.blocking import Worker, write_all
from tidewire.cli.command_line import MosquittoCommand, option
from tidewire.cli.mosquitto_options import MosquittoConnection, Topic, mosquitto_options
from tidewire.cli.output import HEADING, OutputOptions, output_options
from tidewire.wire.codes import CONNECT, SUBSCRIBE
from tidewire.wire.properties import RECEIVE_MAXIMUM
from tidewire.wire.topics import matches

if TYPE_CHECKING:
    from tidewire import Client, Message, Stream
    from tidewire.cli.pipeline import Pipeline

WAITING_MESSAGES: Final = 100_000
"""Messages that may wait for the output: two seconds of a busy broker. Past it, those of QoS 0 are dropped and told;
of QoS 1 and 2 no more are fetched."""

BURST_MESSAGES: Final = 2_000
"""Messages that are printed with one write at most …"""

BURST_BYTES: Final = 1024 * 1024
"""… unless their payloads are so large together before."""

RECEIVE_MAXIMUM_DEFAULT: Final = 1024
"""Messages of QoS 1 and 2 that are fetched before the first one is printed."""

NOTICE_S: Final = 1.0
"""What can happen for each message is told at most so often."""

STANDARD_OUTPUT: Final = 1

_WHAT: Final = "What to receive"
_UNTIL: Final = "Until when"


@dataclass(kw_only=True)
class Selection:
    """Which messages are printed, and until when."""

    skip_retained: bool
    retained_only: bool
    remove_retained: bool
    filter_out: list[bytes]
    chance: float
    """Share of the messages that is printed."""
    count: int | None
    timeout_s: int | None
    exit_after_subscribing: bool


@click.command(cls=MosquittoCommand)
@option(
    _WHAT,
    "-t",
    "--topic",
    "topic_filters",
    type=Topic(is_filter=True),
    multiple=True,
    metavar="FILTER",
    help="Topic, or filter with + and #; may be repeated.",
)
@option(
    _WHAT,
    "-q",
    "--qos",
    type=click.IntRange(0, 2),
    default=0,
    metavar="0|1|2",
    help="Highest QoS to receive with. [default: 0]",
)
@option(
    _WHAT,
    "-T",
    "--filter-out",
    type=Topic(is_filter=True),
    multiple=True,
    metavar="FILTER",
    help="Do not print what matches; may be repeated.",
)
@option(_WHAT, "-R", "skip_retained", is_flag=True, help="No retained messages.")
@option(_WHAT, "--retained-only", is_flag=True, help="Retained messages only; the first other one is the end.")
@option(_WHAT, "--remove-retained", is_flag=True, help="Clear from the broker each retained message that comes.")
@option(
    _WHAT, "--retain-as-published", is_flag=True, help="MQTT 5.0: keep the retain flag as the publisher has set it."
)
@option(
    _WHAT,
    "-U",
    "--unsubscribe",
    type=Topic(is_filter=True),
    multiple=True,
    metavar="FILTER",
    help="Unsubscribe, after the -t; may be repeated. Without -t that is all.",
)
@option(
    _WHAT,
    "--random-filter",
    "chance",
    type=click.FloatRange(0.1, 100),
    default=100.0,
    metavar="PERCENT",
    help="Print so many of the messages, by chance.",
)
@option(_UNTIL, "-C", "count", type=click.IntRange(1), metavar="N", help="End after N messages.")
@option(_UNTIL, "-W", "timeout_s", type=click.IntRange(1), metavar="SECONDS", help="End after so long, with status 27.")
@option(_UNTIL, "-E", "exit_after_subscribing", is_flag=True, help="End when the broker has acknowledged the -t.")
@output_options
@option(HEADING, "-w", "--watch", is_flag=True, help="On a terminal: a line for each topic, with its newest message.")
@mosquitto_options
def sub(
    connection: MosquittoConnection,
    output: OutputOptions,
    topic_filters: tuple[str, ...],
    qos: int,
    filter_out: tuple[str, ...],
    skip_retained: bool,
    retained_only: bool,
    remove_retained: bool,
    retain_as_published: bool,
    unsubscribe: tuple[str, ...],
    chance: float,
    count: int | None,
    timeout_s: int | None,
    exit_after_subscribing: bool,
) -> None:
    """Print the messages that come, with the flags of mosquitto_sub.

    On a terminal a message is shown for a person: text, colour, a hex dump of bytes. Into a pipe or a file it writes
    JSON lines. A script that was written for mosquitto_sub and expects the bare payload adds --plain; -v, -F and -N
    print what they print there.

    \b
    Examples:
      tidewire sub -t 'sensors/#' -v
      tidewire sub -t 'sensors/#' | jq -r .payload
      value=$(tidewire sub -t sensors/1/altitude -C 1 -W 5 --plain)
      tidewire sub -t '#' -F '%I %-30t %l bytes, QoS %q'
      tidewire sub -t telemetry --decode cbor --pretty
      tidewire sub -t '#' --remove-retained --retained-only -W 5
      tidewire sub -i logger -c -q 1 -t log >> log.ndjson

    docs/cli.md has the statuses it ends with.
    """
    filters = list(topic_filters)
    if connection.topic is not None:
        filters.append(Topic(is_filter=True).convert(connection.topic, None, None))
    if not filters and not unsubscribe:
        raise click.UsageError("say what to receive: -t FILTER")
    if skip_retained and retained_only:
        raise click.UsageError("-R and --retained-only together leave nothing to print")
    selection = Selection(
        skip_retained=skip_retained,
        retained_only=retained_only,
        remove_retained=remove_retained,
        filter_out=[topic_filter.encode() for topic_filter in filter_out],
        chance=chance / 100,
        count=count,
        timeout_s=timeout_s,
        exit_after_subscribing=exit_after_subscribing,
    )
    subscriber = Subscriber(connection, output, selection)
    exits.run(subscriber.run(filters, unsubscribe, qos, retain_as_published), quiet=connection.quiet)


class Subscriber:
    """One run of `tidewire sub`."""

    def __init__(self, connection: MosquittoConnection, output: OutputOptions, selection: Selection) -> None:
        self.connection = connection
        self.selection = selection
        self.notices = Notices(connection)
        identifiers = connection.properties[SUBSCRIBE].subscription_identifiers
        self.print_message = output.printer(
            os.isatty(STANDARD_OUTPUT), self.notices.tell, identifiers[0] if identifiers else None
        )
        self.worker = Worker()
        self.received = 0

    async def run(
        self, topic_filters: Sequence[str], unsubscribe: Sequence[str], qos: int, retain_as_published: bool
    ) -> int:
        """Receive until it is over, and return the status to end with."""
        connection = self.connection
        async with connection.client(**self._receive_maximum()) as client:
            connection.say_connected(client)
            deadline = asyncio.timeout(self.selection.timeout_s)
            status = exits.Exit.DONE
            try:
                async with deadline:
                    await self._serve(client, topic_filters, unsubscribe, qos, retain_as_published)
            except TimeoutError:
                if not deadline.expired():
                    raise
                connection.tell("timed out")
                status = exits.Exit.TIMED_OUT
            finally:
                self.notices.flush()
            if connection.last_session_expiry_s is not None:
                await client.disconnect(session_expiry=connection.last_session_expiry_s)
        return status

    def _receive_maximum(self) -> dict[str, int]:
        """With -C no more than will be printed is fetched, so that what is not stays in the session."""
        count = self.selection.count
        if count is None:
            return {}
        given = self.connection.properties[CONNECT].integers.get(RECEIVE_MAXIMUM, RECEIVE_MAXIMUM_DEFAULT)
        return {"receive_maximum": min(given, count)}

    async def _serve(
        self,
        client: Client,
        topic_filters: Sequence[str],
        unsubscribe: Sequence[str],
        qos: int,
        retain_as_published: bool,
    ) -> None:
        stream = await self._subscribe(client, topic_filters, qos, retain_as_published) if topic_filters else None
        for topic_filter in unsubscribe:
            await client.unsubscribe(topic_filter)
            self.connection.say(f"unsubscribed: {topic_filter}")
        if stream is not None and not self.selection.exit_after_subscribing:
            await self._print(client, stream)

    async def _subscribe(
        self, client: Client, topic_filters: Sequence[str], qos: int, retain_as_published: bool
    ) -> Stream:
        """Subscribe to what the broker lets us have. Raises SubscribeError when that is nothing."""
        from tidewire.client.errors import SubscribeError  # noqa: PLC0415
        from tidewire.client.options import Subscription  # noqa: PLC0415

        is_v5 = self.connection.version == "5.0"
        handling = 2 if is_v5 and self.selection.skip_retained else 0
        left = [Subscription(each, qos, False, is_v5 and retain_as_published, handling) for each in topic_filters]
        while True:
            stream = client.subscribe(
                *left,
                manual_ack=True,
                maximum=WAITING_MESSAGES,
                overflow="block" if qos else "drop_newest",
                keep=True,
            )
            try:
                await stream.open()
            except SubscribeError as error:
                left = [each for each in left if each.topic_filter not in error.reason_codes]
                told = self.connection.reworded(error)
                if not left:
                    raise told from None
                self.connection.tell(str(told))
                continue
            for each, granted in zip(left, stream.granted, strict=True):
                self.connection.say(f"subscribed: {each.topic_filter}, QoS {granted}")
            return stream

    async def _print(self, client: Client, stream: Stream) -> None:
        from tidewire.cli.pipeline import Pipeline  # noqa: PLC0415

        cleared = Pipeline(client)
        async for first in stream:
            burst = _burst(first, stream)
            printed, goes_on = await self._select(burst, cleared)
            if data := b"".join(printed):
                await self.worker.call(write_all, STANDARD_OUTPUT, data)
            for message in burst:
                message.ack()
            self.notices.dropped(stream.dropped)
            if not goes_on:
                break
        await cleared.finish()

    async def _select(self, burst: list[Message], cleared: Pipeline) -> tuple[list[bytes], bool]:
        """What to write for a burst, and whether there is to be more; what comes after the end is taken out of it."""
        selection = self.selection
        printed: list[bytes] = []
        for index, message in enumerate(burst):
            self.connection.say_received(message)
            if selection.retained_only and not message.retain:
                del burst[index:]
                return printed, False
            if not self._wants(message):
                continue
            if selection.remove_retained and message.retain:
                await cleared.send(message.topic, b"", 1, True)
            if selection.chance >= 1 or random.random() < selection.chance:
                printed.append(self.print_message(message))
            self.received += 1
            if self.received == selection.count:
                del burst[index + 1 :]
                return printed, False
        return printed, True

    def _wants(self, message: Message) -> bool:
        selection = self.selection
        if message.retain and selection.skip_retained:
            return False
        if not selection.filter_out:
            return True
        topic = message.topic.encode()
        return not any(matches(topic_filter, topic) for topic_filter in selection.filter_out)


def _burst(first: Message, stream: Stream) -> list[Message]:
    """What waits, as far as one write should go."""
    burst = [first]
    size_bytes = len(first.payload)
    while size_bytes < BURST_BYTES and len(burst) < BURST_MESSAGES:
        message = stream.get_nowait()
        if message is None:
            break
        burst.append(message)
        size_bytes += len(message.payload)
    return burst


class Notices:
    """Lines on standard error about single messages, at most one a second: the rest is counted."""

    def __init__(self, connection: MosquittoConnection) -> None:
        self._connection = connection
        self._last_s = -NOTICE_S
        self._untold = 0
        self._dropped = 0
        self._dropped_told = 0

    def tell(self, text: str) -> None:
        """Something is wrong with a message."""
        if self._is_time():
            more = f" (and {self._untold} more such lines)" if self._untold else ""
            self._connection.tell(text + more)
            self._untold = 0
        else:
            self._untold += 1

    def dropped(self, count: int) -> None:
        """So many messages were dropped so far, as the output was too slow."""
        self._dropped = count
        if count > self._dropped_told and self._is_time():
            self._tell_dropped()

    def flush(self) -> None:
        """The end: tell what is left to tell."""
        if self._untold:
            self._connection.tell(f"{self._untold} more such lines")
        if self._dropped > self._dropped_told:
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        self._connection.tell(f"dropped {self._dropped} messages so far: they come faster than they can be written")
        self._dropped_told = self._dropped

    def _is_time(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._last_s < NOTICE_S:
            return False
        self._last_s = now_s
        return True
