"""Does the client connect, stay connected and come back by itself?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.client.brokers import RunningBroker
from tests.client.helpers import SOON, LoopFactory, passes, run, take, until
from tests.client.proxy import Proxy
from tests.client.scripted import Peer, ScriptedServer
from tidewire import Backoff, Client, ConnectionFailed, ConnectionRefused, NotConnected, PublishError, ReasonCode
from tidewire.client import lifecycle
from tidewire.wire import properties as p
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


def test_after_a_connect_without_an_answer_the_session_may_be_one_without_our_subscriptions() -> None:
    asked: list[bytes] = []

    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await peer.expect_connect()
            peer.abort()  # its CONNACK is lost
            return
        await peer.accept(Connack(session_present=peer.number == 2))
        while (packet := await peer.receive()) is not None:
            if isinstance(packet, Subscribe):
                asked.append(packet.requests[0].topic_filter)
                peer.send(Suback(packet.packet_identifier, [0]))
            elif isinstance(packet, Publish):
                peer.abort()

    async def test() -> None:
        async with (
            ScriptedServer(script) as server,
            Client(server.url, session_expiry=60, reconnect=SOON) as client,
            client.subscribe("a", keep=True),
        ):
            await client.publish("cut")
            await until(lambda: asked == [b"a", b"a"])

    run(test())


def test_what_the_server_said_it_does_not_take_is_refused_at_once() -> None:
    async def script(peer: Peer) -> None:
        connack = Connack()
        connack.properties.integers = {p.MAXIMUM_QOS: 1, p.RETAIN_AVAILABLE: 0}
        await peer.accept(connack)
        await peer.serve()

    async def test() -> None:
        async with ScriptedServer(script) as server, Client(server.url) as client:
            with pytest.raises(PublishError, match="QoS 1 at most") as caught:
                await client.publish("a", qos=2)
            with pytest.raises(PublishError, match="no retained messages"):
                await client.publish("a", retain=True)
            assert caught.value.reason_code == ReasonCode.QOS_NOT_SUPPORTED
            with pytest.raises(PublishError, match="no retained messages"):
                client.publish_nowait("a", qos=1, retain=True)

    run(test())


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
