"""Where are the rows drawn while they come? In the browser, in place: only what is new travels there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import to_builtins
from nicegui import ui

from tidewire.console.flow.diagram import Row
from tidewire.console.flow.drawing import DARK, LIGHT, palette

SHOWN_ROWS: Final = 300
"""In the browser: some screens to look back on, and quickly laid out."""

STYLE: Final = f"""
:root {{ {palette(LIGHT)} }}
.body--dark {{ {palette(DARK)} }}
""" + (
    """
.flow { position: relative; width: 100%; min-width: 0; --own: var(--faint); }
.flow-heads, .flow-row { display: grid; grid-template-columns: 6.2rem minmax(0, 1fr) 5rem 4.4rem; }
.flow-heads { border-bottom: 1px solid var(--line); overflow: hidden; scrollbar-gutter: stable; padding-bottom: .6rem; }
.flow-ends { display: flex; justify-content: space-between; margin: 0 1.4rem; }
.flow-ends b:first-child { transform: translateX(-50%); max-width: 14rem; }
.flow-ends b:last-child { transform: translateX(50%); }
.flow-ends b { padding: .2rem .8rem; border: 1px solid var(--line); border-radius: 8px;
  font-weight: 600; background: var(--ground); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.flow-rows { height: max(20rem, calc(100vh - 25rem)); overflow-y: scroll; scrollbar-gutter: stable; }
.flow-row { height: 3rem; contain: strict; content-visibility: auto; scroll-margin: 5rem 0 0;
  border-radius: 8px; cursor: pointer; }
.flow-row:hover { background: color-mix(in srgb, var(--tide) 7%, transparent); }
.flow-row.chosen { background: color-mix(in srgb, var(--tide) 16%, transparent); }
.flow-row.gap { cursor: default; }
.flow-time { display: flex; flex-direction: column; justify-content: center; padding-left: .5rem; font-size: .78rem;
  line-height: 1.25; }
.flow-way { position: relative; margin: 0 1.4rem; border: solid color-mix(in srgb, var(--faint) 45%, var(--line));
  border-width: 0 2px; }
.flow-label { position: absolute; inset: .45rem .9rem auto; display: flex; gap: .5rem; align-items: center;
  justify-content: center; white-space: nowrap; font-size: .86rem; line-height: 1.3rem; }
.flow-label b { font-weight: 650; letter-spacing: .01em; }
.flow-id { color: var(--own); font-weight: 600; }
.flow-mark { font-size: .7rem; line-height: 1.1rem; padding: 0 .4rem; border: 1px solid var(--line);
  border-radius: 6px; }
.flow-said { min-width: 0; overflow: hidden; text-overflow: ellipsis; }
.flow-size { font-size: .78rem; }
.flow-arrow { position: absolute; left: 0; right: 0; top: 2.15rem; height: 2px; background: var(--own); }
.flow-arrow::after { content: ""; position: absolute; top: -4px; left: 0; border: 5px solid transparent;
  border-right: 9px solid var(--own); border-left: 0; }
.in .flow-arrow::after { left: auto; right: 0; border: 5px solid transparent; border-left: 9px solid var(--own);
  border-right: 0; }
.no b { color: var(--flow-no); }
.no .flow-arrow { --own: var(--flow-no) !important; }
.closed .flow-way, .gap .flow-way, .malformed .flow-way { border-style: dotted; }
.closed .flow-label, .gap .flow-label, .malformed .flow-label { top: .85rem; }
.closed .flow-label b, .gap .flow-label b { font-weight: 500; color: var(--faint); }
.closed .flow-said { color: var(--faint); }
.closed, .gap, .malformed { background: repeating-linear-gradient(135deg, transparent 0 8px,
  color-mix(in srgb, var(--line) 35%, transparent) 8px 16px); }
.flow-lanes { position: relative; }
.flow-lanes i { position: absolute; top: 0; bottom: 0; width: 2px; background: var(--own, var(--faint)); }
.flow-lanes i.begin { top: 2.2rem; }
.flow-lanes i.end { bottom: .8rem; }
.flow-lanes i:not(.pass)::after { content: ""; position: absolute; left: -3px; width: 8px; height: 8px;
  border-radius: 50%; background: var(--own, var(--faint)); top: calc(2.2rem - 4px); }
.flow-lanes i.begin::after { top: -4px; }
.flow-took { align-self: end; padding: 0 .6rem .35rem 0; text-align: right; font-size: .8rem; font-weight: 600;
  white-space: nowrap; }
.flow-latest { position: absolute; right: 0; top: 0; padding: .3rem .8rem; border: 0; border-radius: 99px;
  background: var(--tide); color: var(--card); font-weight: 600; cursor: pointer; }
@media (max-width: 900px) {
  .flow-heads, .flow-row { grid-template-columns: minmax(0, 1fr) 2.4rem 3.2rem; }
  .flow-heads span:first-child, .flow-time, .flow-size { display: none; }
  .flow-row { scroll-margin-bottom: 53vh; }
  .flow-way, .flow-ends { margin: 0 .4rem; }
  .flow-ends b, .flow-ends b:first-child { transform: none !important; max-width: 60%; }
  .flow-label { inset: .45rem .3rem auto; gap: .3rem; font-size: .78rem; }
  .flow-mark { padding: 0 .25rem; }
  .flow-took { font-size: .72rem; padding-right: .1rem; }
}
"""
)


class FlowView(ui.element, component="flow_rows.js"):
    """The two life lines of one client and its broker, and the arrows between them."""

    def __init__(self, client: str, choose: Callable[[int], None]) -> None:
        """`choose` gets the number of the packet that somebody has chosen, 0 for none."""
        super().__init__()
        ui.add_css(STYLE)
        self._props["client"] = client
        self._props["most"] = SHOWN_ROWS
        self.on("choose", lambda event: choose(event.args if isinstance(event.args, int) else 0))

    def add(self, rows: Iterable[Row]) -> None:
        """Below what is there."""
        self.run_method("add", to_builtins(list(rows)))

    def replace(self, rows: Iterable[Row]) -> None:
        """What is there."""
        self.run_method("replace", to_builtins(list(rows)))

    def see(self) -> None:
        """Bring the packet that is chosen into view, beside what is shown of it."""
        self.run_method("see")

    def leave(self) -> None:
        """No packet is chosen any more."""
        self.run_method("leave")
