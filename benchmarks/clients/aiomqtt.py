"""The work in aiomqtt, which runs paho-mqtt on asyncio."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from itertools import islice
from typing import Final

from aiomqtt import Client, ProtocolVersion

from benchmarks.clients.work import HOST, SETTLE_S, TOPIC, Work

WINDOW: Final = 50  # tasks that publish at QoS 1; more is slower: it looks through all that is pending

ENOUGH: Final = 10_000  # queued, for the same reason: more would take minutes


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
    async def publish(payloads: Iterator[bytes]) -> None:
        for payload in payloads:
            await client.publish(TOPIC, payload, qos=1)

    shared = iter(payloads)
    await asyncio.gather(*[publish(shared) for _ in range(WINDOW)])


async def receive(work: Work) -> None:
    async with connected(work) as client:
        await client.subscribe(TOPIC)
        work.ready()
        count = 0
        warm_up, total = len(work.warm_up), work.messages_in_all
        async for message in client.messages:
            count += 1
            if count == warm_up:
                work.start()
            elif count == total:
                work.stop()
                work.came(message.payload)
                break


async def queue(work: Work) -> None:
    client = connected(work)
    await client.__aenter__()
    tasks = set()
    with work.queueing() as count:
        for payload in islice(work.fresh_payloads(), ENOUGH):
            tasks.add(asyncio.create_task(client.publish(TOPIC, payload, qos=1, timeout=math.inf)))
            await asyncio.sleep(0)
            count()
    for task in tasks:
        task.cancel()


def connected(work: Work) -> Client:
    client = Client(HOST, work.port, protocol=ProtocolVersion.V5, max_inflight_messages=1000)
    client.pending_calls_threshold = work.messages_in_all  # no warning for each publish
    return client
