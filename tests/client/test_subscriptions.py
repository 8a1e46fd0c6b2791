"""Does the server know the filters that somebody reads, and no others, whatever happens to the connection?"""

from __future__ import annotations

import asyncio

import pytest

from tests.client.brokers import RunningBroker
from tests.client.helpers import SOON, passes, run, take, until
from tests.client.proxy import Proxy
from tests.client.scripted import Peer, ScriptedServer
from tidewire import Client, SubscribeError
from tidewire.engine.limits import SUBSCRIBE_IDENTIFIERS
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import (
    Acknowledgement,
    Connack,
    Disconnect,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)


@pytest.mark.parametrize("broker", ["mosquitto", "tidewire"], indirect=True)
def test_more_filters_than_may_be_unanswered_at_a_time(broker: RunningBroker, topic: str) -> None:
    number = 2 * SUBSCRIBE_IDENTIFIERS + 1

    async def test() -> None:
        async with (
            Proxy(broker.port) as proxy,
            Client(proxy.url, reconnect=SOON) as client,
            client.subscribe(*[f"{topic}/{index}" for index in range(number)], qos=1) as stream,
        ):
            assert stream.granted == [1] * number
            proxy.cut()
            await until(lambda: client.statistics.connects == 2)
            async with client.subscribe(f"{topic}/after"):
                pass
            for index in (0, number - 1):
                await client.publish(f"{topic}/{index}", str(index), qos=1)
            assert await take(stream, 2) == [b"0", str(number - 1).encode()]

    run(test())


def test_a_refused_filter_is_raised_and_the_granted_ones_are_given_up() -> None:
    unsubscribed: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        for reason_code in (1, 0x87):
            packet = await peer.expect(Subscribe)
            peer.send(Suback(packet.packet_identifier, [reason_code]))
        leaving = await peer.expect(Unsubscribe)
        unsubscribed.extend(leaving.topic_filters)
        peer.send(Unsuback(leaving.packet_identifier, [0]))
        await peer.serve()

    async def test() -> None:
        async with ScriptedServer(script) as server, Client(server.url) as client:
            with pytest.raises(SubscribeError, match=r"refused to subscribe to 'b': not authorized \(0x87\)") as caught:
                await client.subscribe("a", "b", qos=1).open()
            assert caught.value.reason_codes == {"b": 0x87}
            await until(lambda: unsubscribed == [b"a"])
            async with client.subscribe("c") as stream:
                assert stream.granted == [0]

    run(test())


def test_a_filter_that_is_refused_later_ends_its_reader() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        packet = await peer.expect(Subscribe)
        peer.send(Suback(packet.packet_identifier, [0 if peer.number == 0 else 0x87]))
        if peer.number == 0:
            peer.abort()
        await peer.serve()

    async def test() -> None:
        async with (
            ScriptedServer(script) as server,
            Client(server.url, reconnect=SOON) as client,
            client.subscribe("a") as stream,
        ):
            with pytest.raises(SubscribeError):
                await anext(stream)

    run(test())


