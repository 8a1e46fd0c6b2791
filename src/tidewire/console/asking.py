"""Is that really meant? A dialog that says what will happen, and waits for the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nicegui import ui


@contextmanager
def modal(title: str, classes: str) -> Iterator[ui.dialog]:
    """A dialog with its title; while it is open, nothing behind it can be reached, also not by a screen reader."""
    # Not below what was pressed: that may be in a dialog that closes.
    with ui.context.client.content, ui.dialog() as dialog, ui.card().classes(f"section w-full {classes}"):
        dialog.props("aria-labelledby=modal-title transition-duration=0")
        dialog.on_value_change(
            lambda event: ui.run_javascript(f"document.querySelector('.q-layout').inert = {str(event.value).lower()}")
        )
        with ui.element("h2").props("id=modal-title").classes("w-full"):
            ui.label(title).classes("[overflow-wrap:anywhere]")
        yield dialog


async def answered(dialog: ui.dialog) -> object:
    """Open a dialog, wait until it is closed, and throw it away; what it was closed with, None for nothing."""
    answer: object = await dialog
    if not dialog.client.is_deleted:  # who was asked may have left
        dialog.delete()
    return answer


async def asked(title: str, text: str, act: str, listed: Sequence[str] = (), typed: str = "") -> bool:
    """Whether `act` was pressed. `listed` are lines below the text; with `typed`, that has to be typed in first."""
    with modal(title, "max-w-lg") as dialog:
        ui.label(text).classes("break-words min-w-0")
        if listed:
            with ui.element("ul").classes("w-full m-0 pl-5 list-disc max-h-56 overflow-y-auto").props("tabindex=0"):
                for line in listed:
                    with ui.element("li"):
                        ui.label(line).classes("mono small break-words")
        word = ui.input(f"Type {typed} to go on").props("outlined dense").classes("w-full") if typed else None
        with ui.row().classes("w-full justify-end gap-2"):
            ui.button("Cancel", on_click=lambda: dialog.submit(False), color=None).props(
                "flat no-caps autofocus"
            ).classes("in-tide")
            go_on = ui.button(act, on_click=lambda: dialog.submit(True), color=None)
            go_on.props("unelevated no-caps").classes("on-bad")
            if word is not None:
                go_on.bind_enabled_from(word, "value", lambda value: value == typed)
    return bool(await answered(dialog))
