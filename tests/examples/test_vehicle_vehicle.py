"""Does a vehicle obey once, refuse with reasons, and stop by itself? The clock is the test's."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.vehicle.answered import INTERRUPTED, Answered
from examples.vehicle.messages import (
    AnyCommand,
    Doors,
    Heading,
    Lights,
    ParkingBrake,
    Request,
    Response,
    Rotation,
    Speed,
    Stop,
    encode,
)
from examples.vehicle.physics import Abilities
from examples.vehicle.simulation import SimulatedVehicle
from examples.vehicle.vehicle import Vehicle


class Scene:
    """A simulated vehicle that drives at 12 m/s at most, its rules, and the time."""

    def __init__(self, file: Path | None = None) -> None:
        self.now = 1000.0
        self.driver = SimulatedVehicle(Abilities(12), clock=lambda: self.now)
        self.answered = Answered(file)
        self.vehicle = Vehicle(self.driver, 12, self.answered, dead_man_s=3)
        self._count = 0

    def tell(self, *commands: AnyCommand) -> Response:
        """The answer to the last one."""
        for command in commands:
            self._count += 1
            response = self.vehicle.obey(encode(Request(f"command {self._count}", command)))
            assert response.id == f"command {self._count}"
        return response

    def pass_time(self, seconds: float) -> None:
        """In steps, as the board's program takes them."""
        for _ in range(round(seconds * 20)):
            self.now += 0.05
            self.vehicle.tick(self.now)

    def drive(self) -> None:
        assert self.tell(ParkingBrake(False), Speed(10)).result == "done"
        self.pass_time(10)
        assert self.driver.motion().speed == 10


@pytest.fixture
def scene() -> Scene:
    return Scene()


# -- commands


def test_a_vehicle_drives_turns_and_stops_as_it_is_told(scene: Scene) -> None:
    scene.drive()
    assert scene.tell(Heading(270)).result == "done"
    scene.pass_time(5)
    assert scene.driver.motion().heading == pytest.approx(270)
    scene.tell(Rotation(-180))
    scene.pass_time(5)
    assert scene.driver.motion().heading == pytest.approx(90)
    scene.tell(Stop())
    scene.pass_time(5)
    assert scene.driver.motion().speed == 0


def test_a_heading_is_taken_the_short_way(scene: Scene) -> None:
    scene.tell(ParkingBrake(False), Heading(350))
    scene.pass_time(0.1)
    assert scene.driver.motion().heading > 350


@pytest.mark.parametrize(
    ("before", "command", "reason"),
    [
        ([], Speed(5), "the parking brake is on; release it first"),
        ([], Rotation(90), "the parking brake is on; release it first"),
        ([ParkingBrake(False)], Speed(12.5), "this vehicle drives 12 m/s at most, not 12.5"),
        ([ParkingBrake(False), Doors("open")], Speed(5), "a door is open; close it first"),
        ([ParkingBrake(False), Doors("open")], Heading(90), "a door is open; close it first"),
        ([Doors("lock")], Doors("open"), "the doors are locked: unlock them first"),
        ([Doors("open")], Doors("lock"), "the doors are open: close them first"),
    ],
)
def test_what_is_not_safe_is_refused_with_the_mend(
    scene: Scene, before: list[AnyCommand], command: AnyCommand, reason: str
) -> None:
    for earlier in before:
        assert scene.tell(earlier).result == "done"
    response = scene.tell(command)
    assert (response.result, response.reason) == ("refused", reason)
    scene.pass_time(1)
    assert scene.driver.motion().distance == 0


@pytest.mark.parametrize("command", [Doors("open"), ParkingBrake(True)])
def test_doors_and_parking_brake_wait_until_it_stands(scene: Scene, command: AnyCommand) -> None:
    scene.drive()
    assert "send stop first" in scene.tell(command).reason
    scene.tell(Stop())
    scene.pass_time(5)
    assert scene.tell(command).result == "done"


def test_speed_zero_is_never_refused(scene: Scene) -> None:
    assert scene.tell(Speed(0)).result == "done"


def test_what_is_so_already_is_done(scene: Scene) -> None:
    assert scene.tell(Doors("close"), Doors("lock"), Doors("lock"), Lights(True), Lights(True)).result == "done"


def test_what_is_no_command_is_answered_and_changes_nothing(scene: Scene) -> None:
    state = scene.vehicle.state()
    response = scene.vehicle.obey(b'{"id":"7f","command":{"do":"fly"}}')
    assert (response.id, response.result) == ("7f", "refused")
    assert scene.vehicle.state() == state
    assert scene.answered.find("7f") is None


