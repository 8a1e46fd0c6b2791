"""What can be shown on a page? The flows as sequence diagrams and the protocols as bars, in one SVG.

Colours follow the reader's light or dark setting; text stays text, so that it can be searched and read aloud.
"""

from __future__ import annotations

from html import escape
from typing import Final

from tidewire.overhead.costs import LAYERS, Exchange, Flow, SeenPacket
from tidewire.overhead.diagram import size, summary
from tidewire.overhead.report import Report
from tidewire.overhead.tables import LAYER_NAMES, compared_costs, grouped, layers_in

WIDTH: Final = 1040
MARGIN: Final = 32
LIFELINES: Final = {"publisher": 92, "broker": 520, "subscriber": 948}
ROW: Final = 38
BAR_ROW: Final = 26
BARS_AT: Final = 330
"""Where bars begin: names stand to the left of it."""
LONGEST_BAR: Final = WIDTH - BARS_AT - MARGIN - 60

_STYLE: Final = """
  :root { color-scheme: light dark; }
  svg { --ground: #ffffff; --ink: #1c2733; --soft: #5a6a7a; --line: #c3ccd6; --box: #eef2f6; --accent: #0b6e99;
    --payload: #0b6e99; --protocol: #38a3a5; --websocket: #d98e04; --tls: #8e6bbf; --tcp_ip: #a9b4c0; }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #12181f; --ink: #e6edf3; --soft: #9aa8b6; --line: #435160; --box: #1e2833; --accent: #58b7df;
      --payload: #58b7df; --protocol: #57c7b6; --websocket: #f0b429; --tls: #b79ae0; --tcp_ip: #5d6b7a; }
  }
  .ground { fill: var(--ground); }
  text { font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink); }
  .title { font-size: 18px; font-weight: 600; }
  .soft { fill: var(--soft); }
  .name { font-weight: 600; }
  .middle { text-anchor: middle; }
  .end { text-anchor: end; }
  .box { fill: var(--box); stroke: var(--line); }
  .life { stroke: var(--line); stroke-dasharray: 4 4; }
  .arrow { stroke: var(--accent); stroke-width: 1.5; }
  .head { fill: var(--accent); }
"""


def draw(report: Report, flows: bool = True, bars: bool = True) -> str:
    """The flows of one way of speaking MQTT, and the protocols."""
    parts: list[str] = []
    y = MARGIN
    if flows:
        exchange = report.typical
        for flow in exchange.flows:
            drawn, y = _flow(exchange, flow, y)
            parts += drawn
    if bars:
        drawn, y = _bars(report, y)
        parts += drawn
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
            f'viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}">',
            "<title>What a message costs</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{y}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _flow(exchange: Exchange, flow: Flow, y: int) -> tuple[list[str], int]:
    """One sequence diagram from `y` on, and where it ends."""
    parts = [
        _text(MARGIN, y + 14, f"QoS {flow.qos}", "title"),
        _text(WIDTH - MARGIN, y + 14, f"{exchange.form} · {summary(flow)}", "soft end"),
    ]
    top = y + 32
    bottom = top + 34 + ROW * len(flow.packets) + 14
    for name, x in LIFELINES.items():
        parts.append(f'<line class="life" x1="{x}" y1="{top + 28}" x2="{x}" y2="{bottom}"/>')
        parts.append(f'<rect class="box" x="{x - 60}" y="{top}" width="120" height="28" rx="6"/>')
        parts.append(_text(x, top + 19, name, "middle"))
    for row, packet in enumerate(flow.packets, 1):
        parts += _arrow(packet, top + 34 + ROW * row)
    return parts, bottom + MARGIN


def _arrow(packet: SeenPacket, y: int) -> list[str]:
    ends = LIFELINES[packet.client], LIFELINES["broker"]
    start, end = ends if packet.to_broker else ends[::-1]
    back = -9 if end > start else 9
    detail = f" {escape(packet.detail)}" if packet.detail else ""
    return [
        f'<text class="middle" x="{(start + end) / 2:g}" y="{y - 7}"><tspan class="name">{packet.name}</tspan>{detail}'
        f'<tspan class="soft"> · {size(packet)}</tspan></text>',
        f'<line class="arrow" x1="{start}" y1="{y}" x2="{end + back}" y2="{y}"/>',
        f'<path class="head" d="M{end} {y}l{back} -4.5v9z"/>',
    ]


def _bars(report: Report, y: int) -> tuple[list[str], int]:
    """The protocols, the cheapest first, and where that ends."""
    compared = sorted(compared_costs(report), key=lambda cost: cost.message.total)
    longest = max(cost.message.total for cost in compared)
    title = f"Bytes of one message of {report.message.payload_bytes} B, both ways"
    parts = [_text(MARGIN, y + 14, title, "title")]
    y += 30
    x = float(MARGIN)
    for name in layers_in(cost.message.both for cost in compared):
        parts.append(f'<rect x="{x:g}" y="{y}" width="12" height="12" rx="2" style="fill: var(--{name})"/>')
        parts.append(_text(x + 18, y + 11, LAYER_NAMES[name], "soft"))
        x += 40 + 9 * len(LAYER_NAMES[name])
    y += 26
    for cost in compared:
        x = float(BARS_AT)
        parts.append(_text(BARS_AT - 10, y + 15, cost.name, "end"))
        for name in LAYERS:
            if count := getattr(cost.message.both, name):
                width = count / longest * LONGEST_BAR
                parts.append(
                    f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="18" style="fill: var(--{name})">'
                    f"<title>{LAYER_NAMES[name]}: {count} B</title></rect>"
                )
                x += width
        parts.append(_text(x + 8, y + 15, grouped(cost.message.total), "name"))
        y += BAR_ROW
    return parts, y + MARGIN


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{escape(text)}</text>'
