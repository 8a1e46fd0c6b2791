"""What is between a board and the broker? A link that is slow, breaks, and costs money for every byte."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final, Self

from examples.surf.heat import Heat, LinkName
from examples.surf.messages import Bill

CHUNK_BYTES: Final = 4096
"""What is on its way at a time, in each direction: the rest waits in the sockets, which have bounds of their own."""
THRIFTY: Final = 0.8
"""From this part of its budget on, a board sends only what counts."""


@dataclass(frozen=True)
class Weather:
    """How a link behaves; times in seconds, outages with exponentially distributed ones of that mean."""

    latency_s: float
    up_s: float
    down_s: float
    dollars_per_kilobyte: float
    budget_dollars: float
    losses: float
    """How often, of a hundred messages, a fault happens in the runs of `weather`."""


WEATHER: Final[dict[LinkName, Weather]] = {
    "good": Weather(0.01, 600.0, 2.0, 0.0001, 0.05, 1),  # Wi-Fi of the beach
    "flaky": Weather(0.08, 25.0, 6.0, 0.005, 0.75, 8),  # a telephone's SIM card behind the waves
    "satellite": Weather(0.6, 60.0, 15.0, 0.1, 8.0, 4),  # far out
}


class Link:
    """One board's way to the broker: a relay on this machine, for `async with`."""

    def __init__(self, heat: Heat, surfer: str) -> None:
        self.bytes = 0
        """Both ways, without what TCP/IP adds: `tidewire meter` has that."""
        self.weather = WEATHER[heat.link]
        self._surfer = surfer
        self._host, self._port, self._tls = heat.address
        self._pace = heat.pace
        self._random = Random(f"{heat.seed}/{surfer}/link")
        self._up = True
        self._writers: set[StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0, limit=CHUNK_BYTES)
        self._storms = asyncio.create_task(self._be_weather())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._storms.cancel()
        self._server.close()
        self._cut()

    @property
    def url(self) -> str:
        """Where the board finds the broker."""
        return f"mqtt://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def bill(self) -> Bill:
        """What it has cost so far."""
        dollars = round(self.bytes / 1000 * self.weather.dollars_per_kilobyte, 4)
        return Bill(self._surfer, self.bytes, dollars, self.weather.budget_dollars)

    @property
    def thrifty(self) -> bool:
        """Whether the budget is nearly spent."""
        return self.bill.dollars >= THRIFTY * self.weather.budget_dollars

    async def _be_weather(self) -> None:
        while True:
            await self._sleep(self.weather.up_s)
            self._up = False
            self._cut()
            await self._sleep(self.weather.down_s)
            self._up = True

    async def _sleep(self, mean_s: float) -> None:
        await asyncio.sleep(self._random.expovariate(1 / mean_s) / self._pace)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()  # and what was on its way is lost

    async def _carry(self, from_board: StreamReader, to_board: StreamWriter) -> None:
        self._writers.add(to_board)
        try:
            if not self._up:
                return
            context = ssl.create_default_context() if self._tls else None
            from_broker, to_broker = await asyncio.open_connection(
                self._host, self._port, ssl=context, limit=CHUNK_BYTES
            )
            self._writers.add(to_broker)
            try:
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._pass_on(from_board, to_broker))
                    ways.create_task(self._pass_on(from_broker, to_board))
            finally:
                self._writers.discard(to_broker)
                to_broker.transport.abort()
        except* OSError:
            pass  # the board notices by its own connection
        finally:
            self._writers.discard(to_board)
            to_board.transport.abort()

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                self.bytes += len(data)
                await asyncio.sleep(self.weather.latency_s / self._pace)
                writer.write(data)
                await writer.drain()
        writer.close()
