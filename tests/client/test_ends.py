"""Does the client end with a reason that somebody hears, end every wait, and stay usable whatever is cancelled?"""

from __future__ import annotations

import asyncio
import gc
import itertools
from typing import Any

import pytest

from tests.client.brokers import RunningBroker
from tests.client.helpers import SOON, LoopFactory, passes, run, take, until
from tests.client.proxy import Proxy
from tests.client.scripted import Peer, ScriptedServer
from tidewire import Client, ConnectionRefused, NotConnected, ReasonCode, SubscribeError, Will
from tidewire.client.requests import Replies
from tidewire.wire.packets import (
    Connack,
    Disconnect,
    Publish,
    Suback,
    Subscribe,
)

PERMANENT = [ReasonCode.SESSION_TAKEN_OVER, ReasonCode.NOT_AUTHORIZED, ReasonCode.USE_ANOTHER_SERVER]

tidewire_alone = pytest.mark.parametrize("broker", ["tidewire"], indirect=True)


@pytest.mark.parametrize("reason_code", PERMANENT)
def test_a_permanent_good_bye_reaches_a_body_that_only_sleeps(reason_code: int, loop_factory: LoopFactory) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(Disconnect(reason_code))

    async def test() -> None:
        async with ScriptedServer(script) as server:
            with pytest.raises(ConnectionRefused, match="the server ended the connection") as caught:
                async with Client(server.url):
                    await asyncio.Event().wait()
            assert (caught.value.reason_code, caught.value.permanent) == (reason_code, True)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    run(test(), loop_factory)


def test_a_permanent_refusal_reaches_a_body_that_only_sleeps_beside_handlers() -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.accept()
            await peer.grant()
            peer.abort()
        else:
            await peer.accept(Connack(False, ReasonCode.BANNED))

    async def test() -> None:
        async with ScriptedServer(script) as server:
            client = Client(server.url, reconnect=SOON)

            @client.on("a")
            async def handle(message: Any) -> None:
                raise AssertionError("nothing comes")

            with pytest.raises(ConnectionRefused, match="banned"):
                async with client:
                    await asyncio.Event().wait()

    run(test())


@pytest.mark.parametrize("wait", ["publish", "subscribe", "next", "run", "drain", "wait_connected", "request", "later"])
def test_a_permanent_refusal_ends_every_wait(wait: str) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.accept()
            await peer.grant()
            if wait == "wait_connected":
                peer.abort()
            else:
                while not isinstance(await peer.receive(), Publish):
                    pass
                peer.send(Disconnect(ReasonCode.BANNED))
        else:
            await peer.accept(Connack(False, ReasonCode.BANNED))

    async def test() -> None:
        async with ScriptedServer(script) as server:
            client = Client(server.url, reconnect=SOON)
            await client.connect()
            async with client.subscribe("a", qos=1) as stream:
                if wait == "wait_connected":
                    await until(lambda: not client.connected)
                else:
                    client.publish_nowait("last", qos=1)
                publication = client.publish_nowait("b", qos=2)
                with pytest.raises(ConnectionRefused, match="banned"):
                    if wait == "publish":
                        await client.publish("c", qos=1)
                    elif wait == "subscribe":
                        await client.subscribe("d").open()
                    elif wait == "next":
                        await anext(stream)
                    elif wait == "run":
                        await client.run()
                    elif wait == "drain":
                        await client.drain()
                    elif wait == "wait_connected":
                        while True:
                            await client.wait_connected()
                            await passes(1)
                    elif wait == "request":
                        await client.request("e")
                    else:
                        await publication
                for late in (client.publish("c"), client.publish("c", qos=1), client.run(), client.drain()):
                    with pytest.raises(ConnectionRefused):
                        await late
                with pytest.raises(ConnectionRefused):
                    await publication
            await client.disconnect()

    run(test())


