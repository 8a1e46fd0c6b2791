"""`tidewire rr`: publish a request and print the answer."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import click

from tidewire.cli import exits
from tidewire.cli.blocking import Worker, write_all
from tidewire.cli.command_line import MosquittoCommand, option
from tidewire.cli.mosquitto_options import MosquittoConnection, Topic, mosquitto_options
from tidewire.cli.output import OutputOptions, output_options
from tidewire.cli.payload_options import HEADING, Source, payload_options
from tidewire.cli.sub import STANDARD_OUTPUT
from tidewire.wire.codes import PUBLISH

if TYPE_CHECKING:
    from tidewire import Client, Message

_ANSWER: Final = "What is awaited"


@click.command(cls=MosquittoCommand)
@option(HEADING, "-t", "--topic", type=Topic(), help="Topic of the request; -L may name it as well.")
@payload_options(by_line=False)
@option(HEADING, "-q", "--qos", type=click.IntRange(0, 2), default=0, metavar="0|1|2", help="QoS. [default: 0]")
@option(_ANSWER, "-e", "response_topic", type=Topic(), help="Topic on which the answer comes.")
@option(_ANSWER, "-R", "skip_retained", is_flag=True, help="A retained message is no answer.")
@option(_ANSWER, "-W", "timeout_s", type=click.IntRange(1), metavar="SECONDS", help="Wait so long; then status 27.")
@output_options
@mosquitto_options
def rr(
    connection: MosquittoConnection,
    output: OutputOptions,
    source: Source,
    topic: str | None,
    qos: int,
    response_topic: str | None,
    skip_retained: bool,
    timeout_s: int | None,
) -> None:
    """Publish a request and print the first answer, with the flags of mosquitto_rr.

    In MQTT 5.0, the default, the request carries the response topic. A script that was written for mosquitto_rr
    and expects the bare payload in a pipe adds --plain; without, it is a JSON line.

    \b
    Examples:
      tidewire rr -t lamp/1/ask -e lamp/1/answer -m state
      tidewire rr -t adder -e answers/7 -f request.json -W 5 --decode json --pretty
      answer=$(tidewire rr -t clock -e answers/7 -n -W 5 --plain)

    docs/cli.md has the statuses it ends with.
    """
    topic = topic or connection.topic
    if topic is None:
        raise click.UsageError("say where to publish the request: -t TOPIC")
    if response_topic is None:
        raise click.UsageError("say where the answer comes: -e TOPIC")
    requester = Requester(connection, output, source, topic, qos, response_topic, skip_retained, timeout_s)
    exits.run(requester.run(), quiet=connection.quiet)


class Requester:
    """One run of `tidewire rr`."""

    def __init__(
        self,
        connection: MosquittoConnection,
        output: OutputOptions,
        source: Source,
        topic: str,
        qos: int,
        response_topic: str,
        skip_retained: bool,
        timeout_s: int | None,
    ) -> None:
        from tidewire.cli.property_options import publish_options  # noqa: PLC0415

        self.connection = connection
        self.print_message = output.printer(os.isatty(STANDARD_OUTPUT), connection.tell)
        self.source = source
        self.topic = Topic().convert(topic, None, None)
        self.qos = qos
        self.response_topic = response_topic
        self.skip_retained = skip_retained
        self.timeout_s = timeout_s
        self.options = publish_options(connection.properties[PUBLISH])
        if "response_topic" in self.options:
            raise click.UsageError("-e is the response topic; leave it out of -D")
        if connection.version == "5.0":
            self.options["response_topic"] = response_topic

    async def run(self) -> int:
        """Ask, print the answer, and return the status to end with."""
        payload = await self.source.payload()
        connection = self.connection
        async with connection.client() as client:
            connection.say_connected(client)
            deadline = asyncio.timeout(self.timeout_s)
            status = exits.Exit.DONE
            try:
                async with deadline:
                    answer = await self._ask(client, payload)
                    await Worker().call(write_all, STANDARD_OUTPUT, self.print_message(answer))
                    answer.ack()
            except TimeoutError:
                if not deadline.expired():
                    raise
                connection.tell("timed out")
                status = exits.Exit.TIMED_OUT
            if connection.last_session_expiry_s is not None:
                await client.disconnect(session_expiry=connection.last_session_expiry_s)
        return status

    async def _ask(self, client: Client, payload: bytes) -> Message:
        from tidewire.client.errors import SubscribeError  # noqa: PLC0415

        stream = client.subscribe(self.response_topic, qos=self.qos, manual_ack=True, keep=True)
        try:
            await stream.open()
        except SubscribeError as error:
            raise self.connection.reworded(error) from None
        await client.publish(self.topic, payload, qos=self.qos, **self.options)
        async for message in stream:
            self.connection.say_received(message)
            if not (message.retain and self.skip_retained):
                return message
            message.ack()
        raise AssertionError("a stream ends with an exception as long as nobody closes it")
