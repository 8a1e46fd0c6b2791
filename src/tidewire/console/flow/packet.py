"""What does one packet say? All its fields, its properties, and its payload as a person would read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from nicegui import html, ui

from tidewire.console import charts, payloads
from tidewire.console.flow.diagram import reason
from tidewire.console.payloads import Shown
from tidewire.console.words import clock, number, size
from tidewire.server.admin_types import PacketSeen

DUMPED_BYTES: Final = 2 * 1024
"""In hexadecimal, which is four times as long."""
DUMP_WIDTH: Final = 8
"""Bytes in a line, so that it fits beside the diagram."""
LISTED: Final = 200
"""Entries of one list: a SUBSCRIBE may have thousands of filters."""

STYLE: Final = """
.packet-card { flex-wrap: nowrap !important; max-height: calc(100vh - 6rem); overflow: auto;
  position: sticky !important; top: 5rem; }
.packet-card dl { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: .3rem .9rem; margin: 0;
  font-size: .86rem; }
.packet-card dt { color: var(--faint); }
.packet-card dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.packet-card h3 { font-size: .78rem; font-weight: 600; color: var(--faint); margin: .5rem 0 0; line-height: 1.4; }
.packet-card pre { margin: 0; padding: .7rem; border-radius: 8px; background: var(--ground);
  border: 1px solid var(--line); font: .8rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; max-height: 22rem; overflow: auto; width: 100%; flex: none; }
.forms .q-btn { color: var(--faint); border-radius: 0; border-bottom: 2px solid transparent; }
.forms .q-btn[aria-pressed=true] { color: var(--text); border-color: var(--tide); font-weight: 600; }
.packet-card pre.hex { font-size: .72rem; white-space: pre; }
@media (max-width: 1100px) {
  .packet-card { position: fixed !important; left: 0; right: 0; top: auto; bottom: 0; z-index: 1500; max-height: 50vh;
    border-radius: 14px 14px 0 0 !important; box-shadow: 0 -8px 30px #0004 !important; }
  .packet-card.empty { display: none; }
  :has(> .packet-card:not(.empty)) { padding-bottom: 52vh; }
}
"""


class PacketCard:
    """The packet that is chosen."""

    def __init__(self, close: Callable[[], None]) -> None:
        """`close` is called by who has read enough."""
        ui.add_css(STYLE)
        self._close = close
        with (
            ui.card()
            .classes("section packet-card empty")
            .props("role=region aria-label='The chosen packet'") as self.card
        ):
            pass
        self.show(None)

    def show(self, packet: PacketSeen | None) -> None:
        """This one in place of the one before."""
        self.card.clear()
        with self.card:
            if packet is None:
                self.card.classes(add="empty")
                ui.label("Choose a packet to read all that it says: click it, or use the arrow keys.").classes("faint")
                return
            self.card.classes(remove="empty")
            with ui.row().classes("w-full items-center no-wrap"):
                charts.heading(packet.packet)
                ui.space()
                ui.button(icon="close", on_click=self._close).props('flat round dense aria-label="Close the packet"')
            _listed(facts(packet))
            for title, said in (("Fields", packet.fields), ("Properties", packet.properties)):
                if said:
                    html.h3(title)
                    _listed([line for name, value in said.items() for line in lines(name, value)])
            if packet.packet == "PUBLISH":
                _payload(packet)


def facts(packet: PacketSeen) -> list[tuple[str, str]]:
    """What every packet has, and what this one has of the rest."""
    way = {"in": "client → broker", "out": "broker → client"}[packet.direction]
    told = [("Way", way)] if packet.packet != "closed" else []
    told += [("Time", clock(packet.at)), ("Number", number(packet.number))]
    if packet.size_bytes:
        told.append(("Size", f"{number(packet.size_bytes)} B"))
    if packet.packet_identifier:
        told.append(("Packet identifier", str(packet.packet_identifier)))
    if packet.packet == "PUBLISH":
        flags = ["DUP"] * packet.dup + ["RETAIN"] * packet.retain
        told += [("Topic", packet.topic), ("QoS", str(packet.qos)), ("Flags", ", ".join(flags) or "none")]
    if said := reason(packet):
        told.append(("Reason", said))
    return told


def lines(name: str, value: Any) -> list[tuple[str, str]]:
    """A field as (name, text), one for each part of it."""
    name = name.replace("_", " ")
    if isinstance(value, dict):
        return [(f"{name} {part}", text) for key, each in value.items() for part, text in lines(key, each)]
    if isinstance(value, list):
        shown = [(name, _entry(each)) for each in value[:LISTED]]
        return shown + [(name, f"and {number(len(value) - LISTED)} more")] * (len(value) > LISTED)
    return [(name, _plain(value))]


def payload_forms(packet: PacketSeen) -> tuple[dict[str, str], Shown]:
    """Form → how the payload of a PUBLISH reads in it, the friendliest first; and what it was taken for."""
    payload, cut = packet.payload, packet.payload_bytes
    told = str(packet.properties.get("Content Type", ""))
    shown = payloads.show(payload, size=cut, content_type=told, topic=packet.topic)
    forms = {}
    if shown.lines and shown.decoder != "hex":
        forms[payloads.DECODERS[shown.decoder]] = _text(shown)
    if shown.decoder == "json":
        forms["Text"] = _text(payloads.show(payload, "text", size=cut))
    forms["Hex"] = "\n".join(_dump(payload[:DUMPED_BYTES]))
    return forms, shown


def _payload(packet: PacketSeen) -> None:
    html.h3(f"Payload, {size(packet.payload_bytes)}")
    if not packet.payload:
        ui.label("It is empty.").classes("faint small")
        return
    forms, shown = payload_forms(packet)
    if shown.image:
        image = ui.element("img").props('alt="The payload is a picture"').classes("max-w-full max-h-64 rounded")
        image.props["src"] = shown.image
    first = next(iter(forms))
    if len(forms) > 1:
        toggle = ui.toggle(list(forms), value=first, on_change=lambda event: show(event.value))
        toggle.props('flat dense no-caps text-color=none toggle-color=none padding="1px 12px"').classes("forms")
    box = html.pre().props('tabindex=0 role=region aria-label="Payload"')
    note = ui.label().classes("faint small")

    def show(form: str) -> None:
        box.classes(replace="hex" if form == "Hex" else "")
        box.clear()
        with box:
            html.span(forms[form])
        dumped = f"The first {number(DUMPED_BYTES)} bytes." if packet.payload_bytes > DUMPED_BYTES else ""
        note.set_text(dumped if form == "Hex" else shown.note)

    show(first)


def _text(shown: Shown) -> str:
    return "\n".join(f"{'  ' * line.indent}{line.label}{line.value}{line.tail}" for line in shown.lines)


def _listed(told: list[tuple[str, str]]) -> None:
    with html.dl():
        for name, text in told:
            html.dt(name)
            html.dd(text)


def _entry(value: Any) -> str:
    """One entry of a list: a user property, a topic filter with its options, a reason code."""
    if isinstance(value, list):
        return ": ".join(map(str, value))
    if isinstance(value, dict):
        first, *rest = value.values()
        told = [f"{key.replace('_', ' ')} {_plain(each)}" for key, each in list(value.items())[1:]]
        return f"{_plain(first)} ({', '.join(told)})" if rest else _plain(first)
    return _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _dump(data: bytes) -> Iterator[str]:
    for start in range(0, len(data), DUMP_WIDTH):
        part = data[start : start + DUMP_WIDTH]
        read = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in part)
        yield f"{start:04x}  {part.hex(' '):<{3 * DUMP_WIDTH}} {read}"
