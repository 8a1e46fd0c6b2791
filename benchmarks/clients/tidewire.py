"""The work in Tidewire."""

from __future__ import annotations

import asyncio

from benchmarks.clients.work import HOST, SETTLE_S, TOPIC, Work
from tidewire import Client


async def publish_qos0(work: Work) -> None:
    async with connected(work) as client:
        for payload in work.warm_up:
            await client.publish(TOPIC, payload)
        await asyncio.sleep(SETTLE_S)
        with work.timed():
            for payload in work.payloads:
                await client.publish(TOPIC, payload)


async def publish_qos1(work: Work) -> None:
    async with connected(work) as client:
        await publish_all(client, work.warm_up)
        with work.timed():
            await publish_all(client, work.payloads)


async def publish_all(client: Client, payloads: list[bytes]) -> None:
    """It keeps as much in flight as the broker's Receive Maximum lets it, and queues the rest."""
    for publication in [client.publish_nowait(TOPIC, payload, qos=1) for payload in payloads]:
        await publication


async def receive(work: Work) -> None:
    count = 0
    warm_up, total = len(work.warm_up), work.messages_in_all
    async with connected(work) as client, client.subscribe(TOPIC) as stream:
        work.ready()
        async for message in stream:
            count += 1
            if count == warm_up:
                work.start()
            elif count == total:
                work.stop()
                work.came(message.payload)
                break


async def queue(work: Work) -> None:
    client = connected(work)
    await client.connect()
    with work.queueing() as count:
        for payload in work.fresh_payloads():
            client.publish_nowait(TOPIC, payload, qos=1)
            count()


def connected(work: Work) -> Client:
    return Client(f"mqtt://{HOST}:{work.port}", queue_messages=1_000_000, queue_bytes=1 << 30)
