"""What is known of one topic? Its last value decoded, where it comes from, what came before, how its numbers go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from nicegui import background_tasks, run, ui

from tidewire.console.look import Look
from tidewire.console.payloads import DECODERS, GUESSED, Line, Shown, preview, show
from tidewire.console.topics.export import KINDS
from tidewire.console.topics.history import CHARTED, Chart, History, Value, difference
from tidewire.console.topics.style import TopicLines, menu_item, put
from tidewire.console.words import clock, day, duration, number, rate, size
from tidewire.server.admin import AdminFault
from tidewire.server.admin_topics import TopicFeed
from tidewire.server.admin_types import MessageProperties, RetainedInfo, TopicSeen

SLOW_REFRESHES: Final = 2
"""Refreshes between two of the chart, the history and what is retained: nobody reads those faster."""

Export = Callable[[str, Iterable[TopicSeen], int, str], Awaitable[None]]
"""Name of the file, values, how many there are, and the ending of the name."""


class TopicDetail:
    """One topic at a time; it has a feed of its own, so its values come as fast as the page looks."""

    def __init__(self, look: Look, export: Export, on_close: Callable[[], None]) -> None:
        self._look = look
        self._export = export
        self._on_close = on_close
        self._feed: TopicFeed | None = None
        self._topic = ""
        self._history = History()
        self._chart = Chart()
        self._chosen: list[Value] = []
        self._decoder = GUESSED
        self._rate = 0.0
        self._refreshes = 0
        self._dirty = self._history_dirty = self._chart_dirty = self._held = False
        self._build()

    # -- what the page calls

    def show(self, seen: TopicSeen) -> None:
        """Begin with this topic, as far as it is known."""
        self.close()
        self._topic = seen.topic
        self._history, self._chart, self._chosen = History(), Chart(), []
        self._history.add(seen)
        self._rate = 0.0
        self._select.value = GUESSED
        try:
            self._feed = self._look.admin.watch_topics(seen.topic, self._look.viewer)
        except AdminFault as fault:
            ui.notify(f"Its values cannot be followed: {fault}", type="negative")
        self._title.text = seen.topic
        self._comparison.set_visibility(False)
        self._dirty = self._history_dirty = self._chart_dirty = True
        self._refreshes = 0
        self._held = False
        self.refresh()

    def close(self) -> None:
        """Follow it no longer."""
        if self._feed is not None:
            self._feed.close()
            self._feed = None

    def take(self) -> None:
        """What has come."""
        if self._feed is None:
            return
        changes = self._feed.take()
        for value in self._history.take(changes):
            self._dirty = self._history_dirty = True
            self._chart_dirty |= self._chart.add(value, self._shown.decoder)
        self._rate += (changes.rate - self._rate) / 10  # a second's worth of looks

    def refresh(self) -> None:
        """Draw what has changed."""
        if self._dirty:
            self._dirty = False
            self._draw_value()
        self._draw_facts()
        if self._refreshes % SLOW_REFRESHES == 0:
            background_tasks.create(self._draw_retained())
            if self._history_dirty and not self._held:
                self._history_dirty = False
                self._draw_history()
            if self._chart_dirty:
                self._chart_dirty = False
                self._draw_chart()
        self._refreshes += 1

    # -- built once

    def _build(self) -> None:
        self._shown = Shown("text")
        with ui.card().classes("topic-detail p-0 gap-0") as self.card, ui.element("div").classes("topic-scroll"):
            with ui.row().classes("w-full items-start no-wrap gap-1"):
                self._title = ui.label().classes("topic-title grow").props("role=heading aria-level=2")
                _icon_button("content_copy", "Copy the topic", lambda: ui.clipboard.write(self._topic))
                _icon_button("close", "Back to the topics", self._on_close)
            with ui.element("div").classes("topic-facts"):
                facts = [_fact(name) for name in ("Last seen", "Size", "Since chosen", "A second")]
            self._at, self._size, self._messages, self._per_second = facts
            self._retained = ui.label().classes("text-sm")
            self._properties = ui.label().classes("text-sm faint whitespace-pre-wrap break-all")
            self._build_value()
            self._build_history()

    def _build_value(self) -> None:
        with ui.row().classes("w-full items-center justify-between gap-2"):
            _heading("Value")
            self._decoders = dict(DECODERS)
            self._select = ui.select(self._decoders, value=GUESSED, label="Decoded as", on_change=self._choose_decoder)
            self._select.props("outlined dense options-dense").classes("w-52")
        self._lines = TopicLines("Value").classes("w-full wrapping")
        self._lines.on("pick", lambda event: self._toggle_chart(str(event.args)))
        self._image = ui.element("img").props('alt="The payload, as an image"')
        self._note = ui.label().classes("text-sm faint")
        self._plot = ui.echart(_plot_options(), renderer="svg").classes("w-full h-56")
        self._plot.props('role=img aria-label="The chosen numbers over time"')

    def _build_history(self) -> None:
        with ui.row().classes("w-full items-center justify-between gap-2"):
            _heading("History")
            with ui.button("Export", icon="download") as self.export, ui.menu():
                for kind in KINDS:
                    menu_item(f"History as {kind.upper()}", partial(self._export_history, kind))
            self.export.props("flat dense no-caps color=primary")
        self._sample = ui.label().classes("text-sm faint")
        self._past = TopicLines("History").classes("w-full topic-past")
        self._past.on("pick", lambda event: self._choose(int(event.args)))
        for event, held in (("mouseenter", True), ("focusin", True), ("mouseleave", False), ("focusout", False)):
            self._past.on(event, partial(self._hold, held), args=[])
        with ui.column().classes("w-full gap-2") as self._comparison:
            self._compared = _heading("Difference")
            self._difference = TopicLines("Difference").classes("w-full wrapping")

    # -- what somebody does

    async def _choose_decoder(self) -> None:
        self._decoder = str(self._select.value)
        self._chart = Chart()
        self._dirty = self._chart_dirty = True
        self.refresh()
        await self._draw_difference()

    def _toggle_chart(self, path: str) -> None:
        if not self._chart.toggle(path, self._history, self._shown.decoder):
            ui.notify(f"A chart has at most {CHARTED} lines; press one of them again to take it away.")
        self._dirty = self._chart_dirty = True
        self._refreshes = 0
        self.refresh()

    async def _choose(self, wanted: int) -> None:
        """Choose a value to compare; with a third the first one is let go."""
        value = self._history.find(wanted)
        if any(each.number == wanted for each in self._chosen):
            self._chosen = [each for each in self._chosen if each.number != wanted]
        elif value is not None:
            self._chosen = [*self._chosen[-1:], value]
        self._draw_history()
        await self._draw_difference()

    def _hold(self, held: bool) -> None:
        """The list stands still while somebody is about to choose in it."""
        self._held = held

    async def _export_history(self, kind: str) -> None:
        values = [value.seen for value in self._history.values]
        await self._export("history", values, len(values), kind)

    # -- drawn as it changes

    def _draw_value(self) -> None:
        seen = self._history.values[-1].seen
        content_type = seen.properties.content_type or ""
        shown = show(seen.payload, self._decoder, size=seen.payload_bytes, content_type=content_type, topic=seen.topic)
        self._shown = shown
        told = [shown.note, "Press a number to draw it over time." if shown.numbers and not self._chart.lines else ""]
        if not seen.payload_bytes:
            told = ["The payload is empty."]
        self._lines.show([self._line(line) for line in shown.lines])
        self._lines.set_visibility(bool(shown.lines))
        put(self._image, {"src": shown.image or _NO_IMAGE})
        self._image.set_visibility(bool(shown.image))
        if self._decoder == GUESSED:
            words = f"{DECODERS[GUESSED]}: {DECODERS[shown.decoder]}"
            if self._decoders[GUESSED] != words:
                self._decoders[GUESSED] = words
                self._select.update()
        _say(self._note, " ".join(filter(None, told)))
        properties = "\n".join(_properties(seen.properties))
        _say(self._properties, properties)

    def _line(self, line: Line) -> dict[str, Any]:
        drawn: dict[str, Any] = {
            "indent": line.indent, "label": line.label, "value": line.value, "kind": line.kind, "tail": line.tail
        }  # fmt: skip
        if line.path:
            drawn |= {"act": line.path, "on": line.path in self._chart.lines, "hint": "Draw it over time"}
            drawn["told"] = f"{line.path}: {line.value}, draw it over time"
        return drawn

    def _draw_facts(self) -> None:
        seen = self._history.values[-1].seen
        self._at.text = clock(seen.at) if seen.at else "–"
        self._size.text = size(seen.payload_bytes)
        self._messages.text = number(self._history.messages)
        self._per_second.text = rate(self._rate)

    async def _draw_retained(self) -> None:
        topic = self._topic
        found: list[RetainedInfo] = []
        with suppress(AdminFault):  # it was told when the topic was chosen
            found = await self._look.admin.retained(topic, limit=1, payload_bytes=0, viewer=self._look.viewer)
        if topic == self._topic:
            _say(self._retained, _provenance(found[0]) if found else "")

    def _draw_history(self) -> None:
        history = self._history
        chosen = {value.number for value in self._chosen}
        lines = []
        for value in reversed(history.values):
            seen = value.seen
            text = preview(seen.payload, seen.payload_bytes, seen.topic) or "(empty)"
            at = clock(seen.at) if seen.at else "at an unknown time"
            lines.append(
                {"key": value.number, "label": f"{at}  ", "value": text, "act": value.number,
                 "on": value.number in chosen, "hint": "Compare it", "told": f"{at}: {text}; compare it"}
            )  # fmt: skip
        self._past.show(lines)
        told = f"The last {number(len(history.values))} values. Press two of them to compare them."
        if len(history.values) == 1:
            told = "One value so far."
        if history.messages > history.looked:
            told = (
                f"{number(history.looked)} of {number(history.messages)} messages, a sample: the page looks ten times"
                " a second. Press two to compare them."
            )
        _say(self._sample, told)

    async def _draw_difference(self) -> None:
        chosen = self._chosen
        if len(chosen) == 2:
            older, newer = sorted(chosen, key=lambda value: value.number)
            found = await run.io_bound(difference, older.seen, newer.seen, self._shown.decoder)
            if chosen is not self._chosen or found is None:
                return  # others have been chosen meanwhile, or the broker ends
            lines = [{"label": f"{sign} ", "value": text, "tone": _TONES.get(sign, "")} for sign, text in found]
            self._difference.show(lines or [{"value": "They are the same.", "kind": "mark"}])
            self._compared.text = f"Difference of {clock(older.seen.at)} and {clock(newer.seen.at)}"
        self._comparison.set_visibility(len(chosen) == 2)

    def _draw_chart(self) -> None:
        lines = self._chart.lines
        self._plot.set_visibility(bool(lines))
        if lines:
            self._plot.options["series"] = [
                {"name": path, "type": "line", "showSymbol": len(points) < 2, "data": list(points)}
                for path, points in lines.items()
            ]
            self._plot.update()


_NO_IMAGE: Final = "data:,"

_TONES: Final = {"-": "gone", "+": "come"}


def _plot_options() -> dict[str, Any]:
    faint = {"color": "var(--faint)"}
    line = {"lineStyle": {"color": "var(--line)"}}
    return {
        "animation": False,
        "color": ["#1784a8", "#d0671c", "#5f8f1f", "#9a5fc0"],
        "grid": {"left": 8, "right": 30, "top": 34, "bottom": 8, "containLabel": True},
        "legend": {"textStyle": {"color": "var(--text)"}, "top": 0, "type": "scroll"},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "time", "axisLabel": {**faint, "hideOverlap": True}, "axisLine": line},
        "yAxis": {"type": "value", "scale": True, "axisLabel": faint, "splitLine": line},
        "series": [],
    }


def _icon_button(icon: str, label: str, on_click: Callable[[], None]) -> None:
    ui.button(icon=icon, on_click=on_click).props(f'flat round dense color=primary aria-label="{label}"')


def _heading(text: str) -> ui.label:
    return ui.label(text).classes("font-semibold").props("role=heading aria-level=3")


def _fact(name: str) -> ui.label:
    with ui.element("div").classes("topic-fact"):
        ui.label(name)
        return ui.label("–").classes("figure")


def _say(label: ui.label, text: str) -> None:
    """A label that takes no room where it says nothing."""
    label.text = text
    label.set_visibility(bool(text))


def _provenance(retained: RetainedInfo) -> str:
    publisher = retained.publisher or "the broker itself"
    user = f", user {retained.user}" if retained.user is not None else ""
    address = f" ({retained.address}{user})" if retained.address else ""
    since = f" since {day(retained.published_at)}" if retained.published_at else ""
    ends = f", expires in {duration(retained.expires_s)}" if retained.expires_s is not None else ""
    return f"Retained{since}, published by {publisher}{address} at QoS {retained.qos}{ends}"


def _properties(properties: MessageProperties) -> Iterable[str]:
    """By the names of the specification."""
    if properties.payload_format_indicator is not None:
        yield f"Payload Format Indicator: {properties.payload_format_indicator}"
    if properties.message_expiry_interval_s is not None:
        yield f"Message Expiry Interval: {properties.message_expiry_interval_s} s"
    if properties.content_type is not None:
        yield f"Content Type: {properties.content_type}"
    if properties.response_topic is not None:
        yield f"Response Topic: {properties.response_topic}"
    if properties.correlation_data is not None:
        yield f"Correlation Data: {properties.correlation_data.hex(' ')}"
    for name, value in properties.user_properties:
        yield f"User Property {name}: {value}"