def test_subscribing_again_while_the_unsuback_is_on_its_way() -> None:
    """Each answer belongs to its own question: what UNSUBACK says is not what was granted."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.grant()
        leaving = await peer.expect(Unsubscribe)
        again = await peer.expect(Subscribe)
        peer.send(Unsuback(leaving.packet_identifier, [0x11]))
        await passes(5)
        peer.send(Suback(again.packet_identifier, [2]), Publish(b"a", b"here"))
        await peer.serve()

    async def test() -> None:
        async with ScriptedServer(script) as server, Client(server.url) as client:
            first = client.subscribe("a")
            await first.open()
            closing = asyncio.create_task(first.close())
            await passes(1)
            async with client.subscribe("a", qos=2) as stream:
                assert stream.granted == [2]
                assert await take(stream, 1) == [b"here"]
            await closing

    run(test())


def test_leaving_a_stream_does_not_wait_for_a_network_that_is_gone() -> None:
    seen: list[type] = []

    async def script(peer: Peer) -> None:
        await peer.accept(Connack(session_present=peer.number > 0))
        if peer.number == 0:
            await peer.grant()
            await peer.expect(Unsubscribe)
            peer.abort()
            return
        while (packet := await peer.receive()) is not None:
            seen.append(type(packet))
            if isinstance(packet, Unsubscribe):
                peer.send(Unsuback(packet.packet_identifier, [0]))

    async def test() -> None:
        async with ScriptedServer(script) as server, Client(server.url, session_expiry=60, reconnect=SOON) as client:
            async with client.subscribe("a"):
                pass
            assert not client.connected
            await until(lambda: client.statistics.connects == 2 and Unsubscribe in seen)

    run(test())
    assert seen == [Unsubscribe, Disconnect]


def test_unsubscribing_offline_is_made_up_for() -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.accept(Connack(session_present=True))
        if peer.number == 0:
            peer.abort()
            return
        packet = await peer.expect(Unsubscribe)
        seen.extend(packet.topic_filters)
        peer.send(Unsuback(packet.packet_identifier, [0]))
        await peer.serve()

    async def test() -> None:
        async with ScriptedServer(script) as server, Client(server.url, session_expiry=60, reconnect=SOON) as client:
            await until(lambda: not client.connected)
            await client.unsubscribe("left/behind")
            await until(lambda: bool(seen))
        assert seen == [b"left/behind"]

    run(test())


def test_a_server_without_subscription_identifiers() -> None:
    async def script(peer: Peer) -> None:
        connack = Connack()
        connack.properties.integers[p.SUBSCRIPTION_IDENTIFIER_AVAILABLE] = 0
        await peer.accept(connack)
        for _ in range(2):
            packet = await peer.grant()
            assert packet.properties.subscription_identifiers == []
        peer.send(Publish(b"a/b", b"x"))
        await peer.serve()

    async def test() -> None:
        async with (
            ScriptedServer(script) as server,
            Client(server.url) as client,
            client.subscribe("a/#") as wide,
            client.subscribe("+/b") as other,
        ):
            assert await take(wide, 1) == await take(other, 1) == [b"x"]

    run(test())


def test_subscriptions_are_there_before_what_is_published_again() -> None:
    """Else a client whose session is gone would not see its own messages."""
    seen: list[type] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        if peer.number == 0:
            await peer.grant()
        while (packet := await peer.receive()) is not None:
            if peer.number == 0:
                peer.abort()
                return
            seen.append(type(packet))
            if isinstance(packet, Subscribe):
                peer.send(Suback(packet.packet_identifier, [0]))
            elif isinstance(packet, Publish):
                peer.send(Acknowledgement(PUBACK, packet.packet_identifier))
            elif isinstance(packet, Unsubscribe):
                peer.send(Unsuback(packet.packet_identifier, [0]))

    async def test() -> None:
        async with (
            ScriptedServer(script) as server,
            Client(server.url, reconnect=SOON) as client,
            client.subscribe("a"),
        ):
            await client.publish("a", qos=1)

    run(test())
    assert seen[:2] == [Subscribe, Publish]


def test_in_3_1_which_does_not_speak_of_sessions_nothing_is_lost_with_the_connection() -> None:
    """A session that is asked for is taken as kept: PUBREL goes out again, and filters as well."""
    seen: list[object] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        while (packet := await peer.receive()) is not None:
            if peer.number == 0:
                assert isinstance(packet, Publish)
                peer.send(Acknowledgement(PUBREC, packet.packet_identifier))
                await peer.expect(Acknowledgement)
                peer.abort()
                return
            seen.append(packet)
            if isinstance(packet, Acknowledgement):
                peer.send(Acknowledgement(PUBCOMP, packet.packet_identifier))

    async def test() -> None:
        async with (
            ScriptedServer(script) as server,
            Client(server.url, version="3.1", session_expiry=60, reconnect=SOON) as client,
        ):
            await client.publish("a", qos=2)
            await until(lambda: bool(seen))

    run(test())
    assert isinstance(seen[0], Acknowledgement)
    assert seen[0].packet_type == PUBREL


def test_the_end_waits_for_the_server_so_that_it_reads_all() -> None:
    """A reset for what the server sends meanwhile could cost it what it has not read yet."""
    read: list[object] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(Publish(b"a", bytes(100_000)))
        await passes(10)
        while (packet := await peer.receive()) is not None:
            peer.send(Publish(b"a", bytes(100_000)))
            await passes(2)
            read.append(packet)

    async def test() -> None:
        async with ScriptedServer(script) as server, Client(server.url) as client:
            for _ in range(100):
                client.publish_nowait("b", bytes(1_000))

    run(test())
    assert len(read) == 101
    assert isinstance(read[-1], Disconnect)