@pytest.mark.parametrize("wait", ["publish", "subscribe", "next", "run", "drain", "request"])
def test_disconnecting_ends_every_wait(wait: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.grant()
        await peer.serve_nothing()

    async def test() -> None:
        async with ScriptedServer(script) as server:
            client = Client(server.url)
            await client.connect()
            stream = client.subscribe("a", qos=1)
            await stream.open()
            waits: dict[str, Any] = {
                "publish": lambda: client.publish("b", qos=1),
                "subscribe": lambda: client.subscribe("c").open(),
                "next": lambda: anext(stream),
                "run": client.run,
                "drain": client.drain,
                "request": lambda: client.request("b", timeout=600),
            }
            client.publish_nowait("b", qos=1)
            waiting = asyncio.ensure_future(waits[wait]())
            unsubscribing = asyncio.create_task(client.unsubscribe("x"))
            await passes(5)
            assert not waiting.done()
            assert not unsubscribing.done()
            await client.disconnect()
            with pytest.raises(NotConnected):
                await waiting
            await unsubscribing
            with pytest.raises(NotConnected):
                await client.publish("b")
            await client.disconnect()  # once more does no harm
            await stream.close()

    run(test())


@tidewire_alone
def test_a_qos_0_message_that_never_left_ends_its_wait(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Proxy(broker.port) as proxy:
            client = Client(proxy.url, drain_timeout=0.01)
            async with client:
                proxy.refusing = True
                proxy.cut()
                await until(lambda: not client.connected)
                publication = client.publish_nowait(topic)
            with pytest.raises(NotConnected):
                await publication

    run(test())


@tidewire_alone
def test_an_exception_inside_the_block_comes_out_as_it_is(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        with pytest.raises(ZeroDivisionError, match="my own"):
            async with Client(broker.url) as client, client.subscribe(topic) as stream:
                await client.publish(topic)
                async for _ in stream:
                    raise ZeroDivisionError("my own")

    run(test())


@tidewire_alone
@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
@pytest.mark.parametrize("fails", [True, False])
def test_the_will_is_published_when_the_block_fails_and_only_then(
    broker: RunningBroker, version: Any, topic: str, fails: bool
) -> None:
    async def test() -> None:
        async with Client(broker.url) as watcher, watcher.subscribe(topic) as stream:
            try:
                async with Client(broker.url, version=version, will=Will(topic, b"lost")):
                    if fails:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            await watcher.publish(topic, b"after")
            said = await take(stream, 2 if fails else 1)
        assert sorted(said) == ([b"after", b"lost"] if fails else [b"after"])

    run(test())


@tidewire_alone
@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_leaves_nothing_behind(broker: RunningBroker, topic: str, fault: type[BaseException]) -> None:
    async def test() -> None:
        async with Client(broker.url) as client, client.subscribe(topic) as stream:
            await client.publish(topic)
            async for _ in stream:
                raise fault

    with pytest.raises(fault):
        asyncio.run(test())


@tidewire_alone
def test_what_on_state_raises_ends_the_client(broker: RunningBroker) -> None:
    async def test() -> None:
        def broken(state: str, error: Exception | None) -> None:
            raise ZeroDivisionError(state)

        with pytest.raises(ZeroDivisionError, match="connected"):
            async with Client(broker.url, on_state=broken):
                pass

    run(test())


@tidewire_alone
def test_a_cancellation_from_outside_stays_one(broker: RunningBroker) -> None:
    async def test() -> None:
        inside = asyncio.Event()

        async def body() -> None:
            async with Client(broker.url):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(body())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            async with Client(broker.url) as client, asyncio.timeout(0.001):
                await client.run()

    run(test())


# -- cancellation, and another life


@pytest.mark.parametrize("broker", ["mosquitto", "tidewire"], indirect=True)  # mochi may see an old CONNECT last
@pytest.mark.parametrize("turns", range(12))
def test_any_wait_may_be_cancelled_after_any_turn_of_the_loop(broker: RunningBroker, topic: str, turns: int) -> None:
    async def test() -> None:
        client = Client(broker.url)
        numbers = itertools.count()

        async def subscribing() -> None:
            async with client.subscribe(f"{topic}/{next(numbers)}", qos=1):
                pass

        async def reading() -> None:
            async with client.subscribe(f"{topic}/read", qos=1) as stream:
                await stream.get()

        waits: list[Any] = [
            lambda: client.publish(topic, qos=1),
            lambda: client.publish(topic, qos=2),
            lambda: client.publish(topic, bytes(300_000)),
            subscribing,
            reading,
            lambda: client.unsubscribe(f"{topic}/unknown"),
            client.run,
            client.drain,
            client.wait_connected,
            lambda: client.request(topic, timeout=60),
        ]
        for connecting in (client.connect, client.disconnect, client.connect):
            await _cancelled_after(turns, connecting())
        if not client.connected:
            await client.disconnect()
            await client.connect()
        for wait in waits:
            await _cancelled_after(turns, wait())
        async with client.subscribe(f"{topic}/still", qos=2) as stream:
            await client.publish(f"{topic}/still", b"works", qos=2)
            assert await take(stream, 1) == [b"works"]
        await client.drain()
        await client.disconnect()

    run(test())


async def _cancelled_after(turns: int, work: Any) -> None:
    task = asyncio.ensure_future(work)
    await passes(turns)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_client_may_be_used_again(broker: RunningBroker, version: Any, topic: str, client_id: str) -> None:
    async def test() -> None:
        client = Client(broker.url, version=version, client_id=client_id)
        got: list[bytes] = []

        @client.on(f"{topic}/handled", qos=1)
        def handle(message: Any) -> None:
            got.append(message.payload)

        for life in range(3):
            async with client:
                with pytest.raises(RuntimeError, match="the client is connected already"):
                    await client.connect()
                async with client.subscribe(topic, qos=1) as stream:
                    await client.publish(topic, str(life), qos=1)
                    await client.publish(f"{topic}/handled", str(life), qos=1)
                    assert await take(stream, 1) == [str(life).encode()]
                    await until(lambda n=life: len(got) == n + 1)  # type: ignore[misc]
            assert not client.connected
            with pytest.raises(NotConnected):
                await client.publish(topic)
        assert got == [b"0", b"1", b"2"]

    run(test())


def test_requests_work_in_the_next_life_too(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        client = Client(broker.url)

        @client.responder(topic)
        def answer(message: Any) -> Any:
            return message.payload.upper()

        for _ in range(2):
            async with client:
                assert (await client.request(topic, b"hello")).payload == b"HELLO"

    run(test())


def test_an_end_that_nobody_waits_for_any_more_is_no_error_that_asyncio_tells() -> None:
    async def test() -> None:
        told: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        client = Client("mqtt://localhost")
        replies = Replies(client, client._life)
        replies._waiting[b"1"] = loop.create_future()  # who waited for these was cancelled by Ctrl-C
        replies._end(NotConnected("closed"), loop.create_future())
        replies._waiting.clear()
        gc.collect()
        assert told == []

    run(test())


def test_a_refused_filter_of_a_handler_comes_out_of_connect() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        packet = await peer.expect(Subscribe)
        peer.send(Suback(packet.packet_identifier, [0x87]))
        assert isinstance(await peer.receive(), Disconnect)

    async def test() -> None:
        async with ScriptedServer(script) as server:
            client = Client(server.url)
            client.on("a")(lambda message: None)
            with pytest.raises(SubscribeError, match=r"'a': not authorized \(0x87\)") as caught:
                await client.connect()
            assert caught.value.reason_codes == {"a": 0x87}
            assert not client.connected

    run(test())
