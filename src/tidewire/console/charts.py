"""What do figures look like on a page? Cards, tiles, tables, lines over time and bars, all in the page's colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from nicegui import ui

STYLE: Final = """
:root { --second: #b45309; --payload: #0b6e8f; --protocol: #2a9d8f; --websocket: #d98e04; --tls: #8e6bbf;
  --tcp_ip: #9aa8b4; --good: #1a7f4b; --bad: #b3261e; }
.body--dark { --second: #f4b266; --payload: #4cc3e6; --protocol: #57c7b6; --websocket: #f0b429; --tls: #b79ae0;
  --tcp_ip: #667786; --good: #6fd39b; --bad: #ffb4a9; }
.section { padding: 1.1rem 1.25rem 1.25rem; gap: .75rem; min-width: 0; }
.section h2 { font-size: 1rem; font-weight: 600; line-height: 1.4; margin: 0; }
.tile { font-size: 1.35rem; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.small { font-size: .82rem; line-height: 1.45; }
.scrolled { width: 100%; overflow-x: auto; border-radius: 6px; }
.tide-table, .tide-table .q-table { background: transparent; color: var(--text); font-variant-numeric: tabular-nums; }
.tide-table .q-table__middle { overflow: visible; }
.tide-table th { color: var(--faint); font-size: .8rem; font-weight: 600; white-space: pre-line; vertical-align: bottom;
  line-height: 1.25; }
.tide-table th, .tide-table td { border-color: var(--line) !important; padding: .45rem .7rem !important; }
.tide-table tr > :first-child { padding-left: .15rem !important; }
.tide-table td { font-size: .86rem; }
.tide-table td.wide { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; }
.tide-table td.topic { font-family: ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere;
  white-space: normal; min-width: 11rem; }
.tide-table td.line { max-width: 20rem; overflow: hidden; text-overflow: ellipsis; }
.tide-table button { all: unset; cursor: pointer; color: var(--tide); overflow-wrap: anywhere; }
.tide-table button:hover { text-decoration: underline; }
.tide-table button:focus-visible { outline: 3px solid var(--tide); outline-offset: 1px; }
@media (max-width: 600px) { .tide-table td.line { max-width: 9.5rem; } }
.used { width: 5rem; height: .5rem; border-radius: 4px; background: var(--line); overflow: hidden; }
.used div { height: 100%; }
.bar { height: 1.1rem; min-width: 0; }
.command { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .86rem; background: var(--ground);
  border: 1px solid var(--line); border-radius: 8px; padding: .5rem .75rem; overflow-x: auto; white-space: pre;
  min-width: 0; flex: 1; }
.q-field__native, .q-field__input { color: var(--text) !important; }
.q-field__label, .q-field__messages, .q-field__suffix { color: var(--faint); }
.q-field--error .q-field__messages { color: var(--bad); }
.q-field--outlined .q-field__control:before { border-color: var(--line) !important; }
.segments { border: 1px solid var(--line); border-radius: 8px; overflow: hidden; flex-wrap: wrap; }
.segments .q-btn { color: var(--text); min-height: 2.1rem; padding: 0 .85rem; border-radius: 0 !important; }
.section .q-btn:not(.q-btn--round) { border-radius: 8px; }
.bg-tide { background: var(--tide); }
.segments .text-on-tide { color: var(--card); }
.on-bad { color: var(--card); background: var(--bad); }
.q-dialog__backdrop { z-index: 0 !important; }
.q-dialog__inner { z-index: 1; }
.q-loading-bar { display: none; }
.section .q-separator { background: var(--line); }
.link { color: var(--tide); font-weight: 600; text-decoration: none; }
.link:hover { text-decoration: underline; }
.on-tide { color: var(--card); background: var(--tide); }
.in-tide { color: var(--tide); }
.in-bad { color: var(--bad); }
"""

_COUNT: Final = """value => value == null ? '–' : value < 10 && value % 1
  ? value.toFixed(1) : Math.round(value).toLocaleString('en').replaceAll(',', ' ')"""
_BYTES: Final = """value => { if (value == null) return '–'; let unit = 0;
  while (value >= 999.5 && unit < 4) { value /= 1000; unit++; }
  const shown = unit && value < 99.95 ? +value.toFixed(1) : Math.round(value);
  return shown + ' ' + ['B', 'kB', 'MB', 'GB', 'TB'][unit]; }"""
_PERCENT: Final = "value => value == null ? '–' : (value < 10 ? value.toFixed(1) : Math.round(value)) + ' %'"
UNITS: Final = {"count": _COUNT, "bytes": _BYTES, "percent": _PERCENT}
"""How an axis writes its numbers: JavaScript, and all of it from here."""

_AGO: Final = "value => +value == 0 ? 'now' : `−${value / 60} min`"
_TOLD: Final = """points => { const box = document.createElement('div');
  const head = document.createElement('div');
  head.textContent = +points[0].name == 0 ? 'now' : `${points[0].name} s ago`;
  box.append(head);
  for (const point of points) { const line = document.createElement('div'); line.style.fontWeight = 600;
    line.textContent = `${point.seriesName}: ${(UNIT)(point.value)}`; box.append(line); }
  return box; }"""


def add_style() -> None:
    """What everything below needs, once a page."""
    ui.add_css(STYLE)


@contextmanager
def section(title: str, classes: str = "") -> Iterator[ui.card]:
    """A card with a heading of the second order."""
    with ui.card().classes(f"section w-full {classes}") as card:
        heading(title)
        yield card


def heading(title: str) -> ui.label:
    """Of the second order, for a card."""
    with ui.element("h2"):
        return ui.label(title)


def tile(name: str, colour: str = "") -> tuple[ui.label, ui.label]:
    """A figure under its name, and what is said below it; with the colour that it has in a chart."""
    with ui.column().classes("gap-0 min-w-[6.5rem]"):
        with ui.row().classes("gap-2 items-center no-wrap"):
            if colour:
                ui.element("span").classes("inline-block w-3 h-3 rounded").style(f"background: {colour}")
            ui.label(name).classes("faint small")
        figure = ui.label("–").classes("tile")
        below = ui.label("").classes("faint small figure")
    return figure, below


def segments(
    options: list[Any] | dict[Any, str], value: object, on_change: Callable[[], object] | None = None
) -> ui.toggle:
    """One of a few, all of which are seen."""
    chosen = ui.toggle(options, value=value, on_change=on_change)
    return chosen.props("unelevated no-caps toggle-color=tide toggle-text-color=on-tide").classes("segments")


def show(label: ui.label, text: str) -> None:
    """Send it only where it is news."""
    if label.text != text:
        label.set_text(text)


def table(name: str, columns: Sequence[Mapping[str, Any]], row_key: str = "id") -> ui.table:
    """Rows with a head; it scrolls in its own place where it is too wide, also by keyboard. Columns are Quasar's."""
    with ui.element("div").classes("scrolled").props(f'tabindex=0 role=region aria-label="{name}"'):
        full = [{"align": "left", "field": each["name"], **each} for each in columns]
        drawn = ui.table(rows=[], columns=full, row_key=row_key)
        return drawn.props("flat dense hide-pagination hide-no-data").classes("tide-table w-full")


def show_rows(drawn: ui.table, rows: list[dict[str, Any]]) -> None:
    """Send them only where they are news."""
    if drawn.rows != rows:
        drawn.rows = rows


class Table:
    """A table with something in its place while there are no rows."""

    def __init__(self, name: str, columns: Sequence[Mapping[str, Any]], row_key: str = "id", empty: str = "") -> None:
        self._empty = ui.label(empty).classes("faint small max-w-3xl")
        with ui.element("div").classes("w-full") as self._room:
            self.drawn = table(name, columns, row_key)
        self._room.set_visibility(False)

    def show(self, rows: list[dict[str, Any]]) -> None:
        """Send them only where they are news."""
        show_rows(self.drawn, rows)
        self._room.set_visibility(bool(rows))
        self._empty.set_visibility(not rows)


def figures(*names: str | tuple[str, str]) -> list[dict[str, Any]]:
    """Columns of numbers, to the right; a name, or (name, label)."""
    pairs = [(each, each) if isinstance(each, str) else each for each in names]
    return [{"name": name, "label": label, "align": "right"} for name, label in pairs]


COLOURS: Final = ("var(--tide)", "var(--second)")
"""Of the first and the second line."""


class Lines:
    """The last minutes of one or two figures; a value for each second, the last is now."""

    def __init__(self, about: str, names: Sequence[str], unit: str, seconds: int) -> None:
        """`about` says what it shows to those who do not see it; `unit` is one of `UNITS`."""
        self._seconds = seconds
        self._chart = ui.echart(self._options(names, UNITS[unit]), renderer="svg")
        self._chart.classes("w-full h-36").props(f'role=img aria-label="{about}"')

    def show(self, series: Sequence[Sequence[float | None]]) -> None:
        """Values by series, each as long as there are seconds; None where there is none."""
        drawn = self._chart.options["series"]
        for each, values in zip(drawn, series, strict=True):
            each["data"] = list(values)
        self._chart.update()

    def _options(self, names: Sequence[str], unit: str) -> dict[str, Any]:
        faint = {"color": "var(--faint)", "fontSize": 11}
        return {
            "animation": False,
            "grid": {"left": 8, "right": 12, "top": 12, "bottom": 6, "containLabel": True},
            "tooltip": {
                "trigger": "axis",
                ":formatter": _TOLD.replace("UNIT", unit),
                "backgroundColor": "var(--card)",
                "borderColor": "var(--line)",
                "textStyle": {"color": "var(--text)", "fontSize": 12},
                "axisPointer": {"lineStyle": {"color": "var(--faint)"}, "animation": False},
                "transitionDuration": 0,
            },
            "xAxis": {
                "type": "category",
                "boundaryGap": False,
                "data": list(range(self._seconds - 1, -1, -1)),
                "axisLabel": {**faint, ":interval": f"index => ({self._seconds} - 1 - index) % 60 == 0",
                              ":formatter": _AGO, "showMinLabel": False, "alignMaxLabel": "right"},
                "axisLine": {"lineStyle": {"color": "var(--line)"}},
                "axisTick": {"show": False},
            },
            "yAxis": {
                "type": "value",
                "min": 0,
                "splitNumber": 3,
                "minInterval": 1,
                "axisLabel": {**faint, ":formatter": unit},
                "splitLine": {"lineStyle": {"color": "var(--line)"}},
            },
            "series": [
                {
                    "name": name,
                    "type": "line",
                    "showSymbol": False,
                    "silent": True,
                    "emphasis": {"disabled": True},
                    "data": [],
                    "lineStyle": {"color": colour, "width": 1.75},
                    "itemStyle": {"color": colour},
                    "areaStyle": {"color": colour, "opacity": 0.1},
                }
                for name, colour in zip(names, COLOURS, strict=False)
            ],
        }  # fmt: skip


def key(names: Sequence[str], colours: Sequence[str]) -> None:
    """What the colours mean."""
    with ui.row().classes("gap-x-4 gap-y-1 items-center"):
        for name, colour in zip(names, colours, strict=True):
            with ui.row().classes("gap-2 items-center no-wrap"):
                ui.element("span").classes("inline-block w-3 h-3 rounded").style(f"background: {colour}")
                ui.label(name).classes("faint small")


class Bars:
    """A bar for each name, made of the same parts; the longest fills the width."""

    def __init__(self, names: Sequence[str], parts: Sequence[str], colours: Sequence[str]) -> None:
        self._parts = parts
        self._rows: list[tuple[ui.element, list[ui.element], ui.label]] = []
        with ui.element("div").classes("w-full grid gap-x-3 gap-y-2 items-center grid-cols-1 sm:grid-cols-[14rem_1fr]"):
            for name in names:
                ui.label(name).classes("small sm:text-right break-words min-w-0 -mb-2 sm:mb-0")
                with ui.element("div").classes("flex items-center gap-2 min-w-0"):
                    with ui.element("div").classes("flex min-w-0 rounded overflow-hidden") as bar:
                        drawn = [ui.element("div").classes("bar").style(f"background: {colour}") for colour in colours]
                    self._rows.append((bar, drawn, ui.label().classes("small figure font-medium whitespace-nowrap")))

    def show(self, values: Sequence[Sequence[int]], told: Callable[[int], str]) -> None:
        """Values by name and part, none below 0; `told` writes one."""
        longest = max(map(sum, values), default=0) or 1
        for (bar, drawn, end), row in zip(self._rows, values, strict=True):
            bar.style(f"width: calc({sum(row) / longest:.4f} * (100% - 5.5rem))")
            show(end, told(sum(row)))
            for element, part, value in zip(drawn, self._parts, row, strict=True):
                element.style(f"flex: {value} 1 0")
                element.props["title"] = f"{part}: {told(value)}"
