"""Messages at a steady rate, until it is ended: `python -m tests.console.load PORT RATE TOPICS [QOS]`."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import tidewire

TURN_S: Final = 0.02


async def load(port: int, rate: int, topics: int, qos: int = 0) -> None:
    """`rate` messages a second; more than the broker takes is not caught up with."""
    names = [f"plant/line{number % 100}/sensor{number // 100}/value" for number in range(topics)]
    async with tidewire.Client(f"mqtt://127.0.0.1:{port}", client_id="soak-load") as client:
        began = time.monotonic()
        sent = 0
        while True:
            now = time.monotonic()
            due = int((now - began) * rate)
            if due - sent > rate:  # the machine was slow for a second: go on from here
                began += (due - sent) / rate
                due = sent
            for number in range(sent, due):
                client.publish_nowait(names[number % topics], b'{"value": %d, "unit": "C"}' % (number % 1000), qos=qos)
            sent = max(sent, due)
            await client.drain()
            await asyncio.sleep(TURN_S)


if __name__ == "__main__":
    asyncio.run(load(*map(int, sys.argv[1:5])))
