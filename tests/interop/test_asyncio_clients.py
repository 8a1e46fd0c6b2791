"""Do the asyncio clients aiomqtt and gmqtt work as they are, in every version that they speak?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import aiomqtt
import gmqtt
import pytest
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

from tests.process import PATIENCE_S

AIOMQTT_VERSIONS = list(aiomqtt.ProtocolVersion)
GMQTT_VERSIONS = [MQTTv311, MQTTv50]
QOS = [0, 1, 2]


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test to its end, or give up."""
    asyncio.run(asyncio.wait_for(test, PATIENCE_S))


# -- aiomqtt


@pytest.mark.parametrize("version", AIOMQTT_VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("qos", QOS)
def test_aiomqtt_publishes_and_subscribes(port: int, topic: str, version: aiomqtt.ProtocolVersion, qos: int) -> None:
    async def test() -> None:
        async with (
            aiomqtt.Client("127.0.0.1", port, protocol=version) as subscriber,
            aiomqtt.Client("127.0.0.1", port, protocol=version) as publisher,
        ):
            await subscriber.subscribe(f"{topic}/+", qos)
            await subscriber.subscribe(f"{topic}/deeper/#", qos)
            for number in range(50):
                await publisher.publish(f"{topic}/{number}", str(number), qos)
            await publisher.publish(f"{topic}/deeper/still", b"end", qos)
            got = []
            async for message in subscriber.messages:
                got.append((str(message.topic), message.payload, message.qos))
                if message.payload == b"end":
                    break
            assert got[:-1] == [(f"{topic}/{number}", str(number).encode(), qos) for number in range(50)]
            await subscriber.unsubscribe(f"{topic}/+")

    run(test())


@pytest.mark.parametrize("version", AIOMQTT_VERSIONS, ids=lambda version: version.name)
def test_aiomqtt_retains_and_leaves_a_will(port: int, topic: str, version: aiomqtt.ProtocolVersion) -> None:
    async def test() -> None:
        async with aiomqtt.Client("127.0.0.1", port, protocol=version) as watcher:
            await watcher.publish(f"{topic}/kept", b"kept", 1, retain=True)
            await watcher.subscribe(f"{topic}/#", 2)
            messages = aiter(watcher.messages)
            message = await anext(messages)
            assert (message.payload, message.retain) == (b"kept", True)
            will = aiomqtt.Will(f"{topic}/will", b"gone", 2)
            doomed = aiomqtt.Client("127.0.0.1", port, protocol=version, will=will)
            await doomed.__aenter__()
            doomed._client.socket().shutdown(2)
            message = await anext(messages)
            assert (str(message.topic), message.payload, message.qos) == (f"{topic}/will", b"gone", 2)
            with contextlib.suppress(aiomqtt.MqttError):  # what it says of its lost connection
                await doomed.__aexit__(None, None, None)

    run(test())


# -- gmqtt


class Gmqtt(gmqtt.Client):  # type: ignore[misc]
    """A gmqtt client whose callbacks end in queues."""

    def __init__(self, identifier: str, **options: Any) -> None:
        super().__init__(identifier, **options)
        self.messages: asyncio.Queue[tuple[str, bytes, int, dict[str, Any]]] = asyncio.Queue()
        self.subscribed: asyncio.Queue[Any] = asyncio.Queue()
        self.on_message = self._message
        self.on_subscribe = lambda client, mid, qos, properties: self.subscribed.put_nowait(qos)

    async def _message(
        self, client: gmqtt.Client, topic: str, payload: bytes, qos: int, properties: dict[str, Any]
    ) -> int:
        self.messages.put_nowait((topic, payload, qos, properties))
        return 0


@pytest.mark.parametrize("version", GMQTT_VERSIONS)
@pytest.mark.parametrize("qos", QOS)
def test_gmqtt_publishes_and_subscribes(port: int, topic: str, version: int, qos: int) -> None:
    async def test() -> None:
        subscriber, publisher = Gmqtt("gmqtt-subscriber"), Gmqtt("gmqtt-publisher")
        await subscriber.connect("127.0.0.1", port, version=version)
        await publisher.connect("127.0.0.1", port, version=version)
        subscriber.subscribe([gmqtt.Subscription(f"{topic}/a", qos=qos), gmqtt.Subscription(f"{topic}/b", qos=qos)])
        await subscriber.subscribed.get()
        for number in range(50):
            publisher.publish(f"{topic}/{'ab'[number % 2]}", str(number), qos=qos)
        got = [(await subscriber.messages.get())[:3] for _ in range(50)]
        assert got == [(f"{topic}/{'ab'[number % 2]}", str(number).encode(), qos) for number in range(50)]
        await publisher.disconnect()
        await subscriber.disconnect()

    run(test())


@pytest.mark.parametrize("version", GMQTT_VERSIONS)
def test_gmqtt_leaves_a_will(port: int, topic: str, version: int) -> None:
    async def test() -> None:
        watcher = Gmqtt("gmqtt-watcher")
        await watcher.connect("127.0.0.1", port, version=version)
        watcher.subscribe(topic, qos=2)
        await watcher.subscribed.get()
        doomed = Gmqtt("gmqtt-doomed", will_message=gmqtt.Message(topic, "gone", qos=2))
        doomed.set_config({"reconnect_retries": 0})
        await doomed.connect("127.0.0.1", port, version=version)
        doomed._connection._transport.abort()
        assert (await watcher.messages.get())[:3] == (topic, b"gone", 2)
        await watcher.disconnect()

    run(test())


def test_gmqtt_sends_and_gets_properties(port: int, topic: str) -> None:
    async def test() -> None:
        client = Gmqtt("gmqtt-properties")
        await client.connect("127.0.0.1", port, version=MQTTv50)
        client.subscribe(topic, qos=1, subscription_identifier=7)
        await client.subscribed.get()
        client.publish(topic, b"x", qos=1, user_property=("key", "value"), response_topic="answers")
        *_, properties = await client.messages.get()
        assert properties["user_property"] == [("key", "value")]
        assert properties["response_topic"] == ["answers"]
        assert properties["subscription_identifier"] == [7]
        await client.disconnect()

    run(test())
