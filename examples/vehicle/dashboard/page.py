"""What does a person see and press? A map, one vehicle's instruments and commands, and what came of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from examples.vehicle.dashboard.control import Control
from examples.vehicle.dashboard.instruments import Compass, Latency, Speedometer, set_attributes
from examples.vehicle.dashboard.map import Map, colour
from examples.vehicle.dashboard.watch import Entry, Seen
from examples.vehicle.messages import (
    REVERSE_MAXIMUM,
    AnyCommand,
    DoorAction,
    Doors,
    Heading,
    Lights,
    ParkingBrake,
    Rotation,
    Speed,
    Stop,
)

FRAME_S: Final = 0.1
"""Ten pictures a second, however much telemetry comes; the browser moves things smoothly in between."""

ENTRIES_SHOWN: Final = 9

STYLE: Final = Path(__file__).parent / "style.css"


def build(control: Control, url: str) -> None:
    """One person's page."""
    ui.add_css(STYLE)
    ui.query("html").props("lang=en")
    _Page(control, url)


class _Page:
    def __init__(self, control: Control, url: str) -> None:
        self._control = control
        self._chosen = ""
        self._tabs: dict[str, _Tab] = {}
        self._entered = -1
        with ui.element("div").classes("room"):
            self._build_head(url)
            with ui.element("section").classes("card map-card"):
                self._map = Map()
                ui.label("Squares of 20 m").classes("caption map-scale")
                self._hint = ui.label("Waiting for the first vehicle …").classes("map-hint")
            with ui.element("section").classes("card panel"):
                self._build_panel()
            with ui.element("section").classes("card log"):
                ui.label("Commands and answers").classes("caption")
                self._log = ui.element("div").classes("log-lines")
        self._show()
        ui.timer(FRAME_S, self._show)

    # -- what is there

    def _build_head(self, url: str) -> None:
        with ui.element("header"):
            with ui.element("div"):
                TextElement(tag="h1", text="Vehicles").classes("title")
                ui.label(url).classes("caption")
            self._strip = ui.element("nav").classes("strip")
            self._link = ui.label().classes("pill")
            dark = ui.dark_mode(None)
            following = {None: True, True: False, False: None}
            button = _button(lambda: dark.set_value(following[dark.value]), "round")
            with _named(button, "Dark, light, or as the system has it"):
                ui.icon("contrast")

    def _build_panel(self) -> None:
        with ui.element("div").classes("row spread"):
            self._name = ui.label().classes("name")
            with _button(self._toggle_tour, "tour") as self._tour:
                ui.icon("route")
                ui.label("Tour")
        self._warning = ui.label().classes("warning")
        with ui.element("div").classes("dials"):
            self._speedometer = Speedometer()
            self._compass = Compass()
        with ui.element("div").classes("row controls speed"):
            ui.label("Speed, m/s").classes("caption")
            self._slider = ui.slider(min=-REVERSE_MAXIMUM, max=12, step=0.5, value=0).props(
                'label-always color=teal aria-label="Speed in metres a second"'
            )
            self._slider.on("change", lambda event: self._send(Speed(float(event.args))))
            with self._action(Stop(), "stop"):
                ui.label("STOP")
        with ui.element("div").classes("row controls turns"):
            for icon, degrees in (("rotate_left", -45), ("rotate_right", 45)):
                with _named(
                    self._action(Rotation(degrees)), f"Turn {'left' if degrees < 0 else 'right'} by {abs(degrees)}°"
                ):
                    ui.icon(icon)
            for letter, degrees in (("N", 0), ("E", 90), ("S", 180), ("W", 270)):
                with self._action(Heading(degrees)):
                    ui.label(letter)
        self._doors: dict[str, ui.element] = {}
        doors: tuple[tuple[DoorAction, str, str], ...] = (
            ("lock", "lock", "locked"),
            ("unlock", "lock_open", ""),
            ("open", "meeting_room", "open"),
            ("close", "door_front", "closed"),
        )
        with ui.element("div").classes("row controls doors"):
            for action, icon, state in doors:
                with self._action(Doors(action)) as self._doors[state]:
                    ui.icon(icon)
                    ui.label(action.capitalize())
        with ui.element("div").classes("row controls"):
            with _button(self._toggle_lights) as self._lights:
                ui.icon("light_mode")
                ui.label("Lights")
            with _button(self._toggle_brake) as self._brake:
                ui.icon("local_parking")
                ui.label("Parking brake")
        self._latency = Latency()
        self._figures = ui.label().classes("caption figures")

    def _action(self, command: AnyCommand, kind: str = "") -> ui.element:
        return _button(lambda: self._send(command), kind)

    # -- what happens

    @property
    def _seen(self) -> Seen | None:
        return self._control.watch.vehicles.get(self._chosen)

    async def _send(self, command: AnyCommand) -> None:
        if self._seen is not None:
            await self._control.command(self._chosen, command)

    async def _toggle_lights(self) -> None:
        if (seen := self._seen) and seen.state.body:
            await self._send(Lights(not seen.state.body.lights))

    async def _toggle_brake(self) -> None:
        if (seen := self._seen) and seen.state.body:
            await self._send(ParkingBrake(not seen.state.body.parking_brake))

    def _toggle_tour(self) -> None:
        if self._control.touring(self._chosen):
            self._control.end_tour(self._chosen)
        elif self._seen is not None:
            self._control.start_tour(self._chosen)

    def _choose(self, name: str) -> None:
        self._chosen = name
        seen = self._control.watch.vehicles[name]
        self._slider.set_value(round(seen.motion.speed * 2) / 2 if seen.motion else 0)

    # -- what is shown

    def _show(self) -> None:
        watch = self._control.watch
        for seen in watch.vehicles.values():
            if seen.name not in self._tabs:
                with self._strip:
                    self._tabs[seen.name] = _Tab(seen, self._choose)
            self._tabs[seen.name].show(seen, self._chosen)
        if not self._chosen and watch.vehicles:
            self._choose(next(iter(watch.vehicles)))
        self._hint.set_visibility(not watch.vehicles)
        self._link.set_text("broker connected" if self._control.client.connected else "broker away")
        _mark(self._link, bad=not self._control.client.connected)
        self._map.show(watch.vehicles.values(), self._chosen)
        if self._seen is not None:
            self._show_panel(self._seen)
        if watch.entered != self._entered:
            self._entered = watch.entered
            self._log.clear()
            with self._log:
                for entry in list(watch.entries)[:ENTRIES_SHOWN]:
                    _show_entry(entry)

    def _show_panel(self, seen: Seen) -> None:
        state, body = seen.state, seen.state.body
        self._name.set_text(seen.name)
        offline = "offline: its link is gone, and it stops by itself" if state.link == "offline" else ""
        stopped = f"stopped by itself: {state.stopped_because}" if state.stopped_because else ""
        self._warning.set_text(offline or stopped)
        self._warning.set_visibility(bool(offline or stopped))
        self._speedometer.show(seen)
        self._compass.show(seen)
        self._latency.show(seen)
        set_attributes(self._slider, max=state.speed_maximum or 12)
        for door, button in self._doors.items():
            _mark(button, on=body is not None and body.doors == door)
        _mark(self._lights, on=body is not None and body.lights)
        _mark(self._brake, on=body is not None and body.parking_brake)
        _mark(self._tour, on=self._control.touring(seen.name))
        self._tour.set_visibility(self._control.has_tour(seen.name))
        driven = seen.motion.distance if seen.motion else 0.0
        self._figures.set_text(f"{driven:.0f} m driven · {seen.missed} telemetry messages missed")


