"""What does a vehicle do about a command, and when does it stop by itself? The rules, without network and clock."""

from __future__ import annotations

from typing import Final, assert_never

from examples.vehicle.answered import Answered
from examples.vehicle.driver import Driver
from examples.vehicle.messages import (
    AnyCommand,
    DoorAction,
    Doors,
    DoorState,
    Heading,
    Lights,
    ParkingBrake,
    Refused,
    Response,
    Rotation,
    Speed,
    State,
    Stop,
    read_request,
)
from examples.vehicle.physics import short_way

DEAD_MAN_S: Final = 3.0
"""How long a vehicle drives on without a link: at 12 m/s some 36 m, which its driver must have seen to be free."""

STANDING: Final = 0.05
"""Metres a second below which a vehicle stands."""

_DOORS: Final[dict[DoorAction, tuple[DoorState, DoorState, str]]] = {
    "lock": ("closed", "locked", "close them first"),
    "unlock": ("locked", "closed", "they are not locked"),
    "open": ("closed", "open", "unlock them first"),
    "close": ("open", "closed", "they are locked"),
}
"""From which state to which, and the mend where the doors are in the third."""


class Vehicle:
    """A driver, and the rules that hold whatever a command says. Times are seconds of any one clock."""

    def __init__(
        self, driver: Driver, speed_maximum: float, answered: Answered, dead_man_s: float = DEAD_MAN_S
    ) -> None:
        self._driver = driver
        self._speed_maximum = speed_maximum
        self._answered = answered
        self._dead_man_s = dead_man_s
        self._lost_at: float | None = None
        self._stopped_because = ""

    # -- commands

    def obey(self, payload: bytes) -> Response:
        """Do what a message on `…/commands` says, once, and say what came of it. Never raises for what it says."""
        try:
            request = read_request(payload)
        except Refused as refused:
            return Response(refused.id, "refused", str(refused))
        earlier = self._answered.find(request.id)
        if earlier is not None:
            return earlier
        self._answered.begin(request.id)
        try:
            self._do(request.command)
            response = Response(request.id)
        except Refused as refused:
            response = Response(request.id, "refused", str(refused))
        except Exception as error:  # a driver is other people's code
            self.stop("its driver failed")
            response = Response(request.id, "refused", f"the driver failed: {error!r}")
        self._answered.finish(response)
        return response

    def _do(self, command: AnyCommand) -> None:
        match command:
            case Doors(action):
                self._move_doors(action)
            case Lights(on):
                self._driver.set_lights(on)
            case ParkingBrake(engaged):
                if engaged and self._moving():
                    raise Refused("the parking brake holds a standing vehicle only; send stop first")
                self._driver.set_parking_brake(engaged)
            case Speed(speed):
                if speed:
                    self._check_speed(speed)
                    self._check_free()
                self._driver.set_speed(speed)
            case Heading(degrees):
                self._check_free()
                self._driver.turn(short_way(self._driver.motion().heading, degrees))
            case Rotation(degrees):
                self._check_free()
                self._driver.turn(degrees)
            case Stop():
                self._driver.stop()
            case _:
                assert_never(command)

    def _move_doors(self, action: DoorAction) -> None:
        before, afterwards, mend = _DOORS[action]
        now = self._driver.body().doors
        if now == afterwards:
            return
        if now != before:
            raise Refused(f"the doors are {now}: {mend}")
        if action == "open" and self._moving():
            raise Refused("doors stay closed while the vehicle moves; send stop first")
        self._driver.set_doors(afterwards)

    def _check_speed(self, speed: float) -> None:
        if abs(speed) > self._speed_maximum:
            raise Refused(f"this vehicle drives {self._speed_maximum:g} m/s at most, not {speed:g}")

    def _check_free(self) -> None:
        """Raise Refused unless it may move; from here on it does as it is told."""
        body = self._driver.body()
        if body.parking_brake:
            raise Refused("the parking brake is on; release it first")
        if body.doors == "open":
            raise Refused("a door is open; close it first")
        if self._lost_at is not None:
            raise Refused("the link is lost; send it again")
        self._stopped_because = ""

    def _moving(self) -> bool:
        return abs(self._driver.motion().speed) > STANDING

    # -- the link, and what happens without it

    def link_lost(self, now: float) -> None:
        """From now on the dead-man limit runs."""
        if self._lost_at is None:
            self._lost_at = now

    def link_restored(self) -> None:
        """It stays stopped, if it has stopped, until a command moves it."""
        self._lost_at = None

    def tick(self, now: float) -> None:
        """Time has passed: call this several times a second."""
        if self._lost_at is not None and now - self._lost_at >= self._dead_man_s:
            if self._moving():
                self.stop(f"the link was lost for {self._dead_man_s:g} s")
            else:  # it may turn on the spot, or not know that it moves
                self._driver.stop()

    def stop(self, because: str) -> None:
        """Stop without being told to, and say why in the state."""
        if not self._stopped_because:
            self._stopped_because = because
        self._driver.stop()

    # -- what can be seen of it

    def state(self) -> State:
        """For `…/state`."""
        return State("online", self._driver.body(), self._speed_maximum, self._stopped_because)
