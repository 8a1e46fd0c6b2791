"""Does a bridge get along with brokers that do not know bridges, and with what an earlier life has left there?"""

from __future__ import annotations

import pytest

from tests.client.helpers import run, take
from tests.server.test_bridge import ALL, bridged, connected, the_bridge
from tidewire import Client
from tidewire.server.bridge import Bridge
from tidewire.server.embedded import Broker


def test_before_version_5_a_broker_that_does_not_know_the_bridge_bit_is_asked_without_it() -> None:
    async def test() -> None:
        async with (
            Broker(port=0) as hub,
            Broker(bridged(hub.url, ALL, version="3.1.1")) as site,
            Client(site.url) as here,
            here.subscribe("there/#", qos=2) as came_here,
            Client(hub.url) as there,
            there.subscribe("here/#", qos=2) as came_there,
        ):
            await connected(site)
            await here.publish("here/1", b"out", qos=2, user_properties=[("lost", "before 5.0")])
            await there.publish("there/1", b"in", qos=2)
            assert (await take(came_there, 1), await take(came_here, 1)) == ([b"out"], [b"in"])

    run(test())


@pytest.mark.parametrize("direction", ["out", "in"])
def test_a_new_message_is_not_taken_for_one_that_a_killed_bridge_left_unfinished(direction: str) -> None:
    async def test() -> None:
        async with Broker(port=0) as hub, Broker(bridged(hub.url, ALL)) as site:
            await connected(site)
            bridge = the_bridge(site)
            remote_name, local_name = bridge._remote.client_id, bridge.local_name
            await bridge.close()
            left = {number.to_bytes(2, "big") for number in range(1, 30)}
            target, name = (hub, remote_name) if direction == "out" else (site, local_name)
            session = target.server.broker.sessions[name]
            for identifier in left:
                session.receive(identifier)
            server = site.server
            again = Bridge(bridge._config, server, bridge._access, bridge._identity)
            assert server.bridges is not None
            server.bridges._bridges[0] = again
            await again.open()
            await connected(site)
            source, reader = (site, hub) if direction == "out" else (hub, site)
            async with (
                Client(source.url) as writer,
                Client(reader.url) as other,
                other.subscribe("a", qos=2) as stream,
            ):
                for number in range(40):
                    writer.publish_nowait("a", str(number), qos=2)
                assert [int(payload) for payload in await take(stream, 40)] == list(range(40))

    run(test())
