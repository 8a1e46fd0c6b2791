"""Do commands reach the pins of a Raspberry Pi, and does a lost link? The pins are those that gpiozero mocks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from examples.vehicle.__main__ import main
from examples.vehicle.answered import Answered
from examples.vehicle.messages import (
    AnyCommand,
    Doors,
    Heading,
    Lights,
    Motion,
    ParkingBrake,
    Request,
    Response,
    Rotation,
    Speed,
    Stop,
    encode,
)
from examples.vehicle.vehicle import Vehicle
from tests.examples.programs import Program
from tidewire.testing import BrokerThread

ROOT: Final = Path(__file__).parents[2]


def test_without_gpiozero_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "examples.vehicle.gpio", raising=False)
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    result = CliRunner().invoke(main, ["board", "robin", "--driver", "gpio"])
    assert result.exit_code == 1
    assert result.output == "vehicle: gpiozero is not installed; pip install gpiozero lgpio\n"


@pytest.fixture
def pins() -> Iterator[Any]:
    """The pins of a Pi that is not there; `pins.pin(22).state` is what the program gives to one of them."""
    gpiozero = pytest.importorskip("gpiozero")
    mock = pytest.importorskip("gpiozero.pins.mock")
    gpiozero.Device.pin_factory = factory = mock.MockFactory(pin_class=mock.MockPWMPin)
    yield factory
    factory.reset()
    gpiozero.Device.pin_factory = None


class Scene:
    """A vehicle that drives at 2 m/s at most, its pins, and the time."""

    def __init__(self, pins: Any) -> None:
        from examples.vehicle import gpio  # noqa: PLC0415 (where gpiozero is)

        self.gpio = gpio
        self.pins = pins
        self.now = 1000.0
        self.driver = gpio.GpioVehicle(2, Motion(east=10), clock=lambda: self.now)
        self.vehicle = Vehicle(self.driver, 2, Answered())
        self._count = 0

    def tell(self, *commands: AnyCommand) -> Response:
        """The answer to the last one."""
        for command in commands:
            self._count += 1
            response = self.vehicle.obey(encode(Request(f"{self._count}", command)))
        return response

    def state(self, *pins: int) -> tuple[float, ...]:
        return tuple(self.pins.pin(pin).state for pin in pins)

    @property
    def motors(self) -> tuple[float, ...]:
        """Left and right, backwards if negative."""
        (left, left_back), (right, right_back) = self.state(*self.gpio.LEFT_MOTOR), self.state(*self.gpio.RIGHT_MOTOR)
        return round(left - left_back, 3), round(right - right_back, 3)

    def roll(self, left: int, right: int) -> None:
        """So many steps of each encoder, side by side; backwards if negative."""
        for number in range(max(abs(left), abs(right))):
            for (a, b), steps in ((self.gpio.LEFT_ENCODER, left), (self.gpio.RIGHT_ENCODER, right)):
                if number < abs(steps):
                    self._pulse(*((a, b) if steps > 0 else (b, a)))

    def _pulse(self, *pins: int) -> None:
        first, second = map(self.pins.pin, pins)
        first.drive_low()
        second.drive_low()
        first.drive_high()
        second.drive_high()


@pytest.fixture
def scene(pins: Any) -> Scene:
    return Scene(pins)


def test_lights_doors_and_brake_are_pins_and_servos(scene: Scene) -> None:
    gpio, driver = scene.gpio, scene.driver
    assert scene.tell(Lights(True)).result == "done"
    assert scene.state(gpio.LIGHTS) == (1,)
    closed = scene.state(gpio.DOORS)
    scene.tell(Doors("lock"))
    assert (scene.state(gpio.BOLT), scene.state(gpio.DOORS)) == ((1,), closed)
    scene.tell(Doors("unlock"), Doors("open"))
    assert scene.state(gpio.BOLT) == (0,)
    assert scene.state(gpio.DOORS) > closed, "a longer pulse turns the servo further"
    engaged = scene.state(gpio.PARKING_BRAKE)
    scene.tell(ParkingBrake(False))
    assert scene.state(gpio.PARKING_BRAKE) < engaged
    assert driver.body() == scene.vehicle.state().body
    assert (driver.body().doors, driver.body().lights, driver.body().parking_brake) == ("open", True, False)


def test_speed_is_the_duty_cycle_of_both_motors(scene: Scene) -> None:
    assert scene.tell(Speed(1)).result == "refused"
    assert scene.motors == (0, 0)
    scene.tell(ParkingBrake(False), Speed(1))
    assert scene.motors == (0.5, 0.5)
    scene.tell(Speed(-2))
    assert scene.motors == (-1, -1)
    assert scene.tell(Speed(-2.5)).reason == "this vehicle drives 2 m/s at most, not -2.5"
    scene.tell(Stop())
    assert scene.motors == (0, 0)


def test_a_turn_ends_when_the_encoders_say_so(scene: Scene) -> None:
    scene.tell(ParkingBrake(False), Rotation(90))
    turning = scene.gpio.TURNING
    assert scene.motors == (turning, -turning)
    steps = 0
    while scene.motors != (0, 0):
        scene.roll(1, -1)
        steps += 1
        assert steps < 100
    motion = scene.driver.motion()
    assert motion.heading == pytest.approx(90, abs=3)
    assert (motion.east, motion.north, motion.speed) == pytest.approx((10, 0, 0), abs=0.01)
    scene.tell(Heading(0))
    assert scene.motors == (-turning, turning), "back by the left"


def test_a_turn_while_it_drives_leaves_the_speed(scene: Scene) -> None:
    scene.tell(ParkingBrake(False), Speed(2), Rotation(-45))
    assert scene.motors == (round((1 - scene.gpio.TURNING) / (1 + scene.gpio.TURNING), 3), 1)
    while scene.motors != (1, 1):
        scene.roll(0, 1)
        assert scene.driver.motion().distance < 1


def test_a_turn_that_no_encoder_confirms_is_given_up(scene: Scene) -> None:
    scene.tell(ParkingBrake(False), Rotation(90))
    scene.now += scene.gpio.TURN_MAXIMUM_S
    scene.driver.motion()
    assert scene.motors == (0, 0)


def test_the_encoders_tell_where_it_is_and_how_fast(scene: Scene) -> None:
    step, window_s = scene.gpio.STEP, scene.gpio.WINDOW_S
    scene.roll(100, 100)
    motion = scene.driver.motion()
    assert (motion.north, motion.distance) == pytest.approx((100 * step, 100 * step), rel=0.01)
    assert motion.speed == pytest.approx(100 * step / window_s)
    assert "send stop first" in scene.tell(Doors("open")).reason
    scene.now += window_s
    assert scene.driver.motion().speed == 0
    scene.roll(-100, -100)
    motion = scene.driver.motion()
    assert (motion.north, motion.distance) == pytest.approx((0, 200 * step), abs=0.01)
    assert motion.speed == pytest.approx(-100 * step / window_s)


@pytest.mark.parametrize("steps", [0, 50], ids=["wires of the encoders are off", "the wheels roll"])
def test_a_vehicle_that_loses_its_link_stops_its_motors(scene: Scene, steps: int) -> None:
    scene.tell(ParkingBrake(False), Speed(2), Rotation(90))
    assert scene.motors != (0, 0)
    scene.vehicle.link_lost(scene.now)
    scene.now += 2.9
    scene.vehicle.tick(scene.now)
    assert scene.motors != (0, 0)
    scene.now += 0.1
    scene.roll(steps, steps)
    scene.vehicle.tick(scene.now)
    assert scene.motors == (0, 0)
    scene.roll(steps, steps)
    assert scene.motors == (0, 0), "what rolls out does not start it again"
    assert scene.vehicle.state().stopped_because == ("the link was lost for 3 s" if steps else "")


def test_a_board_that_has_no_pins_says_so_in_one_line(pins: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sys.modules["gpiozero"].Device.pin_factory = None
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "nothing")
    result = CliRunner().invoke(main, ["board", "robin", "--driver", "gpio"])
    assert result.exit_code == 1
    assert result.output == (
        "vehicle: Unable to find pin factory 'nothing'; on a Raspberry Pi: pip install gpiozero lgpio\n"
    )


def test_a_board_with_pins_is_controlled_like_any_other(pins: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    monkeypatch.setenv("GPIOZERO_MOCK_PIN_CLASS", "mockpwmpin")
    with BrokerThread() as broker:
        at = ["--url", broker.url]
        board = Program(ROOT, sys.executable, "-m", "examples.vehicle", "board", "robin", *at, "--driver", "gpio")
        try:
            board.wait_for("robin is online")
            result = CliRunner().invoke(main, ["drive", "robin", *at, "lights", "on"])
            assert '"do":"lights","on":true}  done' in result.output
        finally:
            status = board.interrupt()
    assert (status, "Traceback" in board.printed) == (0, False), board.printed
