"""Is where a vehicle is a function of time alone?"""

from __future__ import annotations

from math import hypot, radians

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.vehicle.messages import Motion
from examples.vehicle.physics import Abilities, Aim, after

ABILITIES = Abilities()
speeds = st.floats(-3, 12)
aims = st.builds(Aim, speeds, st.floats(-360, 360))
motions = st.builds(Motion, heading=st.floats(0, 359), speed=speeds)
spans = st.floats(0, 30)


@given(spans, spans, motions, aims)
def test_it_does_not_matter_how_often_one_looks(first: float, second: float, motion: Motion, aim: Aim) -> None:
    at_once, _ = after(first + second, motion, aim, ABILITIES)
    half, left = after(first, motion, aim, ABILITIES)
    in_two, _ = after(second, half, left, ABILITIES)
    assert (in_two.east, in_two.north) == pytest.approx((at_once.east, at_once.north), abs=1e-4)
    assert (in_two.speed, in_two.distance) == pytest.approx((at_once.speed, at_once.distance), abs=1e-6)
    assert abs((in_two.heading - at_once.heading + 180) % 360 - 180) < 1e-6


@given(spans, motions, aims)
def test_nobody_gets_further_than_the_way_that_was_driven(seconds: float, motion: Motion, aim: Aim) -> None:
    moved, _ = after(seconds, motion, aim, ABILITIES)
    assert hypot(moved.east, moved.north) <= moved.distance + 1e-6
    assert moved.distance <= seconds * ABILITIES.speed_maximum + 1e-6
    assert min(motion.speed, aim.speed) <= moved.speed <= max(motion.speed, aim.speed)


@given(motions, aims)
def test_in_the_end_it_does_what_it_aims_at(motion: Motion, aim: Aim) -> None:
    moved, left = after(60, motion, aim, ABILITIES)
    assert moved.speed == aim.speed
    assert left == Aim(aim.speed, 0)
    assert abs((moved.heading - motion.heading - aim.turn + 180) % 360 - 180) < 1e-6


def test_the_brakes_need_the_way_that_physics_says() -> None:
    moved, _ = after(10, Motion(speed=12), Aim(0), Abilities(braking=6))
    assert (moved.north, moved.speed) == pytest.approx((12, 0))  # v² / 2a


def test_a_full_turn_at_even_speed_is_a_circle() -> None:
    half, aim = after(3, Motion(speed=6), Aim(6, 360), Abilities(turning=60))
    assert (half.east, half.north) == pytest.approx((2 * 6 / radians(60), 0), abs=1e-9)
    whole, _ = after(3, half, aim, Abilities(turning=60))
    assert (whole.east, whole.north) == pytest.approx((0, 0), abs=1e-9)


def test_who_reverses_stands_for_a_moment_and_brakes_harder_than_it_starts() -> None:
    standing, aim = after(1, Motion(speed=6), Aim(-3), Abilities(acceleration=2, braking=6))
    assert standing.speed == 0
    backwards, _ = after(1, standing, aim, Abilities(acceleration=2, braking=6))
    assert backwards.speed == pytest.approx(-2)
