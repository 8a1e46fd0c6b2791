"""What has to work for a client to work? Each case runs it beside Tidewire's own, over the same transport."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Literal, cast

from tests.interop.matrix.program import STEP_S, Arrived, Cell, Failed, Program
from tidewire import Client, Message, Stream, TidewireError

COUNT: Final = 25
"""Messages each way: more than the 20 that mosquitto has in flight, and half of rumqttc's queue."""

_topics: Final = itertools.count()


async def exchange(cell: Cell, topic: str, qos: int) -> None:
    """The client publishes to itself and to Tidewire's, then Tidewire's to both."""
    async with (
        tidewire(cell) as ours,
        ours.subscribe(topic, qos=qos) as stream,
        Program(cell, "subscribe", topic, qos, 2 * COUNT) as subscriber,
    ):
        await subscriber.ready()
        async with Program(cell, "publish", topic, qos, COUNT) as publisher:
            await publisher.done()
        first = await take(stream, COUNT)
        for number in range(COUNT):
            await ours.publish(topic, f"tidewire {number}", qos=qos)
        expected = [Arrived(f"{who} {number}", qos, False) for who in ("client", "tidewire") for number in range(COUNT)]
        compare("the client", await subscriber.messages(), expected)
        compare("Tidewire's", first + await take(stream, COUNT), expected)


async def retained(cell: Cell, topic: str) -> None:
    """What the client has published retained, it gets when it subscribes later, and so does Tidewire's."""
    async with Program(cell, "retain", topic, 1, 1) as publisher:
        await publisher.done()
    async with tidewire(cell) as ours, ours.subscribe(topic, qos=1) as stream:
        compare("Tidewire's", await take(stream, 1), [Arrived("kept", 1, True)])
        async with Program(cell, "subscribe", topic, 1, 1) as subscriber:
            compare("the client", await subscriber.messages(), [Arrived("kept", 1, True)])
        await ours.publish(topic, None, qos=1, retain=True)


async def will(cell: Cell, topic: str) -> None:
    """When the client is killed, its will reaches another of its kind, and Tidewire's."""
    async with (
        tidewire(cell) as ours,
        ours.subscribe(topic, qos=1) as stream,
        Program(cell, "subscribe", topic, 1, 1) as subscriber,
        Program(cell, "will", topic, 1, 1) as doomed,
    ):
        await subscriber.ready()
        await doomed.ready()
        await doomed.kill()
        compare("the client", await subscriber.messages(), [Arrived("gone", 1, False)])
        compare("Tidewire's", await take(stream, 1), [Arrived("gone", 1, False)])


CASES: Final[dict[str, Callable[[Cell, str], Awaitable[None]]]] = {
    "QoS 0": partial(exchange, qos=0),
    "QoS 1": partial(exchange, qos=1),
    "QoS 2": partial(exchange, qos=2),
    "retained": retained,
    "will": will,
}


async def run_case(name: str, cell: Cell) -> str:
    """What went wrong, in a line; nothing when all went well."""
    topic = f"interop/{next(_topics)}"
    try:
        await CASES[name](cell, topic)
    except (Failed, TidewireError) as failure:
        return str(failure)
    return ""


def tidewire(cell: Cell) -> Client:
    context = ssl.create_default_context(cafile=cell.authority) if cell.url.startswith(("mqtts", "wss")) else None
    return Client(cell.url, version=cast(Literal["3.1.1", "5.0"], cell.version), tls=context)


async def take(stream: Stream, count: int) -> list[Arrived]:
    messages: list[Message] = []
    try:
        async with asyncio.timeout(STEP_S):
            while len(messages) < count:
                messages.append(await stream.get())
    except TimeoutError:
        raise Failed(f"Tidewire's got {len(messages)} of {count} messages in {STEP_S:.0f} s") from None
    return [Arrived(message.text(), message.qos, message.retain) for message in messages]


def compare(who: str, got: list[Arrived], expected: list[Arrived]) -> None:
    for number, (one, other) in enumerate(itertools.zip_longest(got, expected)):
        if one != other:
            raise Failed(f"{who} got {one} as message {number}, not {other}")
