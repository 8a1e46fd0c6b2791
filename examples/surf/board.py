"""What does a board in a surfboard send, and when? What counts arrives; what is of now is sent now or never.

| message | QoS | why |
|---|---|---|
| reading: state, speed, altitude, temperature | 0, retained | half a second later there is a newer one |
| ride | 1, in the outbox | it is worth points; its identifier makes a second arrival harmless |
| link `up`, and `lost` by the will | 1, retained | who comes later has to know |
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from examples.surf.heat import Heat
from examples.surf.link import Link
from examples.surf.messages import (
    BILLS,
    END,
    POINTS_MAXIMUM,
    Point,
    Reading,
    Ride,
    link_topic,
    reading_topic,
    ride_topic,
)
from examples.surf.model import Surfer
from tidewire import Client, ReasonCode, SQLiteOutbox, Will

STEP_S: Final = 0.5
"""How often the sensors are read."""
SIGN_OF_LIFE_S: Final = 10.0
"""How often a board in calm water says that nothing has changed."""
BILL_S: Final = 2.0


class Board:
    """The program of one board as pure state: time in, messages out."""

    def __init__(self, heat: str, surfer: Surfer) -> None:
        self._heat = heat
        self._surfer = surfer
        self._steps = 0
        self._began = 0.0
        self._points: list[Point] = []
        self._said: Reading | None = None
        self.now = surfer.at(0.0)
        """What the sensors said last."""

    def advance(self, until: float) -> list[Ride]:
        """Read the sensors at every step up to a time of the heat; the rides that have ended meanwhile."""
        rides = []
        while self._steps * STEP_S <= until:
            self.now = now = self._surfer.at(self._steps * STEP_S)
            self._steps += 1
            if now.state == "riding":
                self._began = self._began if self._points else now.at
                if len(self._points) < POINTS_MAXIMUM:
                    self._points.append((round(now.at - self._began, 1), now.speed_mph, now.altitude_ft))
            elif self._points and (now.state == "ride finished" or now.state == "wiped out"):
                name = self._surfer.name
                identifier = f"{self._heat}/{name}/{now.wave}"
                rides.append(Ride(identifier, name, now.wave, self._began, now.state, now.water_f, self._points))
                self._points = []
        return rides

    def news(self, thrifty: bool) -> Reading | None:
        """What is worth sending of what the sensors said last, if anything; less of it when money is short."""
        now, said = self.now, self._said
        changed = said is None or said.state != now.state
        moving = now.state == "riding" and not thrifty
        if changed or moving or (said is not None and now.at - said.at >= SIGN_OF_LIFE_S):
            self._said = now
            return now
        return None

    def forget(self) -> None:
        """Nobody may know what was said last: say it again."""
        self._said = None


async def run_boards(heat: Heat, directory: Path) -> None:
    """All boards of a heat, each on its link, until the heat is over and every ride has been handed in."""
    links = [Link(heat, surfer) for surfer in heat.surfers]
    async with heat.client("operator", session_expiry=0) as operator, asyncio.TaskGroup() as group:
        bills = group.create_task(publish_bills(operator, heat, links))
        boards = [
            group.create_task(run_board(heat, link, name, directory))
            for link, name in zip(links, heat.surfers, strict=True)
        ]
        await asyncio.wait(boards)
        bills.cancel()
        await operator.publish(END, heat.id, qos=1, retain=True)


async def run_board(heat: Heat, link: Link, surfer: str, directory: Path) -> None:
    """One board. What it has not handed in survives it in its outbox; switched on again it hands in all that its
    logger has, and the identifiers tell which rides that were."""
    board = Board(heat.id, Surfer(surfer, heat.seed))
    will = Will(link_topic(surfer), "lost", qos=1, retain=True)
    outbox = SQLiteOutbox(directory / f"{surfer}.outbox")
    connects = 0
    async with link:
        client = heat.client(surfer, link.url, client_id=f"{heat.id}-{surfer}", will=will, outbox=outbox)
        async with client, asyncio.TaskGroup() as handing_in:
            over = False
            while not over:
                now = heat.now()
                over = now >= heat.length_s
                for ride in board.advance(now):
                    handing_in.create_task(hand_in(client, ride, STEP_S / heat.pace))
                if client.connected:
                    if client.statistics.connects != connects:
                        connects = client.statistics.connects
                        client.publish_nowait(link_topic(surfer), "up", qos=1, retain=True)
                        board.forget()
                    if (reading := board.news(link.thrifty)) is not None:
                        client.publish_nowait(reading_topic(surfer), reading, retain=True)
                await asyncio.sleep(STEP_S / heat.pace)


async def hand_in(client: Client, ride: Ride, again_s: float) -> None:
    """Publish a ride until somebody has it: for judges that have never been there, no broker keeps anything."""
    while await client.publish(ride_topic(ride.surfer), ride, qos=1) == ReasonCode.NO_MATCHING_SUBSCRIBERS:
        await asyncio.sleep(again_s)


async def publish_bills(operator: Client, heat: Heat, links: list[Link]) -> None:
    """What each link has cost, until cancelled: the operator of the links knows, and is not on them."""
    said = None
    while True:
        bills = [link.bill for link in links]
        if bills != said and operator.connected:
            operator.publish_nowait(BILLS, said := bills, retain=True)
        await asyncio.sleep(BILL_S / heat.pace)
