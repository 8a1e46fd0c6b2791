"""What do a driver and a vehicle say to each other? The topics, and a type for each message."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

DoorAction = Literal["lock", "unlock", "open", "close"]
DoorState = Literal["locked", "closed", "open"]

IDENTIFIER_LENGTH_MAXIMUM: Final = 64
"""Characters of a command's id: twice a UUID in hexadecimal. Each vehicle keeps a thousand of them."""

SPEED_MAXIMUM: Final = 30.0
"""Metres a second that any command may ask for; what a vehicle can do is less, and the vehicle's own affair."""

REVERSE_MAXIMUM: Final = 3.0
"""The same backwards."""


# -- topics


def topic(vehicle: str, of: Literal["commands", "responses", "telemetry", "state"]) -> str:
    """Where a vehicle's messages go; `+` stands for every vehicle."""
    return f"vehicles/{vehicle}/{of}"


def vehicle_of(message_topic: str) -> str:
    """Whose message it is."""
    return message_topic.split("/")[1]


# -- commands


class Command(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    """What a vehicle can be told: one of the types below, told apart by `do`."""


class Doors(Command, frozen=True, tag="doors"):
    action: DoorAction


class Lights(Command, frozen=True, tag="lights"):
    on: bool


class ParkingBrake(Command, frozen=True, tag="parking_brake"):
    engaged: bool


class Speed(Command, frozen=True, tag="speed"):
    """Drive as fast as this from now on; backwards if it is negative."""

    metres_per_second: Annotated[float, Meta(ge=-REVERSE_MAXIMUM, le=SPEED_MAXIMUM)]


class Heading(Command, frozen=True, tag="heading"):
    """Turn the short way to this direction: 0 is north, 90 east."""

    degrees: Annotated[float, Meta(ge=0, lt=360)]


class Rotation(Command, frozen=True, tag="rotation"):
    """Turn by this much from where it points to now, to the right if positive. Twice is not the same as once."""

    degrees: Annotated[float, Meta(ge=-360, le=360)]


class Stop(Command, frozen=True, tag="stop"):
    """Come to a stand, as fast as the brakes can."""


AnyCommand = Doors | Lights | ParkingBrake | Speed | Heading | Rotation | Stop


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """What travels to `…/commands`: a command, and the name by which it is done once."""

    id: Annotated[str, Meta(min_length=1, max_length=IDENTIFIER_LENGTH_MAXIMUM)]
    command: AnyCommand


class Refused(Exception):
    """The text says why; `id` is the command's where it could be read."""

    def __init__(self, reason: str, id: str = "") -> None:
        super().__init__(reason)
        self.id = id


def read_request(payload: bytes) -> Request:
    """What a driver sent. Raises Refused for whatever is not a command."""
    try:
        return _REQUESTS.decode(payload)
    except msgspec.ValidationError as error:
        raise Refused(f"not a command: {error}", _identifier(payload)) from None
    except (ValueError, RecursionError) as error:  # of msgspec, of UTF-8, of depth
        raise Refused(f"not JSON: {error}") from None


class _Named(Struct):
    id: Annotated[str, Meta(max_length=IDENTIFIER_LENGTH_MAXIMUM)] = ""


def _identifier(payload: bytes) -> str:
    """The id of what is otherwise no command."""
    try:
        return msgspec.json.decode(payload, type=_Named).id
    except (ValueError, RecursionError):
        return ""


_REQUESTS: Final = msgspec.json.Decoder(Request)


# -- what vehicles say


class Response(Struct, frozen=True, omit_defaults=True):
    """What became of a command, on `…/responses`."""

    id: str
    """The command's; empty where it could not be read."""
    result: Literal["done", "refused"] = "done"
    reason: str = ""


class Motion(Struct, frozen=True):
    """Where a vehicle is and where it goes, on a plane: metres, seconds, degrees clockwise from north."""

    east: float = 0.0
    north: float = 0.0
    heading: float = 0.0
    speed: float = 0.0
    distance: float = 0.0
    """Driven so far."""


class Telemetry(Struct, frozen=True):
    """On `…/telemetry`, several times a second."""

    sequence: int
    """Counts up by one: who receives 7 and then 9 has missed one."""
    motion: Motion


class Body(Struct, frozen=True):
    """What of a vehicle is switched rather than driven."""

    doors: DoorState = "closed"
    lights: bool = False
    parking_brake: bool = True


class State(Struct, frozen=True, omit_defaults=True):
    """On `…/state`, retained. Without a body it is the will: nobody knows more than that the link is gone."""

    link: Literal["online", "offline"]
    body: Body | None = None
    speed_maximum: float = 0.0
    """What this vehicle can do, in metres a second."""
    stopped_because: str = ""
    """Why it stopped by itself; empty again with the next command that moves it."""


encode: Final = msgspec.json.encode
