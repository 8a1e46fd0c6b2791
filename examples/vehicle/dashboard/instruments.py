"""What is drawn of one vehicle? A speedometer, a compass, and a chart of latencies."""

from __future__ import annotations

from statistics import median

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from examples.vehicle.dashboard import drawing
from examples.vehicle.dashboard.watch import Seen

_SWEEP = (-120.0, 120.0)
"""Directions of the speedometer's beginning and end."""


def shape(tag: str, **attributes: str) -> ui.element:
    """An element of SVG; `class_` is its class."""
    element = ui.element(tag)
    return set_attributes(element, **attributes)


def set_attributes(element: ui.element, **attributes: str | float) -> ui.element:
    """Change attributes and send them to the page, if there is any change."""
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    if any(element.props.get(name) != value for name, value in named.items()):
        element.props.update(named)
        element.update()
    return element


class Speedometer:
    """How fast, and of how much."""

    def __init__(self) -> None:
        with ui.element("div").classes("dial"):
            with shape("svg", viewBox="-50 -50 100 84"):
                shape("path", class_="dial-back", d=drawing.arc(42, *_SWEEP))
                self._arc = shape("path", class_="dial-arc", d=drawing.arc(42, *_SWEEP), pathLength="100")
                shape("path", class_="dial-ticks", d=drawing.ticks(33, 36, range(-120, 121, 24)))
            with ui.element("div").classes("dial-text"):
                self._number = ui.label().classes("dial-number")
                self._unit = ui.label().classes("dial-unit")

    def show(self, seen: Seen) -> None:
        motion = seen.motion if seen.state.link == "online" else None
        speed = motion.speed if motion else 0.0
        part = min(abs(speed) / seen.state.speed_maximum, 1.0) if seen.state.speed_maximum else 0.0
        set_attributes(self._arc, style=f"stroke-dashoffset: {100 - 100 * part:.1f}")
        self._number.set_text(f"{speed:.1f}" if motion else "–")
        self._unit.set_text(f"m/s of {seen.state.speed_maximum:g}" if motion else "not known")


class Compass:
    """Where it points to."""

    def __init__(self) -> None:
        self._angle = 0.0
        with ui.element("div").classes("dial"):
            with shape("svg", viewBox="-50 -50 100 100"):
                shape("circle", class_="dial-back", r="42")
                shape("path", class_="dial-ticks", d=drawing.ticks(37, 41, range(0, 360, 15)))
                for letter, x, y in (("N", 0, -26), ("E", 29, 3.5), ("S", 0, 33), ("W", -29, 3.5)):
                    mark = TextElement(tag="text", text=letter)
                    set_attributes(mark, class_=f"dial-letter {'north' * (letter == 'N')}", x=f"{x}", y=f"{y}")
                self._needle = shape("g", class_="needle")
                with self._needle:
                    shape("path", class_="needle-head", d="M0 -48L5.5 -37H-5.5Z")
            with ui.element("div").classes("dial-text middle"):
                self._number = ui.label().classes("dial-number small")

    def show(self, seen: Seen) -> None:
        heading = seen.motion.heading if seen.motion else 0.0
        self._angle = drawing.unwound(self._angle, heading)
        set_attributes(self._needle, style=f"transform: rotate({self._angle:.1f}deg)")
        self._number.set_text(f"{round(heading) % 360}°")


class Latency:
    """How long commands take to the vehicle and back."""

    def __init__(self) -> None:
        with ui.element("div").classes("latency"):
            with ui.element("div").classes("latency-text"):
                ui.label("Command and answer").classes("caption")
                self._number = ui.label()
            with ui.element("div").classes("latency-chart"):
                with ui.element("div").classes("latency-scale caption"):
                    self._top = ui.label()
                    ui.label("0 ms")
                with shape("svg", viewBox="0 -2 200 44", preserveAspectRatio="none"):
                    self._line = shape("polyline", class_="latency-line", points="")

    def show(self, seen: Seen) -> None:
        latencies = seen.latencies
        set_attributes(self._line, points=drawing.sparkline(latencies, 200, 40))
        self._top.set_text(f"{max(latencies):.1f} ms" if latencies else "")
        self._number.set_text(f"{latencies[-1]:.1f} ms, median {median(latencies):.1f} ms" if latencies else "–")
