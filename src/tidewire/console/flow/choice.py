"""Whose packets shall be looked at? A field for any client identifier, and the clients that are there."""

from __future__ import annotations

from typing import Final

from nicegui import html, ui

from tidewire.console import charts
from tidewire.console.clients.pace import paced
from tidewire.console.clients.words import packets_address
from tidewire.console.look import Look
from tidewire.server.admin_types import ClientInfo

SUGGESTED: Final = 12
"""Clients: what fits on a page without scrolling."""
SUGGESTED_S: Final = 2.0
"""Between two looks at who is there."""

STYLE: Final = """
.suggested { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); gap: .6rem;
  width: 100%; }
.suggested a { display: flex; flex-direction: column; padding: .65rem .9rem; border: 1px solid var(--line);
  border-radius: 10px; color: var(--text); text-decoration: none; min-width: 0; }
.suggested a:hover { border-color: var(--tide); background: color-mix(in srgb, var(--tide) 8%, transparent); }
.suggested span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
"""


def choose_client(look: Look) -> None:
    """A page that leads to one."""
    ui.add_css(STYLE)

    def watch(client: object) -> None:
        if client:
            ui.navigate.to(packets_address(str(client)))

    with charts.section("Whose packets?"):
        ui.label(
            "Every packet between one client and the broker, as it passes: each QoS handshake with its times, "
            "connections that end, and all that a packet says."
        ).classes("faint").style("max-width: 46rem")
        with ui.row().classes("w-full items-center gap-3 no-wrap").style("max-width: 46rem"):
            field = ui.input("Client identifier").props("outlined dense clearable autofocus debounce=200")
            field.classes("grow")
            # What the field has at that moment: its value here comes a moment after the last key.
            field.on("keydown.enter", lambda event: watch(event.args), js_handler="event => emit(event.target.value)")
            ui.button("Watch", icon="swap_vert", on_click=lambda: watch(field.value)).props("unelevated no-caps")
        ui.label("It need not be here yet: then its first packet is its CONNECT.").classes("faint small")
    with charts.section("Who is here"):
        nobody = ui.label().classes("faint")
        with html.div().classes("suggested"):
            suggestions = [_Suggestion() for _ in range(SUGGESTED)]

    def suggest() -> None:
        contains = str(field.value or "")
        found = look.admin.clients(contains, limit=SUGGESTED, order="active")
        for place, suggestion in enumerate(suggestions):
            suggestion.show(found[place] if place < len(found) else None)
        charts.show(nobody, "" if found else f"No client has “{contains}” in its name." if contains else "Nobody yet.")
        nobody.set_visibility(not found)

    field.on_value_change(suggest)
    paced(SUGGESTED_S, suggest)


class _Suggestion:
    """One client to choose."""

    def __init__(self) -> None:
        self._shown: tuple[str, str] | None = ("", "")
        with ui.link(target="/flow") as self._link:
            self._name = ui.label().classes("mono font-medium truncate max-w-full")
            self._about = ui.label().classes("faint small truncate max-w-full")
        self.show(None)

    def show(self, info: ClientInfo | None) -> None:
        shown = (info.client_identifier, _about(info)) if info is not None else None
        if shown == self._shown:
            return
        self._shown = shown
        self._link.set_visibility(shown is not None)
        if shown is not None:
            name, about = shown
            self._link.props["href"] = packets_address(name)
            charts.show(self._name, name)
            charts.show(self._about, about)


def _about(info: ClientInfo) -> str:
    if not info.connected:
        return "away"
    user = f"{info.user}, " if info.user else ""
    return f"{user}MQTT {info.version} over {info.transport}, {info.address}"
