"""The work in MQTTium, which cannot open a TCP connection on uvloop."""

from __future__ import annotations

import asyncio

from mqttium import MQTTProtocolVersion
from mqttium.api import AsyncClient
from mqttium.api.models import MessageDelivery
from mqttium.errors import FlowControlError
from mqttium.types import Message

from benchmarks.clients.work import HOST, SETTLE_S, TOPIC, Work


async def publish_qos0(work: Work) -> None:
    client = await connected(work)
    for payload in work.warm_up:
        await client.publish(TOPIC, payload)
    await asyncio.sleep(SETTLE_S)
    with work.timed():
        for payload in work.payloads:
            await client.publish(TOPIC, payload)
    await client.disconnect()


async def publish_qos1(work: Work) -> None:
    client = await connected(work)
    await publish_all(client, work.warm_up)
    with work.timed():
        await publish_all(client, work.payloads)
    await client.disconnect()


async def publish_all(client: AsyncClient, payloads: list[bytes]) -> None:
    """It keeps as much in flight as the broker's Receive Maximum lets it; `publish_many` is slower at QoS 1."""
    receipts = [await client.publish(TOPIC, payload, qos=1) for payload in payloads]
    for receipt in receipts:
        await receipt.wait()


async def receive(work: Work) -> None:
    """By callback, which it calls from its reader; its iterator has a queue between."""
    client = client_of("callback")
    count = 0
    warm_up, total = len(work.warm_up), work.messages_in_all
    done = asyncio.Event()

    def on_message(message: Message) -> None:
        nonlocal count
        count += 1
        if count == warm_up:
            work.start()
        elif count == total:
            work.stop()
            work.came(message.payload)
            done.set()

    client.on_message = on_message
    await client.connect(HOST, work.port)
    await client.subscribe(TOPIC)
    work.ready()
    await done.wait()
    await client.disconnect()


async def queue(work: Work) -> None:
    """Not connected, where it takes less: once connected it encodes what the broker's window has room for."""
    client = client_of("iterator")
    with work.queueing() as count:
        for payload in work.fresh_payloads():
            try:
                client.publish_nowait(TOPIC, payload, qos=1)
            except FlowControlError:
                break
            count()


async def connected(work: Work) -> AsyncClient:
    client = client_of("iterator")
    await client.connect(HOST, work.port)
    return client


def client_of(delivery: MessageDelivery) -> AsyncClient:
    return AsyncClient(
        protocol=MQTTProtocolVersion.MQTTv5,
        message_delivery=delivery,
        max_unacknowledged_messages=None,
        max_unacknowledged_bytes=None,
    )
