"""What must a board be able to do with its vehicle? The simulation does it, and so do GPIO pins."""

from __future__ import annotations

from typing import Protocol

from examples.vehicle.messages import Body, DoorState, Motion


class Driver(Protocol):
    """The hands and eyes of a board. Every call returns at once: what takes time goes on behind it.

    Whether something is allowed is decided before (`vehicle.py`), so a driver just does it. What it raises is told to
    whoever sent the command, and the vehicle is stopped.
    """

    def motion(self) -> Motion:
        """Where the vehicle is now, and how it moves."""

    def body(self) -> Body:
        """How doors, lights and parking brake are now."""

    def set_doors(self, state: DoorState) -> None:
        """Move the locks or the doors."""

    def set_lights(self, on: bool) -> None:
        """Switch the lights."""

    def set_parking_brake(self, engaged: bool) -> None:
        """Engage or release the brake that holds a standing vehicle."""

    def set_speed(self, metres_per_second: float) -> None:
        """Accelerate or brake to this, backwards if negative, and hold it."""

    def turn(self, degrees: float) -> None:
        """Turn by so much from where it points to now, to the right if positive; what is left of an earlier turn is
        forgotten."""

    def stop(self) -> None:
        """Brake as hard as it can, and turn no further."""
