"""How does a vehicle move that is there? A driver for the pins of a Raspberry Pi, by the library gpiozero.

It goes on tracks or on two driven wheels, each with a motor on an H-bridge and an encoder. The pins, by their BCM
numbers, which `pinout` prints:

| pins | what is there |
|---|---|
| 5, 6 | left motor: forwards and backwards of its bridge, whose duty cycle is the speed |
| 13, 19 | right motor: the same |
| 17, 27 | left encoder: A and B; A comes first when it rolls forwards |
| 23, 24 | right encoder: the same |
| 22 | lights: a transistor that switches them |
| 12 | doors: a servo that opens and closes them |
| 25 | doors: a bolt that locks them while the pin is high |
| 18 | parking brake: a servo, with a gear that holds when it gets no signal |

Whoever wires it otherwise changes the constants below. Take a bridge that brakes with both its inputs low, as an L298
does, and pull them down: so the motors stand, too, while no program runs.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from functools import partial
from math import copysign, cos, degrees, radians, sin
from threading import Lock
from time import monotonic
from typing import Final

import click
from gpiozero import (  # type: ignore[import-not-found,import-untyped,unused-ignore]  # it has no types
    LED,
    AngularServo,
    Motor,
    PinWarning,
    Robot,
    RotaryEncoder,
)
from msgspec.structs import replace

from examples.vehicle.messages import Body, DoorState, Motion

LEFT_MOTOR: Final = (5, 6)
RIGHT_MOTOR: Final = (13, 19)
LEFT_ENCODER: Final = (17, 27)
RIGHT_ENCODER: Final = (23, 24)
LIGHTS: Final = 22
DOORS: Final = 12
BOLT: Final = 25
PARKING_BRAKE: Final = 18

DOORS_OPEN: Final = 90.0
"""Degrees of the servo; 0 is closed."""

BRAKE_ENGAGED: Final = 45.0
"""Degrees of the servo; 0 is released."""

STEP: Final = 0.005
"""Metres that a track rolls from step to step of its encoder: at 1 m/s some hundred a second, which Python can do."""

GAUGE: Final = 0.2
"""Metres between the tracks."""

TURNING: Final = 0.4
"""The part of its full duty cycle that a motor gives to a turn."""

TURN_MAXIMUM_S: Final = 10.0
"""A turn that the encoders have not confirmed by then is given up: a wheel is stuck, or a wire is off."""

WINDOW_S: Final = 0.5
"""Speed is measured over so long: a vehicle stands, by `vehicle.STANDING`, when it went less than 25 mm meanwhile."""


class GpioVehicle:
    """A `Driver`. It knows by its encoders where it is; they call from a thread of their own. How fast it gains speed
    is left to its weight."""

    def __init__(
        self, speed_maximum: float, motion: Motion | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        """`speed_maximum` is what it drives at full duty cycle, in metres a second; `clock` returns seconds.

        Raises click.ClickException where there are no such pins.
        """
        self._speed_maximum = speed_maximum
        self._clock = clock
        self._lock = Lock()
        """For what follows, and so that no encoder starts motors again that a stop has stopped."""
        self._motion = motion or Motion()
        self._rolled: deque[tuple[float, float]] = deque()
        """When, and how far in metres, within `WINDOW_S`."""
        self._speed = 0.0
        self._to_turn = 0.0
        """Degrees still to go."""
        self._give_up_at = 0.0
        self._body = Body()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PinWarning)  # about the libraries that it tries one after the other
                self._motors = Robot(Motor(*LEFT_MOTOR), Motor(*RIGHT_MOTOR))
                self._lights = LED(LIGHTS)
                self._doors = AngularServo(DOORS, initial_angle=0)
                self._bolt = LED(BOLT)
                self._brake = AngularServo(PARKING_BRAKE, initial_angle=BRAKE_ENGAGED)
                self._encoders = [RotaryEncoder(*pins, max_steps=0) for pins in (LEFT_ENCODER, RIGHT_ENCODER)]
        except Exception as error:  # of gpiozero, or of whichever library it reaches the pins by
            raise click.ClickException(f"{error}; on a Raspberry Pi: pip install gpiozero lgpio") from None
        for encoder, side in zip(self._encoders, (1, -1), strict=True):
            encoder.when_rotated_clockwise = partial(self._roll, side, STEP)
            encoder.when_rotated_counter_clockwise = partial(self._roll, side, -STEP)

    def motion(self) -> Motion:
        with self._lock:
            now = self._clock()
            if self._to_turn and now >= self._give_up_at:
                self._aim(self._speed, 0.0)
            speed = sum(metres for at, metres in self._rolled if at > now - WINDOW_S) / WINDOW_S
            return replace(self._motion, speed=speed)

    def body(self) -> Body:
        return self._body

    def set_doors(self, state: DoorState) -> None:
        self._bolt.value = state == "locked"
        self._doors.angle = DOORS_OPEN if state == "open" else 0
        self._body = replace(self._body, doors=state)

    def set_lights(self, on: bool) -> None:
        self._lights.value = on
        self._body = replace(self._body, lights=on)

    def set_parking_brake(self, engaged: bool) -> None:
        self._brake.angle = BRAKE_ENGAGED if engaged else 0
        self._body = replace(self._body, parking_brake=engaged)

    def set_speed(self, metres_per_second: float) -> None:
        with self._lock:
            self._aim(metres_per_second, self._to_turn)

    def turn(self, degrees: float) -> None:
        with self._lock:
            self._give_up_at = self._clock() + TURN_MAXIMUM_S
            self._aim(self._speed, degrees)

    def stop(self) -> None:
        with self._lock:
            self._aim(0.0, 0.0)

    def _aim(self, speed: float, to_turn: float) -> None:
        """Give the motors what leads there."""
        self._speed, self._to_turn = speed, to_turn
        straight = speed / self._speed_maximum
        turning = copysign(TURNING, to_turn) if to_turn else 0.0
        most = max(1.0, abs(straight) + abs(turning))
        self._motors.value = ((straight + turning) / most, (straight - turning) / most)

    def _roll(self, side: int, metres: float) -> None:
        """The left (1) or the right (-1) track has rolled so far: half of it is the way of the middle between them."""
        with self._lock:
            now = self._clock()
            was, way, turned = self._motion, metres / 2, degrees(side * metres / GAUGE)
            heading = was.heading + turned
            east, north = was.east + way * sin(radians(heading)), was.north + way * cos(radians(heading))
            # What each track rolls is counted, on a turn as well, as an odometer does.
            self._motion = Motion(east, north, heading % 360, 0.0, was.distance + abs(way))
            self._rolled.append((now, way))
            while self._rolled[0][0] <= now - WINDOW_S:
                self._rolled.popleft()
            if self._to_turn:
                to_turn = self._to_turn - turned
                self._aim(self._speed, to_turn if to_turn * self._to_turn > 0 else 0.0)
