"""Which messages are sent again and again? Templates, kept in the browser, and exported and imported as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from nicegui import events, ui

from tidewire.console import charts
from tidewire.console.asking import asked
from tidewire.console.publish.draft import (
    NAME_CHARACTERS,
    TEMPLATES_BYTES,
    Draft,
    DraftFault,
    Template,
    templates_as_json,
    templates_of,
)

KEY: Final = "tidewire.templates"
"""Under which the browser keeps them, for the page at this address."""

READ_S: Final = 10.0
"""How long a browser has to tell them, over a bad network as well."""


class Templates:
    """The card of them; `draft` gives what is typed now, and `fill` takes what is loaded."""

    def __init__(self, draft: Callable[[], Draft], fill: Callable[[Draft], None]) -> None:
        self._draft = draft
        self._fill = fill
        self._templates: list[Template] = []
        with charts.section("Templates"):
            self._none = ui.label("None yet. What you save stays in this browser.").classes("faint small")
            self._list = ui.column().classes("w-full gap-0 max-h-72 overflow-y-auto flex-nowrap")
            with ui.row().classes("w-full items-center no-wrap gap-2"):
                self._name = ui.input("Name").props(f"outlined dense maxlength={NAME_CHARACTERS}")
                self._name.classes("flex-1 min-w-0").on("keydown.enter", self._save)
                ui.button("Save", on_click=self._save, color=None).props("outline no-caps").classes("in-tide")
            with ui.row().classes("gap-2"):
                export = ui.button("Export", icon="download", on_click=self._export, color=None)
                export.props("flat no-caps dense").classes("in-tide")
                upload = ui.upload(
                    max_file_size=TEMPLATES_BYTES,
                    on_upload=self._import,
                    on_rejected=_too_long,
                    auto_upload=True,
                ).classes("hidden")
                self._upload = upload
                import_ = ui.button(
                    "Import", icon="upload", on_click=lambda: upload.run_method("pickFiles"), color=None
                )
                import_.props("flat no-caps dense").classes("in-tide")
        ui.timer(0, self._read, once=True)

    async def _read(self) -> None:
        try:
            kept = await ui.run_javascript(f"localStorage.getItem({json.dumps(KEY)})", timeout=READ_S)
        except TimeoutError:  # who has opened the page has left
            return
        if isinstance(kept, str):
            try:
                self._templates = templates_of(kept)
            except DraftFault as fault:
                ui.notify(f"templates of this browser: {fault}", type="warning")
        self._show()

    def _save(self) -> None:
        name = (self._name.value or "").strip()
        if not name:
            ui.notify("give the template a name", type="warning")
            return
        try:
            template = Template(name, self._draft())
            others = [each for each in self._templates if each.name != name]
            self._keep([*others, template])
        except DraftFault as fault:
            ui.notify(str(fault), type="negative")
            return
        self._name.value = ""
        ui.notify(f"saved as {name}")

    def _keep(self, templates: list[Template]) -> None:
        """Raises DraftFault, and has changed nothing then."""
        text = templates_as_json(templates)
        self._templates = templates
        ui.run_javascript(f"localStorage.setItem({json.dumps(KEY)}, {json.dumps(text)})")
        self._show()

    async def _delete(self, template: Template) -> None:
        if await asked("Delete this template?", template.name, "Delete"):
            self._keep([each for each in self._templates if each is not template])

    def _export(self) -> None:
        ui.download.content(templates_as_json(self._templates), "tidewire-templates.json", "application/json")

    async def _import(self, event: events.UploadEventArguments) -> None:
        self._upload.reset()
        if event.file.size() > TEMPLATES_BYTES:  # the browser was told, but need not be ours
            _too_long()
            return
        try:
            read = templates_of((await event.file.read()).decode())
            names = {template.name for template in read}
            self._keep([*(each for each in self._templates if each.name not in names), *read])
        except UnicodeDecodeError:
            ui.notify("this file is no JSON", type="negative")
        except DraftFault as fault:
            ui.notify(str(fault), type="negative")
        else:
            ui.notify("one template imported" if len(read) == 1 else f"{len(read)} templates imported")

    def _show(self) -> None:
        self._none.set_visibility(not self._templates)
        self._list.clear()
        with self._list:
            for template in sorted(self._templates, key=lambda each: each.name.lower()):
                self._show_one(template)

    def _show_one(self, template: Template) -> None:
        with ui.row().classes("w-full items-center no-wrap gap-1"):
            load = ui.button(on_click=lambda: self._fill(template.draft), color=None).props("flat no-caps align=left")
            with load.classes("flex-1 min-w-0"), ui.column().classes("gap-0 items-start min-w-0"):
                ui.label(template.name).classes("break-words min-w-0 text-left")
                ui.label(template.draft.topic).classes("faint small mono break-all text-left")
            delete = ui.button(icon="delete", on_click=lambda: self._delete(template), color=None)
            delete.props('flat round dense aria-label="Delete this template"').classes("faint")


def _too_long() -> None:
    ui.notify("this file is too long to be templates", type="negative")
