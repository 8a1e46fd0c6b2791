"""Does each stream get its messages, acknowledge what its reader is done with, hold back what it has no room for?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.client.brokers import RunningBroker
from tests.client.helpers import SOON, passes, run, take, take_until, until
from tests.client.proxy import Proxy
from tidewire import Client, Message, Overflow, SubscribeError, Subscription


async def queued(stream: Any, number: int) -> None:
    """Wait until so many messages wait in the stream."""
    await until(lambda: len(stream) >= number)


def test_each_of_two_overlapping_streams_gets_its_copy(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with (
            Client(broker.url) as client,
            client.subscribe(f"{topic}/#", qos=2) as wide,
            client.subscribe(f"{topic}/+/b", qos=1) as narrow,
        ):
            for number in range(10):
                await client.publish(f"{topic}/{number}/b", str(number), qos=number % 3)
            await client.publish(f"{topic}/c", b"end", qos=2)
            await client.publish(f"{topic}/end/b", b"end", qos=2)
            numbers = [str(number).encode() for number in range(10)]
            for stream in (wide, narrow):
                found = await take_until(stream, b"end")
                assert sorted(message.payload for message in found) == numbers

    run(test())


@pytest.mark.parametrize("broker", ["tidewire", "mochi"], indirect=True)
@pytest.mark.parametrize("version", ["3.1.1", "3.1"])
def test_overlapping_streams_before_5_0_where_the_server_sends_one_copy(
    broker: RunningBroker, version: Any, topic: str
) -> None:
    async def test() -> None:
        async with (
            Client(broker.url, version=version) as client,
            client.subscribe(f"{topic}/#", qos=1) as wide,
            client.subscribe(f"{topic}/+", qos=1) as narrow,
        ):
            for number in range(3):
                await client.publish(f"{topic}/{number}", str(number), qos=1)
            assert await take(wide, 3) == await take(narrow, 3) == [b"0", b"1", b"2"]
            await passes(10)
            assert len(wide) == len(narrow) == 0

    run(test())


def test_two_streams_of_the_same_filter_both_get_all(broker: RunningBroker, version: Any, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url, version=version) as client, client.subscribe(topic, qos=1) as first:
            async with client.subscribe(topic, qos=1) as second:
                await client.publish(topic, b"both", qos=1)
                assert await take(first, 1) == await take(second, 1) == [b"both"]
            await client.publish(topic, b"one", qos=1)
            assert await take(first, 1) == [b"one"]

    run(test())


def test_a_second_stream_gets_retained_messages_and_the_first_not_again(
    broker: RunningBroker, version: Any, topic: str
) -> None:
    async def test() -> None:
        async with Client(broker.url, version=version) as client:
            await client.publish(topic, b"kept", qos=1, retain=True)
            async with client.subscribe(topic, qos=1) as first:
                assert await take(first, 1) == [b"kept"]
                async with client.subscribe(topic, qos=1) as second:
                    assert await take(second, 1) == [b"kept"]
                    await client.publish(topic, b"live", qos=1)
                    assert await take(second, 1) == await take(first, 1) == [b"live"]
            await client.publish(topic, None, retain=True)

    run(test())


def test_a_stream_of_several_filters(broker: RunningBroker, version: Any, topic: str) -> None:
    async def test() -> None:
        wanted = (f"{topic}/a", Subscription(f"{topic}/b/#", qos=2), f"{topic}/a")
        async with Client(broker.url, version=version) as client, client.subscribe(*wanted, qos=1) as stream:
            assert stream.granted[:2] == [1, 2]
            await client.publish(f"{topic}/a", b"a", qos=2)
            await client.publish(f"{topic}/b/c", b"b", qos=2)
            found = [await anext(stream), await anext(stream)]
            assert sorted((message.payload, message.qos) for message in found) == [(b"a", 1), (b"b", 2)]

    run(test())


def test_leaving_a_stream_unsubscribes(broker: RunningBroker, version: Any, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url, version=version) as client:
            async with client.subscribe(topic, qos=1) as stream:
                await client.publish(topic, b"seen", qos=1)
                assert await take(stream, 1) == [b"seen"]
            await client.publish(topic, b"unseen", qos=1)
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
            async with client.subscribe(topic, qos=1) as stream:
                await client.publish(topic, b"seen again", qos=1)
                assert await take(stream, 1) == [b"seen again"]
            assert client.statistics.unclaimed == 0

    run(test())


def test_unsubscribing_ends_the_streams_of_a_filter_once_they_are_read(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as client:
            both = client.subscribe(f"{topic}/a", f"{topic}/b", qos=1)
            async with client.subscribe(f"{topic}/a", qos=1) as one, both:
                await client.publish(f"{topic}/a", b"before", qos=1)
                await queued(one, 1)
                await client.unsubscribe(f"{topic}/a")
                await client.publish(f"{topic}/a", b"nobody's", qos=1)
                await client.publish(f"{topic}/b", b"the other's", qos=1)
                assert [message.payload async for message in one] == [b"before"]
                assert await take(both, 2) == [b"before", b"the other's"]
                waiting = asyncio.create_task(anext(both, None))
                await passes(3)
                await client.unsubscribe(f"{topic}/b", f"{topic}/unknown")
                assert await waiting is None

    run(test())


def test_get_waits_for_so_long(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as client:
            async with client.subscribe(topic) as stream:
                assert stream.get_nowait() is None
                assert len(stream) == 0
                assert stream
                with pytest.raises(TimeoutError):
                    await stream.get(timeout=0.001)
                await client.publish(topic, b"first")
                await client.publish(topic, b"second")
                assert (await stream.get()).payload == b"first"
                await queued(stream, 1)
                second = stream.get_nowait()
                assert second is not None
                assert second.payload == b"second"
            with pytest.raises(RuntimeError, match="the stream is closed"):
                await stream.get()

    run(test())


# -- acknowledgement


@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_not_dealt_with_comes_again(
    broker: RunningBroker, version: Any, topic: str, client_id: str, qos: int
) -> None:
    async def test() -> None:
        reader: dict[str, Any] = {"client_id": client_id, "version": version, "session_expiry": 600}
        async with Client(broker.url, version=version) as publisher:
            with pytest.raises(ZeroDivisionError):
                async with Client(broker.url, **reader) as client, client.subscribe(topic, qos=qos) as stream:
                    for number in range(5):
                        await publisher.publish(topic, str(number), qos=qos)
                    async for message in stream:
                        if message.payload == b"2":
                            raise ZeroDivisionError
            async with Client(broker.url, **reader) as client, client.subscribe(topic, qos=qos) as stream:
                assert broker.in_order(await take(stream, 3)) == [b"2", b"3", b"4"]
            async with Client(broker.url, **reader, clean_start=True):
                pass

    run(test())


@pytest.mark.parametrize("broker", ["mosquitto", "tidewire"], indirect=True)  # mochi disregards the Receive Maximum
def test_a_message_is_acknowledged_when_the_reader_asks_for_the_next(broker: RunningBroker, topic: str) -> None:
    """With a Receive Maximum of 1 the next comes only after that, whichever way the reader goes on."""

    async def test() -> None:
        async with (
            Client(broker.url) as publisher,
            Client(broker.url, receive_maximum=1) as client,
            client.subscribe(topic, qos=1) as stream,
        ):
            for number in range(6):
                await publisher.publish(topic, str(number), qos=1)
            await queued(stream, 1)
            async for message in stream:
                assert message.payload == b"0"
                break
            async for message in stream:
                assert message.payload == b"1"
                break
            assert (await anext(stream)).payload == b"2"
            assert (await stream.get()).payload == b"3"
            assert stream.get_nowait() is None
            await queued(stream, 1)
            fourth = stream.get_nowait()
            assert fourth is not None
            assert fourth.payload == b"4"
            async for message in stream:
                assert message.payload == b"5"
                break

    run(test())


@pytest.mark.parametrize("qos", [1, 2])
def test_manual_acknowledgement_leaves_in_order_of_arrival(
    broker: RunningBroker, topic: str, client_id: str, qos: int
) -> None:
    async def test() -> None:
        reader: dict[str, Any] = {"client_id": client_id, "session_expiry": 600}
        async with Client(broker.url) as publisher:
            async with (
                Client(broker.url, **reader) as client,
                client.subscribe(topic, qos=qos, manual_ack=True, keep=True) as stream,
            ):
                for number in range(4):
                    await publisher.publish(topic, str(number), qos=qos)
                messages = [await anext(stream) for _ in range(4)]
                messages[0].ack()
                messages[2].ack()  # has to wait for the second one
            async with (
                Client(broker.url, **reader) as client,
                client.subscribe(topic, qos=qos, manual_ack=True) as stream,
            ):
                again = [await anext(stream) for _ in range(3)]
                assert broker.in_order([message.payload for message in again]) == [b"1", b"2", b"3"]
                for message in again:
                    message.ack()
                    message.ack()  # once too often does no harm
            async with Client(broker.url, **reader, clean_start=True):
                pass

    run(test())


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_messages_of_two_streams_are_acknowledged_when_both_have_dealt_with_them(
    broker: RunningBroker, topic: str, client_id: str
) -> None:
    async def test() -> None:
        reader: dict[str, Any] = {"client_id": client_id, "session_expiry": 600}
        async with Client(broker.url) as publisher:
            async with (
                Client(broker.url, **reader) as client,
                client.subscribe(f"{topic}/#", qos=1, keep=True) as fast,
                client.subscribe(f"{topic}/a", qos=1, manual_ack=True, keep=True) as slow,
            ):
                await publisher.publish(f"{topic}/a", b"both", qos=1)
                assert await take(fast, 1) == [b"both"]
                assert fast.get_nowait() is None
                await queued(slow, 1)
            async with Client(broker.url, **reader) as client, client.subscribe(f"{topic}/#", qos=1) as stream:
                assert await take(stream, 1) == [b"both"]

    run(test())


@pytest.mark.parametrize("qos", [1, 2])
def test_kept_subscriptions_gather_messages_while_nobody_reads(
    broker: RunningBroker, version: Any, topic: str, client_id: str, qos: int
) -> None:
    async def test() -> None:
        reader: dict[str, Any] = {"client_id": client_id, "version": version, "session_expiry": 600}
        async with Client(broker.url, **reader) as client, client.subscribe(topic, qos=qos, keep=True):
            pass
        async with Client(broker.url) as publisher:
            for number in range(5):
                await publisher.publish(topic, str(number), qos=qos)
        async with Client(broker.url, **reader) as client:
            if version != "3.1":
                assert client.connack is not None
                assert client.connack.session_present
            async with client.subscribe(topic, qos=qos) as stream:
                assert broker.in_order(await take(stream, 5)) == [b"0", b"1", b"2", b"3", b"4"]
        async with Client(broker.url, **reader, clean_start=True):
            pass

    run(test())


def test_a_reader_that_failed_and_comes_back_gets_what_was_left(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as client:
            with pytest.raises(ZeroDivisionError):
                async with client.subscribe(topic, qos=1) as stream:
                    for number in range(3):
                        await client.publish(topic, str(number), qos=1)
                    await queued(stream, 3)
                    async for _ in stream:
                        raise ZeroDivisionError
            await client.publish(topic, b"3", qos=1)
            async with client.subscribe(topic, qos=1) as stream:
                assert await take(stream, 4) == [b"0", b"1", b"2", b"3"]

    run(test())


# -- overflow


def test_a_full_stream_that_blocks_loses_nothing(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with (
            Client(broker.url) as publisher,
            Client(broker.url) as client,
            client.subscribe(topic, maximum=10) as stream,
        ):
            for number in range(3_000):
                await publisher.publish(topic, str(number))
            await queued(stream, 10)
            assert await take(stream, 3_000) == [str(number).encode() for number in range(3_000)]
            assert stream.dropped == 0

    run(test())


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize(("policy", "kept"), [("drop_oldest", [7, 8, 9]), ("drop_newest", [0, 1, 2])])
def test_a_full_stream_drops_and_counts(
    broker: RunningBroker, topic: str, qos: int, policy: Any, kept: list[int]
) -> None:
    async def test() -> None:
        async with Client(broker.url) as client, client.subscribe(f"{topic}/end", qos=qos) as end:
            async with client.subscribe(topic, qos=qos, maximum=3, overflow=policy) as stream:
                for number in range(10):
                    await client.publish(topic, str(number), qos=qos)
                await client.publish(f"{topic}/end", b"end", qos=qos)
                await take(end, 1)
                assert await take(stream, 3) == [str(number).encode() for number in kept]
                assert stream.dropped == client.statistics.stream_dropped == 7
            assert client.statistics.stream_dropped == 7

    run(test())


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_a_full_stream_may_raise(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as client, client.subscribe(topic, qos=1, maximum=2, overflow="error") as stream:
            for number in range(5):
                await client.publish(topic, str(number), qos=1)
            await until(lambda: stream.dropped == 3)
            assert await take(stream, 2) == [b"0", b"1"]
            with pytest.raises(Overflow, match="more than 2 messages waiting; 3 are lost"):
                await anext(stream)
            await client.publish(topic, b"later", qos=1)
            assert await take(stream, 1) == [b"later"]

    run(test())


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_reader_may_publish_while_its_stream_is_full(broker: RunningBroker, topic: str, qos: int) -> None:
    """paho#354: whoever waits for an answer must get it, though the answer lies behind messages that nobody reads."""

    async def test() -> None:
        async with (
            Client(broker.url) as publisher,
            Client(broker.url) as client,
            client.subscribe(f"{topic}/in", qos=1, maximum=2) as stream,
        ):
            for number in range(200):
                await publisher.publish(f"{topic}/in", str(number), qos=number % 2)
            await queued(stream, 2)
            seen = 0
            async for _ in stream:
                await client.publish(f"{topic}/out", b"answer", qos=qos)
                seen += 1
                if seen == 100:
                    break

    run(test())


