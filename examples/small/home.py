"""Home monitoring: who keeps the rooms warm, and who calls when somebody moves about that should not?

python examples/small/home.py --url mqtt://localhost
tidewire pub -t home/kitchen/temperature -m 17.5                                   # home/kitchen/heating: on
tidewire pub -t home/armed -m true -r && tidewire pub -t home/hall/motion -m true  # home/hall/alarm

Sensors publish `home/ROOM/temperature` (°C) and `home/ROOM/motion`, the people of the house `home/armed`; whether that
was heard, `home/monitor` says. Switches are retained: a valve that comes late finds what it should do.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from tidewire import Client, Message, ReasonCode, TidewireError, Will

ROOMS = {"kitchen": 20.0, "bathroom": 23.0, "hall": 17.0}
"""The rooms that there are, and how warm each should be (°C)."""

SLACK = 0.5
"""How far off (°C) it may be: a valve that moves with every tenth of a degree wears out."""


def read(message: Message, kind: type) -> Any:
    """What a sensor says, or None if it makes no sense."""
    try:
        return message.json(kind)
    except ValueError as error:
        print(f"{message.topic}: {error}")
        return None


async def monitor(url: str) -> None:
    client = Client(url, will=Will("home/monitor", "away", qos=1, retain=True))
    heating: dict[str, bool] = {}
    state = "watching"

    @client.on("home/{room}/temperature", qos=1)
    async def keep_warm(message: Message, room: str) -> None:
        temperature = read(message, float)
        if room not in ROOMS or temperature is None or abs(temperature - ROOMS[room]) < SLACK:
            return
        if heating.get(room) != (wanted := temperature < ROOMS[room]):
            heating[room] = wanted
            await client.publish(f"home/{room}/heating", "on" if wanted else "off", qos=1, retain=True)

    @client.on("home/armed", qos=1)
    async def arm(message: Message) -> None:
        nonlocal state
        state = "armed" if read(message, bool) else "watching"
        await client.publish("home/monitor", state, qos=1, retain=True)

    @client.on("home/{room}/motion", qos=1)
    async def watch(message: Message, room: str) -> None:
        if state == "armed" and room in ROOMS and read(message, bool):
            await client.publish(f"home/{room}/alarm", f"somebody moves in the {room}", qos=2)

    async with client:
        await client.publish("home/monitor", state, qos=1, retain=True)
        print(state)
        try:
            await client.run()
        finally:  # the will tells, whether we leave or fail
            await client.disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A thermostat and an alarm for every room.")
    parser.add_argument("--url", default="mqtt://localhost", help="the broker (%(default)s)")
    try:
        asyncio.run(monitor(parser.parse_args().url))
    except (TidewireError, ValueError) as error:
        sys.exit(f"home: {error}")
    except KeyboardInterrupt:
        pass
