"""Where are the vehicles, and where have they been?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from examples.vehicle.dashboard import drawing
from examples.vehicle.dashboard.instruments import set_attributes, shape
from examples.vehicle.dashboard.watch import Seen
from examples.vehicle.messages import Motion

COLOURS: Final = ("#0ea5e9", "#f97316", "#a855f7", "#22c55e", "#eab308", "#ec4899")
"""Of vehicles, in the order of their coming; they can be told apart on light and on dark."""


def colour(seen: Seen) -> str:
    return COLOURS[seen.number % len(COLOURS)]


class Map:
    """A plane in metres, north up, that grows with what has to be seen on it."""

    def __init__(self) -> None:
        self._marks: dict[str, _Mark] = {}
        self._svg = shape("svg", class_="map")
        with self._svg:
            self._grid = shape("path", class_="map-grid")
            self._tracks = shape("g")
            self._vehicles = shape("g")

    def show(self, vehicles: Iterable[Seen], selected: str) -> None:
        placed = [(seen, seen.motion) for seen in vehicles if seen.motion is not None]
        box = drawing.extent(point for seen, motion in placed for point in (*seen.track, (motion.east, motion.north)))
        for seen, motion in placed:
            if seen.name not in self._marks:
                self._marks[seen.name] = _Mark(seen, self._tracks, self._vehicles)
            self._marks[seen.name].show(seen, motion, drawing.enlargement(box), seen.name == selected)
        set_attributes(self._svg, viewBox=drawing.view_box(box))
        set_attributes(self._grid, d=drawing.grid(box))


class _Mark:
    """One vehicle with its track."""

    def __init__(self, seen: Seen, tracks: ui.element, vehicles: ui.element) -> None:
        self._angle = 0.0
        with tracks:
            self._track = shape("polyline", class_="track", stroke=colour(seen))
        with vehicles:
            self._place = shape("g", class_="place")
        with self._place:
            self._halo = shape("circle", class_="halo", r="6", fill=colour(seen))
            self._body = shape("g", class_="body")
            with self._body:
                shape("path", class_="beam", d="M-1.1 -2.4L-4.5 -11H4.5L1.1 -2.4Z")
                shape("rect", class_="hull", x="-1.9", y="-3", width="3.8", height="6", rx="1.1", fill=colour(seen))
                shape("path", class_="window", d="M-1.2 -1.5H1.2V-0.2H-1.2Z")
                shape("path", class_="wing", d="M-1.9 -0.4L-4.4 0.6M1.9 -0.4L4.4 0.6")
            set_attributes(TextElement(tag="text", text=seen.name), class_="map-name", x="0", y="9")

    def show(self, seen: Seen, motion: Motion, scale: float, selected: bool) -> None:
        state, body = seen.state, seen.state.body
        self._angle = drawing.unwound(self._angle, motion.heading)
        set_attributes(self._track, points=drawing.polyline([*seen.track, (motion.east, motion.north)]))
        set_attributes(
            self._place, style=f"transform: translate({motion.east:.2f}px, {-motion.north:.2f}px) scale({scale:.2f})"
        )
        flags = {"lit": body and body.lights, "open": body and body.doors == "open", "gone": state.link == "offline"}
        set_attributes(
            self._body,
            class_=" ".join(["body", *(flag for flag, up in flags.items() if up)]),
            style=f"transform: rotate({self._angle:.1f}deg)",
        )
        set_attributes(self._halo, class_="halo selected" if selected else "halo")
