"""Does a bridge come back whatever happens to either side, keep what is to cross meanwhile, and say how it fares?"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.client.helpers import run, take, until
from tests.client.proxy import Proxy
from tidewire import Client
from tidewire.access.passwords import set_password
from tidewire.server.bridge import QUESTIONS, Bridge
from tidewire.server.bridge_clients import INFLIGHT
from tidewire.server.embedded import Broker
from tidewire.server.hooks import SubscribeRequest
from tidewire.server.reload import apply
from tidewire.wire.codes import ReasonCode

ALL = {"filter": "#", "direction": "both", "qos": 2}
OUT = {"filter": "#", "qos": 2}
IN = {"filter": "#", "direction": "in", "qos": 2}
END = b"end"


def bridged(url: str, *topics: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """The configuration of a broker with one bridge."""
    bridge = {"name": "hub", "url": url, "topics": list(topics), "retry_maximum_s": 0.02, **keys}
    return {"bind": ["127.0.0.1"], "port": 0, "bridge": [bridge]}


def state(broker: Broker, name: str = "state", bridge: str = "hub") -> bytes:
    """What `$SYS` says of a bridge."""
    message = broker.server.broker.retained.current(f"$SYS/broker/bridge/{bridge}/{name}".encode())
    return message.payload if message is not None else b""


async def connected(broker: Broker) -> None:
    await until(lambda: state(broker) == b"1")


async def disconnected(broker: Broker) -> None:
    await until(lambda: state(broker) == b"0")


def the_bridge(broker: Broker) -> Bridge:
    bridges = broker.server.bridges
    assert bridges is not None
    return bridges._bridges[0]


@pytest.mark.parametrize("retain", [False, True])
def test_the_retain_flag_crosses(retain: bool) -> None:
    async def test() -> None:
        async with Broker(port=0) as hub, Broker(bridged(hub.url, ALL)) as site:
            await connected(site)
            for source, target in ((site, hub), (hub, site)):
                async with (
                    Client(source.url) as publisher,
                    Client(target.url) as reader,
                    reader.subscribe("a/#", retain_as_published=True) as stream,
                ):
                    await publisher.publish("a/b", b"x", qos=1, retain=retain)
                    assert (await stream.get()).retain is retain
                    await publisher.publish("a/b", b"", qos=1, retain=True)
                    await stream.get()

    run(test())


def test_what_is_retained_on_one_side_is_there_on_the_other_once_the_bridge_is_built() -> None:
    async def test() -> None:
        async with Broker(port=0) as hub:
            async with Client(hub.url) as client:
                await client.publish("hub", b"x", qos=1, retain=True)
            async with Broker(bridged(hub.url, ALL)) as site:
                await connected(site)
                async with Client(site.url) as client, client.subscribe("hub") as stream:
                    assert await take(stream, 1) == [b"x"]

    run(test())


def test_a_hub_that_has_lost_everything_gets_what_is_retained_here_again() -> None:
    async def test() -> None:
        hub = Broker(port=0)
        await hub.start()
        port = hub.port
        async with Broker(bridged(hub.url, ALL)) as site:
            await connected(site)
            async with Client(site.url) as client:
                await client.publish("a", b"x", qos=1, retain=True)
            await hub.stop()
            await disconnected(site)
            async with Broker(port=port) as hub:
                await connected(site)
                async with Client(hub.url) as client, client.subscribe("a") as stream:
                    assert await take(stream, 1) == [b"x"]

    run(test())


def test_what_is_published_while_the_other_broker_is_away_waits_and_arrives_in_order() -> None:
    async def test() -> None:
        async with Broker(port=0) as hub, Proxy(hub.port) as proxy, Broker(bridged(proxy.url, OUT)) as site:
            await connected(site)
            proxy.refusing = True
            proxy.cut()
            await disconnected(site)
            async with (
                Client(hub.url) as reader,
                reader.subscribe("a/#", qos=2, maximum=3000) as stream,
                Client(site.url) as writer,
            ):
                for number in range(2 * INFLIGHT):
                    writer.publish_nowait("a/b", str(number), qos=1 + number % 2)
                await writer.publish("a/gone", b"QoS 0")
                await writer.drain()
                the_bridge(site).tell_counts()
                assert state(site, "messages/waiting") == b"2048"
                proxy.refusing = False
                assert [int(payload) for payload in await take(stream, 2 * INFLIGHT)] == list(range(2 * INFLIGHT))
                await until(lambda: site.server.broker.sessions["$bridge/hub"].waiting_messages() == 0)
                the_bridge(site).tell_counts()
                assert state(site, "messages/sent") == b"2048"
                assert state(site, "messages/waiting") == b"0"

    run(test())


def test_messages_of_a_hub_that_was_never_reached_before_are_there_from_the_first_on() -> None:
    async def test() -> None:
        async with (
            Broker(port=0) as hub,
            Proxy(hub.port) as proxy,
            Client(hub.url) as reader,
            reader.subscribe("a", qos=1) as stream,
        ):
            proxy.refusing = True
            async with Broker(bridged(proxy.url, OUT)) as site, Client(site.url) as writer:
                await writer.publish("a", b"first", qos=1)
                proxy.refusing = False
                assert await take(stream, 1) == [b"first"]

    run(test())


def test_a_bridge_to_its_own_broker_says_so() -> None:
    async def test() -> None:
        async with Broker(bridged("mqtt://127.0.0.1:1", ALL)) as site:
            port = site.port
        async with Broker(bridged(f"mqtt://127.0.0.1:{port}", ALL) | {"port": port}) as site:
            await until(lambda: b"leads back to this very broker" in state(site, "error"))

    run(test())


def test_a_refused_log_in_is_told_once_with_its_mend_and_tried_until_it_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    users, secret = tmp_path / "users", tmp_path / "secret"
    set_password(users, "site", b"other")
    secret.write_text("right\n")

    async def test() -> None:
        access = {"password_file": str(users)}
        async with Broker(port=0, access=access) as hub, Proxy(hub.port) as proxy:
            config = bridged(proxy.url, OUT, user_name="site", password_file=str(secret))
            async with Broker(config) as site:
                await until(lambda: proxy.accepted > 3)
                assert state(site) == b"0"
                assert b"bad user name or password" in state(site, "error")
                set_password(users, "site", b"right")
                await apply(hub.server, hub.server.config)
                await connected(site)
                assert state(site, "error") == b""

    with caplog.at_level(logging.WARNING, "tidewire"):
        run(test())
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("bridge away")]
    assert len(told) == 1
    assert "look at its user_name and password_file" in told[0]
    assert "right" not in caplog.text


def test_filters_that_the_other_broker_refuses_are_told_and_the_others_cross(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(request: SubscribeRequest) -> int | None:
        return ReasonCode.NOT_AUTHORIZED if request.topic_filter in ("secret/#", "$SYS/broker/bridge/id") else None

    async def test() -> None:
        topics = [IN | {"filter": "secret/#"}, IN | {"filter": "a"}]
        async with (
            Broker(port=0, on_subscribe=refuse) as hub,
            Broker(bridged(hub.url, *topics)) as site,
            Client(site.url) as reader,
            reader.subscribe("a") as stream,
            Client(hub.url) as writer,
        ):
            await connected(site)
            await writer.publish("a", b"x", qos=1)
            assert await take(stream, 1) == [b"x"]

    with caplog.at_level(logging.WARNING, "tidewire"):
        run(test())
    assert "bridge refused name=hub" in caplog.text
    assert "secret/#" in caplog.text


def test_a_broker_that_ends_the_connection_of_who_asks_for_its_state_is_bridged_to_all_the_same() -> None:
    brokers: list[Broker] = []
    asked: list[str] = []

    def cut(request: SubscribeRequest) -> None:
        if request.topic_filter.startswith("$SYS"):
            asked.append(request.topic_filter)
            connection = brokers[0].server.broker.sessions[request.client.client_identifier].connection
            assert connection is not None
            connection.transport.abort()

    async def test() -> None:
        async with Broker(port=0, on_subscribe=cut) as hub:
            brokers.append(hub)
            async with (
                Broker(bridged(hub.url, ALL)) as site,
                Client(site.url) as writer,
                Client(hub.url) as reader,
                reader.subscribe("a") as stream,
            ):
                await connected(site)
                await writer.publish("a", b"x", qos=1)
                assert await take(stream, 1) == [b"x"]
                assert len(asked) == QUESTIONS

    run(test())


def test_a_topic_that_is_bridged_no_more_is_not_kept_for_the_bridge() -> None:
    async def test() -> None:
        async with Broker(port=0) as hub, Broker(bridged(hub.url, {"filter": "a"}, {"filter": "b"})) as site:
            await connected(site)
            bridge = the_bridge(site)
            await bridge.close()
            bridge._outward.rules.pop()
            await bridge.open()
            assert set(site.server.broker.sessions[bridge.local_name].subscriptions or ()) == {b"a"}

    run(test())


def test_a_bridge_that_stands_in_the_configuration_no_more_leaves_nothing_behind() -> None:
    async def test() -> None:
        async with Broker(port=0) as hub, Broker(bridged(hub.url, ALL)) as site:
            await connected(site)
            server = site.server
            assert server.bridges is not None
            await server.bridges.close()
            server.bridges._bridges.clear()
            await server.bridges.open()
            assert "$bridge/hub" not in server.broker.sessions

    run(test())
