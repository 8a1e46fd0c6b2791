"""Where is a vehicle after so many seconds? A pure function: no clock, no steps, the same however often it is asked."""

from __future__ import annotations

from math import copysign, cos, inf, radians, sin

from msgspec import Struct
from msgspec.structs import replace

from examples.vehicle.messages import Motion


class Abilities(Struct, frozen=True):
    """What a vehicle can do: metres, seconds, degrees."""

    speed_maximum: float = 12.0
    acceleration: float = 2.5
    braking: float = 6.0
    turning: float = 60.0


class Aim(Struct, frozen=True):
    """What it is about to do."""

    speed: float = 0.0
    turn: float = 0.0
    """Degrees still to go."""


def after(seconds: float, motion: Motion, aim: Aim, abilities: Abilities) -> tuple[Motion, Aim]:
    """Motion and aim so many seconds later.

    Between two events (the speed is reached, the turn is finished, it stands before it reverses) acceleration and rate
    of turn are constant, and where that leads has a closed form. There are at most four such stretches.
    """
    while seconds > 0:
        acceleration, until_speed = _towards(motion.speed, aim.speed, abilities)
        rate = copysign(abilities.turning, aim.turn) if aim.turn else 0.0
        until_turned = abs(aim.turn) / abilities.turning if aim.turn else inf
        stretch = min(seconds, until_speed, until_turned)
        moved = _moved(motion, acceleration, rate, stretch)
        if stretch == until_speed:  # exactly there, whatever the rounding says
            moved = replace(moved, speed=0.0 if motion.speed * aim.speed < 0 else aim.speed)
        aim = Aim(aim.speed, 0.0 if stretch == until_turned else aim.turn - rate * stretch)
        motion = moved
        seconds -= stretch
    return motion, aim


def short_way(begin: float, end: float) -> float:
    """Degrees from one direction to another, to the right if positive; 180 at most."""
    return (end - begin + 540) % 360 - 180


def _towards(speed: float, target: float, abilities: Abilities) -> tuple[float, float]:
    """Acceleration on the way to a speed, and for how long; to a stand first where the direction changes."""
    if speed == target:
        return 0.0, inf
    goal = 0.0 if speed * target < 0 else target
    amount = abilities.acceleration if abs(goal) > abs(speed) else abilities.braking
    return copysign(amount, goal - speed), abs(goal - speed) / amount


def _moved(motion: Motion, acceleration: float, rate: float, seconds: float) -> Motion:
    """The same, at constant acceleration (m/s²) and rate of turn (degrees a second)."""
    begin, turning = radians(motion.heading), radians(rate)
    speed = motion.speed + acceleration * seconds
    way = (motion.speed + speed) / 2 * seconds
    end = begin + turning * seconds
    if turning:  # the integrals of v(t) sin θ(t) and v(t) cos θ(t)
        bend = acceleration / turning**2
        east = (motion.speed * cos(begin) - speed * cos(end)) / turning + bend * (sin(end) - sin(begin))
        north = (speed * sin(end) - motion.speed * sin(begin)) / turning + bend * (cos(end) - cos(begin))
    else:
        east, north = way * sin(begin), way * cos(begin)
    heading = (motion.heading + rate * seconds) % 360
    return Motion(motion.east + east, motion.north + north, heading, speed, motion.distance + abs(way))
