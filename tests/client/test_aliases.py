"""Are topic aliases set and understood on each connection anew, and topics never repeated by an alias of another?"""

from __future__ import annotations

from tests.client.helpers import SOON, run, take, until
from tests.client.scripted import Peer, ScriptedServer
from tidewire import Client
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK
from tidewire.wire.packets import Acknowledgement, Connack, Publish


def test_long_topics_get_aliases_and_lose_them_with_the_connection() -> None:
    """paho#893: a message that is sent again on the next connection names its topic."""
    seen: list[list[tuple[bytes, int | None]]] = [[], []]

    async def script(peer: Peer) -> None:
        connack = Connack(session_present=peer.number > 0)
        connack.properties.integers[p.TOPIC_ALIAS_MAXIMUM] = 2
        await peer.accept(connack)
        while (packet := await peer.receive()) is not None:
            if not isinstance(packet, Publish):
                continue
            seen[peer.number].append((packet.topic, packet.properties.integers.get(p.TOPIC_ALIAS)))
            if peer.number == 0 and len(seen[0]) == 12:
                peer.abort()
            elif peer.number == 1:
                peer.send(Acknowledgement(PUBACK, packet.packet_identifier))

    async def test() -> None:
        async with ScriptedServer(script) as server, Client(server.url, session_expiry=60, reconnect=SOON) as client:
            for publication in [
                client.publish_nowait(f"long/topic/{number}", qos=1) for _ in range(4) for number in range(3)
            ]:
                await publication

    run(test())
    for sent in seen:
        assert len(sent) == 12
        aliases: dict[int, bytes] = {}
        topics = []
        for topic, alias in sent:
            if alias is not None:
                assert 1 <= alias <= 2
                if topic:
                    aliases[alias] = topic
                topics.append(aliases[alias])
            else:
                topics.append(topic)
        assert topics == [f"long/topic/{number}".encode() for _ in range(4) for number in range(3)]
        assert any(not topic for topic, _ in sent)


def test_the_servers_aliases_are_understood() -> None:
    async def script(peer: Peer) -> None:
        connect = await peer.accept()
        assert connect.properties.integers[p.TOPIC_ALIAS_MAXIMUM] == 5
        await peer.grant()
        for topic, alias, payload in ((b"a/b", 1, b"1"), (b"", 1, b"2"), (b"a/c", 1, b"3"), (b"", 1, b"4")):
            packet = Publish(topic, payload)
            packet.properties.integers[p.TOPIC_ALIAS] = alias
            peer.send(packet)
        await peer.serve()

    async def test() -> None:
        async with (
            ScriptedServer(script) as server,
            Client(server.url, topic_alias_maximum=5) as client,
            client.subscribe("a/+") as stream,
        ):
            found = [await anext(stream) for _ in range(4)]
            assert [(message.topic, message.payload) for message in found] == [
                ("a/b", b"1"),
                ("a/b", b"2"),
                ("a/c", b"3"),
                ("a/c", b"4"),
            ]

    run(test())


def test_an_alias_that_was_never_set_ends_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        if peer.number == 0:
            packet = Publish(b"", b"x")
            packet.properties.integers[p.TOPIC_ALIAS] = 1
            peer.send(packet)
        else:
            await peer.grant()
            peer.send(Publish(b"a", b"fine"))
        await peer.serve()

    async def test() -> None:
        async with ScriptedServer(script) as server, Client(server.url, reconnect=SOON) as client:
            await until(lambda: client.statistics.connects == 2)
            async with client.subscribe("a") as stream:
                assert await take(stream, 1) == [b"fine"]

    run(test())
