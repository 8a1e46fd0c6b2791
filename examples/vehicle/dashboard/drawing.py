"""Where on the paper is it? Plane geometry for the map, the gauges and the small chart, as SVG wants it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, cos, floor, radians, sin
from typing import Final

from examples.vehicle.physics import short_way

GRID: Final = 20.0
"""Metres between two lines of the map, which grows by whole squares."""

MAP_AT_LEAST: Final = (-60.0, -40.0, 60.0, 50.0)
"""West, south, east, north of what is always shown, in metres."""

Box = tuple[float, float, float, float]


def extent(points: Iterable[tuple[float, float]]) -> Box:
    """West, south, east and north of a map that has all the points and some room around them."""
    west, south, east, north = MAP_AT_LEAST
    for x, y in points:
        west, south, east, north = min(west, x - 8), min(south, y - 8), max(east, x + 8), max(north, y + 8)
    return floor(west / GRID) * GRID, floor(south / GRID) * GRID, ceil(east / GRID) * GRID, ceil(north / GRID) * GRID


def view_box(box: Box) -> str:
    """The same as SVG says it, where y grows downwards: south is positive."""
    west, south, east, north = box
    return f"{west:g} {-north:g} {east - west:g} {north - south:g}"


def enlargement(box: Box) -> float:
    """How much larger than life vehicles and names are drawn, to be seen on a map that has grown."""
    return max(box[2] - box[0], (box[3] - box[1]) * 4 / 3) / (MAP_AT_LEAST[2] - MAP_AT_LEAST[0])


def grid(box: Box) -> str:
    """The lines of the map and of what a window of another shape shows beside it, as the `d` of one path."""
    room = ceil(max(box[2] - box[0], box[3] - box[1]) / GRID) * GRID
    west, south, east, north = box[0] - room, box[1] - room, box[2] + room, box[3] + room
    columns = (west + GRID * number for number in range(round((east - west) / GRID) + 1))
    rows = (south + GRID * number for number in range(round((north - south) / GRID) + 1))
    lines = [f"M{x:g} {-south:g}V{-north:g}" for x in columns] + [f"M{west:g} {-y:g}H{east:g}" for y in rows]
    return "".join(lines)


def polyline(points: Iterable[tuple[float, float]]) -> str:
    """A way over the map, as the `points` of a polyline."""
    return " ".join(f"{x:.1f},{-y:.1f}" for x, y in points)


def arc(radius: float, begin: float, end: float) -> str:
    """Part of a circle around the origin, clockwise from one direction to another (degrees, 0 is up)."""
    x1, y1 = radius * sin(radians(begin)), -radius * cos(radians(begin))
    x2, y2 = radius * sin(radians(end)), -radius * cos(radians(end))
    return f"M{x1:.3f} {y1:.3f}A{radius:g} {radius:g} 0 {int(end - begin > 180)} 1 {x2:.3f} {y2:.3f}"


def ticks(inner: float, outer: float, directions: Iterable[float]) -> str:
    """Short lines towards directions (degrees), as the `d` of one path."""
    lines = []
    for direction in directions:
        x, y = sin(radians(direction)), -cos(radians(direction))
        lines.append(f"M{inner * x:.2f} {inner * y:.2f}L{outer * x:.2f} {outer * y:.2f}")
    return "".join(lines)


def sparkline(values: Sequence[float], width: float, height: float) -> str:
    """A small chart from 0 to the largest value, the newest on the right; as the `points` of a polyline."""
    if not values:
        return ""
    top = max(values) or 1.0
    step = width / max(len(values) - 1, 1)
    return " ".join(f"{step * number:.1f},{height * (1 - value / top):.1f}" for number, value in enumerate(values))


def unwound(before: float, heading: float) -> float:
    """The same direction (degrees) as an angle next to the one before: a needle goes the short way past north."""
    return before + short_way(before, heading)
