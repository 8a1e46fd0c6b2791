"""Does the client come back by itself, end with a reason that somebody hears, and stay usable whatever is cancelled?"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from tests.client.brokers import RunningBroker
from tests.client.helpers import SOON, LoopFactory, passes, run, take, until
from tests.client.proxy import Proxy
from tests.client.scripted import Peer, ScriptedServer
from tidewire import Backoff, Client, ConnectionFailed, ConnectionRefused, NotConnected, ReasonCode, SubscribeError
from tidewire.client import lifecycle
from tidewire.wire.codes import PUBACK
from tidewire.wire.packets import (
    Acknowledgement,
    Connack,
    Connect,
    Disconnect,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)

TEMPORARY = [ReasonCode.SERVER_SHUTTING_DOWN, ReasonCode.SERVER_BUSY, ReasonCode.KEEP_ALIVE_TIMEOUT]
PERMANENT = [ReasonCode.SESSION_TAKEN_OVER, ReasonCode.NOT_AUTHORIZED, ReasonCode.USE_ANOTHER_SERVER]

tidewire_alone = pytest.mark.parametrize("broker", ["tidewire"], indirect=True)


# -- the first connection


def test_the_first_connection_fails_fast_and_the_client_can_try_again(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Proxy(broker.port) as proxy:
            client = Client(proxy.url)
            proxy.refusing = True
            for _ in range(2):
                with pytest.raises(ConnectionFailed):
                    await client.connect()
                assert not client.connected
            proxy.refusing = False
            async with client:
                await client.publish(topic, qos=1)

    run(test())


def test_the_first_connection_may_be_tried_again_and_again(broker: RunningBroker, version: Any, topic: str) -> None:
    async def test() -> None:
        async with Proxy(broker.port) as proxy:
            proxy.refusing = True
            client = Client(proxy.url, version=version, retry_first_connect=True, reconnect=SOON)
            connecting = asyncio.create_task(client.connect())
            await until(lambda: proxy.accepted >= 3)
            assert not connecting.done()
            proxy.refusing = False
            await connecting
            await client.publish(topic, qos=1)
            await client.disconnect()

    run(test())


@pytest.mark.parametrize("retry", [False, True])
def test_a_permanent_refusal_of_the_first_connection_is_raised(retry: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(Connack(False, ReasonCode.NOT_AUTHORIZED))

    async def test() -> None:
        async with ScriptedServer(script) as server:
            client = Client(server.url, retry_first_connect=retry)
            with pytest.raises(ConnectionRefused, match=r"not authorized \(0x87\)") as caught:
                async with client:
                    pass
            assert (caught.value.reason_code, caught.value.permanent) == (0x87, True)
            assert server.connections == 1

    run(test())


@pytest.mark.parametrize(("return_code", "permanent"), [(1, True), (2, True), (3, False), (4, True), (5, True)])
def test_a_refusal_before_5_0(return_code: int, permanent: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(Connack(False, return_code))

    async def test() -> None:
        async with ScriptedServer(script) as server:
            with pytest.raises(ConnectionRefused, match=rf"\(return code {return_code}\)$") as caught:
                await Client(server.url, version="3.1.1").connect()
            assert caught.value.permanent is permanent

    run(test())


def test_disconnecting_ends_a_connect_that_is_under_way(loop_factory: LoopFactory) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Connect)
        await peer.receive()

    async def test() -> None:
        async with ScriptedServer(script) as server:
            silent = Client(server.url)
            nobody = Client("mqtt://127.0.0.1:1", retry_first_connect=True, reconnect=Backoff(3600, 3600))
            for client in (silent, nobody):
                connecting = asyncio.create_task(client.connect())
                await passes(20)
                await client.disconnect()
                with pytest.raises(NotConnected, match="the client was closed while it connected"):
                    await connecting
                assert not client.connected

    run(test(), loop_factory)


# -- coming back


@pytest.mark.parametrize("reason_code", TEMPORARY)
def test_a_temporary_good_bye_of_the_server_is_followed_by_a_new_connection(reason_code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        if peer.number == 0:
            peer.send(Disconnect(reason_code))
        await peer.serve()

    async def test() -> None:
        states: list[tuple[str, Exception | None]] = []
        async with ScriptedServer(script) as server:
            client = Client(server.url, reconnect=SOON, on_state=lambda *state: states.append(state))
            async with client:
                await until(lambda: client.statistics.connects == 2)
        assert [state for state, _ in states] == ["connected", "disconnected", "connected"]
        error = states[1][1]
        assert isinstance(error, ConnectionRefused)
        assert (error.reason_code, error.permanent) == (reason_code, False)

    run(test())


def test_subscriptions_come_back_where_the_session_is_gone_and_only_there() -> None:
    asked: list[list[bytes]] = []

    async def script(peer: Peer) -> None:
        await peer.accept(Connack(session_present=peer.number == 1))
        asked.append([])
        while (packet := await peer.receive()) is not None:
            if isinstance(packet, Subscribe):
                asked[-1] += [request.topic_filter for request in packet.requests]
                peer.send(Suback(packet.packet_identifier, [0]))
            elif isinstance(packet, Unsubscribe):
                peer.send(Unsuback(packet.packet_identifier, [0]))
            elif isinstance(packet, Publish):
                peer.abort()

    async def test() -> None:
        async with (
            ScriptedServer(script) as server,
            Client(server.url, session_expiry=60, reconnect=SOON) as client,
            client.subscribe("a"),
            client.subscribe("b", "c"),
        ):
            for connects in (2, 3):
                await client.publish("cut")
                await until(lambda n=connects: client.statistics.connects == n and len(asked) == n)  # type: ignore[misc]
            await until(lambda: len(asked[2]) == 3)

    run(test())
    assert asked == [[b"a", b"b", b"c"], [], [b"a", b"b", b"c"]]


def test_what_waits_for_its_suback_is_asked_again_on_the_next_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(Connack(session_present=peer.number > 0))
        await peer.expect(Subscribe)
        if peer.number < 2:
            peer.abort()
            return
        peer.send(Suback(65_532, [1]))
        await peer.serve()

    async def test() -> None:
        async with (
            ScriptedServer(script) as server,
            Client(server.url, session_expiry=60, reconnect=SOON) as client,
            client.subscribe("a", qos=1) as stream,
        ):
            assert stream.granted == [1]
            assert server.connections == 3

    run(test())


def test_messages_are_sent_again_in_order_and_marked() -> None:
    """[MQTT-4.4.0-1, 4.6.0-1]: what was in flight first, under its old packet identifier; then what waited."""
    seen: list[list[tuple[bytes, bool, int]]] = [[], []]

    async def script(peer: Peer) -> None:
        await peer.accept(Connack(session_present=peer.number > 0))
        for _ in range(5):
            packet = await peer.expect(Publish)
            seen[peer.number].append((packet.payload, packet.dup, packet.packet_identifier))
            if peer.number == 1 or packet.payload == b"1":
                peer.send(Acknowledgement(PUBACK, packet.packet_identifier))
        if peer.number == 0:
            peer.abort()
        else:
            await peer.serve()

    async def test() -> None:
        async with ScriptedServer(script) as server:
            client = Client(server.url, session_expiry=60, reconnect=SOON, inflight_maximum=4)
            async with client:
                for publication in [client.publish_nowait("a", str(number), qos=1) for number in range(6)]:
                    await publication

    run(test())
    assert [(payload, dup) for payload, dup, _ in seen[0]] == [(str(n).encode(), False) for n in range(5)]
    sent = {payload: identifier for payload, _, identifier in seen[0]}
    assert seen[1][:4] == [(payload, True, sent[payload]) for payload in (b"0", b"2", b"3", b"4")]
    assert [(payload, dup) for payload, dup, _ in seen[1][4:]] == [(b"5", False)]


def test_the_servers_receive_maximum_is_kept() -> None:
    async def script(peer: Peer) -> None:
        connack = Connack()
        connack.properties.integers[0x21] = 2
        await peer.accept(connack)
        for _ in range(5):
            pair = [await peer.expect(Publish), await peer.expect(Publish)]
            await passes(10)
            assert peer.is_quiet()
            peer.send(*[Acknowledgement(PUBACK, packet.packet_identifier) for packet in pair])
        await peer.serve()

    async def test() -> None:
        async with ScriptedServer(script) as server, Client(server.url) as client:
            for publication in [client.publish_nowait("a", qos=1) for _ in range(10)]:
                await publication

    run(test())


def test_a_network_that_is_gone_for_ten_minutes(
    broker: RunningBroker, version: Any, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses between the attempts are skipped, their lengths added up."""

    async def test() -> None:
        gone_s = 0.0

        async def skipped(_: Any, backoff: Backoff, attempt: int, __: Any) -> None:
            nonlocal gone_s
            gone_s += backoff.delay(attempt)
            if gone_s > 600:
                proxy.refusing = False

        monkeypatch.setattr(lifecycle.Lifecycle, "_pause", skipped)
        async with (
            Proxy(broker.port) as proxy,
            Client(broker.url, version=version) as other,
            Client(proxy.url, version=version) as client,
            client.subscribe(topic, qos=1) as stream,
        ):
            proxy.refusing = True
            proxy.cut()
            assert await client.publish(f"{topic}/other", b"meanwhile", qos=1) is not None
            assert gone_s > 600
            assert proxy.accepted > 10
            await other.publish(topic, b"goes on", qos=1)
            assert await take(stream, 1) == [b"goes on"]

    run(test())


