"""What does the program on a board do? It takes commands, answers them, and tells how its vehicle is."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Final, NoReturn

from examples.vehicle.driver import Driver
from examples.vehicle.link import Link
from examples.vehicle.messages import State, Telemetry, topic
from examples.vehicle.vehicle import DEAD_MAN_S, Vehicle
from tidewire import Client, PublishOptions, Stream, Will

TICK_S: Final = 0.05
"""How often the vehicle looks at its dead-man limit, and at what has changed: half a metre at 10 m/s."""

FAREWELL_S: Final = 1.0
"""How long the last message may take when the program ends."""


class Board:
    """The three tasks of a board. What can wait for the network never holds up what stops the vehicle."""

    def __init__(self, link: Link, vehicle: Vehicle, driver: Driver, telemetry_per_second: float) -> None:
        self._name = link.name
        self._vehicle = vehicle
        self._driver = driver
        self._telemetry_period_s = 1 / telemetry_per_second
        self._told: State | None = None
        """The state that the broker keeps; None: it may be the will."""
        self._client = link.client(
            link.name,
            # When the page says offline, the vehicle has stopped: will and dead-man limit are of one length.
            will=Will(topic(link.name, "state"), State("offline"), qos=1, retain=True, delay=round(DEAD_MAN_S)),
            retry_first_connect=True,
            on_state=self._link_changed,
        )

    async def run(self) -> NoReturn:
        """Serve until cancelled. Raises what `tidewire.Client` raises when the broker refuses for good."""
        commands = self._client.subscribe(topic(self._name, "commands"), qos=2, retain_handling=2, keep=True)
        async with self._client as client:
            try:
                async with commands, asyncio.TaskGroup() as tasks:
                    print(f"{self._name} is online", flush=True)
                    tasks.create_task(self._guard())
                    tasks.create_task(self._obey(client, commands))
                    tasks.create_task(self._tell(client))
            finally:
                self._vehicle.stop("its program ended")
                await self._take_leave(client)
        raise AssertionError("the tasks of a board have no end")

    def _link_changed(self, state: str, error: Exception | None) -> None:
        if state == "connected":
            self._vehicle.link_restored()
            self._told = None
        else:
            self._vehicle.link_lost(monotonic())

    async def _guard(self) -> NoReturn:
        while True:
            self._vehicle.tick(monotonic())
            await asyncio.sleep(TICK_S)

    async def _obey(self, client: Client, commands: Stream) -> None:
        """One command after the other. Each is acknowledged when its answer is with the broker: a board that is killed
        in between gets it again, and finds in its memory that it was done."""
        async for message in commands:
            response = self._vehicle.obey(message.payload)
            # Always to our own topic: a Response Topic would let the asker choose where a vehicle publishes.
            options: PublishOptions = {"content_type": "application/json"}
            if message.correlation_data is not None:
                options["correlation_data"] = message.correlation_data
            await client.publish(topic(self._name, "responses"), response, qos=1, **options)

    async def _tell(self, client: Client) -> NoReturn:
        """State when it has changed, telemetry when it is time, and nothing for later while there is no link."""
        sequence = 0
        due = monotonic()
        while True:
            if client.connected and (state := self._vehicle.state()) != self._told:
                self._told = state
                await client.publish(topic(self._name, "state"), state, qos=1, retain=True)
            if client.connected and monotonic() >= due:
                due = max(due, monotonic() - TICK_S) + self._telemetry_period_s
                sequence += 1
                await client.publish(topic(self._name, "telemetry"), Telemetry(sequence, self._driver.motion()))
            await asyncio.sleep(TICK_S)

    async def _take_leave(self, client: Client) -> None:
        """A program that ends by itself says so, rather than leaving it to its will."""
        if client.connected:
            client.publish_nowait(topic(self._name, "state"), State("offline"), qos=1, retain=True)
            with suppress(TimeoutError):
                await client.drain(FAREWELL_S)
