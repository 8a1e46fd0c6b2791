"""What do a client and the broker say to each other? Their packets as a sequence diagram, while they pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from nicegui import ui

from tidewire.console import charts
from tidewire.console.flow.choice import choose_client
from tidewire.console.flow.diagram import GROUPS, Row, Sequence, elapsed
from tidewire.console.flow.drawing import draw
from tidewire.console.flow.packet import PacketCard
from tidewire.console.flow.record import Recording, file_name
from tidewire.console.flow.view import SHOWN_ROWS, FlowView
from tidewire.console.handing_over import hand_over
from tidewire.console.look import Look
from tidewire.console.one_at_a_time import OneAtATime
from tidewire.console.words import day, number, size
from tidewire.server.admin import AdminFault
from tidewire.server.admin_types import PacketSeen

DRAWN_S: Final = 0.25
"""Between two looks: it reads as live."""
DRAWN_PACKETS: Final = 60
"""Of one look: more than can be read, and some two milliseconds' work. Of more, the last."""

KEPT_ROWS: Final = 2_000
"""That can be gone back to when the filter changes, …"""
KEPT_BYTES: Final = 8 * 1024 * 1024
"""… and what their payloads may take in all."""

RECORDING_SHOWN_S: Final = 1.0

STYLE: Final = """
.chip { border: 1px solid var(--line); border-radius: 99px; color: var(--faint) !important; }
.chip[aria-pressed=true] { color: var(--text) !important; border-color: var(--tide);
  background: color-mix(in srgb, var(--tide) 14%, transparent) !important; }
@media (max-width: 900px) { .chips { flex-wrap: nowrap; overflow-x: auto; padding: 3px; } .chips > * { flex: none; } }
"""


def build(look: Look) -> None:
    """The page: `?client=` in its address says whose packets."""
    charts.add_style()
    client = ui.context.client.request.query_params.get("client", "")
    if not client:
        choose_client(look)
        return
    try:
        _Inspector(look, client)
    except AdminFault as fault:
        ui.label(str(fault))


