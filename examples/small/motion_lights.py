"""Lights that follow people: how does motion switch a light on, and quiet switch it off again?

python examples/small/motion_lights.py --url mqtt://localhost --hold 30
tidewire pub -t home/hall/motion -m true

Motion sensors publish `home/ROOM/motion`, and say no more when it ends; so each sign of motion begins the time anew
after which the light of that room goes off. `home/ROOM/light` is retained: a lamp that was unplugged finds its state.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from tidewire import Client, Message, TidewireError

ROOMS_MAXIMUM = 100
"""Rooms whose lights are on at a time: whoever makes up rooms must not fill the memory."""


async def follow(url: str, hold_s: float) -> None:
    """Switch lights until Ctrl-C."""
    client = Client(url)
    lit: dict[str, asyncio.TimerHandle] = {}

    def switch(room: str, state: str) -> None:
        print(f"{room}: {state}")
        client.publish_nowait(f"home/{room}/light", state, qos=1, retain=True)

    def darken(room: str) -> None:
        del lit[room]
        switch(room, "off")

    @client.on("home/{room}/motion", qos=1)
    def moved(message: Message, room: str) -> None:
        if message.retain or message.text() != "true":  # old news, or none
            return
        if room in lit:
            lit[room].cancel()
        elif len(lit) < ROOMS_MAXIMUM:
            switch(room, "on")
        else:
            return
        lit[room] = asyncio.get_running_loop().call_later(hold_s, darken, room)

    async with client:
        print("following")
        try:
            await client.run()
        finally:  # nobody would switch them off
            for room, timer in lit.items():
                timer.cancel()
                switch(room, "off")
            await client.drain(timeout=5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Lights that go on with motion and off without.")
    parser.add_argument("--url", default="mqtt://localhost", help="the broker (%(default)s)")
    parser.add_argument("--hold", type=float, default=60, help="seconds of light after the last motion (%(default)s)")
    arguments = parser.parse_args()
    try:
        asyncio.run(follow(arguments.url, arguments.hold))
    except (TidewireError, ValueError) as error:
        sys.exit(f"motion_lights: {error}")
    except KeyboardInterrupt:
        pass
