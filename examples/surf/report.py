"""How does a heat look when it is over? As a picture (SVG) and as a table (CSV), both from the history."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from examples.surf.history import History
from examples.surf.messages import Scored
from examples.surf.scores import COUNTING, leader_board

WIDTH: Final = 960
ROW: Final = 76
TOP: Final = 132
LEFT: Final = 320
CHART: Final = 350
RIGHT: Final = LEFT + CHART + 40
TALL_FT: Final = 9.0
"""The height of a chart in feet of altitude."""

STYLE: Final = """
text { font: 14px system-ui, sans-serif; fill: #0b2540 }
.title { font-size: 28px; font-weight: 700 } .quiet { fill: #4b6580; font-size: 13px }
.name { font-size: 17px; font-weight: 650 } .total { font-size: 26px; font-weight: 700; text-anchor: end }
.paper { fill: #f6fafc } .line { stroke: #d5e3ec } .ride { fill: #0e7fa833; stroke: #0e7fa8; stroke-width: 1.5 }
.bar { fill: #9cc9dc } .counts { fill: #0e7fa8 } .fell { fill: #e3a08f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6f1f8 } .quiet { fill: #9db6c8 } .paper { fill: #0a1a2b } .line { stroke: #22384d }
  .bar { fill: #2d5a72 } .counts { fill: #3fb6dc } .ride { fill: #3fb6dc33; stroke: #3fb6dc } .fell { fill: #a3543f }
}
"""


def as_csv(rides: Sequence[Scored]) -> str:
    """A line for each ride, in the order of their beginning."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["surfer", "wave", "began_s", "seconds", "outcome", "top_mph", "top_ft", "water_f", "score"])
    for scored in rides:
        ride = scored.ride
        top_ft = max(feet for _, _, feet in ride.points)
        about = [ride.surfer, ride.wave, ride.at, ride.seconds, ride.outcome]
        table.writerow([*about, ride.top_mph, top_ft, ride.water_f, scored.score])
    return text.getvalue()


def as_svg(heat: str, rides: Sequence[Scored]) -> str:
    """A row for each surfer, the best first: the best ride as altitude over time, the score of every ride as a bar."""
    standings = leader_board(heat, rides).standings
    height = TOP + ROW * max(1, len(standings)) + 36
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(heat)}: {len(rides)} rides of {len(standings)} surfers</title><style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="32" y="52">{escape(heat)}</text>',
        f'<text class="quiet" x="32" y="78">{len(rides)} rides; the best {COUNTING} of each surfer count</text>',
        f'<text class="quiet" x="{LEFT}" y="{TOP - 16}">best ride, altitude over time</text>',
        f'<text class="quiet" x="{RIGHT}" y="{TOP - 16}">score of each ride</text>',
    ]
    for place, standing in enumerate(standings):
        own = [scored for scored in rides if scored.ride.surfer == standing.surfer]
        y = TOP + ROW * place
        waves = f"{standing.waves} wave{'s' if standing.waves > 1 else ''}, up to {standing.top_mph:.0f} mph"
        drawn += [
            f'<path class="line" d="M32 {y}H{WIDTH - 32}"/>',
            f'<text class="quiet" x="32" y="{y + 34}">{place + 1}</text>',
            f'<text class="name" x="58" y="{y + 34}">{escape(standing.surfer.title())}</text>',
            f'<text class="quiet" x="58" y="{y + 54}">{waves}</text>',
            f'<text class="total" x="{LEFT - 24}" y="{y + 44}">{standing.total:.2f}</text>',
            _curve(max(own, key=lambda scored: scored.score), y + ROW - 10),
            *_bars(own, y + ROW - 10),
        ]
    return "\n".join([*drawn, "</svg>\n"])


def write_report(heat: str, directory: Path) -> None:
    """`report.svg` and `rides.csv` in the directory of a heat."""
    with History(directory / "rides.db") as history:
        rides = history.rides()
    (directory / "report.svg").write_text(as_svg(heat, rides), encoding="utf-8")
    (directory / "rides.csv").write_text(as_csv(rides), encoding="utf-8")


def _curve(scored: Scored, floor: float) -> str:
    points = scored.ride.points
    across = CHART / max(1.0, scored.ride.seconds)
    line = " ".join(
        f"L{LEFT + at * across:.1f} {floor - max(0, feet) / TALL_FT * (ROW - 20):.1f}" for at, _, feet in points
    )
    return f'<path class="ride" d="M{LEFT} {floor} {line} V{floor}Z"/>'


def _bars(own: Sequence[Scored], floor: float) -> list[str]:
    step = (WIDTH - 32 - RIGHT) / max(8, len(own))
    counting = sorted((scored.score for scored in own), reverse=True)[:COUNTING]
    drawn = []
    for n, scored in enumerate(own):
        kind = "counts" if scored.score in counting else "fell" if scored.ride.outcome == "wiped out" else "bar"
        tall = scored.score / 10 * (ROW - 20)
        drawn.append(
            f'<rect class="{kind}" x="{RIGHT + n * step:.1f}" y="{floor - tall:.1f}" width="{step - 3:.1f}" '
            f'height="{tall:.1f}" rx="2"><title>wave {scored.ride.wave}: {scored.score:.2f}</title></rect>'
        )
    return drawn
