"""What does one payload look like in full? Its lines as text that can be selected, or its picture."""

from __future__ import annotations

from nicegui import ui

from tidewire.console import payloads


def show_payload(payload: bytes, size: int, content_type: str = "", topic: str = "") -> None:
    """As it looks like: JSON indented, text as it is, else hexadecimal. `size` is what it had before it was cut."""
    shown = payloads.show(payload, size=size, content_type=content_type, topic=topic)
    if shown.image:
        image = ui.element("img").props('alt="The payload is a picture"').classes("max-w-full max-h-96 rounded")
        image.props["src"] = shown.image
    elif shown.lines:
        text = "\n".join(f"{'  ' * line.indent}{line.label}{line.value}{line.tail}" for line in shown.lines)
        box = ui.label(text).classes("command w-full whitespace-pre-wrap break-all max-h-96 overflow-y-auto")
        box.props('tabindex=0 role=group aria-label="Payload"')
    else:
        ui.label("It is empty.").classes("faint small")
    if shown.note:
        ui.label(shown.note).classes("faint small")