class _History:
    """The rows that can be gone back to, and what their packets say."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Row, PacketSeen | None]] = deque()
        self._bytes = 0

    def add(self, rows: list[Row], packets: list[PacketSeen]) -> None:
        said = {packet.number: packet for packet in packets}
        for row in rows:
            packet = said.get(row.number)
            self._kept.append((row, packet))
            self._bytes += len(packet.payload) if packet is not None else 0
        while len(self._kept) > KEPT_ROWS or self._bytes > KEPT_BYTES:
            _, packet = self._kept.popleft()
            self._bytes -= len(packet.payload) if packet is not None else 0

    def clear(self) -> None:
        self._kept.clear()
        self._bytes = 0

    def rows(self, wanted: Callable[[Row], bool]) -> list[Row]:
        """The last of those that are wanted, as many as are shown."""
        found = [row for row, _ in self._kept if wanted(row)]
        return found[-SHOWN_ROWS:]

    def packet(self, number: int) -> PacketSeen | None:
        return next((packet for row, packet in self._kept if row.number == number), None) if number else None


class _Inspector:
    """One client, as long as its packets are looked at. Raises AdminFault for one that cannot be."""

    def __init__(self, look: Look, client: str) -> None:
        ui.add_css(STYLE)
        self._admin = look.admin
        self._client = client
        self._feed = look.admin.watch_packets(client, DRAWN_PACKETS)
        ui.context.client.on_delete(self._feed.close)
        self._sequence = Sequence()
        self._history = _History()
        self._groups = set(GROUPS)
        self._paused = False
        self._exporting = OneAtATime()
        self._head()
        with ui.element("div").classes(
            "w-full grid items-start grid-cols-1 min-[1100px]:grid-cols-[minmax(0,1fr)_20rem] gap-4"
        ):
            with ui.card().classes("section min-w-0"):
                self._filters()
                self._view = FlowView(client, self._choose)
            self._card = PacketCard(self._unchoose)
        self._tell_state()
        ui.timer(DRAWN_S, self._draw)

    # -- what is on the page

    def _head(self) -> None:
        with ui.card().classes("section w-full"), ui.row().classes("w-full items-center gap-x-6 gap-y-3"):
            with ui.column().classes("gap-0 min-w-0 flex-1 basis-64"):
                with ui.element("h2").classes("max-w-full"):
                    ui.label(self._client).classes("mono break-all").style("font-size: 1.15rem")
                self._state = ui.label().classes("faint small figure")
            with ui.row().classes("items-center gap-2"):
                self._pause = button("Pause", "pause", self._turn_pause)
                button("Clear", "clear_all", self._clear)
                drawing = button("SVG", "image", partial(self._exporting.do, self._download_drawing))
                self._exporting.shown_by(drawing.props('aria-label="Download the diagram as SVG"'))
                _Recorder(self._admin, self._client)
                ui.link("Another client", "/flow").classes("link small px-1")

    def _filters(self) -> None:
        with ui.row().classes("w-full items-center gap-2 chips"):
            for group, names in GROUPS.items():
                chip = ui.button(group, on_click=lambda event, group=group: self._turn_group(event.sender, group))
                chip.props('flat dense no-caps color=none padding="1px 12px" aria-pressed=true').classes("chip")
                chip.tooltip(", ".join(names))
        self._figures = ui.label("Nothing yet").classes("faint small figure")

    # -- what happens on it

    def _draw(self) -> None:
        if self._paused:
            return
        seen = self._feed.take()
        if not seen.packets:
            return
        rows = self._sequence.rows(seen.packets)
        self._history.add(rows, seen.packets)
        self._view.add([row for row in rows if self._wanted(row)])
        self._tell_figures()
        if any(packet.packet in ("CONNACK", "closed") for packet in seen.packets):
            self._tell_state()

    def _wanted(self, row: Row) -> bool:
        return row.kind != "packet" or any(row.name in GROUPS[group] for group in self._groups)

    def _tell_figures(self) -> None:
        sequence = self._sequence
        told = [f"{number(sequence.packets)} packets"]
        told += [f"{number(sequence.left_out)} left out"] * (sequence.left_out > 0)
        handshake = sequence.handshake_s()
        if handshake is not None:
            told.append(f"handshakes take {elapsed(handshake)} (median)")
        charts.show(self._figures, " · ".join(told))

    def _tell_state(self) -> None:
        known = self._admin.client(self._client)
        if known is None:
            told = "Not here now: its packets show as soon as it connects."
        elif known.info.connected:
            info = known.info
            told = f"MQTT {info.version} over {info.transport} from {info.address}, since {day(info.since)}"
        else:
            told = f"Away since {day(known.info.since)}; its session is kept."
        charts.show(self._state, told)

    def _turn_pause(self) -> None:
        self._paused = not self._paused
        self._pause.set_text("Go on" if self._paused else "Pause")
        self._pause.set_icon("play_arrow" if self._paused else "pause")

    def _turn_group(self, chip: Any, group: str) -> None:
        self._groups ^= {group}
        chip.props(f"aria-pressed={'true' if group in self._groups else 'false'}")
        self._view.replace(self._history.rows(self._wanted))

    def _clear(self) -> None:
        self._history.clear()
        self._view.replace([])
        self._card.show(None)

    def _choose(self, number: int) -> None:
        self._card.show(self._history.packet(number))
        self._view.see()

    def _unchoose(self) -> None:
        self._card.show(None)
        self._view.leave()

    async def _download_drawing(self) -> None:
        rows = self._history.rows(self._wanted)
        await hand_over(draw(self._client, rows).encode(), f"{file_name(self._client)}.svg", "image/svg+xml")


class _Recorder:
    """The button that records and stops, and the file of the last recording."""

    def __init__(self, admin: Any, client: str) -> None:
        self._admin = admin
        self._client = client
        self._recording: Recording | None = None
        self._button = button("Record", "fiber_manual_record", self._turn)
        self._file = button("NDJSON", "download", self._download).props('aria-label="Download the recording"')
        self._file.set_visibility(False)
        self._told = ui.label().classes("faint small figure")
        self._told.set_visibility(False)
        self._timer = ui.timer(RECORDING_SHOWN_S, self._tell, active=False)
        ui.context.client.on_delete(self._forget)

    async def _turn(self) -> None:
        if self._recording is not None and self._recording.running:
            await self._recording.stop()
            self._tell()
            return
        self._forget()
        try:
            self._recording = Recording(self._admin, self._client)
        except (AdminFault, OSError) as fault:
            ui.notify(f"It cannot be recorded: {fault}", type="negative")
            return
        self._timer.activate()
        self._told.set_visibility(True)
        self._tell()

    def _tell(self) -> None:
        recording = self._recording
        if recording is None:
            return
        running = recording.running
        left_out = f", {number(recording.left_out)} left out" if recording.left_out else ""
        charts.show(self._told, f"{number(recording.packets)} packets, {size(recording.bytes)}{left_out}")
        self._button.set_text("Stop" if running else "Record")
        self._button.set_icon("stop" if running else "fiber_manual_record")
        self._file.set_visibility(not running and recording.packets > 0)
        if not running:
            self._timer.deactivate()
            if recording.fault:
                ui.notify(recording.fault, type="warning")

    def _download(self) -> None:
        if self._recording is not None:
            ui.download.file(self._recording.path, self._recording.path.name, "application/x-ndjson")

    def _forget(self) -> None:
        if self._recording is not None:
            self._recording.close()


def button(text: str, icon: str, press: Callable[[], object]) -> ui.button:
    """One of those that stand in a row."""
    return ui.button(text, icon=icon, on_click=press).props('outline no-caps dense padding="3px 12px" size=13px')
