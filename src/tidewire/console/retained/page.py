"""What is retained, who published it, and when? Found by topic filter and text, exported, deleted after a preview."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from nicegui import events, ui

from tidewire.console import charts, payloads, words
from tidewire.console.asking import answered, asked, modal
from tidewire.console.handing_over import hand_over
from tidewire.console.look import Look
from tidewire.console.one_at_a_time import Latest, OneAtATime
from tidewire.console.retained.export import exported
from tidewire.console.retained.payload import show_payload
from tidewire.server.admin import AdminFault
from tidewire.server.admin_types import Deleted, MessageProperties, RetainedInfo

PAGE_ROWS: Final = 50
"""Of one page: what a person looks through."""

PAGES_BACK: Final = 1_000
"""That can be gone back to; then the first page is where to begin again."""

MANY: Final = 1_000
"""Messages; to delete more than that, or all, the number of them is typed in."""

FILTER_CHARACTERS: Final = 65_535
"""A topic filter has no more bytes than that [MQTT-1.5.4-3]."""

DELETE: Final = "delete"

_COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "topic", "label": "Topic", "classes": "topic"},
    {"name": "value", "label": "Value", "classes": "line mono"},
    *charts.figures(("size", "Size"), ("qos", "QoS")),
    {"name": "publisher", "label": "Published by"},
    {"name": "at", "label": "When"},
    {"name": "expires", "label": "Expires in", "align": "right"},
]

_TOPIC_CELL: Final = """
<q-td :props="props"><button type="button" @click="$parent.$emit('look', props.row.id)">{{ props.row.topic }}</button>
</q-td>"""
"""What opens a message; Vue writes its topic as text."""


def build(look: Look) -> None:
    """The page."""
    charts.add_style()
    ui.timer(0.0, _Page(look).show, once=True)


class _Page:
    def __init__(self, look: Look) -> None:
        self._look = look
        self._found: list[RetainedInfo] = []
        self._starts: list[str] = [""]
        """After which topic the pages so far begin."""
        self._searching, self._exporting, self._deleting = Latest(), OneAtATime(), OneAtATime()
        with charts.section("Find"):
            with ui.row().classes("w-full items-start gap-3"):
                self._filter = ui.input("Topic filter", value="#").props(
                    f"outlined dense maxlength={FILTER_CHARACTERS}"
                )
                self._filter.classes("mono grow min-w-[12rem]").on("keydown.enter", self.search)
                self._contains = ui.input("Text in the payload").props("outlined dense clearable maxlength=1000")
                self._contains.classes("grow min-w-[12rem]").on("keydown.enter", self.search)
                ui.button("Show", icon="search", on_click=self.search, color=None).props("unelevated no-caps").classes(
                    "on-tide"
                )
            with ui.row().classes("gap-2"):
                export = ui.button("Export as NDJSON", icon="download", color=None)
                export.props("flat no-caps dense").classes("in-tide")
                export.on_click(partial(self._exporting.do, self._export))
                self._exporting.shown_by(export)
                if look.operator:
                    delete = ui.button("Delete all that match …", icon="delete_sweep", color=None)
                    delete.props("flat no-caps dense").classes("in-bad")
                    delete.on_click(partial(self._deleting.do, self._delete_all))  # its dialog gives it back the focus
        with charts.section("Retained messages"):
            self._told = ui.label().classes("faint small").props("role=status")
            self._table = charts.Table("Retained messages", _COLUMNS)
            self._table.drawn.add_slot("body-cell-topic", _TOPIC_CELL)
            self._table.drawn.on("look", self._look_at)
            with ui.row().classes("w-full items-center justify-end gap-2"):
                self._back = ui.button("Back", icon="chevron_left", on_click=self._go_back, color=None).props(
                    "flat no-caps"
                )
                self._next = ui.button("Next", on_click=self._go_on, color=None).props(
                    "flat no-caps icon-right=chevron_right"
                )
                self._back.classes("in-tide")
                self._next.classes("in-tide")

    async def search(self) -> None:
        """The first page of what is asked for now."""
        self._starts = [""]
        await self.show()

    async def show(self) -> None:
        """The page that was come to."""
        await self._searching.do(self._show)

    async def _show(self) -> None:
        try:
            found = await self._look.admin.retained(
                self._asked_filter, self._asked_text, self._starts[-1], PAGE_ROWS + 1, viewer=self._look.viewer
            )
        except AdminFault as fault:
            ui.notify(str(fault), type="negative")
            return
        is_last = len(found) <= PAGE_ROWS
        self._found = found[:PAGE_ROWS]
        self._table.show([_row(number, info) for number, info in enumerate(self._found)])
        self._back.set_enabled(len(self._starts) > 1)
        self._next.set_enabled(not is_last)
        for button in (self._back, self._next):
            button.set_visibility(len(self._starts) > 1 or not is_last)
        charts.show(self._told, self._words(is_last))

    @property
    def _asked_filter(self) -> str:
        return (self._filter.value or "").strip() or "#"

    @property
    def _asked_text(self) -> bytes:
        return (self._contains.value or "").encode(errors="replace")

    def _words(self, is_last: bool) -> str:
        page, count = len(self._starts), len(self._found)
        if not count:
            return "Nothing that is retained matches this."
        if page == 1 and is_last:
            return "One message" if count == 1 else f"{count} messages"
        return f"Page {page}: {count} messages{'' if is_last else ', and there are more'}"

    async def _go_on(self) -> None:
        if self._found and len(self._starts) < PAGES_BACK:
            self._starts.append(self._found[-1].topic)
            await self.show()

    async def _go_back(self) -> None:
        if len(self._starts) > 1:
            self._starts.pop()
            await self.show()

    # -- what is done with them

    async def _export(self) -> None:
        try:
            data, count, is_all = await exported(
                self._look.admin, self._asked_filter, self._asked_text, self._look.viewer
            )
        except AdminFault as fault:
            ui.notify(str(fault), type="negative")
            return
        if not is_all:
            ui.notify(f"only the first {words.number(count)} are in the file; narrow the filter", type="warning")
        await hand_over(data, "retained.ndjson", "application/x-ndjson")

    async def _delete_all(self) -> None:
        topic_filter, text = self._asked_filter, self._asked_text
        admin = self._look.admin
        try:
            preview = await admin.delete_retained(topic_filter, text, dry_run=True)
            if not preview.count:
                ui.notify("nothing that can be deleted matches this")
                return
            if not await self._means_all(topic_filter, text, preview):
                return
            done = await admin.delete_retained(topic_filter, text, dry_run=False)
        except AdminFault as fault:
            ui.notify(str(fault), type="negative")
            return
        ui.notify(f"{_messages(done.count)} deleted", type="positive")
        await self.search()

    async def _means_all(self, topic_filter: str, text: bytes, preview: Deleted) -> bool:
        whose = f"match {topic_filter}" + (f" and contain “{text.decode()}”" if text else "")
        more = preview.count - len(preview.topics)
        listed = [*preview.topics, *([f"… and {words.number(more)} more"] if more else [])]
        told = f"{_messages(preview.count)}, {words.size(preview.bytes)}, {whose}. Who subscribes to them is told."
        is_much = preview.count > MANY or (topic_filter == "#" and not text)
        return await asked(
            f"Delete {_messages(preview.count)}?",
            told + (" This cannot be undone." if is_much else ""),
            "Delete",
            listed,
            str(preview.count) if is_much else "",
        )

    async def _look_at(self, event: events.GenericEventArguments) -> None:
        number = event.args
        if isinstance(number, int) and 0 <= number < len(self._found):
            info = self._found[number]
            if await _shown(info) == DELETE:
                await self._delete(info)

    async def _delete(self, info: RetainedInfo) -> None:
        """If that is meant."""
        text = f"{info.topic}, {words.size(info.payload_bytes)}. Who subscribes to it is told."
        if not await asked("Delete this retained message?", text, "Delete"):
            return
        try:
            published = self._look.admin.publish(info.topic, b"", retain=True, viewer=self._look.viewer)
        except AdminFault as fault:
            ui.notify(str(fault), type="negative")
            return
        if published.reason_code >= 0x80:
            ui.notify(f"not deleted: {published.reason}", type="negative")
        else:
            ui.notify("deleted", type="positive")
        await self.show()


async def _shown(info: RetainedInfo) -> object:
    """All that is known of one message, until the dialog is closed; DELETE where it was closed with that."""
    with modal(info.topic, "max-w-2xl") as dialog:
        show_payload(info.payload, info.payload_bytes, info.properties.content_type or "", info.topic)
        with ui.element("dl").classes("grid grid-cols-[max-content_1fr] gap-x-5 gap-y-1 w-full m-0 small"):
            for name, value in _facts(info):
                with ui.element("dt").classes("faint"):
                    ui.label(name)
                with ui.element("dd").classes("m-0 min-w-0"):
                    ui.label(value).classes("break-words figure")
        with ui.row().classes("w-full justify-end gap-2"):
            if not info.topic.startswith("$SYS/"):
                delete = ui.button("Delete …", icon="delete", on_click=lambda: dialog.submit(DELETE), color=None)
                delete.props("flat no-caps").classes("in-bad")
            close = ui.button("Close", on_click=dialog.close, color=None)
            close.props("flat no-caps autofocus").classes("in-tide")
    return await answered(dialog)


def _facts(info: RetainedInfo) -> list[tuple[str, str]]:
    facts = [
        ("Size", f"{words.number(info.payload_bytes)} bytes"),
        ("QoS", str(info.qos)),
        ("Published by", info.publisher or "the broker, or its page"),
    ]
    if info.user is not None:
        facts.append(("User", info.user))
    if info.address:
        facts.append(("From", info.address))
    if info.published_at:
        facts.append(("When", words.day(info.published_at)))
    if info.expires_s is not None:
        facts.append(("Expires in", words.duration(max(0.0, info.expires_s))))
    return facts + _properties(info.properties)


def _properties(properties: MessageProperties) -> list[tuple[str, str]]:
    shown: list[tuple[str, str]] = []
    if properties.content_type is not None:
        shown.append(("Content type", properties.content_type))
    if properties.payload_format_indicator:
        shown.append(("Payload format", "text in UTF-8"))
    if properties.response_topic is not None:
        shown.append(("Response topic", properties.response_topic))
    if properties.correlation_data is not None:
        shown.append(("Correlation data", properties.correlation_data.hex(" ")))
    return shown + [(f"User property {name}", value) for name, value in properties.user_properties]


def _row(number: int, info: RetainedInfo) -> dict[str, Any]:
    who = info.publisher or "the broker"
    return {
        "id": number,
        "topic": info.topic,
        "value": payloads.preview(info.payload, info.payload_bytes),
        "size": words.size(info.payload_bytes),
        "qos": info.qos,
        "publisher": f"{who} ({info.user})" if info.user else who,
        "at": words.day(info.published_at) if info.published_at else "–",
        "expires": words.duration(max(0.0, info.expires_s)) if info.expires_s is not None else "–",
    }


def _messages(count: int) -> str:
    return "one message" if count == 1 else f"{words.number(count)} messages"
