"""Do handlers get their messages and levels, answer requests, and end the client with their own exception?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.client.brokers import RunningBroker
from tests.client.helpers import SOON, run, until
from tests.client.proxy import Proxy
from tidewire import Client, Message, NotConnected, PublishError, TidewireError
from tidewire.client.handlers import Pattern

tidewire_alone = pytest.mark.parametrize("broker", ["tidewire"], indirect=True)


def test_a_handler_gets_messages_and_named_levels(broker: RunningBroker, version: Any, topic: str) -> None:
    async def test() -> None:
        seen: list[Any] = []
        client = Client(broker.url, version=version)

        @client.on(topic + "/boards/{board}/altitude", qos=1)
        async def altitude(message: Message, board: str) -> None:
            await asyncio.sleep(0)
            seen.append((board, message.payload))

        @client.on(topic + "/logs/{host}/{rest:#}", qos=2)
        def logged(message: Message, host: str, rest: str) -> None:
            seen.append((host, rest))

        async with client:

            @client.on(topic + "/later/+", qos=1)
            def later(message: Message) -> None:
                seen.append(message.topic)

            await client.publish(f"{topic}/boards/7/altitude", b"100", qos=1)
            await client.publish(f"{topic}/logs/web/a/b", qos=2)
            await until(lambda: len(seen) == 2)
            await client.publish(f"{topic}/later/x", qos=1)
            await until(lambda: len(seen) == 3)
        assert sorted(map(str, seen[:2])) == sorted(map(str, [("7", b"100"), ("web", "a/b")]))
        assert seen[2] == f"{topic}/later/x"

    run(test())


@pytest.mark.parametrize(
    ("pattern", "topic_filter", "topic", "levels"),
    [
        ("a/{b}/c", "a/+/c", "a/x/c", {"b": "x"}),
        ("{a}/{rest:#}", "+/#", "x/y/z", {"a": "x", "rest": "y/z"}),
        ("{a}/{rest:#}", "+/#", "x", {"a": "x", "rest": ""}),
        ("a/+/{c}/#", "a/+/+/#", "a/b/c/d/e", {"c": "c"}),
        ("$share/group/{a}/b", "$share/group/+/b", "x/b", {"a": "x"}),
    ],
)
def test_a_pattern_names_levels(pattern: str, topic_filter: str, topic: str, levels: dict[str, str]) -> None:
    assert Pattern(pattern).topic_filter == topic_filter
    assert Pattern(pattern).levels(topic) == levels


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("a/{b}/{b}", "names two levels 'b'"),
        ("a/x{b}", "a name stands for a whole level"),
        ("a/{rest:#}/b", "so it comes last"),
        ("a/{}", "a name stands for a whole level"),
        ("a/{1}", "a name stands for a whole level"),
    ],
)
def test_a_pattern_that_cannot_be(pattern: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Pattern(pattern)


@pytest.mark.parametrize("waiting", ["sleep", "run", "publish"])
@tidewire_alone
def test_what_a_handler_raises_comes_out_of_the_block(broker: RunningBroker, topic: str, waiting: str) -> None:
    async def test() -> None:
        client = Client(broker.url)

        @client.on(f"{topic}/bad")
        async def bad(message: Message) -> None:
            raise ZeroDivisionError("the handler's own")

        @client.on(f"{topic}/good")
        def good(message: Message) -> None:
            raise AssertionError("nothing comes")

        with pytest.raises(ZeroDivisionError, match="the handler's own"):
            async with client:
                await client.publish(f"{topic}/bad", qos=1)
                if waiting == "sleep":
                    await asyncio.Event().wait()
                elif waiting == "run":
                    await client.run()
                while True:
                    await client.publish(f"{topic}/other", qos=1)
        with pytest.raises(ZeroDivisionError):
            await client.publish(topic)

    run(test())


@tidewire_alone
def test_a_handler_that_waits_for_what_was_cancelled_does_not_die_unseen(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        client = Client(broker.url)

        @client.on(topic)
        async def handle(message: Message) -> None:
            cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            cancelled.cancel()
            await cancelled

        with pytest.raises(TidewireError, match="something that it awaited was cancelled"):
            async with client:
                await client.publish(topic)
                await asyncio.Event().wait()

    run(test())


@tidewire_alone
def test_a_handler_may_call_anything(broker: RunningBroker, topic: str) -> None:
    """paho#354, #603: none of it may lock up, the client's end included."""

    async def test() -> None:
        client = Client(broker.url)
        done = asyncio.Event()

        @client.on(f"{topic}/in", qos=1, maximum=1)
        async def handle(message: Message) -> None:
            await client.publish(f"{topic}/out", qos=2)
            await client.drain()
            async with client.subscribe(f"{topic}/more", qos=1):
                await client.unsubscribe(f"{topic}/unknown")
            if message.payload == b"9":
                await client.disconnect()
                done.set()

        await client.connect()
        for number in range(10):
            client.publish_nowait(f"{topic}/in", str(number), qos=1)
        with pytest.raises(NotConnected):
            await client.run()
        await done.wait()
        assert not client.connected

    run(test())


