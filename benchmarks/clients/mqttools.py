"""The work in mqttools, which has QoS 0 alone: `publish` is not awaited, and writes at once."""

from __future__ import annotations

import asyncio
from typing import Final

from mqttools import Client, Message

from benchmarks.clients.work import HOST, SETTLE_S, TOPIC, Unsupported, Work

BURST: Final = 1000  # publishes between two turns of the loop, which would send nothing else meanwhile


async def publish_qos0(work: Work) -> None:
    async with Client(HOST, work.port, connect_delays=[]) as client:
        await publish_all(client, work.warm_up)
        await asyncio.sleep(SETTLE_S)
        with work.timed():
            await publish_all(client, work.payloads)


async def publish_all(client: Client, payloads: list[bytes]) -> None:
    for start in range(0, len(payloads), BURST):
        for payload in payloads[start : start + BURST]:
            client.publish(Message(TOPIC, payload))
        await asyncio.sleep(0)


async def publish_qos1(work: Work) -> None:
    raise Unsupported("QoS 0 only")


async def receive(work: Work) -> None:
    async with Client(HOST, work.port, connect_delays=[]) as client:
        await client.subscribe(TOPIC)
        work.ready()
        for _ in work.warm_up:
            await client.messages.get()
        with work.timed():
            for _ in work.payloads:
                message = await client.messages.get()
        work.came(message.message)


async def queue(work: Work) -> None:
    raise Unsupported("QoS 0 only")
