"""How much of each? Bars under names that stay while what they show changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nicegui import ui

from tidewire.console import charts

STYLE: Final = """
.client-bars { display: grid; grid-template-columns: auto minmax(3rem, 1fr) auto; gap: .45rem .9rem; width: 100%;
  align-items: center; font-size: .86rem; }
.client-bars > div { display: contents; }
.client-bars .track { display: flex; height: 1rem; border-radius: 4px; overflow: hidden; background: var(--ground); }
"""


class Bars:
    """One bar for each name, of one or more parts; the longest fills its row."""

    def __init__(self, names: Sequence[str], colours: Sequence[str]) -> None:
        """`colours` are CSS, one for each part of a bar."""
        ui.add_css(STYLE)
        self._rows: dict[str, _Row] = {}
        with ui.element("div").classes("client-bars"):
            for name in names:
                self._rows[name] = _Row(name, colours)

    def show(self, shown: Mapping[str, tuple[Sequence[float], str]]) -> None:
        """Name → (its parts, what stands at its end); names that are not in it are hidden."""
        longest = max((sum(parts) for parts, _ in shown.values()), default=0) or 1
        for name, row in self._rows.items():
            parts, end = shown.get(name, ((), ""))
            row.show([part / longest for part in parts], end)


class _Row:
    def __init__(self, name: str, colours: Sequence[str]) -> None:
        self._shares: list[float] = []
        with ui.element("div") as self._all:
            ui.label(name).classes("faint")
            with ui.element("div").classes("track").props("aria-hidden=true"):
                self._parts = [ui.element("span").style(f"background: {colour}; width: 0") for colour in colours]
            self._end = ui.label().classes("figure text-right")

    def show(self, shares: list[float], end: str) -> None:
        if self._all.visible != bool(end):
            self._all.set_visibility(bool(end))
        shares = [round(share, 3) for share in shares]
        if shares != self._shares:
            self._shares = shares
            for part, share in zip(self._parts, shares, strict=False):
                part.style(f"width: {share:.1%}")
        charts.show(self._end, end)