@tidewire_alone
def test_handlers_hold_the_server_back_while_the_program_only_runs(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        client = Client(broker.url)
        go_on = asyncio.Event()
        seen: list[bytes] = []

        @client.on(topic, maximum=5)
        async def handle(message: Message) -> None:
            await go_on.wait()
            seen.append(message.payload)

        async with client, Client(broker.url) as publisher:
            running = asyncio.create_task(client.run())
            for _ in range(200):
                await publisher.publish(topic, bytes(10_000))
                await asyncio.sleep(0)
            await publisher.publish(f"{topic}/other", qos=1)
            stream, _ = client._handlers[0]
            assert len(stream) < 150
            go_on.set()
            await until(lambda: len(seen) == 200)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run(test())


def test_what_a_handler_had_in_hand_at_the_end_comes_again(broker: RunningBroker, topic: str, client_id: str) -> None:
    async def test() -> None:
        options: dict[str, Any] = {"client_id": client_id, "session_expiry": 600}
        started = asyncio.Event()
        client = Client(broker.url, **options)

        @client.on(topic, qos=1)
        async def stuck(message: Message) -> None:
            started.set()
            await asyncio.Event().wait()

        async with client:
            await client.publish(topic, b"dear", qos=1)
            await started.wait()
        got: list[bytes] = []
        again = Client(broker.url, **options)
        again.on(topic, qos=1)(lambda message: got.append(message.payload))
        async with again:
            await until(lambda: got == [b"dear"])
        async with Client(broker.url, **options, clean_start=True):
            pass

    run(test())


# -- requests


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_request_gets_its_answer(broker: RunningBroker, topic: str, qos: int) -> None:
    async def test() -> None:
        server = Client(broker.url)

        @server.responder(topic + "/{operation}", qos=qos)
        async def answer(message: Message, operation: str) -> Any:
            return {"operation": operation, "of": message.json()}

        async with server, Client(broker.url) as client:
            answers = await asyncio.gather(
                *[client.request(f"{topic}/double", number, qos=qos) for number in range(20)]
            )
            assert [message.json() for message in answers] == [
                {"operation": "double", "of": number} for number in range(20)
            ]
            chosen = await client.request(f"{topic}/x", 1, response_topic=f"{topic}-answer", correlation_data=b"me")
            assert (chosen.topic, chosen.correlation_data) == (f"{topic}-answer", b"me")
            await server.publish(f"{topic}/double", b"1")  # without a response topic: no answer, no harm
            assert (await client.request(f"{topic}/y", 2)).json() == {"operation": "y", "of": 2}

    run(test())


def test_a_request_that_nobody_answers_ends(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Client(broker.url) as client, client.subscribe(topic):
            with pytest.raises(TimeoutError):
                await client.request(topic, timeout=0.01)
            with pytest.raises((TimeoutError, PublishError)):
                await client.request(f"{topic}/nobody", timeout=0.01, qos=1)

    run(test())


@tidewire_alone
def test_a_request_goes_on_over_a_lost_connection(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with (
            Proxy(broker.port) as proxy,
            Client(broker.url) as server,
            server.subscribe(topic, qos=1) as requests,
            Client(proxy.url, reconnect=SOON) as client,
        ):
            asking = asyncio.create_task(client.request(topic, b"?", qos=1))
            request = await anext(requests)
            proxy.cut()
            await until(lambda: client.statistics.connects == 2)
            await client.publish(f"{topic}/x", qos=1)
            assert request.response_topic is not None
            assert request.correlation_data is not None
            await server.publish(request.response_topic, b"!", qos=1, correlation_data=request.correlation_data)
            assert (await asking).payload == b"!"

    run(test())
