"""How long does an update take to hundreds of spectators? Measured from publish to receipt, by one clock."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Final

from msgspec import Struct

from examples.surf.heat import Heat
from examples.surf.messages import PROBE, PUBLIC
from tidewire import Client, Stream

COUNT_MAXIMUM: Final = 5000
"""Sockets of one process: most systems allow a few thousand."""
PATIENCE_S: Final = 10.0
"""For an update that does not come."""


class Measured(Struct):
    """What came of it; times from publish to receipt in milliseconds."""

    spectators: int
    updates: int
    every_ms: float
    received: int
    p50_ms: float
    p99_ms: float
    maximum_ms: float


async def measure(heat: Heat, count: int, updates: int, every_s: float) -> Measured:
    """Let so many spectators read, without a name, over WebSocket as a page does, and send them probes."""
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(heat.client("operator", session_expiry=0))  # waits for the broker
        streams = []
        for _ in range(count):
            client = await stack.enter_async_context(Client(heat.websocket, version="3.1.1", retry_first_connect=True))
            streams.append(await stack.enter_async_context(client.subscribe(PUBLIC)))
        async with asyncio.TaskGroup() as group:  # on Ctrl-C nobody reads on when the streams are closed
            reading = [group.create_task(_read(stream, updates)) for stream in streams]
            for _ in range(updates):
                await operator.publish(PROBE, str(time.perf_counter_ns()))
                await asyncio.sleep(every_s)
        times = sorted(each for read in reading for each in read.result())
    at = [times[min(len(times) - 1, int(part * len(times)))] if times else 0.0 for part in (0.5, 0.99, 1.0)]
    return Measured(count, updates, every_s * 1000, len(times), *(round(each, 2) for each in at))


async def _read(stream: Stream, updates: int) -> list[float]:
    """How many milliseconds each probe took; fewer than there were when one does not come."""
    delays: list[float] = []
    try:
        while len(delays) < updates:
            message = await stream.get(PATIENCE_S)
            if message.topic == PROBE:
                delays.append((time.perf_counter_ns() - int(message.payload)) / 1e6)
    except TimeoutError:
        pass
    return delays
