"""What does the control room do? It listens to all vehicles, and sends what people and tours want."""

from __future__ import annotations

import asyncio
from datetime import datetime
from itertools import cycle
from pathlib import Path
from typing import Final

from examples.vehicle.commander import Commander
from examples.vehicle.dashboard.watch import Entry, Watch
from examples.vehicle.drive import Wait, read_list
from examples.vehicle.messages import AnyCommand, topic
from tidewire import Client, Subscription, TidewireError

TOURS: Final = Path(__file__).parent.parent / "tours"


class Control:
    """One for all pages. A command by hand ends a vehicle's tour: the person is right."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.watch = Watch()
        self._commander = Commander(client)
        self._tours: dict[str, asyncio.Task[None]] = {}

    async def listen(self) -> None:
        """Until cancelled: hear what vehicles say. Raises what a stream raises."""
        filters = (Subscription(topic("+", "state"), qos=1), Subscription(topic("+", "telemetry")))
        # What is of now only may be dropped when a page is too slow; a state counts as the newest, too.
        async with self.client.subscribe(*filters, overflow="drop_oldest") as messages:
            async for message in messages:
                self.watch.take(message.topic, message.payload)

    async def command(self, vehicle: str, command: AnyCommand) -> None:
        """Send it, and enter what came of it."""
        self.end_tour(vehicle)
        await self._send(vehicle, command)

    def touring(self, vehicle: str) -> bool:
        return vehicle in self._tours

    def has_tour(self, vehicle: str) -> bool:
        return _tour(vehicle).is_file()

    def start_tour(self, vehicle: str) -> None:
        """Send the commands of its list, over and over."""
        if not self.touring(vehicle):
            self._tours[vehicle] = asyncio.create_task(self._tour(vehicle), name=f"tour of {vehicle}")

    def end_tour(self, vehicle: str) -> None:
        """The vehicle goes on with what it was told last."""
        if task := self._tours.pop(vehicle, None):
            task.cancel()

    def end(self) -> None:
        """Let go of all vehicles."""
        for vehicle in list(self._tours):
            self.end_tour(vehicle)

    async def _tour(self, vehicle: str) -> None:
        for step in cycle([*read_list(_tour(vehicle)), Wait(1)]):
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
            else:
                await self._send(vehicle, step)

    async def _send(self, vehicle: str, command: AnyCommand) -> None:
        at = datetime.now()
        said = words(command)
        try:
            answer = await self._commander.send(vehicle, command)
        except (TimeoutError, TidewireError) as error:
            self.watch.enter(Entry(at, vehicle, said, "lost", str(error)))
            return
        response = answer.response
        self.watch.enter(Entry(at, vehicle, said, response.result, response.reason, answer.seconds * 1000))


def words(command: AnyCommand) -> str:
    """A command as it is typed: `parking brake off`."""
    values = (getattr(command, field) for field in command.__struct_fields__)
    return " ".join([str(command.__struct_config__.tag).replace("_", " "), *map(_word, values)])


def _word(value: str | float) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else f"{value:g}"


def _tour(vehicle: str) -> Path:
    return TOURS / f"{vehicle}.jsonl"
