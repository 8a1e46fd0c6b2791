"""How does a surfer move? A model of waves and rides: the same seed, name and time always give the same answer.

A wave breaks where the water is as deep as its height / 0.78 (McCowan's criterion), and runs with the speed of shallow
water there, c = √(g · depth). The point that breaks runs along the crest with c / sin(peel angle), and the surfer with
it. Turns lead from the crest to the trough and back: altitude = height · (1 + cos) / 2, on a wave that dies down to six
tenths of its height; half of the energy of the drop becomes speed, v² = v_peel² + g · (height − altitude), the
rest is lost to the water. The higher the wave, the more probable the wipe-out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, radians, sin, sqrt
from random import Random
from typing import Final

from examples.surf.messages import Reading, State

GRAVITY: Final = 32.17  # ft/s²
BREAKER_INDEX: Final = 0.78
MPH: Final = 3600 / 5280
"""Of one ft/s."""
TAKE_OFF_S: Final = 1.5
"""Until the board has the speed of the wave."""
REST_S: Final = 4.0
"""How long a surfer looks back at a ride."""
PADDLING_MPH: Final = 3.0
WATER_F: Final = 64.0


@dataclass(frozen=True, slots=True)
class Wave:
    """One wave of one surfer; times in seconds of the heat, heights in feet."""

    number: int
    paddles: float
    takes_off: float
    ends: float
    rested: float
    height_ft: float
    peel: float
    turn_s: float
    outcome: State

    def motion(self, at: float) -> tuple[float, float]:
        """Speed in mph and altitude in ft at a time of the ride."""
        ridden = at - self.takes_off
        height = self.height_ft * (1 - 0.4 * ridden / (self.ends - self.takes_off))
        altitude = height * (1 + cos(2 * pi * ridden / self.turn_s)) / 2
        peel_speed = sqrt(GRAVITY * height / BREAKER_INDEX) / sin(self.peel)
        speed = sqrt(peel_speed**2 + GRAVITY * (height - altitude)) * min(1.0, ridden / TAKE_OFF_S)
        return speed * MPH, altitude


class Surfer:
    """One simulated surfer."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self._seed = f"{seed}/{name}"
        self._water_f = WATER_F + Random(self._seed).uniform(-1.5, 1.5)
        self._waves: list[Wave] = []

    def waves(self, until: float) -> list[Wave]:
        """The waves whose rides have ended by then."""
        self._look_ahead(until)
        return [wave for wave in self._waves if wave.ends <= until]

    def at(self, at: float) -> Reading:
        """What the sensors say at a time of the heat, in seconds."""
        self._look_ahead(at)
        wave = next(wave for wave in self._waves if at < wave.rested)
        state: State = "idle"
        speed, altitude = 0.4, 0.3 * sin(at)
        if wave.paddles <= at < wave.takes_off:
            state, speed = "paddling", PADDLING_MPH
        elif wave.takes_off <= at < wave.ends:
            state = "riding"
            speed, altitude = wave.motion(at)
        elif at >= wave.ends:
            state = wave.outcome
        water = self._water_f + 0.4 * sin(2 * pi * at / 600)
        return Reading(round(at, 2), state, wave.number, round(speed, 1), round(altitude, 1), round(water, 1))

    def _look_ahead(self, until: float) -> None:
        """Let waves come until one is not over by then."""
        while not self._waves or self._waves[-1].rested <= until:
            number = len(self._waves) + 1
            begins = self._waves[-1].rested if self._waves else 0.0
            chance = Random(f"{self._seed}/{number}")
            height = chance.uniform(3.0, 8.0)
            paddles = begins + chance.uniform(3.0, 12.0)
            takes_off = paddles + chance.uniform(3.0, 6.0)
            length = chance.uniform(6.0, 15.0)
            falls = chance.random() < 0.04 * height
            ends = takes_off + length * (chance.uniform(0.4, 0.9) if falls else 1.0)
            peel, turn_s = radians(chance.uniform(45, 70)), chance.uniform(2.5, 4.0)
            outcome: State = "wiped out" if falls else "ride finished"
            self._waves.append(Wave(number, paddles, takes_off, ends, ends + REST_S, height, peel, turn_s, outcome))
