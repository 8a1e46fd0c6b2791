"""Device to server (D2S): how do readings arrive though the device loses its network, its power, or both?

python examples/small/device_to_server.py server --name one --url mqtt://localhost
python examples/small/device_to_server.py device --name 7 --readings 3

The device keeps what is not acknowledged in a file, its outbox; QoS 1, since a reading that comes twice does no harm.
Servers share the work: start several with different names. Each acknowledges a reading when it is done with it, and
its session waits for it while it is restarted.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

import msgspec

from tidewire import Client, SQLiteOutbox, TidewireError

DAY_S = 86_400
"""How long the broker keeps what is for a server or a device that is away."""


class Reading(msgspec.Struct):
    """What a device measures."""

    time: float
    """Seconds since 1970, by the clock of the device: it may arrive much later."""
    altitude_ft: float


async def device(url: str, name: str, readings: int, every_s: float) -> None:
    """Measure so many times, and report."""
    outbox = SQLiteOutbox(f"device-{name}.outbox")
    async with Client(
        url, client_id=f"device-{name}", session_expiry=DAY_S, retry_first_connect=True, offline="queue", outbox=outbox
    ) as client:
        for _ in range(readings):
            reading = Reading(time.time(), round(random.gauss(100, 2), 1))
            await client.publish(f"devices/{name}/reading", reading, qos=1)
            await asyncio.sleep(every_s)
        await client.drain()
        print(f"reported {readings} readings")


async def server(url: str, name: str) -> None:
    """Take the server's share of all readings until Ctrl-C."""
    async with (
        Client(url, client_id=f"server-{name}", session_expiry=DAY_S) as client,
        client.subscribe("$share/servers/devices/+/reading", qos=1, keep=True) as readings,
    ):
        print(f"server {name} waits for readings")
        async for message in readings:
            try:
                print(message.topic.split("/")[1], message.json(Reading))
            except ValueError as error:
                print(f"{message.topic}: {error}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Devices report readings, servers share the work.")
    parser.add_argument("side", choices=["device", "server"])
    parser.add_argument("--name", default="1", help="which of them (%(default)s)")
    parser.add_argument("--readings", type=int, default=10, help="how many a device reports (%(default)s)")
    parser.add_argument("--every", type=float, default=1, help="seconds between them (%(default)s)")
    parser.add_argument("--url", default="mqtt://localhost", help="the broker (%(default)s)")
    said = parser.parse_args()
    try:
        if said.side == "device":
            asyncio.run(device(said.url, said.name, said.readings, said.every))
        else:
            asyncio.run(server(said.url, said.name))
    except (TidewireError, ValueError) as error:
        sys.exit(f"device_to_server: {error}")
    except KeyboardInterrupt:
        pass
