"""How does a vehicle move that is not there? A driver without hardware."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from msgspec.structs import replace

from examples.vehicle.messages import Body, DoorState, Motion
from examples.vehicle.physics import Abilities, Aim, after


class SimulatedVehicle:
    """A `Driver`. It turns on the spot like anything on tracks, and stands with its parking brake on at first."""

    def __init__(
        self, abilities: Abilities, motion: Motion | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        """`clock` returns seconds; nothing moves but by it."""
        self._abilities = abilities
        self._clock = clock
        self._motion = motion or Motion()
        self._aim = Aim()
        self._body = Body()
        self._at = clock()

    def motion(self) -> Motion:
        now = self._clock()
        self._motion, self._aim = after(now - self._at, self._motion, self._aim, self._abilities)
        self._at = now
        return self._motion

    def body(self) -> Body:
        return self._body

    def set_doors(self, state: DoorState) -> None:
        self._body = replace(self._body, doors=state)

    def set_lights(self, on: bool) -> None:
        self._body = replace(self._body, lights=on)

    def set_parking_brake(self, engaged: bool) -> None:
        self._body = replace(self._body, parking_brake=engaged)

    def set_speed(self, metres_per_second: float) -> None:
        self.motion()
        self._aim = replace(self._aim, speed=metres_per_second)

    def turn(self, degrees: float) -> None:
        self.motion()
        self._aim = replace(self._aim, turn=degrees)

    def stop(self) -> None:
        self.motion()
        self._aim = Aim()
