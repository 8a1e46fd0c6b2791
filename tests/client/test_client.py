"""Does `tidewire.Client` publish and subscribe as promised, alike on brokers of three makes and in three versions?"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.client.brokers import RunningBroker
from tests.client.helpers import BEFORE_5, SOON, LoopFactory, run, take, take_until, until
from tests.client.proxy import Proxy
from tidewire import (
    Client,
    InvalidTopic,
    NotConnected,
    PublishError,
    QueueFull,
    ReasonCode,
    Subscription,
    Will,
)
from tidewire.client import lifecycle


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_arrive_as_they_were_published(broker: RunningBroker, version: Any, topic: str, qos: int) -> None:
    async def test() -> None:
        async with (
            Client(broker.url, version=version) as publisher,
            Client(broker.url, version=version) as reader,
            reader.subscribe(f"{topic}/+", qos=qos) as stream,
        ):
            assert stream.granted == [qos]
            for number in range(20):
                await publisher.publish(f"{topic}/{number}", str(number), qos=qos)
            await publisher.publish(f"{topic}/end", b"end", qos=qos)
            found = await take_until(stream, b"end")
            assert [(message.topic, message.payload, message.qos, message.retain) for message in found] == [
                (f"{topic}/{number}", str(number).encode(), qos, False) for number in range(20)
            ]

    run(test())


def test_it_works_on_any_loop_and_without_add_reader(
    broker: RunningBroker, topic: str, loop_factory: LoopFactory
) -> None:
    async def test() -> None:
        async with Client(broker.url) as client, client.subscribe(topic, qos=2) as stream:
            for qos in (0, 1, 2):
                await client.publish(topic, f"at {qos}", qos=qos)
            large = bytes(3_000_000)
            await client.publish(topic, large, qos=1)
            assert sorted(await take(stream, 4)) == sorted([b"at 0", b"at 1", b"at 2", large])

    run(test(), loop_factory)


@pytest.mark.parametrize(
    ("payload", "arrives"),
    [
        (b"bytes", b"bytes"),
        (bytearray(b"bytearray"), b"bytearray"),
        (memoryview(b"view"), b"view"),
        ("Straße", "Straße".encode()),
        (None, b""),
        ({"feet": 100}, b'{"feet":100}'),
        ([1, 2.5], b"[1,2.5]"),
        (7, b"7"),
    ],
)
@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_a_payload_is_bytes_or_text_or_json(broker: RunningBroker, topic: str, payload: Any, arrives: bytes) -> None:
    async def test() -> None:
        async with Client(broker.url) as client, client.subscribe(topic) as stream:
            await client.publish(topic, payload)
            await client.publish(topic, payload, qos=1)
            assert await take(stream, 2) == [arrives, arrives]

    run(test())


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_all_properties_travel(broker: RunningBroker, topic: str, qos: int) -> None:
    async def test() -> None:
        async with Client(broker.url) as client, client.subscribe(topic, qos=qos) as stream:
            await client.publish(
                topic,
                {"feet": 100},
                qos=qos,
                message_expiry=600,
                content_type="application/json",
                response_topic="answers/here",
                correlation_data=b"\x00\xff",
                payload_format=1,
                user_properties=[("unit", "ft"), ("unit", "again")],
            )
            message = await anext(stream)
            assert message.json() == {"feet": 100} == json.loads(message.text())
            assert message.message_expiry is not None
            assert 590 <= message.message_expiry <= 600
            assert message.content_type == "application/json"
            assert message.response_topic == "answers/here"
            assert message.correlation_data == b"\x00\xff"
            assert message.payload_format == 1
            assert message.user_properties == [("unit", "ft"), ("unit", "again")]
            assert len(message.subscription_identifiers) == 1

    run(test())


@pytest.mark.parametrize("version", BEFORE_5)
@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_what_only_5_0_has_is_refused_before_it(broker: RunningBroker, topic: str, version: Any) -> None:
    async def test() -> None:
        async with Client(broker.url, version=version) as client:
            with pytest.raises(ValueError, match=r"content_type: only MQTT 5.0 has properties"):
                await client.publish(topic, content_type="text/plain")
            with pytest.raises(ValueError, match=r"request needs MQTT 5\.0"):
                await client.request(topic)
            with pytest.raises(ValueError, match=r"no_local, .* need MQTT 5\.0"):
                client.subscribe(topic, no_local=True)
            with pytest.raises(ValueError, match=r"MQTT 5\.0 only"):
                await client.disconnect(session_expiry=10)
            assert client.connected

    run(test())


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_what_cannot_be_published_raises_at_once(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as client:
            for wrong in ("", "a/+", "#", "nul\0", "half a pair \ud800"):
                for qos in (0, 1):
                    with pytest.raises(InvalidTopic):
                        await client.publish(wrong, qos=qos)
                    with pytest.raises(InvalidTopic):
                        client.publish_nowait(wrong, qos=qos)
            with pytest.raises(ValueError, match="QoS must be 0, 1 or 2, not 3"):
                await client.publish(topic, qos=3)
            with pytest.raises(TypeError, match="publish has no option 'contenttype'"):
                await client.publish(topic, contenttype="x")  # type: ignore[call-arg]
            with pytest.raises(ValueError, match="message_expiry must lie between 0"):
                await client.publish(topic, message_expiry=-1)
            with pytest.raises(TypeError):
                await client.publish(topic, object())
            for wrong in ("", "a/#/b", "a+", "$share/group", "nul\0"):
                with pytest.raises(InvalidTopic):
                    client.subscribe(wrong)
            with pytest.raises(ValueError, match="subscribe needs a topic filter"):
                client.subscribe()
            with pytest.raises(ValueError, match="shared subscription cannot have no_local"):
                client.subscribe(f"$share/group/{topic}", no_local=True)
            assert await client.publish(topic, qos=1) is not None

    run(test())


def test_retained_messages_come_first_and_can_be_removed(broker: RunningBroker, version: Any, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url, version=version) as client:
            await client.publish(f"{topic}/kept", b"kept", qos=1, retain=True)
            async with client.subscribe(f"{topic}/#", qos=1) as stream:
                message = await anext(stream)
                assert (message.payload, message.retain) == (b"kept", True)
                await client.publish(f"{topic}/kept", b"live", qos=1, retain=True)
                message = await anext(stream)
                assert (message.payload, message.retain) == (b"live", False)
            await client.publish(f"{topic}/kept", None, qos=1, retain=True)
            async with client.subscribe(f"{topic}/#", qos=1) as stream:
                await client.publish(f"{topic}/end", b"end", qos=1)
                assert await take(stream, 1) == [b"end"]

    run(test())


def test_subscription_options_of_5_0(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as client, Client(broker.url) as other:
            await client.publish(f"{topic}/kept", b"kept", qos=1, retain=True)
            wanted = [
                Subscription(f"{topic}/own", qos=1, no_local=True),
                Subscription(f"{topic}/kept", qos=1, retain_as_published=True, retain_handling=2),
                Subscription(f"{topic}/end", qos=1),
            ]
            async with client.subscribe(*wanted) as stream:
                assert stream.granted == [1, 1, 1]
                await client.publish(f"{topic}/own", b"mine", qos=1)
                await other.publish(f"{topic}/own", b"yours", qos=1)
                await other.publish(f"{topic}/kept", b"published to be retained", qos=1, retain=True)
                await other.publish(f"{topic}/end", b"end", qos=1)
                found = await take_until(stream, b"end")
                assert [(message.payload, message.retain) for message in found] == [
                    (b"yours", False),
                    (b"published to be retained", True),
                ]
            await client.publish(f"{topic}/kept", None, retain=True)

    run(test())


def test_a_shared_subscription_divides_the_messages(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as first, Client(broker.url) as second, Client(broker.url) as publisher:
            shared = f"$share/group/{topic}"
            async with first.subscribe(shared, qos=1) as one, second.subscribe(shared, qos=1) as two:
                for number in range(20):
                    await publisher.publish(topic, str(number), qos=1)
                await until(lambda: len(one) + len(two) >= 20)
                found = await take(one, len(one)) + await take(two, len(two))
                assert sorted(map(int, found)) == list(range(20))

    run(test())


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_lost_client_leaves_its_will(broker: RunningBroker, version: Any, topic: str, qos: int) -> None:
    async def test() -> None:
        will = Will(topic, "gone", qos=qos)
        async with (
            Client(broker.url, version=version) as watcher,
            watcher.subscribe(topic, qos=2) as stream,
            Proxy(broker.port) as proxy,
        ):
            client = Client(proxy.url, version=version, will=will, reconnect=None)
            await client.connect()
            proxy.cut()
            message = await anext(stream)
            assert (message.payload, message.qos, message.retain) == (b"gone", qos, False)
            await client.disconnect()

    run(test())


@pytest.mark.parametrize("broker", ["mosquitto", "tidewire"], indirect=True)  # mochi keeps User Properties alone
def test_a_will_travels_with_all_its_properties(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        will = Will(
            topic,
            {"state": "gone"},
            qos=1,
            retain=True,
            message_expiry=600,
            content_type="application/json",
            response_topic="answers",
            correlation_data=b"42",
            payload_format=1,
            user_properties=[("who", "board 7")],
        )
        async with Client(broker.url) as watcher:
            client = Client(broker.url, will=will)
            await client.connect()
            await client.disconnect(0x04)
            async with watcher.subscribe(topic, qos=1) as stream:
                message = await anext(stream)
                assert message.json() == {"state": "gone"}
                assert message.content_type == "application/json"
                assert message.response_topic == "answers"
                assert message.correlation_data == b"42"
                assert message.payload_format == 1
                assert message.user_properties == [("who", "board 7")]
                assert message.message_expiry is not None
            await watcher.publish(topic, None, retain=True)

    run(test())


@pytest.mark.parametrize("broker", ["mosquitto", "tidewire"], indirect=True)  # mochi looks every few seconds
def test_a_will_waits_for_its_delay(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as watcher, watcher.subscribe(f"{topic}/#", qos=1) as stream:
            wills = [Will(f"{topic}/late", "late", delay=1), Will(f"{topic}/never", "never", delay=600)]
            async with Proxy(broker.port) as proxy:
                for will in wills:
                    client = Client(proxy.url, will=will, session_expiry=1200, reconnect=None)
                    await client.connect()
                proxy.cut()
                assert await take(stream, 1) == [b"late"]

    run(test())


def test_who_says_good_bye_leaves_no_will(broker: RunningBroker, version: Any, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url, version=version) as watcher, watcher.subscribe(topic, qos=1) as stream:
            async with Client(broker.url, version=version, will=Will(topic, b"gone")):
                pass
            await watcher.publish(topic, b"end", qos=1)
            assert await take(stream, 1) == [b"end"]

    run(test())


def test_publish_says_what_the_server_said(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as client:
            for qos in (1, 2):
                assert await client.publish(topic, qos=qos) in (
                    ReasonCode.SUCCESS,
                    ReasonCode.NO_MATCHING_SUBSCRIBERS,
                )
            publication = client.publish_nowait(topic, qos=1)
            assert not publication.done()
            assert await publication is await publication
            assert publication.done()
            assert publication.reason_code < 0x80

    run(test())


def test_thousands_may_be_in_flight(broker: RunningBroker, version: Any, topic: str) -> None:
    async def test() -> None:
        async with (
            Client(broker.url, version=version, receive_maximum=5_000) as client,
            client.subscribe(topic, qos=1, maximum=5_000) as stream,
        ):
            publications = [client.publish_nowait(topic, str(number), qos=1) for number in range(3_000)]
            for publication in publications:
                await publication
            assert await take(stream, 3_000) == [str(number).encode() for number in range(3_000)]
            assert client.statistics.waiting == 0

    run(test())


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_the_queue_is_not_bounded_by_packet_identifiers(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Proxy(broker.port) as proxy, Client(proxy.url) as client:
            proxy.hold()
            publications = [client.publish_nowait(topic, qos=1) for _ in range(70_000)]
            assert client.statistics.waiting == 70_000
            proxy.let_go()
            for publication in publications:
                await publication
            assert client.statistics.waiting == 0

    run(test())


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
@pytest.mark.parametrize("qos", [0, 1])
def test_a_full_queue_raises_or_makes_publish_wait(broker: RunningBroker, topic: str, qos: int) -> None:
    async def test() -> None:
        async with Proxy(broker.port) as proxy:
            client = Client(proxy.url, reconnect=SOON, queue_messages=3, inflight_maximum=2)
            async with client:
                proxy.refusing = True
                proxy.cut()
                await until(lambda: not client.connected)
                publications = [client.publish_nowait(topic, qos=qos) for _ in range(3)]
                with pytest.raises(QueueFull, match=r"await client.publish"):
                    client.publish_nowait(topic, qos=qos)
                waiting = asyncio.create_task(client.publish(topic, qos=qos))
                proxy.refusing = False
                for publication in publications:
                    await publication
                await waiting

    run(test())


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_a_message_that_the_server_would_not_take_is_refused_here(topic: str, broker: RunningBroker) -> None:
    async def test() -> None:
        async with Client(broker.url) as client:
            assert client.connack is not None
            maximum = client.connack.properties.integers[0x27]
            for qos in (0, 1, 2):
                with pytest.raises(PublishError) as caught:
                    await client.publish(topic, bytes(maximum), qos=qos)
                assert caught.value.reason_code == ReasonCode.PACKET_TOO_LARGE
            await client.publish(topic, bytes(maximum // 2), qos=1)
            assert client.statistics.waiting == 0

    run(test())


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_has_expired_is_not_sent(broker: RunningBroker, topic: str, qos: int) -> None:
    async def test() -> None:
        async with (
            Proxy(broker.port) as proxy,
            Client(proxy.url, reconnect=SOON) as client,
            client.subscribe(topic, qos=2) as stream,
        ):
            proxy.refusing = True
            proxy.cut()
            await until(lambda: not client.connected)
            expired = client.publish_nowait(topic, b"late", qos=qos, message_expiry=0)
            kept = client.publish_nowait(topic, b"in time", qos=qos, message_expiry=60)
            proxy.refusing = False
            with pytest.raises(PublishError, match="given up: expired"):
                await expired
            await kept
            assert await take(stream, 1) == [b"in time"]
            assert client.statistics.publish_dropped == 1

    run(test())


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_offline_policies(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Proxy(broker.port) as proxy, Client(broker.url) as reader, reader.subscribe(topic, qos=1) as stream:
            clients = [Client(proxy.url, offline=policy, reconnect=SOON) for policy in ("wait", "queue", "raise")]
            for client in clients:
                await client.connect()
            wait, queue, raises = clients
            proxy.refusing = True
            proxy.cut()
            await until(lambda: not any(client.connected for client in clients))

            for qos in (0, 1):
                with pytest.raises(NotConnected):
                    await raises.publish(topic, qos=qos)
                with pytest.raises(NotConnected):
                    raises.publish_nowait(topic, qos=qos)
                assert await queue.publish(topic, f"queued {qos}", qos=qos) is None
            waiting = [asyncio.create_task(wait.publish(topic, f"waited {qos}", qos=qos)) for qos in (0, 1)]
            await asyncio.sleep(0)
            assert not any(task.done() for task in waiting)

            proxy.refusing = False
            for task in waiting:
                await task
            await queue.drain()
            assert sorted(await take(stream, 4)) == [b"queued 0", b"queued 1", b"waited 0", b"waited 1"]
            for client in clients:
                await client.disconnect()

    run(test())


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_leaving_the_block_waits_for_what_is_under_way(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as reader, reader.subscribe(topic, qos=2) as stream:
            async with Client(broker.url, inflight_maximum=3) as client:
                publications = [client.publish_nowait(topic, str(number), qos=number % 3) for number in range(300)]
            assert all(publication.done() for publication in publications)
            found = await take(stream, 300)
            assert sorted(map(int, found)) == list(range(300))

    run(test())


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_drain_says_when_it_takes_too_long(broker: RunningBroker, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(lifecycle, "CLOSE_PATIENCE_S", 0.01)
        async with Proxy(broker.port) as proxy:
            client = Client(proxy.url, drain_timeout=0.01)
            async with client:
                proxy.hold()
                publication = client.publish_nowait(topic, qos=1)
                with pytest.raises(TimeoutError):
                    await client.drain(0.01)
                assert not publication.done()
            with pytest.raises(NotConnected):  # leaving the block did not wait for ever either
                await publication

    run(test())
