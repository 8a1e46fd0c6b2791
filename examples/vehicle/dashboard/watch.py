"""What is known of the vehicles? What they said last, where they were, and what became of commands."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from datetime import datetime
from math import dist
from typing import Final

import msgspec
from msgspec import Struct

from examples.vehicle.messages import Motion, State, Telemetry, vehicle_of

VEHICLES_MAXIMUM: Final = 24
"""As many as a page can show; whoever may publish a state could else fill the memory with names."""

TRACK_POINTS: Final = 240
"""Of one vehicle, at least `TRACK_STEP` metres apart: some three hundred metres of way."""

TRACK_STEP: Final = 1.25
"""Metres."""

LATENCIES: Final = 60
ENTRIES: Final = 40


class Seen:
    """One vehicle."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        """In the order in which they were first heard of."""
        self.state = State("offline")
        self.motion: Motion | None = None
        self.missed = 0
        """Telemetry that was sent and did not come: what QoS 0 costs."""
        self.track: deque[tuple[float, float]] = deque(maxlen=TRACK_POINTS)
        self.latencies: deque[float] = deque(maxlen=LATENCIES)
        """Milliseconds from a command to its answer."""
        self._sequence = 0

    def moved(self, telemetry: Telemetry) -> None:
        if telemetry.sequence > self._sequence > 0:  # lower: the board has started again
            self.missed += telemetry.sequence - self._sequence - 1
        self._sequence = telemetry.sequence
        self.motion = telemetry.motion
        at = (telemetry.motion.east, telemetry.motion.north)
        if not self.track or dist(self.track[-1], at) >= TRACK_STEP:
            self.track.append(at)


class Entry(Struct, frozen=True):
    """A command, and what came of it."""

    at: datetime
    vehicle: str
    command: str
    result: str
    """`done`, `refused` or `lost`."""
    reason: str = ""
    milliseconds: float = 0.0


class Watch:
    """All vehicles, by name."""

    def __init__(self) -> None:
        self.vehicles: dict[str, Seen] = {}
        self.entries: deque[Entry] = deque(maxlen=ENTRIES)
        """The newest first."""
        self.entered = 0

    def take(self, topic: str, payload: bytes) -> None:
        """A message on `…/state` or `…/telemetry`; one that is neither is left out."""
        name = vehicle_of(topic)
        if name not in self.vehicles and len(self.vehicles) >= VEHICLES_MAXIMUM:
            return
        with suppress(ValueError, RecursionError):
            if topic.endswith("/state"):
                state = msgspec.json.decode(payload, type=State)
                self._seen(name).state = state
            else:
                telemetry = msgspec.json.decode(payload, type=Telemetry)
                self._seen(name).moved(telemetry)

    def enter(self, entry: Entry) -> None:
        """A command is over."""
        self.entries.appendleft(entry)
        self.entered += 1
        if entry.milliseconds and entry.vehicle in self.vehicles:
            self.vehicles[entry.vehicle].latencies.append(entry.milliseconds)

    def _seen(self, name: str) -> Seen:
        if name not in self.vehicles:
            self.vehicles[name] = Seen(name, len(self.vehicles))
        return self.vehicles[name]
