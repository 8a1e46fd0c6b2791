"""Do our own bridges pass every rule, is nobody taken for one, and is nothing sent twice between two brokers?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.client.helpers import run, take, take_until, until
from tests.client.proxy import Proxy
from tests.server.test_bridge import ALL, END, bridged, connected
from tidewire import Client, ConnectionRefused
from tidewire.access.passwords import set_password
from tidewire.client.scram import scram
from tidewire.server.embedded import Broker
from tidewire.wire.codes import ReasonCode


def test_between_two_brokers_that_both_bridge_to_each_other_each_message_arrives_once() -> None:
    async def test() -> None:
        async with Broker(port=0) as first, Proxy(first.port) as proxy, Broker(bridged(proxy.url, ALL)) as second:
            await connected(second)
            port = first.port
            await first.stop()
            config = bridged(second.url, ALL) | {"port": port}
            async with Broker(config) as again:
                await asyncio.gather(connected(again), connected(second))
                await until(lambda: not again.server.access.unrestricted and not second.server.access.unrestricted)
                for source, target in ((again, second), (second, again)):
                    async with (
                        Client(source.url) as client,
                        client.subscribe("a/#", "z", qos=2) as near,
                        Client(target.url) as other,
                        other.subscribe("a/#", "z", qos=2) as far,
                    ):
                        for qos in (0, 1, 2):
                            await client.publish("a/b", str(qos), qos=qos)
                        await client.publish("z", END, qos=2)
                        for stream in (near, far):
                            assert [each.payload for each in await take_until(stream, END)] == [b"0", b"1", b"2"]
                        await other.publish("z", END, qos=2)  # behind all that might have gone round
                        for stream in (near, far):
                            assert await take_until(stream, END) == []

    run(test())


def test_access_rules_do_not_hold_a_bridge_up_and_nobody_can_take_its_name() -> None:
    async def test() -> None:
        rules = [{"effect": "allow", "topic": "a/#"}, {"effect": "deny", "topic": "secret/#"}]
        config = bridged("", ALL) | {"access": {"anonymous": True, "rules": rules}}
        async with Broker(port=0) as hub:
            config["bridge"][0]["url"] = hub.url
            async with Broker(config) as site:
                await connected(site)
                async with (
                    Client(site.url) as client,
                    client.subscribe("a/#") as here,
                    Client(hub.url) as other,
                    other.subscribe("a/#") as there,
                ):
                    await client.publish("a/1", b"out", qos=1)
                    assert await take(there, 1) == [b"out"]
                    await other.publish("secret/1", b"in", qos=1, retain=True)
                    await other.publish("a/2", b"in", qos=1)
                    assert await take(here, 2) == [b"out", b"in"]
                    assert site.server.broker.retained.current(b"secret/1") is not None

    run(test())


def test_no_client_can_take_the_name_of_a_bridge_however_it_proves_who_it_is(tmp_path: Path) -> None:
    users = tmp_path / "users"
    set_password(users, "alice", b"secret", "scram-sha-256")

    async def test() -> None:
        access = {"password_file": str(users), "anonymous": True}
        async with Broker(port=0) as hub, Broker(bridged(hub.url, ALL) | {"access": access}) as site:
            await connected(site)
            ways: list[dict[str, Any]] = [
                {},
                {"user_name": "alice", "password": "secret"},
                {"authentication": scram("alice", "secret")},
            ]
            for way in ways:
                with pytest.raises(ConnectionRefused) as refusal:
                    await Client(site.url, client_id="$bridge/hub", **way).connect()
                assert refusal.value.reason_code == ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
                assert "$bridge/hub" in site.clients
            async with Client(site.url, client_id="other", **ways[2]):
                assert "other" in site.clients

    run(test())
