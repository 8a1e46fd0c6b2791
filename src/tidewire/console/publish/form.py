"""Where is a message typed in? Topic, payload, QoS, retain and properties of MQTT 5, checked as they are typed."""

from __future__ import annotations

from typing import Final

from nicegui import events, ui

from tidewire.console import charts, words
from tidewire.console.publish.draft import (
    FILE_BYTES,
    LONGEST_EXPIRY_S,
    TOPIC_CHARACTERS,
    USER_PROPERTIES,
    Draft,
    DraftFault,
    PayloadForm,
    check_topic,
    payload_of,
)

FILE: Final = "file"
_FORMS: Final = {"text": "Text", "json": "JSON", "hex": "Hex", "base64": "Base64", FILE: "File"}
_FIELD: Final = "outlined dense debounce=250"


class DraftForm:
    """The fields of one message."""

    def __init__(self) -> None:
        """Draws them, here."""
        self._file: bytes | None = None
        self._topic = ui.input(
            "Topic", placeholder="hello/world", on_change=self._topic_changed, validation=_topic_fault
        )
        self._topic.props(f"{_FIELD} maxlength={TOPIC_CHARACTERS} hide-bottom-space").classes("w-full mono")
        self._topic.without_auto_validation()
        self._draw_payload()
        with ui.row().classes("w-full items-center gap-x-6 gap-y-3"):
            with ui.row().classes("items-center gap-3").props('role=group aria-label="QoS"'):
                ui.label("QoS").classes("faint small")
                self._qos = charts.segments([0, 1, 2], value=0)
            self._retain = ui.switch("Retain")
        with ui.expansion("Properties of MQTT 5").classes("w-full").props("dense header-class=px-0"):
            self._draw_properties()

    @property
    def draft(self) -> Draft:
        """As it is typed now. Raises DraftFault for a number that is none, and for a file, which no draft can hold."""
        if self._form.value == FILE:
            raise DraftFault("a file is not kept in a template; choose another kind of payload")
        return self._draft(self._form.value)

    def fill(self, draft: Draft) -> None:
        """Show this one."""
        self._topic.value = draft.topic
        self._form.value = draft.payload_form
        self._payload.value = draft.payload
        self._qos.value = draft.qos
        self._retain.value = draft.retain
        self._is_utf8.value = draft.is_utf8
        self._content_type.value = draft.content_type
        self._expiry.value = draft.expiry_s
        self.fill_request(draft.response_topic, draft.correlation_data)
        self._user_properties.clear()
        self._pairs.clear()
        for name, value in draft.user_properties:
            self._add_pair(name, value)
        self._add.set_enabled(len(self._pairs) < USER_PROPERTIES)

    def fill_request(self, response_topic: str, correlation_data: str) -> None:
        """Show these."""
        self._response_topic.value = response_topic
        self._correlation_data.value = correlation_data

    def message(self) -> tuple[Draft, bytes] | None:
        """What is to be sent: all but the payload, and the payload; None: its field says what is wrong, and is led to.

        Raises DraftFault for what has no field to say it."""
        if not self._topic.validate():
            self._topic.run_method("focus")
            return None
        is_file = self._form.value == FILE
        draft = self._draft("text" if is_file else self._form.value)
        if is_file:
            if self._file is None:
                raise DraftFault("choose a file to send")
            return draft, self._file
        try:
            return draft, payload_of(draft)
        except DraftFault as fault:
            self._payload.error = str(fault)
            self._payload.run_method("focus")
            return None

    def _topic_changed(self) -> None:
        if self._topic.error is not None:  # not while it is typed in first
            self._topic.validate()

    def _draft(self, form: PayloadForm) -> Draft:
        expiry = self._expiry.value
        if expiry is not None and not 0 <= expiry <= LONGEST_EXPIRY_S:
            raise DraftFault(f"Expires after: give 0 to {LONGEST_EXPIRY_S} seconds")
        return Draft(
            topic=self._topic.value or "",
            payload=self._payload.value or "",
            payload_form=form,
            qos=self._qos.value or 0,
            retain=self._retain.value,
            is_utf8=self._is_utf8.value,
            content_type=self._content_type.value or "",
            expiry_s=None if expiry is None else int(expiry),
            response_topic=self._response_topic.value or "",
            correlation_data=self._correlation_data.value or "",
            user_properties=[(name.value or "", value.value or "") for name, value in self._pairs.values()],
        )

    # -- payload

    def _draw_payload(self) -> None:
        with ui.row().classes("w-full items-center justify-between gap-2"):
            with ui.row().classes("items-center gap-3").props('role=group aria-label="Kind of payload"'):
                ui.label("Payload").classes("faint small")
                self._form = charts.segments(_FORMS, value="text", on_change=self._form_changed)
            self._size = ui.label("0 B").classes("faint small figure")
        self._payload = ui.textarea("Payload", on_change=self._show_size, validation=self._payload_fault)
        self._payload.props(f"{_FIELD} autogrow hide-bottom-space input-style='min-height: 6.5rem; max-height: 20rem'")
        self._payload.classes("w-full mono")
        with ui.row().classes("w-full items-center gap-3") as self._file_row:
            upload = ui.upload(
                max_file_size=FILE_BYTES,
                on_upload=self._uploaded,
                on_rejected=_too_long,
                auto_upload=True,
            )
            self._upload = upload.classes("hidden")
            choose = ui.button(
                "Choose a file", icon="upload_file", on_click=lambda: upload.run_method("pickFiles"), color=None
            )
            choose.props("outline no-caps").classes("in-tide")
            self._file_name = ui.label(f"up to {words.size(FILE_BYTES)}").classes("faint break-words min-w-0")
        self._file_row.set_visibility(False)

    def _form_changed(self) -> None:
        is_file = self._form.value == FILE
        self._payload.set_visibility(not is_file)
        self._file_row.set_visibility(is_file)
        if not is_file:
            self._payload.validate()
        self._show_size()

    def _payload_fault(self, _: str) -> str | None:
        if self._form.value == FILE:
            return None
        try:
            payload_of(Draft(payload=self._payload.value or "", payload_form=self._form.value))
        except DraftFault as fault:
            return None if not self._payload.value else str(fault)
        return None

    def _show_size(self) -> None:
        try:
            if self._form.value == FILE:
                size = len(self._file or b"")
            else:
                size = len(payload_of(Draft(payload=self._payload.value or "", payload_form=self._form.value)))
        except DraftFault:
            charts.show(self._size, "–")
        else:
            charts.show(self._size, words.size(size))

    async def _uploaded(self, event: events.UploadEventArguments) -> None:
        self._upload.reset()
        if event.file.size() > FILE_BYTES:  # the browser was told, but need not be ours
            _too_long()
            return
        self._file = await event.file.read()
        self._file_name.set_text(event.file.name)
        self._show_size()

    # -- properties

    def _draw_properties(self) -> None:
        with ui.element("div").classes("grid grid-cols-1 sm:grid-cols-2 gap-3 w-full pt-2"):
            self._content_type = _input("Content type", "application/json")
            self._expiry = ui.number("Expires after", suffix="s", min=0, max=LONGEST_EXPIRY_S, precision=0)
            self._expiry.props(f"{_FIELD} clearable").classes("w-full")
            self._response_topic = _input("Response topic")
            self._correlation_data = _input("Correlation data")
        self._is_utf8 = ui.switch("The payload is text in UTF-8 (payload format indicator)")
        ui.label("User properties").classes("faint small")
        self._pairs: dict[int, tuple[ui.input, ui.input]] = {}
        self._user_properties = ui.column().classes("w-full gap-2")
        self._add = ui.button("Add a user property", icon="add", on_click=lambda: self._add_pair("", ""), color=None)
        self._add.props("flat no-caps dense").classes("in-tide")

    def _add_pair(self, name: str, value: str) -> None:
        with self._user_properties, ui.row().classes("w-full items-center no-wrap gap-2") as row:
            names = _input("Name").classes("flex-1 min-w-0")
            values = _input("Value").classes("flex-1 min-w-0")
            names.value, values.value = name, value
            key = row.id
            remove = ui.button(icon="close", on_click=lambda: self._remove_pair(row, key), color=None)
            remove.props('flat round dense aria-label="Remove this user property"')
        self._pairs[key] = (names, values)
        self._add.set_enabled(len(self._pairs) < USER_PROPERTIES)

    def _remove_pair(self, row: ui.row, key: int) -> None:
        del self._pairs[key]
        row.delete()
        self._add.set_enabled(True)


def _input(label: str, placeholder: str = "") -> ui.input:
    field = ui.input(label, placeholder=placeholder)
    return field.props(f"{_FIELD} maxlength={TOPIC_CHARACTERS}").classes("w-full")


def _too_long() -> None:
    ui.notify(f"a file may have {words.size(FILE_BYTES)}", type="negative")


def _topic_fault(topic: str) -> str | None:
    try:
        check_topic(topic)
    except DraftFault as fault:
        return str(fault)
    return None
