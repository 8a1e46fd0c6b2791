"""How does a diagram look in a file? As one SVG that any browser shows, in the reader's light or dark colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from tidewire.console.flow.diagram import LANES, Bracket, Row

LIGHT: Final = ("#0b6e8f", "#a84a12", "#6d4bb8", "#1a7f4b", "#b0246b", "#7d6000", "#2f5fd0", "#5a6a12", "#b3261e")
"""Of the packet identifiers, in turn; the last for what was refused. All at least 4.5 : 1 on the page."""
DARK: Final = ("#4cc3e6", "#f0955a", "#b79df0", "#5fcf95", "#f07ab5", "#e0b93a", "#8fb0ff", "#b6c75a", "#ff8f85")

WIDTH: Final = 1120
TOP: Final = 84
ROW: Final = 44
CLIENT: Final = 170
BROKER: Final = 900
"""Where the life lines stand."""
LANE: Final = 930
LANE_WIDTH: Final = 13
TOOK: Final = WIDTH - 24
LABEL_CHARACTERS: Final = 92
"""That fit between the life lines."""
NAME_CHARACTERS: Final = 32

_NOT_IN_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML file may contain (XML 1.0, 2.2); a topic may."""


def palette(colours: Sequence[str]) -> str:
    """As CSS variables."""
    *turns, no = colours
    return "".join(f"--flow-{turn}: {colour}; " for turn, colour in enumerate(turns)) + f"--flow-no: {no};"


_STYLE: Final = f"""
  :root {{ color-scheme: light dark; }}
  svg {{ --ground: #fff; --text: #10212c; --faint: #4d6472; --line: #d3dee5; {palette(LIGHT)} }}
  @media (prefers-color-scheme: dark) {{
    svg {{ --ground: #16232d; --text: #e6eff4; --faint: #9fb4c1; --line: #2b3b47; {palette(DARK)} }}
  }}
  text {{ font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--text); }}
  .title {{ font-size: 17px; font-weight: 600; }}
  .name {{ font-weight: 600; }}
  .faint {{ fill: var(--faint); }}
  .middle {{ text-anchor: middle; }}
  .end {{ text-anchor: end; }}
  .box {{ fill: var(--ground); stroke: var(--line); }}
  .life {{ stroke: var(--line); stroke-width: 2; }}
"""


def draw(client: str, rows: Sequence[Row]) -> str:
    """The rows of one client as an SVG file."""
    height = TOP + ROW * len(rows) + 28
    title = f"{client}: {len(rows)} rows" if rows else client
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" height="{height}">',
            f"<title>{_safe(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" style="fill: var(--ground)"/>',
            *_life_line(CLIENT, _cut(client, NAME_CHARACTERS), height),
            *_life_line(BROKER, "broker", height),
            *(part for place, row in enumerate(rows) for part in _row(row, TOP + ROW * place)),
            "</svg>\n",
        ]
    )


def _life_line(x: int, name: str, height: int) -> list[str]:
    width = max(100, 9 * len(name) + 28)
    return [
        f'<line class="life" x1="{x}" y1="52" x2="{x}" y2="{height - 20}"/>',
        f'<rect class="box" x="{x - width / 2:g}" y="22" width="{width}" height="30" rx="8"/>',
        _text(x, 42, name, "middle name"),
    ]


def _row(row: Row, y: int) -> list[str]:
    """From `y` down: its times, its label over its arrow, and the brackets beside it."""
    line = y + 30
    parts = [_text(20, y + 20, row.clock, "faint"), _text(20, y + 36, row.since, "faint")]
    own = "var(--flow-no)" if row.refused else _colour(row.colour)
    identifier = f" #{row.identifier}" if row.identifier else ""
    rest = " · ".join(part for part in (*row.marks, row.said, row.size) if part)
    rest = _cut(rest, LABEL_CHARACTERS - len(row.name) - len(identifier))
    middle = (CLIENT + BROKER) / 2
    parts.append(
        f'<text class="middle" x="{middle:g}" y="{line - 8}"><tspan class="name">{_safe(row.name)}</tspan>'
        f'<tspan class="name" style="fill: {own}">{identifier}</tspan>'
        f'<tspan class="faint">{_safe(f" · {rest}" if rest else "")}</tspan></text>'
    )
    if row.kind == "packet":
        start, end = (CLIENT, BROKER) if row.to_broker else (BROKER, CLIENT)
        back = -9 if row.to_broker else 9
        parts += [
            f'<line x1="{start}" y1="{line}" x2="{end + back}" y2="{line}" style="stroke: {own}; stroke-width: 1.6"/>',
            f'<path d="M{end} {line}l{back} -4.5v9z" style="fill: {own}"/>',
        ]
    else:
        parts.append(
            f'<line x1="{CLIENT}" y1="{line}" x2="{BROKER}" y2="{line}"'
            ' style="stroke: var(--faint); stroke-dasharray: 2 6"/>'
        )
    parts += [part for bracket in row.brackets for part in _bracket(bracket, y, line)]
    if row.took:
        parts.append(_text(TOOK, line + 4, row.took, "end name"))
    return parts


def _bracket(bracket: Bracket, y: int, line: int) -> list[str]:
    assert 0 <= bracket.lane < LANES
    x = LANE + LANE_WIDTH * bracket.lane
    colour = _colour(bracket.colour)
    top = line if bracket.part == "begin" else y
    bottom = line if bracket.part == "end" else y + ROW
    parts = [f'<line x1="{x}" y1="{top}" x2="{x}" y2="{bottom}" style="stroke: {colour}; stroke-width: 2"/>']
    if bracket.part != "pass":
        parts.append(f'<circle cx="{x}" cy="{line}" r="4" style="fill: {colour}"/>')
    return parts


def _colour(turn: int) -> str:
    return f"var(--flow-{turn})" if turn >= 0 else "var(--faint)"


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{_safe(text)}</text>'


def _safe(text: str) -> str:
    return escape(_NOT_IN_XML.sub("\ufffd", text))