def test_a_half_open_connection_is_given_up(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        states: list[str] = []
        async with Proxy(broker.port) as proxy:
            client = Client(
                proxy.url,
                keep_alive=1,
                reconnect=SOON,
                on_state=lambda state, error: states.append(f"{state}: {error}"),
            )
            async with client:
                proxy.swallow()
                publishing = asyncio.create_task(client.publish(topic, qos=1))
                await until(lambda: len(states) == 2)
                assert states[1] == "disconnected: the connection was lost: the server did not answer PINGREQ in 0.5 s"
                proxy.cut()
                await publishing

    run(test())


@pytest.mark.parametrize("broker", ["mosquitto", "tidewire"], indirect=True)  # mochi waits no longer than Keep Alive
def test_a_quiet_connection_is_kept_alive(broker: RunningBroker) -> None:
    async def test() -> None:
        async with Client(broker.url, keep_alive=1) as client:
            sent = client.statistics.bytes_sent
            await until(lambda: client.statistics.bytes_sent >= sent + 4)  # two PINGREQ
            assert client.statistics.connects == 1

    run(test())


def test_without_a_back_off_the_client_ends_with_its_connection(broker: RunningBroker, topic: str) -> None:
    async def test() -> None:
        async with Proxy(broker.port) as proxy:
            with pytest.raises(ConnectionFailed, match="the connection was lost"):
                async with Client(proxy.url, reconnect=None) as client, client.subscribe(topic) as stream:
                    proxy.cut()
                    async for _ in stream:
                        pass

    run(test())


# -- the end, and who hears of it


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
