"""What does each QoS deliver on a bad link, what does it cost, and what is lost? Real runs, with faults on demand.

A broker of `tidewire.testing` breaks the link at the same messages for each QoS: a message is lost and then
the connection is; an answer is lost and then the connection is; a message is overtaken by the next one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from examples.surf.board import STEP_S
from examples.surf.heat import LinkName
from examples.surf.link import WEATHER, Weather
from examples.surf.messages import Reading, reading_topic
from examples.surf.model import Surfer
from tidewire import Backoff, Client
from tidewire.testing import BrokerThread

MESSAGES: Final = 200
LIMIT_S: Final = 60.0
"""For one run, which takes a second or two."""
BOARD: Final = "kai"
LATE_S: Final = 5.0
"""How late a message comes that is overtaken, on the broker's clock: nobody waits for it."""
ANSWER: Final = {1: "PUBACK", 2: "PUBREC"}


@dataclass
class Outcome:
    """What came of the messages at one QoS."""

    qos: int
    arrived: int
    lost: int
    twice: int
    late: int
    """Those that came after one that was published later."""
    bytes: int
    """Both ways, CONNECT and acknowledgements included."""
    dollars: float


async def show(link: LinkName, seed: int) -> str:
    """The table of a link, a line for each QoS."""
    weather = WEATHER[link]
    lines = [
        f"{link}: {MESSAGES} readings, {len(plan(weather, seed))} faults, {weather.dollars_per_kilobyte:g} $/kB",
        f"{'QoS':>3} {'arrived':>8} {'lost':>6} {'twice':>6} {'late':>6} {'bytes':>8} {'$':>8} {'$ per 1000':>12}",
    ]
    for qos in (0, 1, 2):
        one = await run(weather, qos, seed)
        numbers = f"{one.arrived:>8} {one.lost:>6} {one.twice:>6} {one.late:>6} {one.bytes:>8} {one.dollars:>8.3f}"
        lines.append(f"{qos:>3} {numbers} {one.dollars / one.arrived * 1000:>12.3f}")
    return "\n".join(lines)


def plan(weather: Weather, seed: int) -> dict[int, str]:
    """What happens at which message; the same for each QoS."""
    chance = Random(seed)
    return {
        number: chance.choice(["message lost", "answer lost", "overtaken"])
        for number in range(MESSAGES)
        if chance.random() * 100 < weather.losses
    }


async def run(weather: Weather, qos: int, seed: int) -> Outcome:
    """Publish all readings at one QoS, with everything that the plan has for them."""
    faults = plan(weather, seed)
    surfer = Surfer(BOARD, seed)
    with BrokerThread() as broker:
        board = _Board(broker, qos)
        async with asyncio.timeout(LIMIT_S), board.client:
            for number in range(MESSAGES):
                await board.publish(surfer.at(number * STEP_S), faults.get(number, ""))
            await board.finish()
        numbers = [msgspec.json.decode(each.payload, type=Reading).at for each in broker.received]
    statistics = board.client.statistics
    firsts = list(dict.fromkeys(numbers))
    late = sum(number < max(firsts[: place + 1]) for place, number in enumerate(firsts))
    volume = statistics.bytes_sent + statistics.bytes_received
    cost = volume / 1000 * weather.dollars_per_kilobyte
    return Outcome(qos, len(firsts), MESSAGES - len(firsts), len(numbers) - len(firsts), late, volume, cost)


class _Board:
    """A board whose link breaks when it is told to."""

    def __init__(self, broker: BrokerThread, qos: int) -> None:
        self._broker = broker
        self._qos = qos
        self._overtaken = False
        self._away = asyncio.Event()
        self.client = Client(
            broker.url,
            client_id=BOARD,
            session_expiry=3600,
            keep_alive=0,
            reconnect=Backoff(first=0.01, maximum=0.1),
            on_state=lambda state, _: self._away.set() if state == "disconnected" else None,
        )

    async def publish(self, reading: Reading, fault: str) -> None:
        """Publish, have the fault happen to it, and return when the link is there again."""
        faults, catch_up, topic = self._broker.faults, self._overtaken, reading_topic(BOARD)
        if fault == "message lost":
            happens = faults.drop("PUBLISH", client=BOARD)
        elif fault == "overtaken":
            happens = faults.delay("PUBLISH", LATE_S, client=BOARD)
        elif fault and self._qos:
            happens = faults.drop(ANSWER[self._qos], client=BOARD)
        else:
            before = len(self._broker.received)
            publication = self.client.publish_nowait(topic, reading, qos=self._qos)
            await asyncio.to_thread(self._broker.wait_until, lambda: len(self._broker.received) > before)
            await publication
        if fault and (self._qos or fault != "answer lost"):
            self.client.publish_nowait(topic, reading, qos=self._qos)
            await asyncio.to_thread(self._broker.wait_until, lambda: happens.done)
        if fault.endswith("lost"):
            await self._lose_connection()
        if catch_up:
            await asyncio.to_thread(self._broker.clock.advance, LATE_S)
        self._overtaken = fault == "overtaken"

    async def finish(self) -> None:
        """Let everything arrive that still can."""
        await asyncio.to_thread(self._broker.clock.advance, LATE_S)
        await self.client.drain()

    async def _lose_connection(self) -> None:
        self._away.clear()
        self._broker.faults.cut(BOARD)
        await self._away.wait()
        await self.client.wait_connected()