def test_a_driver_that_fails_is_a_refusal_and_a_stop(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.drive()

    def fail(on: bool) -> None:
        raise OSError("pin 4 is not there")

    monkeypatch.setattr(scene.driver, "set_lights", fail)
    assert "pin 4 is not there" in scene.tell(Lights(True)).reason
    scene.pass_time(5)
    assert scene.driver.motion().speed == 0
    assert scene.vehicle.state().stopped_because == "its driver failed"


# -- once


def test_a_command_is_done_once_and_answered_as_often_as_it_comes(scene: Scene) -> None:
    scene.tell(ParkingBrake(False))
    payload = encode(Request("turn", Rotation(90)))
    answers = []
    for _ in range(3):
        answers.append(scene.vehicle.obey(payload))
        scene.pass_time(5)
    assert answers == [Response("turn")] * 3
    assert scene.driver.motion().heading == pytest.approx(90)


def test_a_refusal_stays_one_when_its_reason_is_gone(scene: Scene) -> None:
    payload = encode(Request("go", Speed(5)))
    refused = scene.vehicle.obey(payload)
    scene.tell(ParkingBrake(False))
    assert scene.vehicle.obey(payload) == refused
    assert refused.result == "refused"


def test_a_board_that_starts_again_knows_what_it_has_answered(tmp_path: Path) -> None:
    file = tmp_path / "answered"
    scene = Scene(file)
    scene.tell(ParkingBrake(False))
    payload = encode(Request("turn", Rotation(90)))
    answer = scene.vehicle.obey(payload)
    scene.answered.close()

    again = Scene(file)
    again.driver.set_parking_brake(False)
    assert again.vehicle.obey(payload) == answer
    again.pass_time(5)
    assert again.driver.motion().heading == 0


def test_a_command_that_a_kill_interrupted_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "answered"
    scene = Scene(file)
    scene.tell(ParkingBrake(False))

    def die(degrees: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scene.driver, "turn", die)
    payload = encode(Request("turn", Rotation(90)))
    with pytest.raises(KeyboardInterrupt):
        scene.vehicle.obey(payload)
    scene.answered.close()

    again = Scene(file)
    assert again.vehicle.obey(payload) == Response("turn", "refused", INTERRUPTED)


def test_the_memory_keeps_the_newest_answers_only() -> None:
    answered = Answered(maximum=3)
    for number in range(10):
        answered.begin(f"{number}")
        answered.finish(Response(f"{number}"))
    assert [answered.find(f"{number}") is not None for number in range(10)] == [False] * 7 + [True] * 3


# -- the dead-man stop


def test_a_vehicle_without_a_link_drives_on_until_the_limit_and_then_stops(scene: Scene) -> None:
    scene.drive()
    scene.vehicle.link_lost(scene.now)
    scene.pass_time(2.9)
    assert scene.driver.motion().speed == 10
    scene.pass_time(5)
    assert scene.driver.motion().speed == 0
    assert scene.vehicle.state().stopped_because == "the link was lost for 3 s"


def test_a_turn_on_the_spot_ends_with_the_limit(scene: Scene) -> None:
    scene.tell(ParkingBrake(False), Rotation(360))
    scene.vehicle.link_lost(scene.now)
    scene.pass_time(6)
    assert scene.driver.motion().heading == pytest.approx(180, abs=10)


def test_a_link_that_comes_back_in_time_changes_nothing(scene: Scene) -> None:
    scene.drive()
    for _ in range(5):
        scene.vehicle.link_lost(scene.now)
        scene.pass_time(2)
        scene.vehicle.link_restored()
        scene.pass_time(2)
    assert scene.driver.motion().speed == 10
    assert scene.vehicle.state().stopped_because == ""


def test_being_told_again_that_the_link_is_lost_does_not_give_more_time(scene: Scene) -> None:
    scene.drive()
    for _ in range(5):  # as with every attempt to connect that fails
        scene.vehicle.link_lost(scene.now)
        scene.pass_time(2)
    assert scene.driver.motion().speed == 0


def test_a_vehicle_that_has_stopped_waits_for_a_command_that_moves_it(scene: Scene) -> None:
    scene.drive()
    scene.vehicle.link_lost(scene.now)
    scene.pass_time(6)
    assert scene.tell(Speed(5)).reason == "the link is lost; send it again"
    scene.vehicle.link_restored()
    scene.pass_time(6)
    assert scene.driver.motion().speed == 0
    scene.tell(Speed(5))
    scene.pass_time(6)
    assert scene.driver.motion().speed == 5
    assert scene.vehicle.state().stopped_because == ""


def test_a_standing_vehicle_has_nothing_to_stop(scene: Scene) -> None:
    scene.vehicle.link_lost(scene.now)
    scene.pass_time(10)
    assert scene.vehicle.state().stopped_because == ""
