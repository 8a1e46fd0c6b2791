"""Does a message cross once, with all that belongs to it, and what becomes of one that the other side does not take?"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.client.helpers import run, take, take_until, until
from tests.client.proxy import Proxy
from tests.server.test_bridge import END, OUT, bridged, connected, state, the_bridge
from tidewire import Client, Message
from tidewire.server import bridge_pump
from tidewire.server.bridge_access import MARK
from tidewire.server.embedded import Broker
from tidewire.server.hooks import PublishRequest
from tidewire.wire.codes import ReasonCode


def crossed(message: Message) -> tuple[Any, ...]:
    """All of a message that has to arrive."""
    return (
        message.topic,
        message.payload,
        message.qos,
        message.payload_format,
        message.content_type,
        message.response_topic,
        message.correlation_data,
        [(name, value) for name, value in message.user_properties if name != MARK],
    )


@pytest.mark.parametrize("direction", ["out", "in", "both"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_crosses_with_all_its_properties_under_the_name_it_has_there(direction: str, qos: int) -> None:
    async def test() -> None:
        topic = {"filter": "a/#", "direction": direction, "qos": 2, "local_prefix": "here/", "remote_prefix": "there/"}
        async with Broker(port=0) as hub, Broker(bridged(hub.url, topic)) as site:
            await connected(site)
            ways = [(site, "here/", hub, "there/"), (hub, "there/", site, "here/")]
            for source, before, target, after in ways[:1] if direction == "out" else ways[direction == "in" :]:
                async with (
                    Client(source.url) as publisher,
                    Client(target.url) as reader,
                    reader.subscribe(f"{after}#", qos=2) as stream,
                ):
                    options: dict[str, Any] = {
                        "payload_format": 1,
                        "content_type": "text",
                        "correlation_data": b"7",
                        "user_properties": [("colour", "blue")],
                    }
                    await publisher.publish(f"{before}b", b"not this one", qos=qos)
                    await publisher.publish(
                        f"{before}a/b", b"x", qos=qos, message_expiry=100, response_topic="r", **options
                    )
                    message = await stream.get()
                    expected = (f"{after}a/b", b"x", qos, 1, "text", "r", b"7", [("colour", "blue")])
                    assert crossed(message) == expected
                    assert message.message_expiry in (99, 100)

    run(test())


def test_a_response_topic_is_called_what_it_is_called_there() -> None:
    async def test() -> None:
        requests = {"filter": "requests/#", "remote_prefix": "site7/"}
        answers = {"filter": "answers/#", "direction": "in", "remote_prefix": "site7/"}
        async with Broker(port=0) as hub, Broker(bridged(hub.url, requests, answers)) as site:
            await connected(site)
            async with Client(hub.url) as device, Client(site.url) as client:

                @device.responder("site7/requests/double")
                def double(message: Message) -> bytes:
                    return message.payload * 2

                async with device.subscribe("$SYS/broker/version", qos=1):  # the responder's is there before
                    answer = await client.request("requests/double", b"ab", response_topic="answers/1")
                assert (answer.topic, answer.payload) == ("answers/1", b"abab")

    run(test())


@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_lost_or_doubled_or_mixed_up_while_the_network_is_cut_again_and_again(
    qos: int, version: str
) -> None:
    topics = ({"filter": "to/there", "qos": 2}, {"filter": "to/here", "direction": "in", "qos": 2})
    numbers = [str(number).encode() for number in range(600)]

    async def test() -> None:
        async with (
            Broker(port=0, limits={"inflight_maximum": 20}) as hub,
            Proxy(hub.port) as proxy,
            Broker(bridged(proxy.url, *topics, version=version)) as site,
            Client(site.url) as here,
            Client(hub.url) as there,
            here.subscribe("to/here", qos=2, maximum=1500) as came_here,
            there.subscribe("to/there", qos=2, maximum=1500) as came_there,
        ):
            await connected(site)
            for number in numbers:
                if int(number) % 100 == 50:
                    proxy.cut()
                out = here.publish_nowait("to/there", number, qos=qos)
                back = there.publish_nowait("to/here", number, qos=qos)
                if int(number) % 10 == 0:
                    await asyncio.gather(out, back)
            await asyncio.gather(here.publish("to/there", END, qos=qos), there.publish("to/here", END, qos=qos))
            for stream in (came_there, came_here):
                found = [message.payload for message in await take_until(stream, END)]
                if qos == 1:  # it may come twice when its acknowledgement was cut off
                    found = list(dict.fromkeys(found))
                assert found == numbers

    run(test())


def test_in_a_ring_of_three_brokers_a_message_goes_round_once() -> None:
    async def test() -> None:
        async with (
            Broker(port=0) as last,
            Broker(bridged(last.url, OUT)) as middle,
            Broker(bridged(middle.url, OUT)) as first,
        ):
            await asyncio.gather(connected(first), connected(middle))
            port = last.port
            await last.stop()
            async with Broker(bridged(first.url, OUT) | {"port": port}) as again:
                brokers = (first, middle, again)
                await asyncio.gather(*map(connected, brokers))
                async with (
                    Client(first.url) as client,
                    client.subscribe("a", "z", qos=1) as stream,
                    Client(again.url) as other,
                ):
                    await client.publish("a", b"x", qos=1)
                    assert await take(stream, 1) == [b"x"]
                    await until(lambda: the_bridge(middle)._out.moved == 1)
                    await other.publish("z", END, qos=1)  # by the way on which it would come back
                    assert await take_until(stream, END) == []

    run(test())


def test_a_message_that_came_through_too_many_brokers_ends_here(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with (
            Broker(port=0) as hub,
            Broker(bridged(hub.url, OUT)) as site,
            Client(site.url) as client,
            Client(hub.url) as reader,
            reader.subscribe("a", qos=1) as stream,
        ):
            await connected(site)
            hops = [(MARK, str(number)) for number in range(bridge_pump.HOPS_MAXIMUM)]
            await client.publish("a", b"weary", qos=1, user_properties=hops)
            await client.publish("a", b"fresh", qos=1, user_properties=hops[1:])
            assert await take(stream, 1) == [b"fresh"]
            assert the_bridge(site)._out.dropped == 1

    with caplog.at_level(logging.WARNING, "tidewire"):
        run(test())
    assert "circle of bridges" in caplog.text


def test_what_the_other_broker_has_no_room_for_is_offered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_pump, "QUOTA_PAUSE_S", 0.0)
    asked: list[bytes] = []

    def full_at_first(request: PublishRequest) -> int | None:
        asked.append(request.payload)
        return ReasonCode.QUOTA_EXCEEDED if len(asked) < 4 else None

    async def test() -> None:
        async with (
            Broker(port=0, on_publish=full_at_first) as hub,
            Broker(bridged(hub.url, OUT)) as site,
            Client(site.url) as writer,
            Client(hub.url) as reader,
            reader.subscribe("a", qos=1) as stream,
        ):
            await connected(site)
            await writer.publish("a", b"x", qos=1)
            assert await take(stream, 1) == [b"x"]
            assert asked == [b"x"] * 4
            await until(lambda: site.server.broker.sessions["$bridge/hub"].waiting_messages() == 0)

    run(test())


def test_what_the_other_broker_refuses_is_dropped_and_told_and_holds_nothing_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(request: PublishRequest) -> int | None:
        return ReasonCode.NOT_AUTHORIZED if request.payload == b"bad" else None

    async def test() -> None:
        async with (
            Broker(port=0, on_publish=refuse) as hub,
            Broker(bridged(hub.url, OUT)) as site,
            Client(site.url) as writer,
            Client(hub.url) as reader,
            reader.subscribe("a", qos=1) as stream,
        ):
            await connected(site)
            for payload in (b"bad", b"bad", b"good"):
                await writer.publish("a", payload, qos=1)
            assert await take(stream, 1) == [b"good"]
            await until(lambda: the_bridge(site)._out.moved == 1)
            the_bridge(site).tell_counts()
            assert state(site, "messages/dropped") == b"2"

    with caplog.at_level(logging.WARNING, "tidewire"):
        run(test())
    assert caplog.text.count("bridge dropped name=hub") == 1
    assert "not authorized" in caplog.text
