"""What do messages cost? Measured on demand, reckoned for a month, and counted on this broker's own traffic."""

from __future__ import annotations

import re
from typing import Final, get_args

from nicegui import background_tasks, ui

from tidewire.console import charts
from tidewire.console.look import Look
from tidewire.console.overhead.budgets import Budgets
from tidewire.console.overhead.measure import MEASUREMENT
from tidewire.console.overhead.meters import Meters
from tidewire.console.overhead.month import KEEP_ALIVE_MAXIMUM_S, LARGEST_PAYLOAD_BYTES, Calculator
from tidewire.console.overhead.result import draw_result
from tidewire.overhead.costs import TransportName
from tidewire.overhead.protocols import FAMILIES
from tidewire.overhead.report import Report

SHOWN_S: Final = 0.5
"""How often a measurement that runs is looked at."""

METERED_TURNS: Final = 20
"""So many of these between two looks at the meters: they ask every socket."""

ALL: Final = "all"

OURS: Final = "This broker"
MEASURED: Final = "Measured"
MONTH: Final = "A device's month"


def build(look: Look) -> None:
    """The page."""
    charts.add_style()
    ui.add_css(".body--dark img.flow { color-scheme: dark; } .body--light img.flow { color-scheme: light; }")
    with ui.tabs().props("no-caps dense align=left active-class=in-tide").classes("w-full") as tabs:
        for name in (OURS, MEASURED, MONTH):
            ui.tab(name)
    with ui.tab_panels(tabs, value=OURS, animated=False, keep_alive=True).classes("w-full bg-transparent"):
        with ui.tab_panel(OURS).classes("p-0 gap-4"):
            meters = Meters(look)
            budgets = Budgets(look) if look.operator else None
        with ui.tab_panel(MEASURED).classes("p-0 gap-4"):
            chosen = _Measure(look)
            room = ui.column().classes("w-full gap-4")
        with ui.tab_panel(MONTH).classes("p-0 gap-4"):
            calculator = Calculator()
    shown: list[Report] = []
    turns = 0

    def show() -> None:
        nonlocal turns
        turns += 1
        if turns % METERED_TURNS == 0:
            meters.show()
            if budgets is not None:
                budgets.show()
        chosen.show()
        report = MEASUREMENT.report
        if report is not None and [report] != shown:
            shown[:] = [report]
            calculator.show(report)
            room.clear()
            with room:
                draw_result(report)

    ui.timer(SHOWN_S, show)


class _Measure:
    """What is to be measured, and how far it has come."""

    def __init__(self, look: Look) -> None:
        self._operator = look.operator
        with charts.section("Measure"):
            ui.label(
                "A broker of its own, on loopback and in its own process, and a publisher and a subscriber, go through "
                "every stage of a device's life. What passes is counted, layer by layer."
            ).classes("faint small max-w-3xl")
            if not look.operator:
                ui.label("Operators can measure here; what they measured last is shown below.").classes("small")
                return
            with ui.element("div").classes("grid grid-cols-2 sm:grid-cols-4 gap-3 w-full max-w-3xl"):
                self._payload = ui.number("Payload", value=20, min=0, max=LARGEST_PAYLOAD_BYTES, suffix="bytes")
                self._every = ui.input("A message every", value="30s", validation=_time_fault)
                self._keep_alive = ui.number("Keep alive", value=60, min=0, max=KEEP_ALIVE_MAXIMUM_S, suffix="s")
                names = {ALL: "All transports", "tcp": "TCP", "tls": "TLS", "ws": "WebSocket", "wss": "WebSocket, TLS"}
                self._transport = ui.select(names, value=ALL, label="Transport")
                for field in (self._payload, self._every, self._keep_alive, self._transport):
                    field.props("outlined dense options-dense hide-bottom-space").classes("w-full")
            self._others = ui.switch(f"Also the same message by {', '.join(FAMILIES.values())}", value=True)
            with ui.row().classes("items-center gap-4 w-full"):
                self._start = ui.button("Measure", icon="speed", on_click=self._measure, color=None).props(
                    "unelevated no-caps"
                )
                self._start.classes("on-tide")
                self._stop = ui.button("Stop", icon="stop", on_click=MEASUREMENT.stop, color=None).props(
                    "outline no-caps"
                )
                self._stop.classes("in-tide")
                self._told = ui.label().classes("small").props("role=status")
            self._progress = ui.linear_progress(0, show_value=False, size="6px").props("rounded aria-label=Progress")
        self.show()

    def show(self) -> None:
        """How far it is."""
        if not self._operator:
            return
        running = MEASUREMENT.running
        self._start.set_enabled(not running)
        self._stop.set_visibility(running)
        self._progress.set_visibility(running)
        if running:
            steps = MEASUREMENT.steps
            charts.show(self._told, f"measuring {steps[-1]} …" if steps else "starting …")
            self._progress.value = min(0.98, len(steps) / max(1, _expected(MEASUREMENT.options)))
        else:
            charts.show(self._told, MEASUREMENT.fault)

    def _measure(self) -> None:
        payload, keep_alive = self._payload.value, self._keep_alive.value
        if payload is None or keep_alive is None or not self._every.validate():
            ui.notify("fill in payload, time and keep alive", type="negative")
            return
        options = ["--payload", str(int(payload)), "--every", self._every.value, "--keep-alive", str(int(keep_alive))]
        if self._transport.value != ALL:
            options += ["--transport", self._transport.value]
        if not self._others.value:
            options += ["--only", "costs"]
        background_tasks.create(MEASUREMENT.run(options), name="tidewire overhead")
        self.show()


def _expected(options: list[str]) -> int:
    """Steps: three ways of speaking MQTT over each transport, and the other protocols."""
    transports = 1 if "--transport" in options else len(get_args(TransportName))
    return 3 * transports + (0 if "--only" in options else len(FAMILIES))


def _time_fault(value: str) -> str | None:
    """The command says more; this is its form."""
    return None if re.fullmatch(r"\d{1,7}(\.\d{1,3})? ?(s|m|min|h|d)?", value) else "write 30s, 5m, 2h or 1d"
