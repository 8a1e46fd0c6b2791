"""What travels, by which topic? Every message is JSON by one of these schemas; what does not fit is refused."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

State = Literal["idle", "paddling", "riding", "ride finished", "wiped out"]

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,23}$")]
"""A surfer's, also a level of topics and the user name of the board."""
Feet = Annotated[float, Meta(ge=-20, le=100)]
Mph = Annotated[float, Meta(ge=0, le=60)]
"""Nobody has surfed faster than about 50 mph, or a higher wave than about 90 ft."""
Point = tuple[Annotated[float, Meta(ge=0)], Mph, Feet]
"""Seconds since take-off, speed and altitude."""

POINTS_MAXIMUM: Final = 600
"""Of one ride: five minutes of two a second, longer than any ride of a heat."""

BOARDS: Final = "surf/public/boards"
PUBLIC: Final = "surf/public/#"
"""All that spectators may read."""
LEADER_BOARD: Final = "surf/public/leaders"
BILLS: Final = "surf/public/bills"
END: Final = "surf/public/end"
"""The identifier of the heat that is over, every ride handed in: retained."""
PROBE: Final = "surf/public/probe"
RIDES: Final = "surf/rides/+"
"""For the judges only."""


def reading_topic(surfer: str) -> str:
    """Where a board says how its surfer is: retained, QoS 0."""
    return f"{BOARDS}/{surfer}/reading"


def link_topic(surfer: str) -> str:
    """`up`, or by the board's will `lost`: retained."""
    return f"{BOARDS}/{surfer}/link"


def ride_topic(surfer: str) -> str:
    """Where a board hands in its rides: QoS 1, kept until the scoring service has acknowledged them."""
    return f"surf/rides/{surfer}"


def scored_topic(surfer: str) -> str:
    """The last ride of a surfer with its score, for everybody: retained."""
    return f"surf/public/rides/{surfer}"


class Reading(Struct):
    """What the sensors of a board say now."""

    at: float
    """Seconds of the heat."""
    state: State
    wave: int
    """The waves of a surfer are counted from 1."""
    speed_mph: Mph
    altitude_ft: Feet
    water_f: float


class Ride(Struct):
    """A ride from take-off to its end, with an identifier by which it counts once however often it arrives."""

    id: Annotated[str, Meta(min_length=1, max_length=80)]
    surfer: Name
    wave: Annotated[int, Meta(ge=1)]
    at: Annotated[float, Meta(ge=0)]
    """When it began, in seconds of the heat."""
    outcome: Literal["ride finished", "wiped out"]
    water_f: float
    points: Annotated[list[Point], Meta(min_length=1, max_length=POINTS_MAXIMUM)]

    @property
    def seconds(self) -> float:
        return self.points[-1][0]

    @property
    def top_mph(self) -> float:
        return max(speed for _, speed, _ in self.points)


class Scored(Struct):
    """A ride and what the judges gave it."""

    ride: Ride
    score: float


class Standing(Struct):
    """One line of the leader board."""

    surfer: Name
    total: float
    """The sum of `best`."""
    best: list[float]
    waves: int
    top_mph: float


class LeaderBoard(Struct):
    """Who leads. The board with more rides is the newer one."""

    heat: str
    rides: int
    standings: list[Standing]


class Bill(Struct):
    """What the link of one board has cost so far."""

    surfer: Name
    bytes: int
    dollars: float
    budget_dollars: float
