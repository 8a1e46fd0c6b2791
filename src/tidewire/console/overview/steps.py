"""What does somebody do first whose broker has nothing to show yet? A page to open and a command to copy."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from shlex import quote
from typing import Final
from urllib.parse import urlsplit

from nicegui import ui

from tidewire.console import charts
from tidewire.console.look import Look
from tidewire.console.overview.history import History
from tidewire.server.admin_types import ListenerInfo

STANDARD_PORT: Final = 1883
"""What `tidewire pub` and `tidewire sub` take where none is named."""

CLIENT: Final = "newcomer"
MESSAGE: Final = '{"degrees": 20.5}'
"""Has a number to draw."""


def where(listeners: list[ListenerInfo]) -> str | None:
    """The options that lead `tidewire pub` here from this machine, with a space before them; None where none do."""
    for listener in listeners:
        if listener.protocol != "mqtt" or listener.tls:
            continue
        for url in listener.urls:
            parts = urlsplit(url)
            if parts.port is None:
                continue
            host = parts.hostname or ""
            is_here = host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "")
            named = "" if is_here else f" -h {host}"
            return named if parts.port == STANDARD_PORT else f"{named} -p {parts.port}"
    return None


class FirstSteps:
    """Shown to those who open the page before the first message; it stays until they leave, and says when one came."""

    def __init__(self, look: Look, history: History) -> None:
        self._waits = history.latest.totals.messages_in == 0
        options = where(history.latest.listeners)
        if not self._waits or options is None:
            self._waits = False
            return
        who = f" -u {quote(look.name)} -P PASSWORD" if look.name else ""
        with charts.section("First steps") as self._card:
            ui.label("Nothing has been published yet. Say something, from a terminal:").classes("faint")
            _command(f"{_program()} pub{options}{who} -i {CLIENT} -q 2 -r -t hello/room -m '{MESSAGE}'")
            self._after = ui.label("Then look here.").classes("faint").props("role=status")
            with ui.row().classes("gap-6"):
                ui.link("See it under Topics", "/topics").classes("link")
                if look.operator:
                    watched = ui.link(f"Watch the packets of {CLIENT}, then say it again", f"/flow?client={CLIENT}")
                    watched.classes("link")

    def show(self, history: History) -> None:
        """Say so when it has come."""
        if self._waits and history.latest.totals.messages_in > 0:
            self._waits = False
            charts.show(self._after, "The first message has come.")
            self._after.classes(add="in-tide font-semibold", remove="faint")


def _program() -> str:
    """How this `tidewire` is typed: by its name where the shell finds it."""
    beside = Path(sys.executable).with_name("tidewire")
    if shutil.which("tidewire") is not None or not beside.exists():
        return "tidewire"
    here = Path.cwd()
    return quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))


def _command(text: str) -> None:
    """A line to copy."""
    with ui.row().classes("w-full items-center gap-2 no-wrap"):
        ui.label(text).classes("command").props('tabindex=0 role=group aria-label="Command"')
        button = ui.button(icon="content_copy", on_click=lambda: _copy(text), color=None)
        button.props('flat round size=sm aria-label="Copy the command"').classes("in-tide")


def _copy(text: str) -> None:
    ui.clipboard.write(text)
    ui.notify("copied")