class _Tab:
    """A vehicle among the others, to be chosen."""

    def __init__(self, seen: Seen, choose: Callable[[str], None]) -> None:
        with _button(lambda: choose(seen.name), "tab") as self._button:
            ui.element("i").classes("dot").style(f"background: {colour(seen)}")
            ui.label(seen.name)
            self._speed = ui.label().classes("tab-speed")

    def show(self, seen: Seen, chosen: str) -> None:
        speed = f"{abs(seen.motion.speed):.0f} m/s" if seen.motion else "–"
        self._speed.set_text("offline" if seen.state.link == "offline" else speed)
        _mark(self._button, on=seen.name == chosen, bad=seen.state.link == "offline")


def _button(pressed: Callable[[], Any], kind: str = "") -> ui.element:
    return ui.element("button").props("type=button").classes(f"button {kind}").on("click", pressed, args=[])


def _named(button: ui.element, name: str) -> ui.element:
    """For one that shows a picture only: what it does, for screen readers and on hovering."""
    return set_attributes(button, aria_label=name, title=name)


def _mark(element: ui.element, **flags: bool) -> None:
    """Set and take classes."""
    for name, up in flags.items():
        if up != (name in element.classes):
            element.classes(**{"add" if up else "remove": name})


def _show_entry(entry: Entry) -> None:
    with ui.element("div").classes(f"log-line {entry.result}"):
        ui.label(f"{entry.at:%H:%M:%S}").classes("log-time")
        ui.label(entry.vehicle).classes("log-vehicle")
        ui.label(entry.command).classes("log-command")
        ui.label(entry.reason or entry.result).classes("log-result")
        ui.label(f"{entry.milliseconds:.1f} ms" if entry.milliseconds else "").classes("log-time")
