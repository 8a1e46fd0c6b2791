"""What is a ride worth, and who leads? Pure functions of rides."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from examples.surf.messages import LeaderBoard, Ride, Scored, Standing

COUNTING: Final = 2
"""As in competitions: the best two rides of a surfer count."""
SPEED_POINTS: Final = 4.0
LENGTH_POINTS: Final = 3.0
TURN_POINTS: Final = 3.0
FULL_SPEED_MPH: Final = 22.0
FULL_LENGTH_S: Final = 15.0
FULL_CLIMB_FT: Final = 24.0
"""What earns all the points of one kind; together they make ten."""


def score(ride: Ride) -> float:
    """From 0 to 10: for speed, for length, for the height climbed in turns; half of it after a wipe-out."""
    climbed = sum(max(0.0, later[2] - earlier[2]) for earlier, later in pairwise(ride.points))
    points = SPEED_POINTS * min(1.0, ride.top_mph / FULL_SPEED_MPH)
    points += LENGTH_POINTS * min(1.0, ride.seconds / FULL_LENGTH_S)
    points += TURN_POINTS * min(1.0, climbed / FULL_CLIMB_FT)
    return round(points / (2 if ride.outcome == "wiped out" else 1), 2)


def leader_board(heat: str, rides: Iterable[Scored]) -> LeaderBoard:
    """Everybody who has ridden, the best first; whoever has the better third ride wins a tie, and so on."""
    ridden: dict[str, list[Scored]] = {}
    for scored in rides:
        ridden.setdefault(scored.ride.surfer, []).append(scored)
    scores = {surfer: sorted((each.score for each in own), reverse=True) for surfer, own in ridden.items()}

    def rank(surfer: str) -> tuple[float, list[float], str]:
        return -_total(scores[surfer]), [-each for each in scores[surfer][COUNTING:]], surfer

    return LeaderBoard(
        heat,
        sum(map(len, ridden.values())),
        [
            Standing(
                surfer,
                _total(scores[surfer]),
                scores[surfer][:COUNTING],
                len(ridden[surfer]),
                max(each.ride.top_mph for each in ridden[surfer]),
            )
            for surfer in sorted(ridden, key=rank)
        ],
    )


def _total(scores: list[float]) -> float:
    return round(sum(scores[:COUNTING]), 2)
