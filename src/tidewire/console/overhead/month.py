"""What would a month cost with another schedule? Reckoned from what was measured, for every way that was measured."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace
from nicegui import ui

from tidewire.console import charts, words
from tidewire.overhead.costs import Direction, Exchange, Traffic
from tidewire.overhead.kernel import ETHERNET_MSS
from tidewire.overhead.protocols import ProtocolCost, of_mqtt
from tidewire.overhead.report import Report
from tidewire.overhead.schedule import MONTH_S, Month, Schedule, month, ping_bytes
from tidewire.overhead.tables import megabytes

LARGEST_PAYLOAD_BYTES: Final = 100_000
"""Past it so many segments follow each other that what they cost is no question of the protocol."""

HEADERS_BYTES: Final = 52
"""Of IPv4 and TCP with timestamps, for a segment that a longer payload needs on top."""

KEEP_ALIVE_MAXIMUM_S: Final = 65_535
"""A two byte integer (3.1.2.10)."""

ALL: Final = "All"


def resized(cost: ProtocolCost, difference: int) -> ProtocolCost:
    """A cost with so many more, or fewer, bytes of payload: an estimate, as framing may need a byte more or less."""
    return replace(cost, first=_traffic(cost.first, difference), message=_traffic(cost.message, difference))


def reckoned(report: Report, schedule: Schedule, payload_bytes: int) -> list[Month]:
    """A month of every way of sending that was measured."""
    difference = payload_bytes - report.message.payload_bytes
    months = [
        month(resized(cost, difference), schedule, ping_bytes(exchange))
        for exchange in report.exchanges
        for cost in of_mqtt(exchange)
    ]
    return months + [month(resized(cost, difference), schedule) for cost in report.others]


class Calculator:
    """The card of it."""

    def __init__(self) -> None:
        self._report: Report | None = None
        with charts.section("A device's month"):
            self._none = ui.label("Measure first: a month is reckoned from what was measured.").classes("faint small")
            with ui.column().classes("w-full gap-3") as self._room:
                with ui.element("div").classes("grid grid-cols-2 sm:grid-cols-4 gap-3 w-full max-w-3xl"):
                    self._every = _number("A message every", "s", 30, 0.1, MONTH_S)
                    self._payload = _number("Payload", "bytes", 20, 0, LARGEST_PAYLOAD_BYTES)
                    self._keep_alive = _number("Keep alive", "s", 60, 0, KEEP_ALIVE_MAXIMUM_S)
                    self._transport = ui.select([ALL], value=ALL, label="Transport", on_change=self._reckon)
                    self._transport.props("outlined dense options-dense").classes("w-full")
                for each in (self._every, self._payload, self._keep_alive):
                    each.on_value_change(self._reckon)
                self._told = ui.label().classes("small").props("role=status")
                columns = [
                    {"name": "name", "label": "How it is sent"},
                    *charts.figures(("kept", "MB, connection\nkept"), ("each", "MB, one for\neach message")),
                    *charts.figures(("kept_wakes", "wake-ups,\nkept"), ("each_wakes", "wake-ups,\none for each")),
                ]
                self._table = charts.Table("A device's month", columns, "name")
                self._estimate = ui.label().classes("faint small")
            self._room.set_visibility(False)

    def show(self, report: Report) -> None:
        """Reckon from this one, beginning with its own schedule."""
        self._report = None
        self._every.value = report.schedule.every_s
        self._payload.value = report.message.payload_bytes
        self._keep_alive.value = report.schedule.keep_alive_s
        transports = dict.fromkeys(_transport(exchange) for exchange in report.exchanges)
        self._transport.set_options([ALL, *transports], value=next(iter(transports)))
        self._report = report
        self._none.set_visibility(False)
        self._room.set_visibility(True)
        self._reckon()

    def _reckon(self) -> None:
        report = self._report
        values = (self._every.value, self._payload.value, self._keep_alive.value)
        if report is None or any(value is None for value in values) or not self._is_within():
            return
        schedule = Schedule(float(values[0]), int(values[2]))
        payload = int(values[1])
        charts.show(
            self._told,
            f"{words.number(schedule.messages)} messages and {words.number(schedule.pings)} pings in 30 days.",
        )
        self._table.show(self._rows(reckoned(report, schedule, payload)))
        measured = report.message.payload_bytes
        charts.show(
            self._estimate,
            f"It was measured with {measured} B; another payload is estimated. Measure again with {payload} B to know."
            if payload != measured
            else "A wake-up: the radio has slept for want of traffic and is needed again.",
        )

    def _rows(self, months: list[Month]) -> list[dict[str, Any]]:
        """Of the transport that was chosen; other protocols stay."""
        chosen = f"· {self._transport.value},"
        return [
            _row(each)
            for each in months
            if self._transport.value == ALL or not each.name.startswith("MQTT") or chosen in each.name
        ]

    def _is_within(self) -> bool:
        return all([field.validate() for field in (self._every, self._payload, self._keep_alive)])


def _transport(exchange: Exchange) -> str:
    return str(exchange.form).rpartition("· ")[2]


def _traffic(traffic: Traffic, difference: int) -> Traffic:
    return Traffic(_direction(traffic.sent, difference), _direction(traffic.received, 0))


def _direction(direction: Direction, difference: int) -> Direction:
    more = (direction.stream + difference) // ETHERNET_MSS - direction.stream // ETHERNET_MSS
    return replace(
        direction,
        payload=direction.payload + difference,
        tcp_ip=direction.tcp_ip + more * HEADERS_BYTES,
        segments=direction.segments + more,
    )


def _number(label: str, unit: str, value: float, least: float, most: float) -> ui.number:
    field = ui.number(
        label,
        value=value,
        min=least,
        max=most,
        suffix=unit,
        validation=lambda given: None if given is not None and least <= given <= most else f"{least:g} to {most:g}",
    )
    return field.props("outlined dense debounce=250 hide-bottom-space").classes("w-full")


def _row(each: Month) -> dict[str, Any]:
    return {
        "name": each.name,
        "kept": megabytes(each.kept_bytes),
        "each": megabytes(each.connecting_bytes),
        "kept_wakes": "–" if each.kept_wake_ups is None else words.number(each.kept_wake_ups),
        "each_wakes": words.number(each.connecting_wake_ups),
    }