def test_a_reader_may_subscribe_and_unsubscribe_while_its_stream_is_full(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with (
            Client(broker.url) as publisher,
            Client(broker.url) as client,
            client.subscribe(f"{topic}/in", maximum=1) as stream,
        ):
            for burst in range(5):
                for _ in range(500):
                    await publisher.publish(f"{topic}/in", bytes(1_000))
                await queued(stream, 1)
                async with client.subscribe(f"{topic}/other/{burst}", qos=1) as other:
                    assert other.granted == [1]

    run(test())


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_a_large_qos_0_publish_gets_out_while_the_stream_is_full(broker: RunningBroker, topic: str) -> None:
    """Who waits for the socket must read as well: a server need not read from a peer that does not read from it."""

    async def test() -> None:
        async with Client(broker.url) as client, client.subscribe(topic, maximum=1) as stream:
            for _ in range(40):
                await client.publish(topic, bytes(1_000_000))
            await queued(stream, 1)

    run(test())


# -- faults


@pytest.mark.parametrize("broker", ["tidewire"], indirect=True)
def test_what_a_stream_cannot_be(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as client:
            with pytest.raises(ValueError, match="overflow must be one of block, drop_oldest, drop_newest, error"):
                client.subscribe(topic, overflow="spill")  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="maximum must be at least 1, not 0"):
                client.subscribe(topic, maximum=0)
            async with client.subscribe(topic) as stream:
                with pytest.raises(RuntimeError, match="the stream is open already"):
                    await stream.open()
            with pytest.raises(SubscribeError, match=r"'\$share/g/#'|topic filter"):
                async with client.subscribe("$SYS/private/#", "$share/g/#", qos=1):
                    raise SubscribeError({"topic filter": 0x80})
            assert client.connected

    run(test())


def test_a_stream_may_be_opened_again(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as client:
            stream = client.subscribe(topic, qos=1)
            for number in range(3):
                async with stream:
                    await client.publish(topic, str(number), qos=1)
                    assert await take(stream, 1) == [str(number).encode()]

    run(test())


def test_several_tasks_may_read_one_stream(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        found: list[Message] = []

        async def work(stream: Any) -> None:
            async for message in stream:
                found.append(message)
                await asyncio.sleep(0)

        async with Client(broker.url) as client, client.subscribe(topic, qos=1) as stream:
            workers = [asyncio.create_task(work(stream)) for _ in range(4)]
            for number in range(100):
                await client.publish(topic, str(number), qos=1)
            await until(lambda: len(found) == 100)
            assert sorted(int(message.payload) for message in found) == list(range(100))
            await stream.close()
            await asyncio.gather(*workers)

    run(test())


def test_a_stream_outlives_a_lost_connection(broker: RunningBroker, version: Any, topic: str) -> None:
    async def test() -> None:
        async with (
            Proxy(broker.port) as proxy,
            Client(broker.url) as publisher,
            Client(proxy.url, version=version, reconnect=SOON) as client,
            client.subscribe(f"{topic}/a", qos=1) as stream,
            client.subscribe(f"{topic}/b") as other,
        ):
            for number in range(3):
                connects = client.statistics.connects
                proxy.cut()
                await until(lambda n=connects: client.statistics.connects > n)  # type: ignore[misc]
                await client.publish(f"{topic}/c", qos=1)  # after it the subscriptions stand
                await publisher.publish(f"{topic}/a", str(number), qos=1)
                await publisher.publish(f"{topic}/b", str(number), qos=1)
                assert await take(stream, 1) == await take(other, 1) == [str(number).encode()]

    run(test())
