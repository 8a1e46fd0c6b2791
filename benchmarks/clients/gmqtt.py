"""The work in gmqtt: `publish` is not awaited, and writes at once."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from gmqtt import Client
from gmqtt.storage import PersistentStorage

from benchmarks.clients.work import HOST, SETTLE_S, TOPIC, Work

WINDOW: Final = 300  # as fast as any larger one
BURST: Final = 1000  # publishes between two turns of the loop, which would send nothing else meanwhile


async def publish_qos0(work: Work) -> None:
    client = await connected(work, PersistentStorage())
    await publish_all(client, work.warm_up)
    await asyncio.sleep(SETTLE_S)
    with work.timed():
        await publish_all(client, work.payloads)
    await client.disconnect()


async def publish_all(client: Client, payloads: list[bytes]) -> None:
    for start in range(0, len(payloads), BURST):
        for payload in payloads[start : start + BURST]:
            client.publish(TOPIC, payload)
        await asyncio.sleep(0)


async def publish_qos1(work: Work) -> None:
    storage = Window()
    client = await connected(work, storage)
    await publish_windows(client, storage, work.warm_up)
    with work.timed():
        await publish_windows(client, storage, work.payloads)
    await client.disconnect()


class Window(PersistentStorage):
    """Its store of what is unacknowledged is the one public place where an acknowledgement shows."""

    def __init__(self) -> None:
        super().__init__()
        self.room = asyncio.Semaphore(WINDOW)

    def remove_message_by_mid(self, mid: int) -> None:
        super().remove_message_by_mid(mid)
        self.room.release()


async def publish_windows(client: Client, storage: Window, payloads: list[bytes]) -> None:
    for payload in payloads:
        await storage.room.acquire()
        client.publish(TOPIC, payload, qos=1)
    await storage.wait_empty()


async def receive(work: Work) -> None:
    client = await connected(work, PersistentStorage())
    count = 0
    warm_up, total = len(work.warm_up), work.messages_in_all
    done = asyncio.Event()

    def on_message(_client: Client, _topic: str, payload: bytes, _qos: int, _properties: dict[str, Any]) -> int:
        nonlocal count
        count += 1
        if count == warm_up:
            work.start()
        elif count == total:
            work.stop()
            work.came(payload)
            done.set()
        return 0

    client.on_message = on_message
    client.on_subscribe = lambda *_: work.ready()
    client.subscribe(TOPIC)
    await done.wait()
    await client.disconnect()


async def queue(work: Work) -> None:
    client = await connected(work, PersistentStorage())
    with work.queueing() as count:
        for payload in work.fresh_payloads():
            try:
                client.publish(TOPIC, payload, qos=1)
            except OverflowError:
                break
            count()


async def connected(work: Work, storage: PersistentStorage) -> Client:
    client = Client("", persistent_storage=storage)
    await client.connect(HOST, work.port)
    return client
