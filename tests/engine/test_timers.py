"""Do timers fire when they are due: never early, and at most a quarter of a second late?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidewire._form import form
from tidewire.engine.timers import HORIZON_S, Timed, Timers

START = 1000.0
QUARTER = 0.25

pytestmark = pytest.mark.skipif(form() == "compiled", reason="a compiled class takes no interpreted subclass")

moments = st.floats(0.0, 30.0)


class Alarm(Timed):
    """Something with one deadline that may be moved at any time."""

    def __init__(self, timers: Timers) -> None:
        super().__init__()
        self.timers = timers
        self.deadline = 0.0
        self.since = 0.0
        self.asked = 0
        self.fired: list[tuple[float, float]] = []
        """(how late, deadline)"""

    def set(self, deadline: float, now: float) -> None:
        self.deadline = deadline
        self.since = now
        self.timers.add(deadline, self, now)

    def due(self, now: float) -> None:
        self.asked += 1
        if not self.deadline:
            return
        if now < self.deadline:
            self.timers.add(self.deadline, self, now)
            return
        self.fired.append((now - max(self.deadline, self.since), self.deadline))
        self.deadline = 0.0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(moments, moments), max_size=20), st.floats(0.0, QUARTER, exclude_max=True))
def test_alarms_set_in_any_order_never_fire_early_and_at_most_one_bucket_late(
    plan: list[tuple[float, float]], phase: float
) -> None:
    timers = Timers(START)
    alarms = [(START + at, START + at + after, Alarm(timers)) for at, after in plan]
    waiting = sorted(alarms, key=lambda alarm: alarm[0])
    now = START + phase
    while now < START + 62:
        while waiting and waiting[0][0] <= now:
            _, deadline, alarm = waiting.pop(0)
            alarm.set(deadline, now)
        timers.advance(now)
        now += QUARTER
    late = QUARTER if phase == 0.0 else 2 * QUARTER  # a tick that is off the quarter comes up to another one later
    for _, deadline, alarm in alarms:
        assert [when for _, when in alarm.fired] == [deadline]
        assert 0.0 <= alarm.fired[0][0] <= late


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 160)), min_size=1, max_size=12))
def test_a_moved_deadline_fires_once_and_at_the_time_it_was_moved_to(moves: list[tuple[int, int]]) -> None:
    timers = Timers(START)
    alarm = Alarm(timers)
    now = START
    for wait, after in moves:
        fired = len(alarm.fired)
        alarm.set(now + after * 0.1, now)
        for _ in range(wait):
            now += QUARTER
            timers.advance(now)
        if len(alarm.fired) > fired:
            assert len(alarm.fired) == fired + 1
            assert 0.0 <= alarm.fired[-1][0] <= QUARTER
        else:
            assert alarm.deadline >= now - QUARTER
    while alarm.deadline:
        now += QUARTER
        timers.advance(now)
    assert 0.0 <= alarm.fired[-1][0] <= QUARTER


def test_what_lies_beyond_the_horizon_is_asked_on_the_way_and_let_go() -> None:
    timers = Timers(START)
    alarm = Alarm(timers)
    alarm.set(START + 3 * HORIZON_S, START)
    alarm.deadline = 0.0  # it ended meanwhile
    timers.advance(START + HORIZON_S + QUARTER)
    assert alarm.asked == 1
    assert alarm.next_look == 0.0
    timers.advance(START + 10 * HORIZON_S)
    assert alarm.asked == 1


def test_the_next_look_is_the_first_time_at_which_somebody_is_asked() -> None:
    timers = Timers(START)
    assert timers.next_look() == float("inf")
    alarms = [Alarm(timers) for _ in range(3)]
    for alarm, after in zip(alarms, (2.1, 1.1, 3 * HORIZON_S), strict=True):
        alarm.set(START + after, START)
    looks = []
    while (look := timers.next_look()) < float("inf"):
        timers.advance(look - 0.01)
        assert timers.next_look() == look
        timers.advance(look)
        looks.append(look - START)
    assert looks[:2] == [1.25, 2.25]
    assert [len(alarm.fired) for alarm in alarms] == [1, 1, 1]


def test_everything_that_is_due_after_a_long_pause_is_asked_in_order_of_time() -> None:
    timers = Timers(START)
    alarms = [Alarm(timers) for _ in range(5)]
    order: list[int] = []
    for index in (3, 1, 4, 0, 2):
        alarms[index].set(START + 1 + index, START)
    for _ in range(2):
        timers.advance(START + 100)
        order += [index for index, alarm in enumerate(alarms) if alarm.fired and index not in order]
    assert order == [0, 1, 2, 3, 4]
    assert [alarm.asked for alarm in alarms] == [1] * 5


def test_a_deadline_in_the_past_fires_with_the_next_tick() -> None:
    timers = Timers(START)
    alarm = Alarm(timers)
    alarm.set(START - 50, START)
    timers.advance(START + QUARTER)
    assert alarm.asked == 1


def test_timed_itself_does_nothing_of_its_own() -> None:
    with pytest.raises(NotImplementedError):
        Timed().due(START)


class Faulty(Timed):
    """Something that fails when it is asked."""

    def due(self, now: float) -> None:
        raise OSError("broken")


def test_one_that_fails_is_told_and_costs_no_other_its_turn() -> None:
    timers = Timers(START)
    alarms = [Alarm(timers) for _ in range(2)]
    alarms[0].set(START + 1, START)
    timers.add(START + 1, Faulty(), START)
    alarms[1].set(START + 1, START)
    assert [str(error) for error in timers.advance(START + 2)] == ["broken"]
    assert [len(alarm.fired) for alarm in alarms] == [1, 1]
